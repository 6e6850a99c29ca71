"""RFC 8463 appendix A: its message, its keys, its two signatures; made again to the octet, since neither algorithm draws lots.
RFC 6376 section 3.4.5 and the body hash of appendix A.2."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest

from postroom_dkim.keys import Key
from postroom_dkim.records import Record, is_shown
from postroom_dkim.ring import Signing
from postroom_dkim.settings import DkimSettings
from postroom_dkim.signing import Wishes, plan
from postroom_mime import dkim
from postroom_mime.canonical import RelaxedBody, SimpleBody, relaxed_field
from tests.hooks_dkim.house import JOES, rfc_keys, verdicts

ED25519 = b"/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
RSA = (
    b"F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz"
    b"dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8="
)
BODY_HASH = b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
HEAD = b"""DKIM-Signature: v=1; a=%b; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=%b; t=1528637909; h=from : to :%b
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b="""
WRITTEN = {
    "ed25519": (
        HEAD % (b"ed25519-sha256", b"brisbane", b"\n subject : date : message-id : from : subject : date;"),
        ED25519,
    ),
    "rsa": (HEAD % (b"rsa-sha256", b"test", b" subject :\n date : message-id : from : subject : date;"), RSA),
}
LISTED = b"from to subject date message-id from subject date".split()


def canonical(form: Callable[..., SimpleBody], *blocks: bytes) -> bytes:
    out: list[bytes] = []
    body = form(out.append)
    for block in blocks:
        body.update(block)
    body.finish()
    return b"".join(out)


def digest(form: Callable[..., SimpleBody], body: bytes) -> bytes:
    return base64.b64encode(hashlib.sha256(canonical(form, body)).digest())


def test_the_body_hash() -> None:
    assert digest(RelaxedBody, JOES.partition(b"\r\n\r\n")[2]) == BODY_HASH


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_the_signatures_of_the_rfc_are_those_we_make(kind: str) -> None:
    written, value = WRITTEN[kind]
    (key,) = [one for one in rfc_keys() if one.kind == kind]
    header = dkim.fields(JOES.partition(b"\r\n\r\n")[0])
    assert header is not None
    text = dkim.signed_text(header, LISTED) + relaxed_field(written.replace(b"\n", b"\r\n")).removesuffix(b"\r\n")
    assert base64.b64encode(key.sign(hashlib.sha256(text).digest())) == value


def test_our_signatures_of_its_message_verify_elsewhere() -> None:
    header = dkim.fields(JOES.partition(b"\r\n\r\n")[0])
    assert header is not None
    keys = [Signing("test", rfc_keys()[0]), Signing("brisbane", rfc_keys()[1])]
    made = plan(header, "football.example.com", keys, Wishes.of(DkimSettings()), now=1528637909.7, size=len(JOES))
    fields = made.fields(base64.b64decode(BODY_HASH))
    assert len(fields) == made.size
    zone = {f"{one.selector}._domainkey.football.example.com": one.key.record() for one in keys}
    assert verdicts(fields + JOES, zone) == [True, True]
    assert verdicts(fields + JOES.replace(b"lost", b"won "), zone) == [False, False]
    assert verdicts(b"From: other@example.org\r\n" + fields + JOES, zone) == [False, False], "From is oversigned"
    assert all(len(line) <= 78 for line in fields.split(b"\r\n"))


# RFC 6376 section 3.4.5: the example of both forms.
HEADER, BODY = (b"A: X\r\n", b"B : Y\t\r\n\tZ  \r\n"), b" C \r\nD \t E\r\n\r\n\r\n"


def test_rfc_6376_section_3_4_5() -> None:
    assert b"".join(map(relaxed_field, HEADER)) == b"a:X\r\nb:Y Z\r\n"
    assert canonical(RelaxedBody, BODY) == b" C\r\nD E\r\n"
    assert canonical(SimpleBody, BODY) == b" C \r\nD \t E\r\n"


def test_an_empty_body() -> None:
    """RFC 6376 sections 3.4.3 and 3.4.4, where the hashes stand."""
    assert digest(SimpleBody, b"") == digest(SimpleBody, b"\r\n\r\n") == b"frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="
    assert digest(RelaxedBody, b"") == digest(RelaxedBody, b" \r\n\t\r\n") == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_the_body_hash_of_rfc_6376_appendix_a() -> None:
    """In simple form. The RFC's typesetting put a second blank behind the full stop, which relaxed form takes away; the mail had one."""
    assert digest(SimpleBody, JOES.partition(b"\r\n\r\n")[2].replace(b"game.  Are", b"game. Are")) == BODY_HASH


def test_the_record_of_rfc_6376_appendix_c() -> None:
    public = (
        "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/R"
        "tdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
    )
    private = b"""-----BEGIN RSA PRIVATE KEY-----
MIICXwIBAAKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFC
jxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gb
to/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB
AoGBALmn+XwWk7akvkUlqb+dOxyLB9i5VBVfje89Teolwc9YJT36BGN/l4e0l6QX
/1//6DWUTB3KI6wFcm7TWJcxbS0tcKZX7FsJvUz1SbQnkS54DJck1EZO/BLa5ckJ
gAYIaqlA9C0ZwM6i58lLlPadX/rtHb7pWzeNcZHjKrjM461ZAkEA+itss2nRlmyO
n1/5yDyCluST4dQfO8kAB3toSEVc7DeFeDhnC1mZdjASZNvdHS4gbLIA1hUGEF9m
3hKsGUMMPwJBAPW5v/U+AWTADFCS22t72NUurgzeAbzb1HWMqO4y4+9Hpjk5wvL/
eVYizyuce3/fGke7aRYw/ADKygMJdW8H/OcCQQDz5OQb4j2QDpPZc0Nc4QlbvMsj
7p7otWRO5xRa6SzXqqV3+F0VpqvDmshEBkoCydaYwc2o6WQ5EBmExeV8124XAkEA
qZzGsIxVP+sEVRWZmW6KNFSdVUpk3qzK0Tz/WjQMe5z0UunY9Ax9/4PVhp/j61bf
eAYXunajbBSOLlx4D+TunwJBANkPI5S9iylsbLs6NkaMHV6k5ioHBBmgCak95JGX
GMot/L2x0IYyMLAz6oLWh2hm7zwtb0CgOrPo1ke44hFYnfc=
-----END RSA PRIVATE KEY-----
"""
    record = Record("brisbane._domainkey.example.org", Key.read(private, "RFC 6376").record())
    assert is_shown(record, [f"v=DKIM1; p={public}".encode()])
