"""postroom_smtp.outbound.sevenbit: messages for servers that take no 8 bits, and long lines for servers that take none. What becomes of each
part is tested with postroom_mime.sevenbit."""

from __future__ import annotations

import asyncio
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.address import smtp
from postroom.envelope import Recipient
from postroom.message import SMALL, FileMessage
from postroom.outcome import Failed, Outcome
from postroom_mime.sevenbit import LONGEST
from postroom_smtp.outbound.octets import small
from postroom_smtp.outbound.sevenbit import LARGEST, CannotConvert, fitting, narrowed
from tests.plugins_smtp.outbound.test_dialogue import KINDS
from tests.plugins_smtp.outbound.world import MODERN, Server, World, envelope, reply_of, run, words

TEXT = "Grüße — ünïcode\r\n.dot\r\nFrom here\r\ntrailing \r\n" + "ü" * 300 + "\r\n"
LONG = b"x" * 499 + b" " + b"y" * 499  # a line of 999
OLD = ("PIPELINING",)


def read(data: bytes) -> EmailMessage:
    found = message_from_bytes(data, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def longest(text: bytes) -> int:
    return max(map(len, text.split(b"\r\n")))


def sent(offers: tuple[str, ...], text: bytes, **more: Any) -> tuple[Outcome, World]:
    world = World(Server(offers))
    (outcome,) = run(world, lambda: world.deliver(text=text, **more))
    return outcome, world


def test_an_old_server_gets_seven_bits() -> None:
    outcome, world = sent(OLD, b"Subject: x\r\n\r\n" + TEXT.encode(), body="8BITMIME")
    assert words([outcome]) == ["delivered"]
    mail, _, got = world.server.taken[0]
    assert mail == "MAIL FROM:<ann@a.test>" and got.isascii() and read(got).get_payload(decode=True) == TEXT.encode()


def test_a_size_is_that_of_what_is_sent() -> None:
    outcome, world = sent((*OLD, "SIZE"), b"Subject: x\r\n\r\n" + TEXT.encode(), body="8BITMIME")
    mail, _, got = world.server.taken[0]
    assert words([outcome]) == ["delivered"] and mail.endswith(f" SIZE={len(got)}")


@pytest.mark.parametrize(
    ("body", "wide", "binary", "wanted"),
    [
        ("7BIT", False, False, "7BIT"),
        ("8BITMIME", False, False, "7BIT"),
        ("8BITMIME", True, False, "8BITMIME"),
        ("BINARYMIME", True, False, "7BIT"),
        ("BINARYMIME", True, True, "BINARYMIME"),
    ],
)
def test_who_must_have_seven_bits(body: str, wide: bool, binary: bool, wanted: str) -> None:
    """RFC 6152 section 3, RFC 3030 section 3."""
    octets = small(b"Subject: x\r\n\r\n" + (b"y\r\n" if body == "7BIT" else b"\xfc\r\n"), body)
    made = asyncio.run(fitting(octets, wide=wide, binary=binary))
    assert made.body == wanted and (made is octets) is (body == wanted)


@pytest.mark.parametrize(
    ("offers", "text", "why"),
    [
        (OLD, "Subject: ü\r\n\r\n".encode(), "takes no 8-bit messages, and the message has a header that is not ASCII"),
        (MODERN, b"Subject: x" + b"y" * 999 + b"\r\n\r\nz\r\n", "has lines of more than 998 octets"),
        (MODERN, b"X: y\r\n" + b" " * 999 + b"z\r\n\r\nz\r\n", "cannot be folded"),
        (
            MODERN,
            b"Content-Type: multipart/signed; boundary=q\r\n\r\n--q\r\n\r\n" + LONG + b"\r\n--q\r\n\r\nsignature\r\n--q--\r\n",
            "which SMTP does not carry, and a part is signed",
        ),
        (
            OLD,
            b"Content-Type: multipart/signed; boundary=q\r\n\r\n--q\r\n\r\n\xfc\r\n--q\r\n\r\nsignature\r\n--q--\r\n",
            "takes no 8-bit messages, and a part is signed",
        ),
    ],
)
def test_what_cannot_be_put_into_other_words_is_refused_with_a_reason(offers: tuple[str, ...], text: bytes, why: str) -> None:
    outcome, world = sent(offers, text)
    assert isinstance(outcome, Failed) and words([outcome]) == ["failed 554 5.6.3"] and why in reply_of(outcome)
    assert not world.server.taken and not any(line.startswith("MAIL") for line in world.server.heard)


@pytest.mark.parametrize("offers", [*KINDS.values(), ("CHUNKING", "8BITMIME", "PIPELINING")])
@pytest.mark.parametrize("where", ["start", "middle", "end", "no line end"])
def test_a_line_too_long_left_as_it_was(offers: tuple[str, ...], where: str) -> None:
    """CHUNKING alone lifts no limit (RFC 3030 section 2)."""
    line = {"start": LONG + b"\r\nx\r\n", "middle": b"x\r\n" * 500 + LONG + b"\r\nx\r\n", "end": b"x\r\n" + LONG + b"\r\n"}.get(where, LONG)
    outcome, world = sent(offers, b"Subject: x\r\n\r\n" + line)
    got = world.server.taken[0][2]
    assert words([outcome]) == ["delivered"] and longest(got) <= LONGEST
    assert read(got).get_payload(decode=True).rstrip() == line.rstrip()  # type: ignore[union-attr]


def test_the_longest_line_is_left_alone() -> None:
    text = b"Subject: x\r\n\r\n" + LONG[1:] + b"\r\n" + LONG[1:] + b"\r\n"
    outcome, world = sent(MODERN, text)
    assert words([outcome]) == ["delivered"] and world.server.taken[0][2] == text


def test_a_server_for_binary_mail_gets_long_lines_as_they_are() -> None:
    text = b"Subject: x\r\n\r\n" + LONG * 9 + b"\r\n"
    outcome, world = sent((*MODERN, "BINARYMIME"), text)
    mail, _, got = world.server.taken[0]
    assert words([outcome]) == ["delivered"] and got == text and "BODY=BINARYMIME" in mail


def test_a_header_line_too_long_is_folded_at_a_blank() -> None:
    names = b", ".join(b"user%d@b.test" % number for number in range(200))
    outcome, world = sent(MODERN, b"To: " + names + b"\r\nSubject: x\r\n\r\nbody\r\n")
    got = world.server.taken[0][2]
    assert words([outcome]) == ["delivered"] and longest(got) <= LONGEST
    assert got.replace(b"\r\n ", b" ") == b"To: " + names + b"\r\nSubject: x\r\n\r\nbody\r\n"


@given(st.lists(st.sampled_from([b"x" * 400, b" ", b"\t", b"y", b"\r\n", b": ", b"\xc3\xbc", b"\x00", b"z" * 997]), max_size=40))
def test_any_message_becomes_short_lines_of_seven_bits_or_is_refused(pieces: list[bytes]) -> None:
    """Never an exception but CannotConvert, never an octet above 127, never a line above 998 octets."""
    try:
        made = narrowed(b"Subject: " + b"".join(pieces))
    except CannotConvert:
        return
    assert made.isascii() and longest(made) <= LONGEST


def attempt(world: World, path: Path, text: bytes) -> list[str]:
    path.write_bytes(text)
    message = FileMessage("A" * 32, path, len(text))
    return words(run(world, lambda: world.attempt(envelope([Recipient(smtp("b@b.test"))], body="8BITMIME"), message)))


def test_a_large_message_of_seven_bits_needs_no_conversion_whatever_its_size(tmp_path: Path) -> None:
    text = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * (SMALL // 6)
    world = World(Server(OLD))
    assert attempt(world, tmp_path / "m", text) == ["delivered"]
    assert world.server.taken[0][2] == text and world.server.taken[0][0] == "MAIL FROM:<ann@a.test>"


@pytest.mark.parametrize("offers", [OLD, MODERN])
def test_a_long_line_in_the_middle_of_a_large_message(offers: tuple[str, ...], tmp_path: Path) -> None:
    """It lies across the border of two blocks."""
    text = b"Subject: x\r\n\r\n" + b"01234567\r\n" * (SMALL // 10 - 50) + LONG + b"\r\n" + b"01234567\r\n" * 50_000
    world = World(Server(offers))
    assert attempt(world, tmp_path / "m", text) == ["delivered"]
    got = world.server.taken[0][2]
    assert longest(got) <= LONGEST and read(got).get_payload(decode=True) == text.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(("binary", "wide"), [(False, False), (False, True)])
def test_a_huge_one_that_needs_it_is_refused(binary: bool, wide: bool) -> None:
    class Huge:
        whole, body, head, size = None, "BINARYMIME", b"", LARGEST + 1

        def blocks(self) -> None:
            raise AssertionError("not read")

    huge: Any = Huge()
    with pytest.raises(CannotConvert, match="is not converted"):
        asyncio.run(fitting(huge, wide=wide, binary=binary))
    assert asyncio.run(fitting(huge, wide=wide, binary=True)) is huge
