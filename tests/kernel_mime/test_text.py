"""Text of parts: decoded, and without tags."""

from __future__ import annotations

import time

import pytest

from postroom_mime.content import Encoding
from postroom_mime.parts import Parts
from postroom_mime.scan import scan
from postroom_mime.text import decode_transfer, readable_texts, strip_tags, texts


def test_every_text_part_is_decoded() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\n\xf0\xd2\xc9\xd7\xc5\xd4\r\n"
        b"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<b>=E2=9C=\r\n=93</b> &amp; more\r\n"
        b"--b\r\nContent-Type: application/pdf\r\n\r\nnot text\r\n"
        b"--b\r\nContent-Type: text/csv; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n\r\naABpAA==\r\n"
        b"--b\r\nContent-Transfer-Encoding: x-uu\r\n\r\nas it stands\r\n--b--"
    )
    table = Parts.load(scan(data).parts)
    assert list(texts(data, table)) == ["Привет", "<b>✓</b> &amp; more", "hi", "as it stands"]
    assert list(readable_texts(data, table)) == ["Привет", "✓ & more", "hi", "as it stands"]


def test_transfer_encodings() -> None:
    assert decode_transfer(b"=41=\r\n", Encoding.BIT8) == b"=41=\r\n"
    assert decode_transfer(b"=41=\r\nb =zz", Encoding.QUOTED_PRINTABLE) == b"Ab =zz"
    assert decode_transfer(b"QQ==", Encoding.BASE64) == b"A"
    assert decode_transfer(b"?", Encoding.UNKNOWN) is None


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("<p>a</p><p>b</p>", " a  b "),
        ("foo<b>bar</b>", "foobar"),
        ("a &lt; b &eacute; &#8364;", "a < b é €"),
        ("a < b > c", "a < b > c"),
        ("x<!-- hidden <b> still --> y", "x y"),
        ("x<script>if (a < b) '<p>'</script >y", "xy"),
        ("<STYLE>p { }</Style>shown", "shown"),
        ("<script>never closed", ""),
        ("<!-- never closed", ""),
        ("<b unclosed", ""),
        ("<!DOCTYPE html><?xml?>x", "x"),
        ("<script>a</scripty", ""),
    ],
)
def test_tags_go(source: str, text: str) -> None:
    assert strip_tags(source) == text


@pytest.mark.parametrize("piece", ["<", "<!--", "<script>", "<b ", "&", "&#", "<!-- <", "</", "<p>"])
def test_no_html_takes_long(piece: str) -> None:
    start = time.process_time()
    strip_tags(piece * 50_000)
    assert time.process_time() - start < 1
