"""Mail that a hook set aside: listed, shown, let go, deleted.

A held message is a pair in `Quarantine/`, as a queue has it; a program of the old contract may also have left a message there
without a command file. A release copies the message into the Inbound queue of its source and then moves the command file there by
one rename: at any crash exactly one of the two places has the pair, and the next release finishes what was begun. The item gets an
id derived from the old one, because the journal may still say of the old one that it was done; the message keeps its own, so a
mailbox that has it does not get it twice. Whoever held it is in its `Skip`, and is not asked again. DiskError: the disk
refused, and the message is still on the shelf. Reading never writes. docs/decisions/0005.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from postroom import commandfile
from postroom.address import InternalAddress
from postroom.envelope import FIRST, Envelope, Recipient
from postroom.errors import CommandFileError
from postroom.message import derived_id
from postroom.spool import Queue, Spool
from postroom_disk.disk import refused
from postroom_mime.headers import values
from postroom_mime.words import decode_words
from postroom_run.control import Refused

FOLDER: Final = "Quarantine"
HEADER_MOST: Final = 64 << 10  # octets of a message that are read to tell its header
_ID: Final = re.compile(r"[0-9A-F]{32}")
_GOING: Final = ".going"  # suffix of a message whose command file is about to leave the shelf
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Held:
    """One message on the shelf. Without a command file it has no envelope, and `problem` says what is the matter."""

    name: str  # the id of a pair; of a message alone its file's name
    held: float  # unix seconds since when
    message: Path
    size: int  # octets
    envelope: Envelope | None = None
    problem: str = ""

    @property
    def by(self) -> str:
        return self.envelope.extra.get("HeldBy", "") if self.envelope else ""

    def header(self) -> bytes:
        """The message's header, or the start of a huge one."""
        with self.message.open("rb") as file:
            return file.read(HEADER_MOST).partition(b"\r\n\r\n")[0]

    def subject(self) -> str:
        """For people; empty where there is none or it cannot be read."""
        if self.envelope and self.envelope.subject:
            return self.envelope.subject
        try:
            found = values(self.header() + b"\r\n", b"subject")
        except OSError:
            return ""
        return decode_words(found[0]).strip() if found else ""


