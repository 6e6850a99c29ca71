"""Files that go with their last handle: the octets of a message that was changed, for as long as somebody holds it.

Who makes one is handed a path, a `Kept`, and passes it on; the file is there as long as anybody, in whatever thread, has that very path, and is
removed when nobody has it any more. Who wants the octets for longer links the file to where they are to live. What is promised:

* A writing that fails or is given up leaves nothing, at once, however long somebody holds its traceback.
* What a killed process left, the next owner's `sweep` removes, and never what this owner still uses.
* Closing twice closes nothing of anybody else's; a removal that the disk refuses is the next sweep's.

Nothing is synced: what the octets were made of is in the care of whoever promised to keep it. OSError when the disk refuses.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PosixPath
from types import TracebackType

from postroom_disk.disk import Disk
from postroom_disk.ids import new_id


class Kept(PosixPath):
    """The path of a file that lives as long as this object. A copy of whatever holds it shares it; a path made of it does not."""

    def __copy__(self) -> Kept:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Kept:
        return self


class KeptFiles:
    """Those in one folder. A folder of this owner's own is his to `sweep`; in one that he shares, its owner knows what nobody needs."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder, self._disk = folder, disk
        self._mine: set[str] = set()

    def begin(self) -> Writing:
        """A new file, to be written and closed; the folder is made where it is missing."""
        self._disk.make_folders(self.folder)
        path = Kept(self.folder / f"{new_id()}.MAI")
        self._mine.add(path.name)  # before it exists: a sweep in another thread must not meet a stranger
        try:
            descriptor = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except BaseException:
            self._mine.discard(path.name)
            raise
        return Writing(path, descriptor, self._disk, weakref.finalize(path, self._forget, path.name, os.getpid()))

    def sweep(self) -> None:
        """Remove what is in the folder and was not begun here, or would not go when its time came."""
        try:
            found = os.listdir(self.folder)  # first: what is made after it is not in it
        except FileNotFoundError:
            return
        for name in found:
            if name not in self._mine:
                self._forget(name, os.getpid())

    def _forget(self, name: str, owner: int) -> None:
        if os.getpid() != owner:  # a fork that ends has the same objects, and no say
            return
        self._mine.discard(name)
        with suppress(OSError):
            self._disk.unlink(self.folder / name)


class Writing:
    """One that is being written; as a context manager it is closed at the end, and dropped by an error."""

    def __init__(self, path: Kept, descriptor: int, disk: Disk, remove: Callable[[], object]) -> None:
        self.path, self.size = path, 0
        self._descriptor, self._disk, self._remove = descriptor, disk, remove

    def write(self, data: bytes) -> None:
        """The next octets, all of them."""
        self._disk.write_all(self._descriptor, data)
        self.size += len(data)

    def overwrite(self, data: bytes) -> None:
        """Other octets in place of the first ones."""
        done = 0
        while done < len(data):
            done += self._disk.pwrite(self._descriptor, data[done:], done)

    def close(self) -> None:
        """What follows is refused by the system: EBADF."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._disk.close(descriptor)

    def drop(self) -> None:
        """Nobody wants it: it is gone, whoever has the path."""
        try:
            self.close()
        finally:
            self._remove()

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self.drop()
            return
        try:
            self.close()
        except BaseException:
            self._remove()
            raise


def clear(folder: Path, disk: Disk) -> None:
    """Remove a folder of kept files whose owner is gone. What others clear at the same time, or the disk refuses, is left."""
    with suppress(OSError):
        for name in os.listdir(folder):
            disk.unlink(folder / name)
        disk.rmdir(folder)
