"""Drop connectors that break the contract of a connector, each in one place."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from postroom import hookimpl
from postroom.address import InternalAddress
from postroom.connectors import Connector
from postroom.envelope import Envelope
from postroom.errors import DiskError
from postroom.message import Message, new_id
from postroom.outcome import Delivered, Failed, Outcome, Reply
from postroom.site import Site
from tests.kit.toys import NO_SUCH, DropConnector, DropPlugin, pieces


class GivesNothing(DropPlugin):
    @hookimpl
    def connectors(self, site: Site) -> Iterable[Connector]:
        return []


class OddAcronym(DropPlugin):
    class connector(DropConnector):
        acronym = "drop box"


class RefusesAll(DropPlugin):
    class connector(DropConnector):
        def refuses(self, address: InternalAddress) -> Reply | None:
            return NO_SUCH


class Splits(DropPlugin):
    class connector(DropConnector):
        def refuses(self, address: InternalAddress) -> Reply | None:
            box, _ = address.detail.split(".")[0], address.detail.encode("ascii")
            return None if box in ("bob", "ann") else NO_SUCH


class ForgetsOne(DropPlugin):
    class connector(DropConnector):
        async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
            return (await super().deliver(envelope, message))[:1]


class MemoryOnly(DropPlugin):
    class connector(DropConnector):
        async def put(self, folder: Path, message: Message) -> None:
            if message.peek() is not None:
                await super().put(folder, message)


class OneBadOneOut(DropPlugin):
    class connector(DropConnector):
        async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
            outcomes = await super().deliver(envelope, message)
            if any(isinstance(one, Failed) for one in outcomes):
                return [Failed(one.recipient, NO_SUCH) for one in outcomes]
            return outcomes


class Doubles(DropPlugin):
    """Knows a message by nothing: each attempt makes a file."""

    class connector(DropConnector):
        async def put(self, folder: Path, message: Message) -> None:
            self.site.disk.make_folders(folder)
            (folder / f"{new_id()}.MAI").write_bytes(await message.read())


class Mixes(DropPlugin):
    """One file aside for all."""

    class connector(DropConnector):
        async def put(self, folder: Path, message: Message) -> None:
            self.site.disk.make_folders(folder)
            aside = folder / "aside"
            aside.write_bytes(await message.read())
            await asyncio.sleep(0)
            self.site.disk.write_all(fd := os.open(folder / f"{message.id}.MAI", os.O_CREAT | os.O_WRONLY), aside.read_bytes())
            os.close(fd)


class Decodes(DropPlugin):
    class connector(DropConnector):
        async def put(self, folder: Path, message: Message) -> None:
            (await message.read(0, 1000)).decode()
            await super().put(folder, message)


class Hoards(DropPlugin):
    class connector(DropConnector):
        async def put(self, folder: Path, message: Message) -> None:
            await message.read()
            await super().put(folder, message)


class Blocks(DropPlugin):
    class connector(DropConnector):
        async def put(self, folder: Path, message: Message) -> None:
            if message.size > 1 << 20:
                time.sleep(0.12)  # the block itself: more than a loop may be
            await super().put(folder, message)


class GivesUp(DropPlugin):
    class connector(DropConnector):
        async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
            outcomes = await super().deliver(envelope, message)
            return [one if isinstance(one, Delivered) else Failed(one.recipient, NO_SUCH) for one in outcomes]


class Raises(DropPlugin):
    class connector(DropConnector):
        async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
            outcomes: list[Outcome] = []
            for recipient in envelope.recipients:
                await self.put(self.site.root / "Drop" / recipient.address.detail, message)
                outcomes.append(Delivered(recipient))
            return outcomes


class LeavesTask(DropPlugin):
    class connector(DropConnector):
        async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
            return await asyncio.shield(asyncio.ensure_future(super().deliver(envelope, message)))


class LeavesDescriptor(DropPlugin):
    class connector(DropConnector):
        async def put(self, folder: Path, message: Message) -> None:
            await super().put(folder, message)
            os.open(folder, os.O_RDONLY)


class Tells(DropPlugin):
    """Says it is there although the disk refused."""

    class connector(DropConnector):
        async def put(self, folder: Path, message: Message) -> None:
            try:
                await super().put(folder, message)
            except (OSError, DiskError):
                pass

        async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
            if envelope.attempt.count or envelope.attempt.crashes:  # "it came before"
                return [Delivered(one) for one in envelope.recipients]
            return await super().deliver(envelope, message)


class InPlace(DropPlugin):
    """Writes where it will lie, and takes what lies there for whole."""

    class connector(DropConnector):
        async def put(self, folder: Path, message: Message) -> None:
            disk, path = self.site.disk, folder / f"{message.id}.MAI"
            disk.make_folders(folder)
            if path.exists():
                return
            fd = disk.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                async for piece in pieces(message):
                    disk.write_all(fd, piece)
            finally:
                disk.close(fd)


class OtherAddress(DropPlugin):
    class connector(DropConnector):
        def hop(self, address: InternalAddress) -> str:
            return new_id()
