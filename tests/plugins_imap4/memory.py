"""Clients of a real service without sockets: a transport in memory, and a client that believes what it is told, and checks it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

from postroom_imap4.connection import Connection
from postroom_imap4.service import Imap4Service
from tests.plugins_imap4.house import LOGIN, PASSWORD, PATIENCE

FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)\r\n", re.DOTALL)
UIDFETCH = re.compile(rb"\* (\d+) UIDFETCH \((.*)\)\r\n", re.DOTALL)
FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
UID = re.compile(rb"UID (\d+)")


class Transport(asyncio.Transport):
    """What the server writes is `heard`."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        super().__init__()
        self._heard, self._closing = heard, False
        self.connection: Connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._closing
        self._heard(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    abort = close

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def numbers(text: bytes) -> Iterator[int]:
    """A sequence set's."""
    for run in text.split(b","):
        first, _, last = run.partition(b":")
        yield from range(int(first), int(last or first) + 1)


class Message:
    """What the client believes of one."""

    __slots__ = ("flags", "uid")

    def __init__(self) -> None:
        self.uid: int | None = None
        self.flags: frozenset[bytes] | None = None


class Believer:
    """A client that keeps the list of messages as RFC 9051 lets it, and fails where the server breaks it."""

    def __init__(self, service: Imap4Service) -> None:
        self._in = b""
        self._event = asyncio.Event()
        transport = Transport(self._hear)
        connection = Connection(service.house)
        transport.connection = connection
        connection.connection_made(transport)
        self.connection, self.transport = connection, transport
        self.messages: list[Message] = []
        self.is_selected = self.by_number = self.idles = self.without_numbers = False
        self.largest = 0
        self.told: list[bytes] = []  # lines of the command under way
        self.expunged: list[int] = []
        self._tags = 0

    def _hear(self, data: bytes) -> None:
        self._in += data
        self._event.set()

    async def line(self) -> bytes:
        async with asyncio.timeout(PATIENCE * 3):
            while b"\r\n" not in self._in:
                self._event.clear()
                await self._event.wait()
        line, _, self._in = self._in.partition(b"\r\n")
        return line + b"\r\n"

    def idle_lines(self) -> list[bytes]:
        """What has come in full by now."""
        *lines, self._in = self._in.split(b"\r\n")
        return [line + b"\r\n" for line in lines]

    async def start(self, *commands: str) -> Believer:
        assert (await self.line()).startswith(b"* OK")
        await self.say(f"LOGIN {LOGIN} {PASSWORD}")
        for command in commands:
            await self.say(command)
        return self

    async def select(self, name: str) -> None:
        self.messages, self.is_selected = [], False
        self.largest = 0
        assert (await self.say(f"SELECT {name}")).startswith(b"OK")
        self.is_selected = True

    async def say(self, command: str | bytes) -> bytes:
        """One command; what its tagged response says behind the tag."""
        self._tags += 1
        tag, octets = b"t%d " % self._tags, command.encode() if isinstance(command, str) else command
        word = octets.split(b" ")[0].upper()
        self.by_number = word in (b"FETCH", b"STORE", b"SEARCH", b"SORT", b"THREAD")
        self.told = []
        self.connection.data_received(tag + octets + b"\r\n")
        while True:
            line = await self.line()
            if line.startswith(tag):
                return line[len(tag) :]
            if word == b"IDLE" and line.startswith(b"+"):
                self.idles = True
                return line
            self.told.append(line)
            self.believe(line)

    async def done(self) -> None:
        """End IDLE."""
        tag = b"t%d " % self._tags
        self.connection.data_received(b"DONE\r\n")
        while not (line := await self.line()).startswith(tag):
            self.believe(line)
        self.idles = False

    def believe(self, line: bytes) -> None:
        """An untagged response."""
        if found := FETCH.fullmatch(line):
            self._fetched(self.messages[int(found[1]) - 1], int(found[1]), found[2])
        elif found := UIDFETCH.fullmatch(line):
            self._flags(self._known(int(found[1])), found[2])
        elif line.endswith(b" EXISTS\r\n"):
            count = int(line.split()[1])
            assert count >= len(self.messages), f"EXISTS {count} is less than {len(self.messages)}"
            self.messages += [Message() for _ in range(count - len(self.messages))]
        elif line.endswith(b" EXPUNGE\r\n"):
            assert not self.by_number, f"{line!r} within a command that uses numbers"
            self._gone(int(line.split()[1]) - 1)
        elif line.startswith(b"* VANISHED ") and b"EARLIER" not in line:
            assert not self.by_number, f"{line!r} within a command that uses numbers"
            for uid in numbers(line.split()[2]):
                self._gone(self.messages.index(self._known(uid)) if self.without_numbers else self._place(uid))
        elif line.startswith(b"* ENABLED"):
            self.without_numbers = b"UIDONLY" in line

    def _known(self, uid: int) -> Message:
        """The message with this UID, for a client of UIDONLY, to whom numbers say nothing but how many messages there are."""
        for message in sorted(self.messages, key=lambda one: one.uid != uid):
            if message.uid in (None, uid):
                message.uid = uid
                self.messages.sort(key=lambda one: one.uid or 1 << 40)
                return message
        raise AssertionError(f"there is no message with UID {uid}")

    def _place(self, uid: int) -> int:
        """Where the message with this UID is. One whose UID was not asked for yet is any such one between its neighbours: they are alike."""
        for row, message in enumerate(self.messages):
            if message.uid == uid:
                return row
            if message.uid is not None and message.uid > uid:
                break
        else:
            row = len(self.messages)
        row -= 1
        assert row >= 0 and self.messages[row].uid is None, f"there is no message with UID {uid}"
        self.messages[row].uid = uid
        return row

    def _gone(self, row: int) -> None:
        assert 0 <= row < len(self.messages), f"there is no message {row + 1} to expunge"
        uid = self.messages.pop(row).uid
        if uid is not None:
            self.expunged.append(uid)

    def _fetched(self, message: Message, number: int, items: bytes) -> None:
        if found := UID.search(items):
            uid = int(found[1])
            assert message.uid in (None, uid), f"message {number} was {message.uid} and is {uid}"
            if message.uid is None:
                before = [one.uid for one in self.messages[: number - 1] if one.uid is not None]
                behind = [one.uid for one in self.messages[number:] if one.uid is not None]
                assert max(before, default=0) < uid < min(behind, default=1 << 40), f"UID {uid} of message {number} is out of order"
                message.uid = uid
        self._flags(message, items)

    def _flags(self, message: Message, items: bytes) -> None:
        if found := FLAGS.search(items):
            message.flags = frozenset(found[1].split())

    def change(self, rows: list[int], add: frozenset[bytes], remove: frozenset[bytes]) -> None:
        """A silent change of this client's own."""
        for row in rows:
            if (flags := self.messages[row].flags) is not None:
                self.messages[row].flags = flags - remove | add

    async def leave(self) -> None:
        self.transport.close()
        await asyncio.sleep(0)
