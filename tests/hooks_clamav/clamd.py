"""A test double of clamd: speaks enough of its protocol, finds a virus wherever the mark stands, and fails on request.

The real one is in tests/interop/test_clamav.py; this one does what the real one does only on a bad day.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

MARK = b"this-stands-for-a-virus"
NAME = "Test.Mark.UNOFFICIAL"


@dataclass
class FakeClamd:
    """What it was asked, and how it misbehaves."""

    path: Path
    fault: str = ""  # see `_judge` and `_stream`
    faults_left: int = 1_000_000
    limit: int = 1 << 30
    connections: int = 0
    streams: list[int] = field(default_factory=list)  # octets of each stream that came whole
    commands: list[str] = field(default_factory=list)
    chunks: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # a stream came whole
    wires: set[asyncio.StreamWriter] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def _fails(self, fault: str) -> bool:
        if self.fault != fault or not self.faults_left:
            return False
        self.faults_left -= 1
        return True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        self.connections += 1
        self.wires.add(writer)
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.wires.discard(writer)
            self.tasks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        in_session = False
        if self._fails("greets"):
            writer.write(b"1: stream: OK\0")
        while True:
            command = (await reader.readuntil(b"\0"))[:-1].decode()
            self.commands.append(command)
            if command == "zIDSESSION":
                in_session = True
                continue
            number += 1
            front = b"%d: " % number if in_session else b""
            if self._fails("deaf"):
                await self.go_on.wait()
            if command == "zPING":
                writer.write(front + (b"PING\0" if self._fails("wrong pong") else b"PONG\0"))
            elif command == "zINSTREAM":
                data = await self._stream(reader, writer, front)
                if data is None or not await self._judge(data, writer, number, front):
                    return
            if not in_session:
                await writer.drain()
                return

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, front: bytes) -> bytes | None:
        whole = bytearray()
        while length := struct.unpack("!L", await reader.readexactly(4))[0]:
            if self._fails("hangs up in the stream"):
                return None
            if self._fails("early verdict"):
                writer.write(front + b"stream: OK\0")
                await self.go_on.wait()
            whole += await reader.readexactly(length)
            self.chunks += 1
            if len(whole) > self.limit:
                writer.write(front + b"INSTREAM size limit exceeded. ERROR\0")
                await writer.drain()
                return None
        self.streams.append(len(whole))
        return bytes(whole)

    async def _judge(self, data: bytes, writer: asyncio.StreamWriter, number: int, front: bytes) -> bool:
        """Answer; whether to go on with this connection."""
        self.asked.set()
        if self._fails("slow"):
            await self.go_on.wait()
        if self._fails("hangs up"):
            return False
        said = b"stream: " + (f"{NAME} FOUND" if MARK in data else "OK").encode() + b"\0"
        if self._fails("hangs up within the reply"):
            writer.write(front + said[:9])
            await writer.drain()
            return False
        if self._fails("garbage"):
            front, said = b"", b"\xff\xfe and so on\0"
        if self._fails("never ends"):
            said = b"x" * 5000
        if self._fails("wrong number"):
            front = b"%d: " % (number + 1)
        if self._fails("twice"):
            said = said + front + said
        if self._fails("error"):
            writer.write(front + b"stream: Can't allocate memory ERROR\0" + front + b"Error processing command. ERROR\0")
            return False
        for octet in [front + said] if not self._fails("octet by octet") else [bytes([one]) for one in front + said]:
            writer.write(octet)
            await writer.drain()
        return not self._fails("hangs up behind the reply")

    def hang_up(self) -> None:
        """Close every connection, as a restart does."""
        for writer in list(self.wires):
            writer.close()


@asynccontextmanager
async def fake_clamd(path: Path, *, tcp: bool = False) -> AsyncIterator[FakeClamd]:
    """One that listens at this path; by TCP, the port is in the name of the path it has then."""
    clamd = FakeClamd(path)
    if tcp:
        server = await asyncio.start_server(clamd.serve, "127.0.0.1", 0)
        clamd.path = Path(str(server.sockets[0].getsockname()[1]))
    else:
        server = await asyncio.start_unix_server(clamd.serve, str(path))
    try:
        yield clamd
    finally:
        server.close()
        clamd.go_on.set()
        clamd.hang_up()
        while clamd.tasks:
            for task in list(clamd.tasks):
                task.cancel()
            await asyncio.gather(*clamd.tasks, return_exceptions=True)
        await server.wait_closed()
        path.unlink(missing_ok=True)
