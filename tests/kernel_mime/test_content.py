"""Content-* fields: what is missing, wrong or twice there."""

from __future__ import annotations

import pytest

from postroom_mime.content import Content, Encoding, Media, of_part


def of(*lines: bytes, in_digest: bool = False) -> Content:
    return of_part(b"\r\n".join((*lines, b"", b"")), in_digest)


@pytest.mark.parametrize(
    ("lines", "media", "kind"),
    [
        ((), Media.PLAIN, b'"TEXT" "PLAIN"'),
        ((b"Content-Type: text/html",), Media.HTML, b'"TEXT" "HTML"'),
        ((b"CONTENT-TYPE:TEXT/CALENDAR; a=b",), Media.TEXT, b'"TEXT" "CALENDAR"'),
        ((b"content-type : image/png",), Media.OTHER, b'"IMAGE" "PNG"'),
        ((b"Content-Type: text",), Media.PLAIN, b'"TEXT" "PLAIN"'),
        ((b"Content-Type: /",), Media.PLAIN, b'"TEXT" "PLAIN"'),
        ((b"Content-Type: text/html charset=x",), Media.HTML, b'"TEXT" "HTML"'),
        ((b"Content-Type: text (a comment) / html",), Media.HTML, b'"TEXT" "HTML"'),
        ((b"Content-Type: multipart/mixed",), Media.PLAIN, b'"TEXT" "PLAIN"'),
        ((b'Content-Type: multipart/mixed; boundary="  "',), Media.PLAIN, b'"TEXT" "PLAIN"'),
        ((b"Content-Type: multipart/mixed; boundary=" + b"x" * 2000,), Media.PLAIN, b'"TEXT" "PLAIN"'),
        ((b"Content-Type: message/rfc822",), Media.MESSAGE, b'"MESSAGE" "RFC822"'),
        ((b"Content-Type: message/rfc822", b"Content-Transfer-Encoding: base64"), Media.OTHER, b'"APPLICATION" "OCTET-STREAM"'),
        ((b"Content-Type: message/delivery-status",), Media.OTHER, b'"MESSAGE" "DELIVERY-STATUS"'),
        ((b"Content-Type: text/html", b"Content-Type: image/png"), Media.HTML, b'"TEXT" "HTML"'),  # features case 33
    ],
)
def test_a_header_says_what_kind_it_is(lines: tuple[bytes, ...], media: Media, kind: bytes) -> None:
    content = of(*lines)
    assert content.media == media
    assert content.opening.startswith(kind)


def test_a_part_of_a_digest_is_a_message() -> None:
    assert of(in_digest=True).media == Media.MESSAGE
    assert of(b"Content-Type: text/plain", in_digest=True).media == Media.PLAIN
    assert of(b"Content-Type: multipart/digest; boundary=x").is_digest


@pytest.mark.parametrize(
    ("value", "encoding", "shown"),
    [
        (b"7bit", Encoding.BIT7, b'"7BIT"'),
        (b" Base64 ", Encoding.BASE64, b'"BASE64"'),
        (b"(a comment) quoted-printable;", Encoding.QUOTED_PRINTABLE, b'"QUOTED-PRINTABLE"'),
        (b"x-uuencode", Encoding.UNKNOWN, b'"X-UUENCODE"'),
        (b"", Encoding.BIT7, b'"7BIT"'),
        (b"()", Encoding.BIT7, b'"7BIT"'),
    ],
)
def test_a_transfer_encoding(value: bytes, encoding: Encoding, shown: bytes) -> None:
    content = of(b"Content-Type: text/plain", b"Content-Transfer-Encoding: " + value)
    assert content.encoding == encoding
    assert content.opening.endswith(shown)


@pytest.mark.parametrize(
    ("line", "closing"),
    [
        (b"Content-MD5: Q2hlY2s=", b' "Q2hlY2s=" NIL NIL NIL'),
        (b"Content-Disposition: inline", b' NIL ("INLINE" NIL) NIL NIL'),
        (b'Content-Disposition: attachment; filename="a b"; size=3', b' NIL ("ATTACHMENT" ("FILENAME" "a b" "SIZE" "3")) NIL NIL'),
        (b"Content-Disposition: ;", b" NIL NIL NIL NIL"),
        (b"Content-Language: en", b' NIL NIL "en" NIL'),
        (b"Content-Language: en (x), de,,", b' NIL NIL ("en" "de") NIL'),
        (b"Content-Language: ,", b" NIL NIL NIL NIL"),
        (b"Content-Location: http://x/\r\n y", b' NIL NIL NIL "http://x/y"'),
    ],
)
def test_extension_data(line: bytes, closing: bytes) -> None:
    assert of(line).closing == closing


@pytest.mark.parametrize(
    ("lines", "is_plain"),
    [
        ((), True),
        ((b"Content-Type: text/html; charset=utf-8", b"Content-Transfer-Encoding: 8bit"), True),
        ((b"Content-Type: text/plain", b"Content-Transfer-Encoding: base64"), False),
        ((b"Content-Type: application/pdf", b"Content-Transfer-Encoding: base64"), True),
        ((b"Content-Type: text/plain; charset=utf-7",), False),
        ((b"Content-Type: application/pdf; name==?utf-8?q?x?=",), False),
    ],
)
def test_whether_octets_say_what_they_are(lines: tuple[bytes, ...], is_plain: bool) -> None:
    assert of(*lines).is_plain is is_plain
