"""Sessions that wait: what counts as told, and rows for many mailboxes made of those of one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

from bench.idle import multiplied
from bench.idle_client import Box, Idler
from bench.server import Account


class Transport:
    """It keeps what is said."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.said.append(data)


def with_idler(test: Callable[[Box, Idler, Transport], None]) -> None:
    async def main() -> None:
        box, transport = Box(Account("u0@x.test", "u0", "secret", Path()), "127.1.0.1"), Transport()
        session = Idler(box)
        session.connection_made(cast(asyncio.Transport, transport))
        test(box, session, transport)

    asyncio.run(main())


def test_a_session_opens_step_by_step() -> None:
    def test(box: Box, session: Idler, transport: Transport) -> None:
        for said in (b"* OK [CAPABILITY IMAP4rev1] hello\r\n", b"a OK in\r\n", b"* 0 EXISTS\r\na OK sele", b"cted\r\n"):
            session.data_received(said)
        assert transport.said == [b'a LOGIN "u0" "secret"\r\n', b"a SELECT INBOX\r\n", b"a IDLE\r\n"] and not session.ready.done()
        session.data_received(b"+ go on\r\n")
        assert session.ready.done() and session.ready.exception() is None

    with_idler(test)


def test_a_refusal_and_a_hang_up_are_told() -> None:
    def refused(box: Box, session: Idler, transport: Transport) -> None:
        session.data_received(b"* OK [CAPABILITY IMAP4rev1] hello\r\na NO wrong\r\n")
        assert "a NO wrong" in str(session.ready.exception())

    def left(box: Box, session: Idler, transport: Transport) -> None:
        session.connection_lost(None)
        assert isinstance(session.ready.exception(), ConnectionError)

    with_idler(refused)
    with_idler(left)


def test_only_the_right_number_counts_as_told_of_a_letter() -> None:
    def test(box: Box, session: Idler, transport: Transport) -> None:
        box.letters, box.missing = 3, 1
        session.data_received(b"* 2 EXISTS\r\n")
        assert not box.all_told.is_set()
        session.data_received(b"* 3 EXI")
        session.data_received(b"STS\r\n")
        assert box.all_told.is_set() and session.exists == 3 and session.when > 0

    with_idler(test)


def test_rows_of_one_mailbox_are_written_for_others_and_a_hash_stays_as_it_is(tmp_path: Path) -> None:
    table = tmp_path / "AUTH.TAB"
    table.write_bytes(b"eve@x.test\t1\tu0@\r\nu0@x.test\t1\t$argon2id$u0@/u0+\r\n")
    multiplied(table, 3)
    assert table.read_bytes().splitlines()[2:] == [b"u1@x.test\t1\t$argon2id$u0@/u0+", b"u2@x.test\t1\t$argon2id$u0@/u0+"]
    table.write_bytes(b"[SMTP:u0@x.test]\t[SF:x.test/u0]\t0\tx.test\r\n")
    multiplied(table, 2)
    assert table.read_bytes().splitlines()[1] == b"[SMTP:u1@x.test]\t[SF:x.test/u1]\t0\tx.test"
