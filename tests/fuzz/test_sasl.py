"""Invariant: whatever a client answers, an exchange gives one step for each line, never raises, ends at most once with a login, and that
login holds no control character."""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st

from postroom_net.sasl import (
    LOGIN,
    MAXIMUM,
    PLAIN,
    Challenge,
    Credentials,
    Exchange,
    Fault,
    Lookup,
    Mechanism,
    Mechanisms,
    Proven,
    cram_md5,
)

MECHANISMS = (PLAIN, LOGIN, cram_md5("mail.test"))
OCTETS = st.one_of(st.binary(max_size=80), st.lists(st.sampled_from([b"\0", b"bob", b"x y", b"\xff", b"0" * 32, b" "])).map(b"".join))
ANSWERS = st.one_of(st.binary(max_size=80), OCTETS.map(b64encode), st.sampled_from([b"*", b"=", b"", b"A" * (MAXIMUM + 1)]))


@given(st.sampled_from(MECHANISMS), st.one_of(st.none(), ANSWERS), st.lists(ANSWERS, max_size=4), st.one_of(st.none(), st.text(max_size=9)))
def test_an_exchange_survives_any_client(mechanism: Mechanism, initial: bytes | None, answers: list[bytes], secret: str | None) -> None:
    exchange = Exchange(mechanism)
    step = exchange.begin(initial)
    for answer in answers:
        if not isinstance(step, Challenge):
            break
        assert step.line.isascii() and b"\n" not in step.line
        step = exchange.answer(answer)
    if isinstance(step, Lookup):
        assert step.login.isprintable() and step.login
        step = exchange.found(secret)
        assert step is Fault.NOT_PROVEN or isinstance(step, Proven)
        assert secret is not None or step is Fault.NOT_PROVEN
    if isinstance(step, Credentials):
        assert step.login and step.password
        assert step.login.isprintable() and step.authorization.isprintable()


@given(st.text(max_size=30))
def test_any_name_of_a_mechanism_is_answered(name: str) -> None:
    mechanisms = Mechanisms(MECHANISMS)
    for secure in (True, False):
        found = mechanisms.exchange(name, secure=secure)
        assert (found is not None) == (name.upper() in mechanisms.names(secure=secure))
