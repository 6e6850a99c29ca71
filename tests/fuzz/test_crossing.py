"""Invariant: whatever a child sends is frames or `Broken`, and an answer or `Nonsense`; and any event crosses unchanged."""

from __future__ import annotations

import os
import socket

from hypothesis import given
from hypothesis import strategies as st

from postroom.address import InternalAddress
from postroom.dispatch import Nonsense
from postroom.envelope import Attempt, Envelope, Peer, Recipient
from postroom.message import MemoryMessage
from postroom.transfer import Defer, Discard, Pass, Quarantine, Reject, Stage, TransferEvent
from postroom_isolation.crossing import Raised, Replaced, read_answer, read_event, write_event
from postroom_isolation.line import Broken, Line
from postroom_postoffice.api import MailboxDelivery

TEXT = st.text(st.characters(codec=None), max_size=20)  # lone surrogates too: octets of a command file that are no UTF-8
ADDRESSES = st.builds(InternalAddress, st.sampled_from(["SMTP", "SF", "LS"]), TEXT)
RECIPIENTS = st.builds(Recipient, ADDRESSES, TEXT, st.frozensets(st.sampled_from(["NEVER", "SUCCESS", "FAILURE", "DELAY"])))
ATTEMPTS = st.builds(Attempt, st.integers(0, 99), st.floats(0, 1e10), st.integers(0, 9), TEXT, st.integers(0, 3))
ENVELOPES = st.builds(
    Envelope,
    TEXT,
    TEXT,
    TEXT,
    st.none() | ADDRESSES,
    st.lists(RECIPIENTS, max_size=3).map(tuple),
    st.floats(0, 1e10),
    st.builds(Peer, TEXT, TEXT, TEXT, TEXT, TEXT, st.booleans()),
    ATTEMPTS,
    hop=TEXT,
    utf8=st.booleans(),
    subject=TEXT,
    expanded=st.lists(ADDRESSES, max_size=2).map(tuple),
    settled=st.frozensets(ADDRESSES, max_size=2),
    skip=st.frozensets(TEXT, max_size=2),
    extra=st.dictionaries(TEXT, TEXT, max_size=2),
)
MESSAGE = MemoryMessage("A" * 32, b"text")


@given(ENVELOPES, TEXT, st.sampled_from(Stage))
def test_an_event_crosses_unchanged(envelope: Envelope, text: str, stage: Stage) -> None:
    for event in (
        TransferEvent(stage, envelope, MESSAGE, text, text),
        MailboxDelivery(stage, envelope, MESSAGE, text, text, postoffice=text, mailbox=text, folder=text),
    ):
        assert read_event(write_event("hook", event), lambda id, size: MESSAGE) == ("hook", event)


@given(st.binary(max_size=200) | st.text(max_size=50).map(lambda text: f'{{"says":{text!r}}}'.replace("'", '"').encode()))
def test_an_answer_is_one_or_nonsense(data: bytes) -> None:
    try:
        assert isinstance(read_answer(data), Pass | Defer | Reject | Quarantine | Discard | Replaced)
    except (Nonsense, Raised):
        pass


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_octets_are_frames_or_a_broken_line(pieces: list[bytes]) -> None:
    raw, end = socket.socketpair()
    line = Line(end)
    before = len(os.listdir("/proc/self/fd"))
    try:
        for piece in filter(None, pieces):
            raw.send(piece)
            for frame in line.receive() or ():
                assert len(frame.kind) == 1 and frame.descriptor == -1
    except Broken:
        pass
    finally:
        assert len(os.listdir("/proc/self/fd")) == before
        line.close()
        raw.close()
