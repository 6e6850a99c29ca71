"""postroom_mime.sevenbit: messages in 7 bits, read back by Python's own email package."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom_mime.sevenbit import LONGEST, CannotConvert, Look, converted, has_long_lines, is_narrow

TEXT = "Grüße — ünïcode\r\n.dot\r\nFrom here\r\ntrailing \r\n" + "ü" * 300 + "\r\n"


def part(kind: str, body: bytes, *more: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"Content-Type: {kind}", *more)).encode() + b"\r\n" + body


MULTIPART = (
    b"MIME-Version: 1.0\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Pre\xffamble\r\n--b1\r\n" + part("text/plain; charset=utf-8", TEXT.encode(), "Content-Transfer-Encoding:\r\n  8bit") + b"\r\n--b1\r\n"
    + part("application/octet-stream", bytes(range(256)) * 3, "Content-Transfer-Encoding: binary") + b"\r\n--b1\r\n"
    + part("text/plain", b"plain, untouched  \r\n") + b"\r\n--b1\r\n"
    + part("message/rfc822", part("text/html; charset=latin-1", b"<p>\xfc</p>\r\n", "Subject: inner")) + b"\r\n--b1--\r\nepi\xfflogue\r\n"
)  # fmt: skip


def read(data: bytes) -> EmailMessage:
    found = message_from_bytes(data, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def test_every_part_says_what_it_said() -> None:
    out = converted(MULTIPART)
    assert is_narrow(out) and max(map(len, out.split(b"\r\n"))) <= 78
    text, binary, plain, inner = read(out).iter_parts()
    assert text.get_payload(decode=True) == TEXT.encode()
    assert binary.get_content() == bytes(range(256)) * 3
    assert plain.get_payload() == "plain, untouched  \r\n" and plain["Content-Transfer-Encoding"] is None
    assert inner.get_content().get_content().strip() == "<p>ü</p>"
    assert read(out)["Content-Transfer-Encoding"] == "7bit" and b"Pre?amble" in out and b"epi?logue" in out


@pytest.mark.parametrize(("body", "charset"), [("ü\r\n".encode(), "utf-8"), (b"\xfc\r\n", "unknown-8bit")])
def test_a_message_that_is_no_mime_becomes_one(body: bytes, charset: str) -> None:
    found = read(converted(b"Subject: x\r\n\r\n" + body))
    assert found["MIME-Version"] == "1.0" and found.get_content_charset() == charset
    assert found.get_payload(decode=True) == body


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("Subject: ü\r\n\r\nü\r\n".encode(), "header"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX-\xff: y\r\n\r\n\xff\r\n--b--\r\n", "header"),
        (b"Content-Transfer-Encoding: base64\r\n\r\n\xff\xff\r\n", "its own encoding"),
        (b"Content-Transfer-Encoding: quoted-printable\r\n\r\n\xff\xff\r\n", "its own encoding"),
        (b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n", "signed"),
        (b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: \xff\r\n", "cannot be taken apart"),
        (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n", "cannot be taken apart"),
    ],
)
def test_what_cannot_be_put_into_other_words(data: bytes, why: str) -> None:
    with pytest.raises(CannotConvert, match=why):
        converted(data)


def test_a_signed_part_of_seven_bits_stays_while_its_neighbour_is_converted() -> None:
    signed = part("multipart/signed; boundary=s", b"--s\r\n\r\nas it is  \r\n--s\r\n\r\nsignature\r\n--s--")
    out = converted(part("multipart/mixed; boundary=b", b"--b\r\n" + signed + b"\r\n--b\r\n\r\n\xff\r\n--b--\r\n"))
    assert signed in out and out.isascii()


def test_text_of_long_lines_is_quoted_and_says_the_same() -> None:
    body = b"x" * 5000 + b"\r\nshort\r\n"
    out = converted(b"Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body)
    assert is_narrow(out) and read(out).get_payload(decode=True) == body
    assert read(out).get_all("Content-Transfer-Encoding") == ["quoted-printable"]


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_an_encoded_body_in_one_long_line_is_broken_and_says_the_same(encoding: str) -> None:
    body = {"base64": b"QUJD" * 1000, "quoted-printable": b"=C3=BC=0Ab" * 500 + b"=\r\nc =\r\nd"}[encoding]
    data = f"Content-Type: application/x\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body + b"\r\n"
    assert is_narrow(converted(data))
    assert read(converted(data)).get_payload(decode=True) == read(data).get_payload(decode=True)


def test_one_line_without_an_end_gets_soft_breaks_with_a_cr() -> None:
    data = part("multipart/mixed; boundary=b", b"--b\r\n\r\n" + "ü".encode() * 200 + b"\r\n--b--\r\n")
    out = converted(data)
    assert is_narrow(out)
    (only,) = read(out).iter_parts()
    assert only.get_payload(decode=True) == "ü".encode() * 200


def test_no_second_encoding_is_left_in_a_header() -> None:
    out = converted(b"Content-Transfer-Encoding: 8bit\r\nX: y\r\nContent-Transfer-Encoding: binary\r\n\r\n\xff\r\n")
    assert read(out).get_all("Content-Transfer-Encoding") == ["quoted-printable"]


def test_what_is_added_to_a_header_is_swallowed_by_no_fold() -> None:
    out = converted(b" folded onto nothing\r\nSubject: x\r\n\r\n\xff\r\n")
    assert out.startswith(b" folded onto nothing\r\nSubject: x\r\n") and b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" in out


def test_an_empty_multipart_whose_header_ends_the_message_stays_whole() -> None:
    out = converted(b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n")
    assert read(out).get_all("Content-Transfer-Encoding") == ["7bit"] and read(out).get_content_type() == "multipart/mixed"


def test_prose_between_parts_gets_no_long_lines_and_no_nul() -> None:
    out = converted(part("multipart/mixed; boundary=b", b"p" * 3000 + b"\0\r\n--b\r\n\r\n\xff\r\n--b--\r\n"))
    assert is_narrow(out) and len(list(read(out).iter_parts())) == 1


@given(st.binary(max_size=300), st.sampled_from(["text/plain", "image/png", "multipart/mixed; boundary=q", "message/rfc822"]))
def test_any_octets_become_seven_bits_or_are_refused(body: bytes, kind: str) -> None:
    """Never an exception but CannotConvert; what comes out is 7bit data, and stays as it is when it goes in again."""
    try:
        out = converted(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    except CannotConvert:
        return
    assert out.isascii() and converted(out) == out


@pytest.mark.parametrize(
    ("lines", "long"),
    [
        (b"x" * 998 + b"\r\n", False),
        (b"x" * 999 + b"\r\n", True),
        (b"x" * 998, False),
        (b"x" * 998 + b"\r", False),
        (b"x" * 1000, True),
        (b"ab\r\n" * 1000, False),
        (b"ab\r\n" * 1000 + b"x" * 999 + b"\r\nab\r\n", True),
        (b"", False),
    ],
)
def test_which_lines_are_long(lines: bytes, long: bool) -> None:
    assert has_long_lines(lines) is long and LONGEST == 998
    for width in (1, 7, 997, 998, 999, 1000, 5000):
        look = Look()
        for at in range(0, len(lines), width):
            look.update(lines[at : at + width])
        assert look.has_long_lines is long and not look.is_wide


def test_a_wide_octet_is_seen_in_any_block() -> None:
    look = Look()
    look.update(b"ab")
    look.update(b"\xff")
    look.update(b"c")
    assert look.is_wide
