"""The keys of all domains on disk: `SITE/dkim/<domain>/`, folders 0700, private keys and the list of them 0600.

Beside `<selector>.<kind>.pem` lies `<selector>.txt`, the text of its DNS record: what of a domain's keys lies there as .txt is what DNS must say.
A key is on disk, synced, before `keys.json` names it, so a crash leaves a file that nobody knows of and never a name without a key. Whoever changes
a list holds the lock, be it a worker or the command line. DiskError where the disk refuses, KeyFault where what lies there cannot be used. Calls
that change something may take a second: not in a loop.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from postroom.clock import Clock
from postroom_disk.disk import Disk, refused
from postroom_dkim import records, sets
from postroom_dkim.errors import KeyFault, NothingWaits
from postroom_dkim.keys import Key
from postroom_dkim.records import Record
from postroom_dkim.sets import KeySet, Sets, State
from postroom_dkim.settings import DkimSettings

LIST: Final = "keys.json"
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def is_domain(name: str) -> bool:
    """Whether DNS can have keys of it: no address literal, no mask."""
    return len(name) <= 253 and _DOMAIN.fullmatch(name) is not None


class Shelf:
    """Where they lie."""

    def __init__(self, root: Path, disk: Disk, clock: Clock, settings: DkimSettings) -> None:
        self.root = root / "dkim"
        self._disk, self._clock, self._settings = disk, clock, settings

    def folder(self, domain: str) -> Path:
        """A domain's own; KeyFault where this is none, so that no name leads elsewhere."""
        if not is_domain(domain):
            raise KeyFault(f"{domain!r} is no domain name; write it like example.com")
        return self.root / domain

    def domains(self) -> list[str]:
        """Those that have a list of keys."""
        try:
            found = sorted(path.name for path in self.root.iterdir() if _DOMAIN.fullmatch(path.name))
        except FileNotFoundError:
            return []
        return [name for name in found if (self.root / name / LIST).exists()]

    def sets(self, domain: str) -> Sets:
        """The list of its keys; empty where it has none."""
        path = self.folder(domain) / LIST
        try:
            return sets.decode(path.read_bytes(), str(path))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _unreadable(path, error) from error

    def key(self, domain: str, file: str) -> Key:
        """One of its private keys."""
        path = self.folder(domain) / file
        try:
            return Key.read(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise KeyFault(
                f"{path} is missing, but {LIST} names it; put it back from a backup, or make new keys and use them at once: postroom dkim rotate {domain}, then postroom dkim activate {domain} --now"
            ) from None
        except OSError as error:
            raise _unreadable(path, error) from error

    def records(self, domain: str, one: KeySet) -> list[Record]:
        """What DNS must say of a set."""
        return [Record(records.name(sets.selector_of(file), domain), self.key(domain, file).record()) for file in one.keys]

    # What changes something.

    def ensure(self, domain: str) -> Sets:
        """Its keys, made where it has none; they sign from now on."""
        return self.sets(domain) or self._change(domain, lambda now: self.sets(domain) or (self._made(domain, (), "active", now),))

    def add(self, domain: str, keys: Sequence[tuple[str, Key]]) -> Sets:
        """The first keys of a domain, brought along under the selectors that DNS knows already. KeyFault where it has keys."""

        def begin(now: float) -> Sets:
            if self.sets(domain):
                raise KeyFault(f"{domain} has keys already; new ones are made by: postroom dkim rotate {domain}")
            return (self._kept(domain, "added", keys, "active", now),)

        return self._change(domain, begin)

    def rotate(self, domain: str) -> Sets:
        """New keys that wait until DNS has them. KeyFault where there are none to replace, or some wait already."""

        def begin(now: float) -> Sets:
            known = self.sets(domain)
            if not known:
                raise KeyFault(f"{domain} has no keys yet; make them with: postroom dkim add {domain}")
            if waiting := sets.find(known, "next"):
                raise KeyFault(
                    f"{domain} has new keys that wait already ({waiting.name}); let them sign with: postroom dkim activate {domain}"
                )
            return (*known, self._made(domain, known, "next", now))

        return self._change(domain, begin)

    def activate(self, domain: str) -> Sets:
        """The keys that wait sign from now on. NothingWaits where none do."""

        def begin(now: float) -> Sets:
            known = self.sets(domain)
            if sets.find(known, "next") is None:
                raise NothingWaits(f"no keys of {domain} wait; make them with: postroom dkim rotate {domain}")
            return sets.activated(known, now)

        return self._change(domain, begin)

    def drop_old(self, domain: str) -> Sequence[KeySet]:
        """Remove the sets that are retired for longer than the settings keep them, and say which."""
        before = self._clock.now() - self._settings.keep * 86400
        if not sets.without_old(self.sets(domain), before)[1]:
            return ()
        gone: list[KeySet] = []

        def begin(now: float) -> Sets:
            left, old = sets.without_old(self.sets(domain), before)
            gone.extend(old)
            return left

        self._change(domain, begin)
        for file in (file for one in gone for file in one.keys):
            self._remove(self.folder(domain) / file)
            self._remove(self.folder(domain) / f"{sets.selector_of(file)}.txt")
        return gone

    def _change(self, domain: str, begin: Callable[[float], Sets]) -> Sets:
        folder = self.folder(domain)
        try:
            self._disk.make_durable_folders(folder, self.root.parent)
            with self._locked():
                known = begin(self._clock.now())
                self._disk.write_aside(folder / LIST, sets.encode(known), mode=0o600)
                return known
        except OSError as error:
            raise refused(error, f"writing the keys of {domain}") from error

    def _made(self, domain: str, known: Sets, state: State, now: float) -> KeySet:
        name = sets.new_name(now, {one.name for one in known})
        made = [(f"{name}{kind[0]}", Key.make(kind, self._settings.rsa_bits)) for kind in dict.fromkeys(self._settings.algorithms)]
        return self._kept(domain, name, made, state, now)

    def _kept(self, domain: str, name: str, keys: Sequence[tuple[str, Key]], state: State, now: float) -> KeySet:
        """The keys on disk, as a set that no list names yet."""
        folder = self.folder(domain)
        for selector, key in keys:
            self._disk.write_aside(folder / sets.file_of(selector, key.kind), key.pem(), mode=0o600)
            self._disk.write_aside(folder / f"{selector}.txt", f"{key.record()}\n".encode(), mode=0o644)
        return KeySet(name, state, now, tuple(sets.file_of(selector, key.kind) for selector, key in keys))

    def _remove(self, path: Path) -> None:
        try:
            self._disk.unlink(path)
        except OSError:  # no list names it: `check` tells
            pass

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = self._disk.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            self._disk.close(fd)


def _unreadable(path: Path, error: OSError) -> KeyFault:
    return KeyFault(f"{path} cannot be read ({error.strerror or error}); it must belong to the account that postroom runs as")
