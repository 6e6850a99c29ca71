"""imaplib of Python's standard library, which reads answers more strictly than people do; what it fetches is compared octet by octet."""

from __future__ import annotations

import imaplib
from collections.abc import Iterator

import pytest

from tests.demo import Demo, letter
from tests.interop.imap_mail import ALICE, Kept, connected, contents, filled, mail, message_id

FOLDER = "Imaplib"
TEXTS = [mail("imaplib", number, lines=number + 1) for number in range(10)]


@pytest.fixture
def client(demo: Demo) -> Iterator[imaplib.IMAP4]:
    """A new folder of ten messages, selected; it goes with the test."""
    client = filled(demo, FOLDER, TEXTS)
    yield client
    if client.state == "SELECTED":
        client.unselect()
    for name in (FOLDER, "Imaplib-else"):
        client.delete(name)
    client.logout()


def test_bodies_are_what_was_appended(client: imaplib.IMAP4) -> None:
    rows = [row for row in client.fetch("1:*", "(BODY.PEEK[])")[1] if isinstance(row, tuple)]
    assert [text for _, text in rows] == TEXTS


def test_headers_texts_and_pieces_agree_with_the_body(client: imaplib.IMAP4) -> None:
    for number, text in enumerate(TEXTS, 1):
        head, _, body = text.partition(b"\r\n\r\n")
        assert fetched(client, number, "BODY.PEEK[HEADER]") == head + b"\r\n\r\n"
        assert fetched(client, number, "BODY.PEEK[TEXT]") == body
        assert fetched(client, number, "BODY.PEEK[1]") == body
        assert fetched(client, number, "BODY.PEEK[]<5.20>") == text[5:25]
        fields = fetched(client, number, "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]")
        assert fields == f"Message-ID: <{message_id(text)}>\r\n\r\n".encode()


def test_reading_marks_as_seen_and_peeking_does_not(client: imaplib.IMAP4) -> None:
    fetched(client, 1, "BODY.PEEK[]")
    assert client.search(None, "SEEN") == ("OK", [b""])
    fetched(client, 1, "BODY[]")
    assert client.search(None, "SEEN") == ("OK", [b"1"])


def test_searches_sorts_and_threads(client: imaplib.IMAP4) -> None:
    assert client.search(None, "SUBJECT", '"imaplib 7"') == ("OK", [b"8"])
    assert client.search(None, "TEXT", '"Line 9 of"') == ("OK", [b"10"])
    client.literal = "grüße imaplib".encode()  # type: ignore[assignment]
    assert client.search("UTF-8", "SUBJECT") == ("OK", [b"1 2 3 4 5 6 7 8 9 10"])
    assert client.sort("(REVERSE SIZE)", "UTF-8", "ALL") == ("OK", [b"10 9 8 7 6 5 4 3 2 1"])
    threads = client.thread("REFERENCES", "UTF-8", "ALL")
    assert threads == ("OK", [b"(1)(2)(3)(4)(5)(6)(7)(8)(9)(10)"])


def test_flags_keep_until_they_are_taken_away(client: imaplib.IMAP4, demo: Demo) -> None:
    client.store("2:4", "+FLAGS", r"(\Flagged $Later)")
    client.store("3", "-FLAGS", r"(\Flagged)")
    other = connected(demo)
    other.select(FOLDER)
    assert other.search(None, "FLAGGED") == ("OK", [b"2 4"])
    assert other.search(None, "KEYWORD", "$Later") == ("OK", [b"2 3 4"])
    other.logout()


def test_copied_moved_and_expunged_nothing_is_lost(client: imaplib.IMAP4) -> None:
    client.create("Imaplib-else")
    client.copy("1:3", "Imaplib-else")
    assert client._simple_command("MOVE", "4:5", "Imaplib-else")[0] == "OK"
    client.store("1", "+FLAGS.SILENT", r"(\Deleted)")
    assert client.expunge()[0] == "OK"
    kept = {message_id(text): Kept.of([], text) for text in TEXTS}
    here, there = contents(client, FOLDER), contents(client, "Imaplib-else")
    assert sorted(there) == sorted(message_id(text) for text in TEXTS[:5])
    assert sorted(here) == sorted(message_id(text) for text in [*TEXTS[1:3], *TEXTS[5:]])
    assert {**here, **there} == kept


def test_folders_are_made_named_subscribed_and_removed(demo: Demo) -> None:
    client = connected(demo)
    assert client.create('"Entw&APw-rfe"')[0] == "OK"
    assert client.rename('"Entw&APw-rfe"', '"Entw&APw-rfe/M&AOQ-rz"')[0] == "NO"  # below itself
    assert client.rename('"Entw&APw-rfe"', '"M&AOQ-rz"')[0] == "OK"
    client.subscribe('"M&AOQ-rz"')
    assert any(isinstance(row, bytes) and b"M&AOQ-rz" in row for row in client.lsub()[1])
    client.unsubscribe('"M&AOQ-rz"')
    assert client.delete('"M&AOQ-rz"')[0] == "OK"
    assert not any(isinstance(row, bytes) and b"M&AOQ-rz" in row for row in client.list()[1])
    client.logout()


def test_what_smtp_brings_is_there(demo: Demo) -> None:
    with demo.smtp() as sender:
        sender.send_message(letter("imaplib-smtp"))
    text = demo.arrived(ALICE, "imaplib-smtp")
    client = connected(demo)
    client.select()
    _, (numbers,) = client.search(None, "SUBJECT", "imaplib-smtp")
    assert fetched(client, int(numbers), "BODY.PEEK[]") == text
    client.logout()


def fetched(client: imaplib.IMAP4, number: int, what: str) -> bytes:
    ((_, octets), *_) = client.fetch(str(number), f"({what})")[1]  # type: ignore[misc]
    assert isinstance(octets, bytes)
    return octets
