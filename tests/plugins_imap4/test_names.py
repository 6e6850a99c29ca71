from __future__ import annotations

import pytest

from postroom_imap4 import names
from postroom_imap4.names import BadName

NAMES = [
    (b"foo", "foo"),
    (b"", ""),
    (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),  # RFC 3501 section 5.1.3
    (b"&Jjo-!", "☺!"),
    (b"&U,BTF2XlZyyKng-", "台北日本語"),
    (b"Entw&APw-rfe", "Entwürfe"),
    (b"a&-b", "a&b"),
    (b"&-&-", "&&"),
    (b"&-&AOk-&-", "&é&"),
    (b"&AOk-&-&AOk-", "é&é"),
    (b"&2Dzf8w-", "\U0001f3f3"),
    (b"a-b-", "a-b-"),
    (b'a"b\\c', 'a"b\\c'),
    (b"%*", "%*"),
]


@pytest.mark.parametrize(("octets", "name"), NAMES, ids=lambda value: repr(value)[:20])
def test_modified_utf_7_both_ways(octets: bytes, name: str) -> None:
    assert names.read(octets, utf8=False) == name
    assert names.written(name, utf8=False) == octets


@pytest.mark.parametrize(("octets", "name"), [("Entwürfe".encode(), "Entwürfe"), (b"a&b", "a&b"), (b"&AOk-", "&AOk-"), (b"&", "&")])
def test_utf_8_has_plain_ampersands(octets: bytes, name: str) -> None:
    assert names.read(octets, utf8=True) == name
    assert names.written(name, utf8=True) == octets


def test_unasked_utf_8_is_read_as_that() -> None:
    assert names.read("Entwürfe & mehr".encode(), utf8=False) == "Entwürfe & mehr"


@pytest.mark.parametrize("utf8", [True, False])
def test_inbox_in_any_case_is_the_stores_and_is_told_in_capitals(utf8: bool) -> None:
    for octets in (b"INBOX", b"inbox", b"InBoX"):
        assert names.read(octets, utf8=utf8) == "Inbox"
        assert names.read(octets + b"/Sub", utf8=utf8) == "Inbox/Sub"
        assert names.read(octets + b"es", utf8=utf8) == octets.decode() + "es"
    assert names.written("Inbox", utf8=utf8) == b"INBOX"
    assert names.written("Inbox/Sub", utf8=utf8) == b"INBOX/Sub"
    assert names.written("Inboxes", utf8=utf8) == b"Inboxes"


def test_patterns_stay_as_they_are() -> None:
    assert names.pattern(b"inbox", utf8=False) == "inbox"
    assert names.pattern(b"Entw&APw-%", utf8=False) == "Entwü%"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"a&b", "must end it"),
        (b"&", "must end it"),
        (b"&&-", "must end it"),
        (b"&AOk", "must end it"),
        (b"&AGE-", "stand for itself"),  # "a"
        (b"&ACY-", "broken"),  # "&", which is written "&-"
        (b"&AOk-&AOk-", "leave and enter"),
        (b"&AO-", "broken"),  # an octet and a half
        (b"&AO1-", "broken"),
        (b"&AOl-", "broken"),  # other bits behind the last character
        (b"&AOk=-", "broken"),
        (b"&U/BTFw-", "broken"),  # "," stands for "/"
        (b"&\xc3\xa9-\xff", "UTF-8"),
        (b"&2Dw-", "broken"),  # half a surrogate pair
        (b"&3/PYPA-", "broken"),
        (b"&A k-", "broken"),
        (b"a\nb", "control"),
        (b"a\x00b", "control"),
        (b"&AAo-", "control"),
        (b"&ICg-", "control"),  # U+2028
        (b"\xff", "UTF-8"),
        (b"x" * 1001, "at most 1000 octets"),
    ],
)
def test_what_is_no_name_is_refused(octets: bytes, text: str) -> None:
    with pytest.raises(BadName, match=text):
        names.read(octets, utf8=False)


def test_utf_8_must_be_utf_8() -> None:
    for octets in (b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"):
        with pytest.raises(BadName, match="UTF-8"):
            names.read(octets, utf8=True)


def test_a_name_that_no_client_could_have_sent_is_still_told() -> None:
    assert names.written("a\nb", utf8=False) == b"a&AAo-b"
    assert names.written("a\udc80b", utf8=True) == b"a?b"
