"""Small entries by key: in this process's memory, or in a file that all workers of a site read and write.

The file is worth nothing on its own and promises nothing: it is made anew after a boot, or where it is not what this release writes, and whoever
deletes it loses counts. It has room for so many entries and never grows. Names do not stand in it: a key is a keyed digest, so nobody chooses
whom he displaces. A disk that refuses costs nobody a login: what could not be written this process remembers alone. Nothing here waits; who
does not get the lock at once goes on without it, and a change of that very moment may be lost. docs/decisions/0007-shared-throttle.md.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, Protocol

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MAGIC: Final = b"postthr1"  # format and version
_HEAD: Final = struct.Struct("=8s40s16sQ")  # magic; the machine's boot; key; buckets of a page
_START: Final = 4096  # octets before the first page
_WAYS: Final = 8  # entries that share a bucket
_SLOT: Final = struct.Struct("=QddQ")  # tag, value, when, mark; a tag of zero: free
_BUCKET: Final = struct.Struct("=" + "QddQ" * _WAYS)
_TRIES: Final = 100  # for the lock, each with a turn for who has it: 0.2 ms where nobody is in trouble


class Entry(NamedTuple):
    """What is known under a key."""

    value: float
    when: float  # of its last change; seconds of the clock that the table's user goes by, the same for all
    mark: int = 0  # its user's own


Change = Callable[[Entry | None], Entry | None]


class Table(Protocol):
    """Entries by key, so many of them; where there is no room for another, one that was not changed for long goes."""

    def get(self, key: str) -> Entry | None: ...

    def change(self, key: str, to: Change) -> None:
        """Put what `to` makes of the entry in its place; None: no entry. Called once; nobody else changes it meanwhile."""

    def __len__(self) -> int: ...


class Memory:
    """A table of this process. The least recently changed is forgotten first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def change(self, key: str, to: Change) -> None:
        new = to(self._entries.pop(key, None))
        if new is not None:
            self._entries[key] = new
            if len(self._entries) > self.size:
                self._entries.popitem(last=False)


