"""Invariant: whatever a client answers, SCRAM and the token mechanisms give one step for each line, never raise, and prove nobody who does
not know the secret; a verifier is read back as it was written."""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st

from postroom_net import oauth, scram
from postroom_net.oidc import Signed, keys_of
from postroom_net.sasl import Bearer, Challenge, Exchange, Lookup, Mechanism, Proven
from postroom_net.scram import Verifier

MECHANISMS = (*scram.mechanisms(lambda: b"k" * 32), *oauth.mechanisms())
PIECES = [
    b"n,,",
    b"y,,",
    b"p=tls-unique,,",
    b"n=bob",
    b",",
    b"r=",
    b"abc",
    b"c=biws",
    b"p=",
    b"A" * 43 + b"=",
    b"a=",
    b"\x01",
    b"auth=Bearer x",
    b"user=",
    b"\xff",
    b"=2C",
]
ANSWERS = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(PIECES), max_size=9).map(b"".join))
SECRET = str(Verifier.of(b"secret", 1))


@given(st.sampled_from(MECHANISMS), st.lists(ANSWERS, min_size=1, max_size=4), st.sampled_from([None, SECRET, "clear"]))
def test_an_exchange_survives_any_client(mechanism: Mechanism, answers: list[bytes], secret: str | None) -> None:
    exchange = Exchange(mechanism)
    step = exchange.begin(b64encode(answers[0]) or b"=")
    for answer in answers[1:]:
        if isinstance(step, Lookup):
            assert step.login.isprintable() and step.login
            step = exchange.found(secret)
            assert isinstance(step, Challenge)
        elif isinstance(step, Bearer):
            step = exchange.judged(False)
        if not isinstance(step, Challenge):
            break
        assert step.line.isascii() and b"\n" not in step.line
        step = exchange.answer(b64encode(answer))
    assert not isinstance(step, Proven)


@given(
    st.integers(1, 99_999_999), st.binary(min_size=3, max_size=60), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32)
)
def test_a_verifier_is_read_back(iterations: int, salt: bytes, stored: bytes, server: bytes) -> None:
    verifier = Verifier(iterations, salt, stored, server)
    assert Verifier.parse(str(verifier)) == verifier


@given(
    st.one_of(st.text(max_size=200), st.lists(st.sampled_from(["e30", ".", "eyJhbGciOiJSUzI1NiJ9", "!", "W10"]), max_size=7).map("".join))
)
def test_any_token_is_taken_apart_or_is_none(text: str) -> None:
    signed = Signed.parse(text)
    assert signed is None or not signed.is_signed_by([])


@given(st.binary(max_size=200))
def test_any_key_set_is_read_or_is_a_value_error(text: bytes) -> None:
    try:
        assert list(keys_of(text)) is not None
    except ValueError:
        pass
