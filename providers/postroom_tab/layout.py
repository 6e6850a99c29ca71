"""Which name lies at which path below the Config folder, and back.

The folder comes from a system whose disk compares names without case, so every look-up here does too. A name of a post office, group or
list is a file's name as it stands; what a file's name cannot hold, or what would hide or leave the folder, is written as a
percent sign and two hexadecimal digits per octet of UTF-8. `written` and `spelled` undo each other, and no name leads out of its folder.

Errors: a name too long for a file is a `RecordError`; a folder that cannot be listed is an OSError.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from postroom.errors import RecordError

LONGEST = 200  # octets of an encoded name: 255 is the file system's limit, the rest is for suffixes
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|%]|^[ .]|[ .]$|^(?=(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)).', re.IGNORECASE)
_OCTETS = re.compile(r"(?:%[0-9A-Fa-f]{2})+")

Pattern = tuple[str, ...]  # path parts; a star stands for one name, as in ("Postoffices", "*", "GROUPS", "*.TAB")


@lru_cache(maxsize=4096)
def written(name: str) -> str:
    """A name as one path part. RecordError when it is empty, too long or no Unicode text."""
    try:
        part = _UNSAFE.sub(lambda found: "".join(f"%{octet:02X}" for octet in found[0].encode()), name)
        octets = len(part.encode())
    except UnicodeEncodeError:
        raise RecordError(f"the name {name!r} is no Unicode text") from None
    if not 0 < octets <= LONGEST:
        raise RecordError(f"the name {name[:40]!r} has {octets} octets as a file name; it must have 1 to {LONGEST}")
    return part


def spelled(part: str) -> str:
    """The name that a path part stands for. What is no encoding of ours stands for itself."""
    return _OCTETS.sub(_decoded, part)


def _decoded(found: re.Match[str]) -> str:
    try:
        return bytes.fromhex(found[0].replace("%", "")).decode()
    except UnicodeDecodeError:
        return found[0]


def means(pattern: Pattern, parts: Sequence[str]) -> bool:
    """Whether a path, as parts below the Config folder, is a file of this pattern."""
    pairs = [(head.casefold(), part.casefold()) for head, part in zip(pattern, parts)]
    fits = (part.endswith(head[1:]) if head.startswith("*") else part == head for head, part in pairs)
    return len(pattern) == len(parts) and all(fits)


@dataclass(frozen=True, slots=True)
class Spot:
    """A file, and the names on its path that stand for the stars of its pattern."""

    path: Path
    names: tuple[str, ...]
    shadows: Path | None = None  # another file that means the same and comes first


class Tree:
    """The folders as they are now; each is listed once, so a Tree serves one look and is thrown away."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[str, list[str]] = {}

    def _listing(self, folder: str) -> list[str]:
        if (names := self._listings.get(folder)) is None:
            try:
                names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                names = []
            self._listings[folder] = names
        return names

    def survey(self, patterns: Sequence[Pattern]) -> Iterator[Spot]:
        """All files of one table, which may have several patterns (the first is the better name). Of two files that mean the same the
        better-named one comes first and the other says that it shadows it."""
        seen: dict[tuple[str, ...], Path] = {}
        for pattern in patterns:
            for path, names in self._below(str(self.root), pattern, ()):
                key = tuple(name.casefold() for name in names)
                yield Spot(Path(path), names, seen.get(key))
                seen.setdefault(key, Path(path))

    def _below(self, folder: str, pattern: Pattern, names: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
        head, *rest = pattern
        for part, name in self._matches(folder, head):
            path, found = f"{folder}/{part}", names if name is None else (*names, name)
            if rest:
                yield from self._below(path, tuple(rest), found)
            else:
                yield path, found

    def _matches(self, folder: str, head: str) -> Sequence[tuple[str, str | None]]:
        """The parts of a folder that a pattern's part means, the best-spelled first, each with the name it stands for."""
        star, suffix = head.startswith("*"), head.removeprefix("*").casefold()
        parts = [part for part in self._listing(folder) if (part.casefold().endswith(suffix) if star else part.casefold() == suffix)]
        if not star:
            return [(part, None) for part in sorted(parts, key=lambda part: part != head)]
        cut = len(suffix)
        pairs = [(part, spelled(part[: len(part) - cut])) for part in parts if len(part) > cut and _is_text(part)]
        return sorted(pairs, key=lambda pair: (pair[1].casefold(), pair[0] != _or_none(pair[1], head)))

    def locate(self, patterns: Sequence[Pattern], names: Sequence[str]) -> Spot:
        """Where the file of these names lies, or is to be made: below folders that are there already, however they are spelled."""
        for pattern in patterns:
            if (spot := self._spot(pattern, names)) and spot.path.name in self._listing(str(spot.path.parent)):
                return spot
        return self._spot(patterns[0], names)

    def _spot(self, pattern: Pattern, names: Sequence[str]) -> Spot:
        path, found, left = str(self.root), list[str](), list(names)
        for head in pattern:
            if not head.startswith("*"):
                path += "/" + next((part for part, _ in self._matches(path, head)), head)
                continue
            wanted = left.pop(0)
            fresh = (written(wanted) + head[1:], wanted)
            part, name = next(((p, n) for p, n in self._matches(path, head) if n is not None and n.casefold() == wanted.casefold()), fresh)
            path, found = f"{path}/{part}", [*found, name]
        return Spot(Path(path), tuple(found))


def _is_text(part: str) -> bool:
    """Whether a file's name is Unicode; other names cannot be said in a record."""
    return part.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in part)


def _or_none(name: str, head: str) -> str | None:
    """The part under which we would write a name ourselves."""
    try:
        return written(name) + head[1:]
    except RecordError:
        return None
