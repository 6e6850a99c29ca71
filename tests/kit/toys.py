"""Small plugins that keep the contract of their role: a scanner, a service, a connector. `broken_*.py` break each in one place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from postroom import hookimpl
from postroom.address import InternalAddress
from postroom.connectors import Agent, Connector, Endpoint, Service
from postroom.envelope import Envelope
from postroom.errors import DiskError
from postroom.message import SMALL, Message, new_id
from postroom.outcome import Deferred, Delivered, Failed, Outcome, Reply
from postroom.site import Ground, Site
from postroom.transfer import PASS, Reject, TransferEvent, Verdict

EICAR = b"eicar"
FAULTS = (DiskError, OSError)


class WordSettings(BaseModel):
    """The table of the scanner."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    word: str = Field(default=EICAR.decode(), min_length=1, max_length=100, description="word that no message may have")


async def pieces(message: Message) -> AsyncIterator[bytes]:
    """The message in pieces; the loop gets its turn between two."""
    for offset in range(0, message.size, SMALL):
        yield await message.read(offset, SMALL)
        await asyncio.sleep(0)


class WordScanner:
    """Rejects what has a word in it."""

    Settings: type[BaseModel] = WordSettings

    def __init__(self, settings: WordSettings, ground: Ground) -> None:
        self.settings, self.ground = settings, ground

    @hookimpl
    async def mta_pickup(self, event: TransferEvent) -> Verdict:
        return await self.judge(event)

    async def judge(self, event: TransferEvent) -> Verdict:
        word, tail = self.settings.word.encode(), b""
        async for piece in pieces(event.message):
            if word in tail + piece:
                return Reject(f"has the word {self.settings.word}")
            tail = piece[-len(word) :]
        return PASS


class LineSettings(BaseModel):
    """The table of the line service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int = Field(default=0, ge=0, le=65535, description="TCP port; 0 takes any free one")


class LineService:
    """Says what line it is on, for each line, until it hears QUIT. One listener, a line of 1,000 octets at most."""

    def __init__(self, settings: LineSettings, site: Site) -> None:
        self.settings, self.site = settings, site
        self.name = site.name or "line"
        self.endpoints: Sequence[Endpoint] = (self.endpoint(),)
        self.servers: list[asyncio.Server] = []
        self.open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.name}-line", "127.0.0.1", self.settings.port)

    async def run(self) -> None:
        try:
            await self.listen()
            self.site.ready(self)
            await asyncio.Event().wait()
        finally:
            await self.end()

    async def end(self) -> None:
        self.close_listeners()
        for task in self.open:
            task.cancel()
        if self.open:
            await asyncio.wait(list(self.open))

    async def listen(self) -> None:
        for sock in self.site.socket_for(self.endpoints[0]):
            self.servers.append(await asyncio.start_server(self.accepted, sock=sock, limit=1000))

    def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self.served(reader, writer))
        self.open[task] = writer
        task.add_done_callback(lambda task: self.open.pop(task, None))

    def close_listeners(self) -> None:
        for server in self.servers:
            server.close()
        self.servers.clear()

    async def drain(self) -> None:
        self.close_listeners()
        while self.open:
            await asyncio.wait(list(self.open))

    async def served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.talk(reader, writer)
        except (OSError, asyncio.LimitOverrunError, ValueError):
            pass  # the peer left, or its line was too long
        finally:
            writer.transport.abort()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        while line := await reader.readline():
            number += 1
            writer.write(b"line %d\r\n" % number)
            await writer.drain()
            await asyncio.sleep(0)  # a peer may send ten thousand lines at once
            if line.strip() == b"QUIT":
                return


class LinePlugin:
    """The line service as a plugin."""

    Settings = LineSettings
    service: type[LineService] = LineService

    def __init__(self, settings: LineSettings, ground: Ground) -> None:
        self.settings = settings

    @hookimpl
    def services(self, site: Site) -> Iterable[Service]:
        return [self.service(self.settings, site)]


class DropSettings(BaseModel):
    """The table of the drop connector."""

    model_config = ConfigDict(extra="forbid", frozen=True)


NO_SUCH = Reply(550, "5.1.1", "no such box")
LATER = Reply(451, "4.3.0", "the disk failed; try again later")


class DropConnector:
    """Puts each message into a file of its own: `[DROP:name]` is a folder `Drop/name`."""

    acronym = "DROP"
    is_local = True

    def __init__(self, site: Site) -> None:
        self.site = site

    def hop(self, address: InternalAddress) -> str:
        return ""

    def agents(self) -> Iterable[Agent]:
        return ()

    def refuses(self, address: InternalAddress) -> Reply | None:
        return None if address.detail in ("bob", "ann") else NO_SUCH

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for recipient in envelope.recipients:
            if reply := self.refuses(recipient.address):
                outcomes.append(Failed(recipient, reply))
                continue
            try:
                await self.put(self.site.root / "Drop" / recipient.address.detail, message)
                outcomes.append(Delivered(recipient))
            except FAULTS:
                outcomes.append(Deferred(recipient, LATER))
        return outcomes

    async def put(self, folder: Path, message: Message) -> None:
        """Aside first, then by its name: a crash leaves it or not, and never twice."""
        disk, path, aside = self.site.disk, folder / f"{message.id}.MAI", folder / f".{new_id()}"
        disk.make_folders(folder)
        fd = disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            async for piece in pieces(message):
                disk.write_all(fd, piece)
            disk.fsync(fd)
        finally:
            disk.close(fd)
        disk.replace(aside, path)
        disk.sync_folder(folder)


class DropPlugin:
    """The drop connector as a plugin."""

    Settings = DropSettings
    connector: type[DropConnector] = DropConnector

    def __init__(self, settings: DropSettings, ground: Ground) -> None:
        self.settings = settings

    @hookimpl
    def connectors(self, site: Site) -> Iterable[Connector]:
        return [self.connector(site)]