class Shelf:
    """The quarantine of a site."""

    def __init__(self, spool: Spool) -> None:
        self._spool, self._disk = spool, spool.disk
        self.folder = spool.root / FOLDER

    def items(self) -> Iterator[Held]:
        """Everything that is held, longest held first. Reads only."""
        found = [held for path in (*_files(self.folder), *_files(self.folder / "Messages")) if (held := self._look(path)) is not None]
        yield from sorted(found, key=lambda held: (held.held, held.name))

    def find(self, name: str) -> Held:
        """The one that these first letters mean. Refused where none or several do."""
        whole = self.folder / f"{name.upper()}.MAI"
        if _ID.fullmatch(name.upper()) and whole.exists() and (held := self._look(whole)) is not None:
            return held
        found = [held for held in self.items() if held.name.upper().startswith(name.upper())]
        exact = [held for held in found if held.name.upper() == name.upper()]
        if len(exact or found) != 1:
            raise Refused(f"{name} means {f'{len(found)} messages' if found else 'no message'} in quarantine")
        return (exact or found)[0]

    def release(self, name: str, to: Sequence[InternalAddress] = ()) -> tuple[Queue, str]:
        """Put a held message into its source's Inbound queue, to these recipients where any are named; where it is now. Durable on return.
        Refused, DiskError."""
        with self._alone():
            held = self.find(name)
            try:
                held = self._adopted(held, to) if held.envelope is None and held.size and to else held
                envelope = released(held, to)
                queue = self._spool[envelope.source].inbound
                self._move(held, envelope, queue)
            except OSError as error:
                raise refused(error, f"releasing {held.name}") from error
            return queue, envelope.id

    def delete(self, name: str) -> None:
        """Take a held message away for good. Refused, DiskError."""
        with self._alone():
            held = self.find(name)
            try:
                for path in (self.folder / f"{held.name}.MAI", held.message):
                    self._unlink(path)
            except OSError as error:
                raise refused(error, f"deleting {held.name}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process lets go or deletes meanwhile: the second of two would put a message back that is on its way."""
        try:
            fd = self._disk.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Refused("nothing is in quarantine") from None
        except OSError as error:
            raise refused(error, f"opening {self.folder}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            self._disk.close(fd)

    def _adopted(self, held: Held, to: Sequence[InternalAddress]) -> Held:
        """A message alone, made a pair."""
        item = derived_id(held.name, "adopted")
        envelope = Envelope(item, item, "SMTP", None, tuple(map(Recipient, to)), held.held)
        message = self.folder / "Messages" / f"{item}.MAI"
        self._disk.make_durable_folders(message.parent, self._spool.root)
        self._disk.rename(held.message, message)
        self._disk.sync_folder(message.parent)
        self._disk.write_aside(self.folder / f"{item}.MAI", commandfile.encode(envelope, status=FOLDER))
        self._unlink(self.folder / f"{held.name}.MAI")  # a command file that could not be read
        return replace(held, name=item, message=message, envelope=envelope)

    def _move(self, held: Held, envelope: Envelope, queue: Queue) -> None:
        """Each step durable before the next, so that a power cut leaves what a crash would."""
        place, command = queue.message_path(envelope.id), self.folder / f"{held.name}.MAI"
        going = held.message.with_name(f"{held.name}{_GOING}")
        self._disk.make_durable_folders(place.parent, self._spool.root)
        self._copy(held.message, place)
        self._disk.sync_folder(place.parent)
        self._disk.write_aside(command, commandfile.encode(envelope))
        if held.message != going:
            self._disk.rename(held.message, going)
            self._disk.sync_folder(going.parent)
        self._disk.rename(command, queue.command_path(envelope.id))
        self._disk.sync_folder(queue.folder)
        self._disk.sync_folder(self.folder)
        for path in _files(going.parent):  # what releases before this one left behind goes too
            if path.suffix == _GOING and not (self.folder / f"{path.stem}.MAI").exists():
                self._unlink(path)

    def _copy(self, old: Path, new: Path) -> None:
        """The octets, durable. A copy, for the sweeper takes an old file in a queue for one that was never accepted."""
        fd = self._disk.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with old.open("rb") as file:
                while block := file.read(_BLOCK):
                    self._disk.write_all(fd, block)
            self._disk.fsync(fd)
        finally:
            self._disk.close(fd)

    def _unlink(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            self._disk.unlink(path)

    def _look(self, path: Path) -> Held | None:
        """What this file holds; None for a message that its command file tells of, and for what was taken away meanwhile."""
        try:
            if path.parent != self.folder:
                told = path.suffix == _GOING or (self.folder / path.name).exists()
                return None if told else self._without_command(path)
            envelope, problem = _read(path)
            messages = (self.folder / "Messages" / f"{path.stem}{suffix}" for suffix in (".MAI", _GOING))
            if (message := next(filter(Path.exists, messages), None)) is None:
                return self._without_message(path) if envelope and envelope.recipients else self._without_command(path)
            return Held(path.stem, path.stat().st_mtime, message, message.stat().st_size, envelope, problem)
        except FileNotFoundError:
            return None

    def _without_command(self, path: Path) -> Held:
        stat = path.stat()
        return Held(path.stem, stat.st_mtime, path, stat.st_size, problem="there is no command file beside it: release it with --to")

    def _without_message(self, path: Path) -> Held:
        return Held(path.stem, path.stat().st_mtime, path, 0, problem="its message is gone: only delete is left")


def released(held: Held, to: Sequence[InternalAddress] = ()) -> Envelope:
    """The envelope with which a held message goes in again. Refused where it cannot."""
    old = held.envelope
    if old is None:
        raise Refused(f"{held.name} cannot be released: {held.problem}")
    recipients = tuple(map(Recipient, to))
    return replace(
        old,
        id=derived_id(old.id, "released"),
        recipients=recipients or old.recipients,
        settled=frozenset() if recipients else old.settled,
        skip=old.skip | ({held.by} if held.by else frozenset()),
        attempt=FIRST,
        hop="",
        holder="",
    )


def _read(path: Path) -> tuple[Envelope | None, str]:
    try:
        return commandfile.decode(path.read_bytes(), item=path.stem, source="SMTP"), ""
    except CommandFileError as error:
        return None, f"its command file cannot be read: {error}; release it with --to"


def _files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_file() and not entry.name.startswith("."))
    except FileNotFoundError:
        return
