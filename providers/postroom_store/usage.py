"""How many octets a mailbox holds: the last octets of its folders' logs, added up.

A log that did not grow is not read again, and which folders there are is asked again after some seconds, or at once when this worker changed it.
So a check costs a stat a folder.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field

from postroom.clock import Clock
from postroom_store import layout
from postroom_store.records import TAIL, read_tail
from postroom_store.walking import folders

_LISTED = 5.0  # seconds
_MOST = 2000  # mailboxes remembered


@dataclass(slots=True)
class _Mailbox:
    paths: list[str]
    listed: float
    octets: dict[str, tuple[int, int, int, int]] = field(
        default_factory=dict
    )  # by path: inode, size, change of the log; octets of the folder


class Usage:
    """What this worker knows of mailboxes' sizes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mailboxes: OrderedDict[str, _Mailbox] = OrderedDict()

    def forget(self, mailbox: str) -> None:
        """Folders came or went in the mailbox in this directory."""
        self._mailboxes.pop(mailbox, None)

    def used(self, mailbox: str, *, but: str = "") -> int:
        """Octets of all messages in the mailbox in this directory, those of the folder in directory `but` left out."""
        known = self._mailboxes.get(mailbox)
        now = self._clock.monotonic()
        if known is None or now - known.listed > _LISTED:
            known = _Mailbox([path for _, path in folders(mailbox)], now, known.octets if known else {})
            self._mailboxes[mailbox] = known
            if len(self._mailboxes) > _MOST:
                self._mailboxes.popitem(last=False)
        return sum(_octets(known, path) for path in known.paths if path != but)


def _octets(known: _Mailbox, path: str) -> int:
    try:
        fd = -1
        status = os.stat(f"{path}/{layout.LOG}")
        before = known.octets.get(path, (0, 0, 0, 0))
        if before[:3] == (status.st_ino, status.st_size, status.st_mtime_ns):
            return before[3]
        fd = os.open(f"{path}/{layout.LOG}", os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(fd)
        tail = read_tail(os.pread(fd, TAIL, max(status.st_size - TAIL, 0)), status.st_size)
        if tail is None:  # being written this very moment, or torn: the next writer mends it
            return before[3]
        known.octets[path] = (status.st_ino, status.st_size, status.st_mtime_ns, tail.octets)
        return tail.octets
    except (FileNotFoundError, NotADirectoryError):
        return 0
    finally:
        if fd >= 0:
            os.close(fd)
