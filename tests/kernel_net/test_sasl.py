from __future__ import annotations

import hmac
from base64 import b64decode, b64encode

import pytest

from postroom_net.sasl import (
    LOGIN,
    MAXIMUM,
    PLAIN,
    Challenge,
    Credentials,
    Exchange,
    Fault,
    Lookup,
    Mechanisms,
    Proven,
    Step,
    cram_md5,
)


def plain(text: bytes) -> Step:
    return Exchange(PLAIN).begin(b64encode(text))


@pytest.mark.parametrize(
    ("message", "step"),
    [
        (b"\0tim\0tanstaaftanstaaf", Credentials("tim", b"tanstaaftanstaaf")),  # RFC 4616 section 4
        (b"Ursel\0Kurt\0xipj3plmq", Credentials("Kurt", b"xipj3plmq", "Ursel")),
        ("\0jörg\0pässwort".encode(), Credentials("jörg", "pässwort".encode())),
        (b"\0tim\0with blank ", Credentials("tim", b"with blank ")),
        (b"\0tim\0\xff\xfe", Credentials("tim", b"\xff\xfe")),
        (b"\0tim\0", Fault.MALFORMED),
        (b"\0\0secret", Fault.MALFORMED),
        (b"tim\0secret", Fault.MALFORMED),
        (b"\0tim\0a\0b", Fault.MALFORMED),
        (b"\0t\xffm\0secret", Fault.MALFORMED),
        (b"\0t\nm\0secret", Fault.MALFORMED),
        (b"a\rb\0tim\0secret", Fault.MALFORMED),
        (b"", Fault.MALFORMED),
    ],
)
def test_plain(message: bytes, step: Step) -> None:
    assert plain(message) == step


@pytest.mark.parametrize(("authorization", "itself"), [("", True), ("tim", True), ("TIM", True), ("ursel", False)])
def test_who_acts_for_whom(authorization: str, itself: bool) -> None:
    assert Credentials("tim", b"x", authorization).acts_for_itself is itself


def test_plain_without_initial_response() -> None:
    exchange = Exchange(PLAIN)
    assert exchange.begin() == Challenge(b"") and Challenge(b"").line == b""
    assert exchange.answer(b64encode(b"\0tim\0secret")) == Credentials("tim", b"secret")


def test_login_asks_twice() -> None:
    exchange = Exchange(LOGIN)
    first = exchange.begin()
    assert isinstance(first, Challenge) and first.line == b"VXNlcm5hbWU6"
    second = exchange.answer(b64encode(b"tim"))
    assert isinstance(second, Challenge) and second.line == b"UGFzc3dvcmQ6"
    assert exchange.answer(b64encode(b"secret")) == Credentials("tim", b"secret")


def test_login_takes_the_name_at_once() -> None:
    exchange = Exchange(LOGIN)
    assert exchange.begin(b64encode(b"tim")) == Challenge(b"Password:")
    assert exchange.answer(b64encode(b"secret")) == Credentials("tim", b"secret")


@pytest.mark.parametrize("mechanism", [PLAIN, LOGIN])
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"*", Fault.CANCELLED),
        (b"no base64!", Fault.MALFORMED),
        (b"YQ", Fault.MALFORMED),
        (b"YQ==YQ==", Fault.MALFORMED),
        (b" YQ==", Fault.MALFORMED),
        (b"A" * (MAXIMUM + 4), Fault.TOO_LONG),
        (b"", Fault.MALFORMED),
    ],
)
def test_faults(mechanism: object, line: bytes, fault: Fault) -> None:
    exchange = Exchange(PLAIN if mechanism is PLAIN else LOGIN)
    exchange.begin()
    assert exchange.answer(line) is fault


def test_an_equals_sign_is_an_empty_initial_response() -> None:
    assert Exchange(PLAIN).begin(b"=") is Fault.MALFORMED
    assert Exchange(LOGIN).begin(b"=") is Fault.MALFORMED


def test_the_longest_line_is_read() -> None:
    message = b"\0tim\0" + b"x" * (MAXIMUM // 4 * 3 - 5)
    assert len(b64encode(message)) == MAXIMUM and isinstance(plain(message), Credentials)


def cram(secret: str | None, known: str | None) -> Step:
    exchange = Exchange(cram_md5("mail.example.test"))
    challenge = exchange.begin()
    assert isinstance(challenge, Challenge)
    octets = b64decode(challenge.line)
    assert octets.startswith(b"<") and octets.endswith(b"@mail.example.test>")  # RFC 2195 section 2
    digest = hmac.digest((secret or "").encode(), octets, "md5").hex()
    assert exchange.answer(b64encode(b"tim " + digest.encode())) == Lookup("tim")
    return exchange.found(known)


def test_cram_md5() -> None:
    assert cram("tanstaaf", "tanstaaf") == Proven("tim")
    assert cram("tanstaaf", "other") is Fault.NOT_PROVEN
    assert cram("", None) is Fault.NOT_PROVEN
    assert cram("\0", None) is Fault.NOT_PROVEN  # the stand-in for no secret proves nothing either


def test_cram_md5_speaks_first() -> None:
    assert Exchange(cram_md5("h")).begin(b64encode(b"tim 0123")) is Fault.MALFORMED


def test_challenges_differ() -> None:
    assert cram_md5("h").make(None).step(None) != cram_md5("h").make(None).step(None)


def test_offers_depend_on_who_can_listen() -> None:
    mechanisms = Mechanisms([PLAIN, LOGIN, cram_md5("h")])
    assert mechanisms.names(secure=True) == ("PLAIN", "LOGIN", "CRAM-MD5")
    assert mechanisms.names(secure=False) == ("CRAM-MD5",)
    assert mechanisms.exchange("plain", secure=False) is None
    assert mechanisms.exchange("pLaIn", secure=True) is not None
    assert mechanisms.exchange("GSSAPI", secure=True) is None


def test_a_password_is_not_shown() -> None:
    assert "geheim" not in repr(Credentials("tim", "geheim"))