class Files(Protocol):
    """Changes of a disk; the kernel's `postroom_disk.disk.Disk`."""

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int: ...
    def close(self, fd: int) -> None: ...
    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int: ...
    def ftruncate(self, fd: int, length: int, /) -> None: ...
    def replace(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def make_folders(self, folder: Path) -> None: ...


class Ledger:
    """The file, open. `close` it; what is asked of its pages after that is this process's own."""

    def __init__(self, descriptor: int, disk: Files, key: bytes, buckets: int) -> None:
        self.descriptor, self.disk, self.key, self.buckets = descriptor, disk, key, buckets
        self.unlocked = 0  # changes that were made without the lock

    @classmethod
    def open(cls, path: Path, disk: Files, *, pages: int, size: int = 65_536) -> Ledger:
        """The file at this path, as the first worker after the boot made it: so many pages of so many entries each. OSError."""
        buckets = -(-size // _WAYS)
        disk.make_folders(path.parent)
        gate = disk.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)  # two workers that start at once make one file
            found = _existing(path, disk, buckets)
            return cls(*(found or _made(path, disk, buckets, pages)))
        finally:
            disk.close(gate)

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            self.disk.close(descriptor)

    def page(self, number: int) -> Page:
        return Page(self, number)

    def mark(self, secret: bytes) -> int:
        """One of 255 marks: enough to tell that a secret came again, too little to learn it from."""
        digest = hashlib.blake2b(secret, digest_size=8, key=self.key, person=b"mark").digest()
        return 1 + digest[0] % 255

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside the block nobody else changes the file, as far as that can be had without waiting."""
        held = False
        for _ in range(_TRIES):
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
                break
            except BlockingIOError:
                os.sched_yield()
            except (OSError, ValueError):  # closed, or a file system without locks
                break
        self.unlocked += not held
        try:
            yield
        finally:
            if held:
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)


class Page:
    """One table of the file."""

    def __init__(self, ledger: Ledger, number: int) -> None:
        self._ledger, self._start = ledger, _START + number * ledger.buckets * _BUCKET.size
        self._number = number
        self._own = Memory(ledger.buckets * _WAYS)  # what the disk refused
        self._place = lru_cache(maxsize=4096)(self._place_of)

    def __len__(self) -> int:
        octets = os.pread(self._ledger.descriptor, self._ledger.buckets * _BUCKET.size, self._start)
        used = sum(1 for tag, *_ in _SLOT.iter_unpack(octets) if tag)
        return used + len(self._own)

    def get(self, key: str) -> Entry | None:
        tag, at = self._place(key)
        try:
            slots = self._read(at)
        except OSError:
            return self._own.get(key)
        return _entry(slots, tag) or (self._own.get(key) if len(self._own) else None)

    def change(self, key: str, to: Change) -> None:
        tag, at = self._place(key)
        with self._ledger.alone():
            try:
                slots = self._read(at)
                old = _entry(slots, tag) or self._own.get(key)
            except OSError:
                return self._own.change(key, to)
            new = to(old)
            if new == old:
                return None
            try:
                self._write(slots, tag, at, new)
            except OSError:
                return self._own.change(key, lambda _: new)
            return self._own.change(key, lambda _: None)

    def _place_of(self, key: str) -> tuple[int, int]:
        """The tag of a key, and where its bucket begins."""
        name = b"%d\0%b" % (self._number, key.encode("utf-8", "surrogatepass"))
        digest = hashlib.blake2b(name, digest_size=16, key=self._ledger.key, person=b"place").digest()
        tag, bucket = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") % self._ledger.buckets
        return tag or 1, self._start + bucket * _BUCKET.size

    def _read(self, at: int) -> tuple[int | float, ...]:
        octets = os.pread(self._ledger.descriptor, _BUCKET.size, at)
        if len(octets) != _BUCKET.size:
            raise OSError(errno.EIO, "the ledger was cut short")
        return _BUCKET.unpack(octets)

    def _write(self, slots: tuple[int | float, ...], tag: int, at: int, new: Entry | None) -> None:
        """Into its own place, else a free one, else that of the one that was not changed for longest."""
        tags = slots[::4]
        for wanted in (tag, 0):
            if wanted in tags:
                place = tags.index(wanted)
                break
        else:
            whens = slots[2::4]
            place = whens.index(min(whens))
        data = _SLOT.pack(tag, *new) if new is not None else bytes(_SLOT.size)
        if self._ledger.disk.pwrite(self._ledger.descriptor, data, at + place * _SLOT.size) != len(data):
            raise OSError(errno.EIO, "an entry was written in part")


def _entry(slots: tuple[int | float, ...], tag: int) -> Entry | None:
    """The entry with this tag; None also where it is none that we ever wrote."""
    tags = slots[::4]
    if tag not in tags:
        return None
    at = 4 * tags.index(tag)
    value, when, mark = slots[at + 1 : at + 4]
    return Entry(value, when, int(mark)) if 0.0 <= value < 1e12 and abs(when) < 1e18 else None


def _existing(path: Path, disk: Files, buckets: int) -> tuple[int, Files, bytes, int] | None:
    """The file that is there, if it is of this boot and this form."""
    try:
        descriptor = disk.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        head = os.pread(descriptor, _HEAD.size, 0)
        if len(head) == _HEAD.size:
            magic, boot, key, number = _HEAD.unpack(head)
            if (magic, boot.rstrip(b"\0"), number) == (_MAGIC, _boot(), buckets):
                return descriptor, disk, key, buckets
    except BaseException:
        disk.close(descriptor)
        raise
    disk.close(descriptor)
    return None


def _made(path: Path, disk: Files, buckets: int, pages: int) -> tuple[int, Files, bytes, int]:
    """A new one, empty, whole before it has its name."""
    aside, key = path.with_name(f".{path.name}.new"), os.urandom(16)
    descriptor = disk.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        disk.ftruncate(descriptor, _START + pages * buckets * _BUCKET.size)  # holes: room is taken as entries come
        head = _HEAD.pack(_MAGIC, _boot(), key, buckets)
        if disk.pwrite(descriptor, head, 0) != len(head):
            raise OSError(errno.EIO, "the head was written in part")
        disk.replace(aside, path)
    except BaseException:
        disk.close(descriptor)
        with suppress(OSError):
            disk.unlink(aside)
        raise
    return descriptor, disk, key, buckets


def _boot() -> bytes:
    """This machine's boot, from which its monotonic clock counts; nothing where the system does not tell."""
    try:
        return _BOOT_ID.read_bytes().strip()[:40]
    except OSError:
        return b""
