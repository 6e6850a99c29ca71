from __future__ import annotations

import base64
import hashlib

import pytest

from postroom_net import passwords
from postroom_net.passwords import HashCost, hash_password, verify

CHEAP = HashCost(1, 8, 1, 4096)


def ssha(name: str, password: bytes, salt: bytes) -> str:
    return base64.b64encode(hashlib.new(name, password + salt).digest() + salt).decode()


@pytest.mark.parametrize("password", ["secret", "pässwörd", b"\xff\xfe raw", "with blank ", "x" * 4000])
def test_a_hash_knows_its_password(password: str | bytes) -> None:
    stored = hash_password(password, CHEAP)
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert verify(stored, password) and not verify(stored, "other") and not verify(stored, "")


def test_the_default_costs_what_it_says() -> None:
    assert "$m=19456,t=2,p=1$" in hash_password("secret")


def test_what_is_stored_serves_every_mechanism() -> None:
    stored = hash_password("pencil", CHEAP)
    slow, _, text = stored.partition("|")
    assert passwords.scram_verifier(stored) == passwords.scram_verifier(text) == text and passwords.scram_verifier(slow) is None
    assert passwords.is_current(stored) and not any(map(passwords.is_current, (slow, text, "pencil", "")))
    for each in (stored, slow, text):
        assert verify(each, "pencil") and not verify(each, "pencils")
        assert passwords.is_hashed(each) and passwords.is_slow(each) and passwords.clear_text(each) is None


def test_a_bar_in_a_password_is_a_bar() -> None:
    assert verify("a|SCRAM-SHA-256$x", "a|SCRAM-SHA-256$x") and passwords.scram_verifier("a|SCRAM-SHA-256$x") is None
    assert passwords.scram_verifier("$6$x$y|SCRAM-SHA-256$4096:x$y:z") is None


def test_two_hashes_of_one_password_differ() -> None:
    assert hash_password("secret", CHEAP) != hash_password("secret", CHEAP)


@pytest.mark.parametrize(
    ("stored", "right"),
    [
        ("secret", True),
        ("Secret", False),
        ("{SHA}" + ssha("sha1", b"secret", b""), True),
        ("{ssha}" + ssha("sha1", b"secret", b"salz"), True),
        ("{SSHA256}" + ssha("sha256", b"secret", b"salz"), True),
        ("{SSHA512}" + ssha("sha512", b"secret", b"salz"), True),
        ("{SSHA}" + ssha("sha1", b"other", b"salz"), False),
        ("{SSHA}!!!", False),
        ("{SSHA}YQ==", False),
        ("$argon2id$broken", False),
        ("$argon2id$v=19$m=8,t=1,p=1$\u00e4$x", False),
        ("", False),
    ],
)
def test_verify(stored: str, right: bool) -> None:
    assert verify(stored, "secret") is right
    assert verify(stored, b"secret") is right


FOREIGN = [
    "$6$salt$hash",
    "$2b$12$abcdefghijklmnopqrstuv",
    "$y$j9T$x$y",
    "{CRYPT}$6$x$y",
    "{SCRAM-SHA-256}4096$x",
    "SCRAM-SHA-1$4096:x$y:z",
    "SCRAM-SHA-256$4096:broken",
    "$1$a$b",
]


@pytest.mark.parametrize("stored", FOREIGN)
def test_a_stolen_hash_of_a_scheme_we_cannot_verify_is_no_password(stored: str) -> None:
    assert not verify(stored, stored) and passwords.clear_text(stored) is None and passwords.is_hashed(stored)


@pytest.mark.parametrize("stored", ["$money$", "{smile}", "pa$$word", "$5 bill", "{}"])
def test_clear_text_may_look_odd(stored: str) -> None:
    assert verify(stored, stored) and passwords.clear_text(stored) == stored


@pytest.mark.parametrize(
    ("one", "other"),
    [("u\u0308ber", "\u00fcber"), ("a\u00a0b", "a b\u0301".replace("\u0301", ""))],
)
def test_spellings_of_one_password_are_one(one: str, other: str) -> None:
    assert passwords.prepared(one) == passwords.prepared(other) == passwords.prepared(one.encode())


def test_octets_that_are_no_utf8_stay() -> None:
    assert passwords.prepared(b"caf\xe9") == b"caf\xe9"


def test_what_is_slow() -> None:
    assert passwords.is_slow(hash_password("x", CHEAP)) and not passwords.is_slow("secret")
