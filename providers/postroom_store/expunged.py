"""Expunged messages, kept for a while so that their owner can have them back.

`MAILROOT/<mailbox>/.expunged/<hour>/<object id>/<id>.<flags>.<arrived>.MAI`: a file goes there instead of away, by one rename, after the
expunge is durable; the file `name` beside it says which folder it was in. The hour (UTC, YYYYMMDDHH) is that of the expunge, and goes as a
whole when its time is over. A promise to nobody: a crash between an expunge and the rename, and a disk that refuses, lose the copy, as does `remove` of the
mailbox. What is kept counts for no quota. Bringing back is idempotent: a message restored before a crash is not restored again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from postroom.message import FileMessage, derived_id
from postroom_mime.headers import MAX_HEADER, header_end, values
from postroom_mime.words import decode_words
from postroom_store import files
from postroom_store.layout import SUFFIX
from postroom_store.means import Means

FOLDER = ".expunged"  # a hidden name: no folder's
SYSTEM = 0b10111  # flags that come back: \Deleted would expunge it again, keywords belong to a folder
MOST = 1000  # messages told of at a time, the latest expunged first
_NAME = re.compile(r"([0-9A-F]{32})\.([0-9a-f]{1,2})\.([0-9]{1,12})\.MAI")
_HOUR = re.compile(r"[0-9]{10}")


class Kept(NamedTuple):
    """A message that can be brought back."""

    path: str
    id: str
    folder: str  # its name when the first message was kept in this hour
    flags: int
    arrived: float
    expunged: float  # the hour in which it was


def kept_name(message_id: str, flags: int, arrived: float) -> str:
    return f"{message_id}.{flags & SYSTEM:x}.{max(int(arrived), 0)}{SUFFIX}"


class Keeping:
    """Where the messages expunged from one folder at one time go; nowhere but away where they are not kept, or the disk refuses."""

    def __init__(self, means: Means, mailbox: str, object_id: bytes, folder: str, *, keep: bool = True) -> None:
        self._disk, self._folder = means.disk, folder
        self._place = ""
        if keep and means.keep_expunged > 0:
            self._place = f"{mailbox}/{FOLDER}/{_hour(means.clock.now())}/{object_id.hex()}"

    def let_go(self, path: str, name: str) -> None:
        """Keep this file under that name, or remove it. A file that is gone already is no error."""
        if self._place and self._is_ready():
            try:
                self._disk.rename(path, f"{self._place}/{name}")
                return
            except FileNotFoundError:
                return
            except OSError:
                self._place = ""
        files.remove(self._disk, path)

    def _is_ready(self) -> bool:
        if os.path.exists(f"{self._place}/name"):
            return True
        try:
            self._disk.make_folders(Path(self._place))
            fd = self._disk.open(f"{self._place}/name", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                self._disk.write_all(fd, self._folder.encode())
            finally:
                self._disk.close(fd)
        except OSError:  # full, most often: an expunge must be able to make room
            self._place = ""
        return bool(self._place)


def kept(mailbox: str) -> Iterator[Kept]:
    """All that can be brought back, the latest hour first."""
    for hour in sorted(_listed(f"{mailbox}/{FOLDER}"), reverse=True):
        if _HOUR.fullmatch(hour) is None:
            continue
        for folder in sorted(_listed(f"{mailbox}/{FOLDER}/{hour}")):
            yield from _in_folder(f"{mailbox}/{FOLDER}/{hour}/{folder}", _when(hour))


def _in_folder(place: str, when: float) -> Iterator[Kept]:
    try:
        shown = Path(place, "name").read_text("utf-8")
    except (OSError, ValueError):
        return
    for name in sorted(_listed(place)):
        if match := _NAME.fullmatch(name):
            yield Kept(f"{place}/{name}", match[1], shown, int(match[2], 16) & SYSTEM, float(match[3]), when)


def told(mailbox: str) -> bytes:
    """Those messages as lines of JSON, for their owner to choose from; empty where there are none."""
    lines: list[str] = []
    for one in kept(mailbox):
        if len(lines) == MOST:
            break
        with suppress(OSError):
            about = {"id": one.id, "folder": one.folder, "expunged": _shown(one.expunged), "arrived": _shown(one.arrived)}
            lines.append(json.dumps(about | {"octets": os.path.getsize(one.path), "subject": _subject(one.path)}))
    return "\n".join(lines).encode()


def drop_old(means: Means, mailbox: str) -> list[str]:
    """Directories of hours whose time is over."""
    until = means.clock.now() - means.keep_expunged
    hours = [hour for hour in _listed(f"{mailbox}/{FOLDER}") if _HOUR.fullmatch(hour) and _when(hour) + 3600 <= until]
    return [f"{mailbox}/{FOLDER}/{hour}" for hour in hours]


def chosen(mailbox: str, wanted: Iterable[str] | None) -> Sequence[Kept]:
    """Those with these ids, or all; the earliest arrived first, so that UIDs grow with time."""
    ids = None if wanted is None else {one.upper() for one in wanted}
    return sorted((one for one in kept(mailbox) if ids is None or one.id in ids), key=lambda one: (one.folder, one.arrived, one.id))


def restored(one: Kept, object_id: bytes) -> FileMessage:
    """The message as it comes back into this folder, under an id made of the old one."""
    return FileMessage(derived_id(one.id, "undelete", object_id.hex()), Path(one.path), os.path.getsize(one.path))


def _subject(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.read(fd, MAX_HEADER // 16)
    finally:
        os.close(fd)
    found = values(head[: header_end(head)], b"subject")
    return decode_words(found[0])[:200] if found else ""


def _listed(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _hour(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d%H}"


def _when(hour: str) -> float:
    try:
        return datetime.strptime(hour, "%Y%m%d%H").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _shown(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
