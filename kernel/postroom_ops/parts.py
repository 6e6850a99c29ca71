"""Which parts a message has in queues, found by how their ids begin: as the message's own.

A listing of a queue of a hundred thousand takes a tenth of a second, so many askers share one; they may ask in threads. Reads only, but for what
is torn.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Protocol

from postroom_ops.files import entries, is_whole


class Calls(Protocol):
    """Changes of a disk; the kernel's `postroom_disk.disk.Disk`. OSError when the disk refuses."""

    def unlink(self, path: Path, /) -> None: ...


class Parts:
    """Items of queues by so many digits that their ids begin with."""

    def __init__(self, digits: int) -> None:
        self._digits = digits
        self._lock = threading.Lock()
        self._served: frozenset[object] = frozenset()
        self._listed: dict[tuple[Path, str], list[str]] = {}

    def of(self, message: str, queues: Sequence[Path], asker: object, others: Iterable[object] = ()) -> Iterator[tuple[Path, str, bytes]]:
        """Queue, id and command file of each part, at rest or ended as far back as any journal could make it again. They are looked for in a
        listing made after this asker was there; `others` are those there now, for whom it will do too."""
        with self._lock:
            if asker not in self._served:
                self._listed, self._served = _listed(queues, self._digits), frozenset((asker, *others))
            listed = self._listed
        says = f"Message={message}\r\n".encode()
        for queue in queues:
            for item in listed.get((queue, message[: self._digits]), ()):
                command = _command(queue, item)
                if says in command:
                    yield queue, item, command

    def drop_torn(self, disk: Calls, message: str, octets: bytes | None, queues: Sequence[Path], asker: object) -> None:
        """Take away the command files of parts whose octets are what a power cut leaves, so that nobody sends them: their message, which waits to be
        parted again, has these octets."""
        for queue, item, _ in self.of(message, queues, asker):
            if not is_whole(queue / "Messages" / f"{item}.MAI", octets):
                with suppress(FileNotFoundError):  # it has ended, its octets are gone
                    disk.unlink(queue / f"{item}.MAI")


def _listed(queues: Iterable[Path], digits: int) -> dict[tuple[Path, str], list[str]]:
    found: dict[tuple[Path, str], list[str]] = {}
    for queue in queues:
        for folder in chain([queue], _marks(queue)):
            with suppress(FileNotFoundError, NotADirectoryError):
                for name in os.listdir(folder):
                    found.setdefault((queue, name[:digits]), []).append(name.removesuffix(".MAI"))
    return found


def _marks(queue: Path) -> Iterator[Path]:
    """Asked only when the pairs at rest are known: one that ends meanwhile may be the first that has a mark."""
    yield from entries(queue / "Done")


def _command(queue: Path, item: str) -> bytes:
    """At rest, or the mark that it became meanwhile; nothing where there is neither."""
    for path in chain([queue / f"{item}.MAI"], (slot / item for slot in _marks(queue))):
        with suppress(FileNotFoundError):
            return path.read_bytes()
    return b""
