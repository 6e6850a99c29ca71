"""Invariant: a mailbox name read from the wire is written back as the same octets, a name of people's text is read back as the same text,
and octets that are no name are refused with one error: two names on the wire are never one folder, and one folder has one name."""

from __future__ import annotations

import binascii

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from postroom_imap4 import answers, names
from postroom_imap4.names import BadName

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")) | st.sampled_from("&-/,+aé日\U0001f3f3"), max_size=30)
WIRE = st.lists(
    st.sampled_from([b"&", b"-", b"AOk", b"&AOk-", b",", b"/", b"a", b"&-", b"2Dzf8w", b"\xc3\xa9", b"=", b"INBOX"]), max_size=10
).map(b"".join) | st.binary(max_size=20)


def slowly(name: str) -> bytes:
    """Modified UTF-7 octet by octet, as RFC 3501 section 5.1.3 tells it."""
    done, run = b"", b""
    for char in name + " ":
        if " " <= char <= "~":
            if run:
                done += b"&" + binascii.b2a_base64(run, newline=False).rstrip(b"=").replace(b"/", b",") + b"-"
                run = b""
            done += b"&-" if char == "&" else char.encode()
        else:
            run += char.encode("utf-16-be")
    return done[:-1]


@settings(max_examples=600)
@given(TEXTS, st.booleans())
def test_text_comes_back(name: str, utf8: bool) -> None:
    octets = names.written(name, utf8)
    assume(len(octets) <= names.LONGEST and name.partition("/")[0].lower() != "inbox")
    assert names.read(octets, utf8) == name
    if not utf8:
        assert octets == slowly(name) and octets.isascii()
    assert answers.mailbox(name, utf8)


@settings(max_examples=800)
@given(WIRE, st.booleans())
@example(b"&AOl-", False)
@example(b"&AAAAAA-", False)
def test_octets_come_back_or_are_refused(octets: bytes, utf8: bool) -> None:
    try:
        name = names.read(octets, utf8)
    except BadName as error:
        assert str(error).isascii() and str(error).isprintable()
        return
    assert name.isprintable() or not any(char < " " or char == "\x7f" for char in name)
    if utf8 or octets.isascii():
        again = names.written(name, utf8)
        assert again == octets or octets[:5].upper() == b"INBOX"
        assert names.read(again, utf8) == name
    else:  # UTF-8 that nobody had enabled: told in modified UTF-7 from then on
        assert names.read(names.written(name, False), False) == name


@given(WIRE, st.booleans())
def test_patterns_are_read_or_refused(octets: bytes, utf8: bool) -> None:
    try:
        assert names.pattern(octets, utf8).count("*") == octets.count(b"*")
    except BadName:
        pass
