"""Invariant: whatever the message, its canonical form is dkimpy's, however its octets are cut; and what we sign, dkimpy verifies."""

from __future__ import annotations

import hashlib
import itertools

import dkim as dkimpy  # type: ignore[import-untyped]
from dkim.canonicalization import Relaxed, Simple  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom_dkim.errors import KeyFault
from postroom_dkim.ring import Signing
from postroom_dkim.sets import decode
from postroom_dkim.settings import DkimSettings
from postroom_dkim.signing import Wishes, plan, unsigned
from postroom_mime import dkim
from postroom_mime.canonical import Mender, RelaxedBody, SimpleBody, relaxed_field
from tests.hooks_dkim.house import rfc_keys, verdicts

RSA, ED25519 = rfc_keys()
KEYS = [Signing("r", RSA), Signing("e", ED25519)]
ZONE = {f"{one.selector}._domainkey.example.test": one.key.record() for one in KEYS}
PIECES = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b" ", b"\t", b"  ", b"a", b"b: ", b"\0", b"\xff", b".", b"\r\n\r\n", b"x" * 90, b"\x0b", b"="]
)
BODIES = st.lists(PIECES, max_size=40).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=8)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place for place in places if place < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def canonical(form: type[SimpleBody], blocks: list[bytes]) -> bytes:
    out: list[bytes] = []
    body = form(out.append)
    for block in blocks:
        body.update(block)
    body.finish()
    return b"".join(out)


def mended(blocks: list[bytes]) -> bytes:
    mender = Mender()
    return b"".join(mender.mended(block, is_last=at == len(blocks) - 1) for at, block in enumerate(blocks))


@given(BODIES, CUTS)
@example(b" \r\n\r\n\t", [1, 2, 3, 4])
@example(b"\r\n\r\r\n", [1, 2, 3])
def test_a_body_has_dkimpys_canonical_form(body: bytes, places: list[int]) -> None:
    """dkimpy ends a last line that has no end before it looks at its blanks only in simple form, so it is given whole lines."""
    blocks, whole = cut(body, places), body if not body or body.endswith(b"\r\n") else body + b"\r\n"
    assert canonical(SimpleBody, blocks) == Simple.canonicalize_body(body)
    assert canonical(RelaxedBody, blocks) == Relaxed.canonicalize_body(whole)


@given(BODIES, CUTS)
def test_mended_octets_have_whole_lines_however_they_are_cut(body: bytes, places: list[int]) -> None:
    text = mended(cut(body, places)) if body else b""
    assert text == (mended([body]) if body else b"")
    rest = text.replace(b"\r\n", b"")
    assert b"\r" not in rest and b"\n" not in rest and (not text or text.endswith(b"\r\n"))
    assert rest.replace(b" ", b"") == body.replace(b"\r", b"").replace(b"\n", b"").replace(b" ", b"")


VALUES = st.lists(
    st.sampled_from([b"\r\n ", b"\r\n\t", b" ", b"\t", b"  ", b"a", b"B", b":", b";", b"=", b"\xe4", b"\0"]), max_size=12
).map(b"".join)
NAMES = st.sampled_from([b"From", b"to", b"Subject", b"DKIM-Signature", b"X", b"cc", b"Received", b"Reply-To", b"List-ID"])
FIELDS = st.lists(st.tuples(NAMES, VALUES).map(b":".join), max_size=12)


@given(st.tuples(NAMES, VALUES))
def test_a_field_has_dkimpys_canonical_form(field: tuple[bytes, bytes]) -> None:
    ((name, value),) = Relaxed.canonicalize_headers([(field[0], field[1] + b"\r\n")])
    assert relaxed_field(b":".join(field)) == name + b":" + value


@given(FIELDS, BODIES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_dkimpy_verifies_what_we_sign(fields: list[bytes], body: bytes, is_simple: bool) -> None:
    head = b"".join(field + b"\r\n" for field in [*fields, b"From: ann@example.test"])
    header = dkim.fields(head)
    assert header == [*fields, b"From: ann@example.test"]
    text = mended([body]) if body else b""
    wishes = Wishes.of(DkimSettings(simple_above=0 if is_simple else 1 << 30))
    made = plan(header, "example.test", KEYS, wishes, now=1_528_637_909.0, size=1)
    digest = hashlib.sha256(canonical(made.body, [text]))
    signature = made.fields(digest.digest())
    assert len(signature) == made.size
    message = signature + head + b"\r\n" + text
    assert verdicts(message, ZONE)[:2] == [True, True]
    again = dkim.fields(signature + head)
    assert again is not None and unsigned(again, "example.test", KEYS) == ()
    spoilt = signature + head + b"\r\nspoilt\r\n" + text
    assert verdicts(spoilt, ZONE)[:2] == [False, False]


@given(st.lists(st.sampled_from([b"v", b"=", b";", b"1", b" ", b"\r\n\t", b"b", b"d=x", b"\0", b"\xff"]), max_size=20).map(b"".join))
def test_tag_lists_are_read_as_dkimpy_does(value: bytes) -> None:
    """It takes names that RFC 6376 section 3.2 has not; of what both take they say the same."""
    ours = dkim.tags(value)
    if ours is None:
        return
    try:
        theirs = dkimpy.util.parse_tag_value(value)
    except dkimpy.util.InvalidTagValueList:
        assert not value.strip()
        return
    assert theirs == ours


@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: f'{{"sets": [{text}]}}'.encode()))
@example(b'{"sets": [{"name": "a", "state": "active", "since": 0, "keys": ["../x.rsa.pem"]}]}')
@example(b"[" * 100_000)
def test_a_list_of_keys_is_read_or_is_a_fault(data: bytes) -> None:
    try:
        found = decode(data, "keys.json")
    except KeyFault:
        return
    assert all("/" not in file and ".." not in file for one in found for file in one.keys)
