"""Scanners that break the contract of a transfer event, each in one place."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import cast

from postroom.errors import DiskError
from postroom.message import SMALL, FileMessage, Message
from postroom.site import Ground
from postroom.transfer import PASS, Reject, Replace, TransferEvent, Verdict
from tests.kit.toys import EICAR, WordScanner, WordSettings


class Raises(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        raise RuntimeError("not today")


class PassesAll(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        return PASS


class NoReason(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        return Reject("") if isinstance(await super().judge(event), Reject) else PASS


class Nonsense(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        return cast(Verdict, True)


class Hangs(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        await asyncio.Event().wait()
        return PASS


class MemoryOnly(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        return Reject("found") if EICAR in (event.message.peek() or b"") else PASS


class Remembers(WordScanner):
    def __init__(self, settings: WordSettings, ground: Ground) -> None:
        super().__init__(settings, ground)
        self.seen: set[str] = set()

    async def judge(self, event: TransferEvent) -> Verdict:
        if event.message.id in self.seen:
            return PASS
        self.seen.add(event.message.id)
        return await super().judge(event)


class Vandal(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        if isinstance(event.message, FileMessage):
            event.message.path.write_bytes(b"X-Seen: yes\r\n" + await event.message.read())
        return await super().judge(event)


class ShortReplacement(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        path = self.ground.root / event.message.id
        path.write_bytes(b"short")
        return Replace(FileMessage(event.message.id, path, 1000))


class FailsOpen(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        try:
            return await super().judge(event)
        except DiskError:
            return PASS


class Decodes(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        (await event.message.read(0, SMALL)).decode()
        return PASS


class Hoards(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        return Reject("found") if EICAR in await event.message.read() else PASS


class Blocks(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        if event.message.size > 1 << 20:
            time.sleep(0.12)  # the block itself: more than a loop may be
        return await super().judge(event)


class Shares(WordScanner):
    """Keeps what it is looking at in itself."""

    message: Message

    async def judge(self, event: TransferEvent) -> Verdict:
        self.message = event.message
        await asyncio.sleep(0)
        return Reject("found") if EICAR in await self.message.read() else PASS


class SwallowsCancel(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        try:
            return await super().judge(event)
        except asyncio.CancelledError:
            return PASS


class LeavesTask(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        reading = asyncio.ensure_future(super().judge(event))
        return await asyncio.shield(reading)


class LeavesDescriptor(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        os.open(self.ground.root, os.O_RDONLY)
        return await super().judge(event)


class LeavesThread(WordScanner):
    async def judge(self, event: TransferEvent) -> Verdict:
        threading.Thread(target=time.sleep, args=(1,), daemon=True, name="left alone").start()
        return await super().judge(event)


class NeedsJournal(WordScanner):
    """Uses what a plugin in a process of its own has not."""

    async def judge(self, event: TransferEvent) -> Verdict:
        self.ground.journal.live()
        return await super().judge(event)


class Scribbles(WordScanner):
    """Keeps a note of each message on disk while it looks, and is done for when that fails."""

    broken = False

    async def judge(self, event: TransferEvent) -> Verdict:
        if self.broken:
            raise RuntimeError("there was an error once")
        path = self.ground.root / "looking-at"
        try:
            fd = self.ground.disk.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        except OSError:
            self.broken = True
            raise
        self.ground.disk.close(fd)
        return await super().judge(event)


class Locks(WordScanner):
    """Makes a file that must not be there yet; a death leaves it there."""

    async def judge(self, event: TransferEvent) -> Verdict:
        path = self.ground.root / "one-at-a-time"
        self.ground.disk.close(self.ground.disk.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            return await super().judge(event)
        finally:
            self.ground.disk.unlink(path)
