"""postroom_smtp.outbound.sevenbit: 8-bit messages for servers of 7 bits, read back by Python's own email package."""

from __future__ import annotations

import asyncio
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.message import SMALL, FileMessage
from postroom_smtp.outbound import octets
from postroom_smtp.outbound.sevenbit import LARGEST, CannotConvert, converted, seven_bit
from tests.plugins_smtp.outbound.world import Server, World, envelope, run, words

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
    assert out.isascii() and b"\x00" not in out and max(map(len, out.split(b"\r\n"))) <= 78
    text, binary, plain, inner = read(out).iter_parts()
    assert text.get_payload(decode=True) == TEXT.encode()
    assert binary.get_content() == bytes(range(256)) * 3
    assert plain.get_payload() == "plain, untouched  \r\n" and plain["Content-Transfer-Encoding"] is None
    assert inner.get_content().get_content().strip() == "<p>ü</p>"
    assert read(out)["Content-Transfer-Encoding"] == "7bit" and b"Pre?amble" in out and b"epi?logue" in out


@pytest.mark.parametrize(("body", "charset"), [("ü\r\n".encode(), "utf-8"), (b"\xfc\r\n", "unknown-8bit")])
def test_a_message_that_is_no_mime_becomes_one(body: bytes, charset: str) -> None:
    out = converted(b"Subject: x\r\n\r\n" + body)
    found = read(out)
    assert found["MIME-Version"] == "1.0" and found.get_content_charset() == charset
    assert found.get_payload(decode=True) == body


@pytest.mark.parametrize(
    "data",
    [
        "Subject: ü\r\n\r\nü\r\n".encode(),
        b"Content-Transfer-Encoding: base64\r\n\r\n\xff\xff\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n\xff\xff\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX-\xff: y\r\n\r\n\xff\r\n--b--\r\n",
    ],
)
def test_what_cannot_be_put_into_other_words(data: bytes) -> None:
    with pytest.raises(CannotConvert, match="takes no 8-bit messages"):
        converted(data)


@given(st.binary(max_size=300), st.sampled_from(["text/plain", "image/png", "multipart/mixed; boundary=q", "message/rfc822"]))
def test_any_octets_become_seven_bits_or_are_refused(body: bytes, kind: str) -> None:
    """Never an exception but CannotConvert, never an octet above 127."""
    try:
        assert converted(f"Content-Type: {kind}\r\n\r\n".encode() + body).isascii()
    except CannotConvert:
        pass


def test_an_old_server_gets_seven_bits() -> None:
    world = World(Server(("PIPELINING",)))
    text = b"Subject: x\r\n\r\n" + TEXT.encode()
    assert words(run(world, lambda: world.deliver(text=text, body="8BITMIME"))) == ["delivered"]
    mail, _, got = world.server.taken[0]
    assert mail == "MAIL FROM:<ann@a.test>" and read(got).get_payload(decode=True) == TEXT.encode()


def test_what_cannot_be_converted_fails_with_a_reason() -> None:
    world = World(Server(("PIPELINING",)))
    assert words(run(world, lambda: world.deliver(text="Subject: ü\r\n\r\n".encode()))) == ["failed 554 5.6.3"]
    assert not world.server.taken


def test_a_large_message_of_seven_bits_needs_no_conversion_whatever_its_size(tmp_path: Path) -> None:
    from postroom.address import smtp
    from postroom.envelope import Recipient

    path = tmp_path / "m"
    text = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * (SMALL // 6)
    path.write_bytes(text)
    world = World(Server(("PIPELINING",)))
    message = FileMessage("A" * 32, path, len(text))
    assert words(run(world, lambda: world.attempt(envelope([Recipient(smtp("b@b.test"))], body="8BITMIME"), message))) == ["delivered"]
    assert world.server.taken[0][2] == text


def test_a_huge_one_that_needs_it_is_refused() -> None:
    class Huge:
        whole, body, head, size = None, "BINARYMIME", b"", LARGEST + 1

        def blocks(self) -> None:
            raise AssertionError("not read")

    with pytest.raises(CannotConvert, match="is not converted"):
        asyncio.run(seven_bit(Huge()))  # type: ignore[arg-type]


def test_binary_text_is_not_taken_for_text() -> None:
    out = asyncio.run(seven_bit(octets.small(b"Content-Type: text/plain\r\n\r\na\nb\rc\xff\x00", "BINARYMIME")))
    assert out.whole is not None and read(out.whole).get_payload(decode=True) == b"a\nb\rc\xff\x00"
