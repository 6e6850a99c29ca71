"""The maildrop of one session: Inbox as it was when it was locked, and the marks a client makes.

Nothing is removed before `commit`, and what `commit` returned for stays removed through a crash. Message numbers mean the same message
for the whole session, whatever IMAP or a delivery does to the folder meanwhile; who asks for one that is gone gets `NoSuchMessage`, and so
does who asks after another folder took Inbox's place: the same UIDs mean other messages there.
Unique ids are the messages' own ids: they stay when the folder is moved, restored or its index rebuilt, so that nobody's client
downloads everything twice (RFC 1939 section 7: 1 to 70 printable characters, unique within the maildrop).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from postroom.errors import NoSuchFolder, NoSuchMessage
from postroom.mailstore import INBOX, SEEN, Folder, MailStore, View
from postroom_disk.disk import Disk, refused

_ROWS_A_PIECE = 1000


class Locks:
    """Exclusive locks on maildrops, across all workers: one empty file each. The kernel drops a dead worker's.

    The files stay: removing one while another worker is about to lock it would let two in."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder, self.disk = folder, disk

    def acquire(self, postoffice: str, mailbox: str) -> int | None:
        """A descriptor to hand to `release`, or None where another session holds the lock. DiskError when it cannot be told."""
        path = self.folder / lock_name(postoffice, mailbox)
        try:
            fd = self._open(path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self.disk.close(fd)
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    return None
                raise
        except OSError as error:
            raise refused(error, f"locking {path}") from error
        return fd

    def _open(self, path: Path) -> int:
        try:
            return self.disk.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            self.disk.make_folders(self.folder)
            return self.disk.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def release(self, lock: int) -> None:
        self.disk.close(lock)


def lock_name(postoffice: str, mailbox: str) -> str:
    """A file name of fixed length for any names; the same for all spellings that mean the same mailbox."""
    names = f"{postoffice.casefold()}\0{mailbox.casefold()}".encode("utf-8", "surrogatepass")
    return f"pop3-{hashlib.blake2b(names, digest_size=16).hexdigest()}"


class Maildrop:
    """A locked Inbox. Messages are numbered from 1; a number marked as deleted is as good as absent."""

    def __init__(self, folder: Folder, view: View, lock: int, locks: Locks) -> None:
        self._folder, self._view = folder, view
        self._lock: int | None = lock
        self._locks = locks
        self.octets: Sequence[int] = view.octets
        self.deleted: set[int] = set()
        self.retrieved: set[int] = set()
        self._all_octets = sum(self.octets)
        self._deleted_octets = 0

    @classmethod
    async def open(cls, store: MailStore, locks: Locks, postoffice: str, mailbox: str) -> Maildrop | None:
        """None where another session has it. StoreError or DiskError when it cannot be opened."""
        lock = locks.acquire(postoffice, mailbox)
        if lock is None:
            return None
        try:
            folder = await (await store.mailbox(postoffice, mailbox)).folder(INBOX)
            return cls(folder, folder.view(), lock, locks)
        except BaseException:
            locks.release(lock)
            raise

    # What the session asks; pure.

    def __len__(self) -> int:
        return len(self.octets)

    def has(self, number: int) -> bool:
        """Whether there is such a message, not marked as deleted."""
        return 0 < number <= len(self.octets) and number not in self.deleted

    def stat(self) -> tuple[int, int]:
        """Messages and octets, those marked as deleted not counted (RFC 1939 section 5)."""
        return len(self.octets) - len(self.deleted), self._all_octets - self._deleted_octets

    def delete(self, number: int) -> None:
        """Mark it."""
        self.deleted.add(number)
        self._deleted_octets += self.octets[number - 1]

    def reset(self) -> None:
        """Take all marks back."""
        self.deleted.clear()
        self._deleted_octets = 0

    def unique_id(self, number: int) -> bytes:
        return self._view.message(number - 1).id.encode()

    def scan_listing(self) -> Iterator[bytes]:
        """Lines of number and octets, in pieces."""
        for numbers in self._pieces():
            yield b"".join([b"%d %d\r\n" % (n, self.octets[n - 1]) for n in numbers if n not in self.deleted])

    def unique_id_listing(self) -> Iterator[bytes]:
        """Lines of number and unique id, in pieces."""
        for numbers in self._pieces():
            ids = self._view.ids[numbers.start - 1 : numbers.stop - 1]
            yield b"".join([b"%d %b\r\n" % (n, name.encode()) for n, name in zip(numbers, ids, strict=True) if n not in self.deleted])

    def _pieces(self) -> Iterator[range]:
        for first in range(1, len(self.octets) + 1, _ROWS_A_PIECE):
            yield range(first, min(first + _ROWS_A_PIECE, len(self.octets) + 1))

    # What acts.

    async def read(self, number: int, offset: int = 0, n: int = -1) -> bytes:
        """Octets of a message's text. NoSuchMessage when it was removed meanwhile by other means than POP3; DiskError."""
        return await self._folder.read(self._uid(number), offset, n)

    def peek(self, number: int, most: int) -> bytes | None:
        """The whole text where it need not be waited for and is no larger than `most`. Errors as `read`."""
        return self._folder.peek(self._uid(number), most)

    async def commit(self, *, mark_read: bool = False) -> None:
        """The UPDATE state: remove what is marked, durable on return. StoreError or DiskError where something may be left."""
        if mark_read and (read := self.retrieved - self.deleted):
            await self._folder.change_flags(self._uids(read), add=SEEN, uidvalidity=self._view.status.uidvalidity)
        if self.deleted:
            await self._folder.expunge(self._uids(sorted(self.deleted)), uidvalidity=self._view.status.uidvalidity)

    def release(self) -> None:
        """Let others have it. Safe to call twice."""
        if self._lock is not None:
            self._locks.release(self._lock)
            self._lock = None

    def _uid(self, number: int) -> int:
        return self._uids((number,))[0]

    def _uids(self, numbers: Iterable[int]) -> list[int]:
        """NoSuchMessage where this Inbox is not there any more."""
        try:
            is_same = self._folder.view().status.uidvalidity == self._view.status.uidvalidity
        except NoSuchFolder:
            is_same = False
        if not is_same:
            raise NoSuchMessage("the folder was removed meanwhile")
        return [self._view.uids[number - 1] for number in numbers]


class TopCut:
    """Cuts the header and the first body lines (TOP, RFC 1939 section 7) out of a text that comes in pieces."""

    __slots__ = ("_before", "_left", "done")

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._before: bytes | None = b"\r\n"  # the last octets of the header so far; None once the body has begun
        self.done = False

    def piece(self, text: bytes) -> bytes:
        """What of this piece is wanted; `done` says that nothing of what follows is."""
        start = 0
        if self._before is not None:
            seen = self._before + text
            blank = seen.find(b"\r\n\r\n")
            if blank < 0:
                self._before = seen[-3:]
                return text
            start = blank + 4 - len(self._before)
            self._before = None
        lines = text.count(b"\n", start)
        if lines < self._left:
            self._left -= lines
            return text
        self.done = True
        return text[: _end_of_line(text, start, self._left)]


def _end_of_line(text: bytes, start: int, number: int) -> int:
    """Where so many lines from `start` on end; they are there. Halves what it looks at: a step a line would be a step an octet at worst."""
    if not number:
        return start
    end = len(text)
    while end - start > 1:
        middle = (start + end) // 2
        before = text.count(b"\n", start, middle)
        if before >= number:
            end = middle
        else:
            start, number = middle, number - before
    return end
