"""The keys a worker signs with: read once, read again when a file changed, made when a domain of ours is met that has none.

A look at the files costs some microseconds a message; no key is older than the message it signs. KeyFault or DiskError says why there is no
key, and the next message tries again.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from postroom_dkim import sets
from postroom_dkim.errors import KeyFault
from postroom_dkim.keys import Key
from postroom_dkim.shelf import LIST, Shelf

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Signing:
    """A key and its name in DNS."""

    selector: str
    key: Key


@dataclass(frozen=True, slots=True)
class _Loaded:
    paths: tuple[Path, ...]
    stamp: _Stamp
    keys: tuple[Signing, ...]


class Ring:
    """All of them, by domain."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._loaded: dict[str, _Loaded] = {}
        self._making = asyncio.Lock()

    async def of(self, domain: str) -> tuple[Signing, ...]:
        """The keys that sign for a domain now; does not suspend where it has some. KeyFault, DiskError."""
        loaded = self._loaded.get(domain)
        if loaded is not None and _stamp(loaded.paths) == loaded.stamp:
            return loaded.keys
        if found := self._load(domain):
            return found
        async with self._making:  # one makes them, the others find them
            if not (found := self._load(domain)):
                await asyncio.to_thread(self._shelf.ensure, domain)
                found = self._load(domain)
            return found

    def _load(self, domain: str) -> tuple[Signing, ...]:
        """Read them; nothing where the domain has none. Each file is looked at before it is read, so what changes meanwhile is read again."""
        folder = self._shelf.folder(domain)
        stamp = _stamp((folder / LIST,))
        active = sets.find(self._shelf.sets(domain), "active")
        if active is None:
            self._loaded.pop(domain, None)
            return ()
        paths = tuple(folder / file for file in active.keys)
        stamp += _stamp(paths)
        keys = tuple(Signing(sets.selector_of(file), self._shelf.key(domain, file)) for file in active.keys)
        self._loaded[domain] = _Loaded((folder / LIST, *paths), stamp, keys)
        return keys


def _stamp(paths: tuple[Path, ...]) -> _Stamp:
    """What changes when any of the files does; nothing where one is not there."""
    try:
        return tuple((seen.st_mtime_ns, seen.st_ino, seen.st_size) for seen in map(os.stat, paths))
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            return ()
        raise KeyFault(f"the keys cannot be looked at ({error}); the folder must belong to the account that postroom runs as") from error
