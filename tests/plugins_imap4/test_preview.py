"""PREVIEW: what people would read first."""

from __future__ import annotations

import base64

import pytest

from postroom_imap4.preview import CHARACTERS, preview
from postroom_imap4.sections import InMemory
from postroom_mime.scan import scan
from postroom_testing.mail import HOSTILE
from tests.plugins_imap4.shelf import mail, multipart, part

HTML = b"<html><head><style>p {color: red}</style></head><body><p>Hello &amp; <b>welcome</b></p>\r\n<p>to us</p></body></html>"


def shown(data: bytes) -> str:
    return preview(InMemory(data), scan(data).parts)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (mail("How are\r\n  you\t today?"), "How are you today?"),
        (mail(""), ""),
        (mail("word " * 100), ("word " * 40)[:CHARACTERS].rstrip()),
        (multipart(part(HTML, "text/html")), "Hello & welcome to us"),
        (multipart(part(b"  \r\n"), part(b"second")), "second"),
        (multipart(part(b"AAAA", "image/png", "base64"), part("Grüße".encode(), encoding="8bit")), "Grüße"),
        (multipart(part(base64.encodebytes("Größe\u200b zählt".encode()), "text/plain; charset=utf-8", "base64")), "Größe zählt"),
        (multipart(part(b"AAAA", "image/png", "base64")), ""),
        (multipart(part(b"a=20b=\r\nc", encoding="quoted-printable")), "a bc"),
        (b"\r\nno header", "no header"),
    ],
)
def test_previews(data: bytes, expected: str) -> None:
    assert shown(data) == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_any_message_has_a_preview_of_one_line(name: str) -> None:
    words = shown(HOSTILE[name])
    assert len(words) <= CHARACTERS and "\n" not in words and "\r" not in words and "\0" not in words


def test_of_a_long_part_the_beginning_is_read() -> None:
    read = []

    class Watched(InMemory):
        def read(self, start: int, end: int) -> bytes:
            read.append(end - start)
            return super().read(start, end)

    data = mail("line of text\r\n" * 20_000)
    assert preview(Watched(data), scan(data).parts).startswith("line of text line of text") and max(read) < 32_768
