"""Thousands of IMAP sessions that wait in IDLE, in one event loop, and letters by SMTP to those they wait for.

Each letter is on its way until every session of its mailbox was told EXISTS with the right number; only then the next one goes to that mailbox.
A session that the server says no to, or hangs up on, ends the bench.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from bench.server import HOST, Account

AT_ONCE: Final = 64  # sessions that open side by side
PATIENCE: Final = 30.0  # seconds until a letter nobody was told of counts as lost, and for a session to open
_MAILS: Final = 500  # letters of one SMTP connection


@dataclass(slots=True, eq=False)
class Box:
    """A mailbox, the sessions that wait for its mail, and the letter on its way to it."""

    account: Account
    source: str  # the address its sessions come from: one household of clients
    sessions: list[Idler] = field(default_factory=list)
    letters: int = 0  # sent to it so far, which is what EXISTS says
    missing: int = 0  # sessions not told of the last one
    all_told: asyncio.Event = field(default_factory=asyncio.Event)

    def told(self, session: Idler) -> None:
        if session.exists == self.letters and self.missing:
            self.missing -= 1
            if not self.missing:
                self.all_told.set()


class Idler(asyncio.Protocol):
    """One session: LOGIN, SELECT, IDLE; then it only listens, until `done`."""

    __slots__ = ("_box", "_rest", "_steps", "_transport", "exists", "lost", "ready", "when")

    def __init__(self, box: Box) -> None:
        name, password = box.account.login, box.account.password
        self._box, self._rest = box, b""
        self._steps: Iterator[bytes] = iter((f'a LOGIN "{name}" "{password}"'.encode(), b"a SELECT INBOX", b"a IDLE"))
        self.exists, self.when = -1, 0.0  # as it was told last, and when
        loop = asyncio.get_running_loop()
        self.ready, self.lost = loop.create_future(), loop.create_future()  # `lost`: the connection is no more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            self._hear(line)

    def connection_lost(self, error: Exception | None) -> None:
        self._broken(error or ConnectionError("the server hung up"))
        self.lost.set_result(None)

    def done(self) -> asyncio.Future[None]:
        """End IDLE; the answer comes when the server says that all is well."""
        self.ready = asyncio.get_running_loop().create_future()
        self._transport.write(b"DONE\r\n")
        return self.ready

    def close(self) -> None:
        self._transport.close()

    def drop(self) -> None:
        """At once, without a word to the server."""
        self._transport.abort()

    def _hear(self, line: bytes) -> None:
        if line.endswith(b" EXISTS"):
            self.exists, self.when = int(line.split()[1]), time.perf_counter()
            self._box.told(self)
        elif line.startswith((b"* OK [CAPABILITY", b"a OK")) and (step := next(self._steps, None)) is not None:
            self._transport.write(step + b"\r\n")
        elif line.startswith((b"+ ", b"a OK")):
            self.ready.set_result(None)
        elif line.startswith((b"a ", b"* BYE")):
            self._broken(ConnectionError(line.decode()))

    def _broken(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)


async def opened(boxes: Sequence[Box], count: int, port: int, trust: ssl.SSLContext | None) -> None:
    """So many more sessions in IDLE, the mailboxes in turn."""
    loop, places = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def one(box: Box) -> None:
        async with places, asyncio.timeout(PATIENCE):
            _, session = await loop.create_connection(lambda: Idler(box), HOST, port, ssl=trust, local_addr=(box.source, 0))
            box.sessions.append(session)
            await session.ready

    try:
        async with asyncio.TaskGroup() as together:
            for number in range(count):
                together.create_task(one(boxes[number % len(boxes)]))
    except ExceptionGroup as errors:
        raise SystemExit(f"a session could not be opened: {errors.exceptions[0]!r}") from None


async def written(boxes: Sequence[Box], letters: int, senders: int, port: int, text: bytes) -> Sequence[float]:
    """Send so many letters over several connections, each to mailboxes of its own; the seconds from the 250 until each session was told."""
    try:
        async with asyncio.TaskGroup() as together:
            tasks = [together.create_task(_sender(boxes[n::senders], letters // senders, port, text)) for n in range(senders)]
    except ExceptionGroup as errors:
        raise SystemExit(str(errors.exceptions[0])) from None
    return [delay for task in tasks for delay in task.result()]


async def ended(boxes: Sequence[Box]) -> None:
    """All sessions leave IDLE, which shows that each of them is alive, and hang up."""
    sessions = [session for box in boxes for session in box.sessions]
    async with asyncio.timeout(PATIENCE * 4):
        await asyncio.gather(*(session.done() for session in sessions))
        for session in sessions:
            session.close()
        await asyncio.gather(*(session.lost for session in sessions))


async def dropped(boxes: Sequence[Box]) -> None:
    """No session is left, whatever went wrong before: a loop that is closed over open connections would wait for them."""
    left = [session for box in boxes for session in box.sessions if not session.lost.done()]
    for session in left:
        session.drop()
    await asyncio.gather(*(session.lost for session in left))


async def _sender(boxes: Sequence[Box], letters: int, port: int, text: bytes) -> list[float]:
    delays: list[float] = []
    for start in range(0, letters, _MAILS):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            await _replies(reader, 1)
            writer.write(b"EHLO bench.test\r\n")
            await _replies(reader, 1)
            for number in range(start, min(start + _MAILS, letters)):
                delays += await _delivered(boxes[number % len(boxes)], reader, writer, text)
        finally:
            writer.close()
            await writer.wait_closed()
    return delays


async def _delivered(box: Box, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> Sequence[float]:
    """One letter, until all know of it."""
    box.letters, box.missing = box.letters + 1, len(box.sessions)
    box.all_told.clear()
    writer.write(f"MAIL FROM:<rita@example.org>\r\nRCPT TO:<{box.account.address}>\r\nDATA\r\n".encode())
    await _replies(reader, 3)
    writer.write(text + b".\r\n")
    await _replies(reader, 1)
    taken = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE):
            await box.all_told.wait()
    except TimeoutError:
        raise ConnectionError(
            f"{box.missing} of {len(box.sessions)} sessions were not told of letter {box.letters} to {box.account.address}"
        ) from None
    return [max(session.when - taken, 0.0) for session in box.sessions]


async def _replies(reader: asyncio.StreamReader, count: int) -> None:
    """So many, all of them good."""
    for _ in range(count):
        line = b"   -"
        while line[3:4] == b"-":
            line = await reader.readline()
            if line[:1] not in (b"2", b"3"):
                raise ConnectionError(f"refused: {line!r}")
