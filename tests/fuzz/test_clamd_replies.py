"""Invariant: whatever octets come from clamd, however they are cut into packets, a message is called clean only by the one whole reply
`N: stream: OK` to its own number; memory stays bounded, and nothing but ScannerError reaches the hook."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
from itertools import pairwise
from typing import cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom.address import InternalAddress
from postroom.envelope import Envelope, Recipient
from postroom.message import MemoryMessage
from postroom_clamav import header
from postroom_clamav.errors import ScannerError
from postroom_clamav.grammar import CLEAN, LONGEST, Found, ProtocolError, Reply, ReplyReader, TooLarge, parse
from postroom_clamav.notices import Finding, Notice, compose
from postroom_clamav.session import Session
from postroom_clamav.settings import Party

WORDS = [
    b"1: ",
    b"2: ",
    b"01: ",
    b"stream: ",
    b"OK",
    b" OK",
    b"Eicar FOUND",
    b" FOUND",
    b" ERROR",
    b"INSTREAM size limit exceeded.",
    b"PONG",
]
REPLIES = st.lists(
    st.one_of(st.sampled_from([*WORDS, b"\0", b"1: stream: OK\0", b"1: stream: x FOUND\0"]), st.binary(max_size=8)), max_size=12
)
NAME = re.compile(r"[!-~]{1,200}")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The same octets in packets."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.one_of(st.binary(max_size=300), REPLIES.map(b"".join)))
@example(b"1: stream: OK")
@example("²: stream: OK".encode("latin-1"))
def test_a_reply_is_one_of_few_things_or_none(line: bytes) -> None:
    try:
        number, reply = parse(line)
    except ProtocolError:
        return
    assert number >= 0
    if reply is CLEAN:
        assert re.fullmatch(rb"(?:[0-9]+: )?stream: OK", line)
    if isinstance(reply, Found):
        assert NAME.fullmatch(reply.name) and line.endswith(b" FOUND")


@given(REPLIES.map(b"".join), st.lists(st.integers(0, 500), max_size=6))
def test_replies_do_not_depend_on_packets(data: bytes, places: list[int]) -> None:
    whole, pieces = ReplyReader(), ReplyReader()
    assert [line for packet in cut(data, places) for line in pieces.feed(packet)] == whole.feed(data)
    assert pieces.held == whole.held == bool(data.rpartition(b"\0")[2])


@given(st.integers(1, 9), st.integers(100, 3000))
def test_a_reply_without_end_is_given_up(packets: int, octets: int) -> None:
    reader, held = ReplyReader(), 0
    for _ in range(packets):
        try:
            reader.feed(b"x" * octets)
        except ProtocolError:
            assert held + octets > LONGEST
            return
        held += octets
    assert held <= LONGEST


class Wire(asyncio.Transport):
    """A transport that goes nowhere."""

    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        pass

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


@settings(max_examples=200, deadline=None)
@given(REPLIES.map(b"".join), st.lists(st.integers(0, 500), max_size=6))
@example(b"1: stream: OK\0", [])
@example(b"2: stream: OK\0", [])
@example(b"1: stream: OK\0001: stream: x FOUND\0", [])
def test_a_session_believes_its_own_reply_only(data: bytes, places: list[int]) -> None:
    async def main() -> Reply | ScannerError:
        session = Session(lambda: None)
        session.connection_made(cast(asyncio.BaseTransport, Wire()))
        scan = asyncio.ensure_future(session.scan(MemoryMessage("A" * 32, b"text")))
        await asyncio.sleep(0)
        for packet in cut(data, places):
            session.data_received(packet)
        session.connection_lost(None)
        try:
            return await scan
        except ScannerError as error:
            return error

    told = asyncio.run(main())
    first = data.partition(b"\0")[0]
    if told is CLEAN:
        assert re.fullmatch(rb"0*1: stream: OK", first) and b"\0" in data
    else:
        assert isinstance(told, Found | TooLarge | ScannerError)


FIELDS = st.lists(
    st.sampled_from([b"X-Virus", b"x-virus-status", b": ", b"Clean", b"\r\n", b"\n", b" ", b"\t", b"From: a", b"\r", b"-", b"\0"]),
    max_size=30,
).map(b"".join)


@given(FIELDS)
def test_a_stripped_header_has_no_forged_field_and_lost_no_other(head: bytes) -> None:
    left = header.stripped(head)
    assert header.is_forged(head) or left == head
    kept, dropping = [], False
    for line in re.findall(rb"[^\n]*\n|[^\n]+\Z", head):
        dropping = line.lower().startswith(b"x-virus") or (dropping and line[:1] in (b" ", b"\t"))
        kept += [] if dropping else [line]
    assert left == b"".join(kept) and not header.is_forged(left)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60), st.sampled_from(["sender", "recipients", "operator"]))
@example('"a b",<c', "=?utf-8?q?=0A?=", "a@[", "operator")
@example("(", "\x85\u2028", "<>;:@,", "sender")
def test_a_notice_is_composed_whatever_the_texts_and_has_our_fields_only(sender: str, subject: str, to: str, party: Party) -> None:
    envelope = Envelope("A" * 32, "A" * 32, "SMTP", InternalAddress("SMTP", sender), (Recipient(InternalAddress("SMTP", to)),), 0.0)
    text = compose(
        Notice(party, InternalAddress("SMTP", to)), Finding("V", envelope, subject, "discard"), "B" * 32, server="m.test", now=0.0
    )
    mail = email.message_from_bytes(text, policy=email.policy.compat32)
    ours = ["Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "MIME-Version", "Message-ID"]
    assert sorted(mail.keys()) == [*ours, "Return-Path", "Subject", "To"]
    assert not mail.is_multipart() and all(len(line) < 998 for line in text.split(b"\r\n"))
