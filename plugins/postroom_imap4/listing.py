"""Which folders a LIST names, and with which attributes (RFC 9051 section 6.3.9, RFC 5258, RFC 6154). Pure.

Names are people's text, levels joined by "/". Names compare without case, as the store's do. Matching takes a step for each pattern character
and name character at worst, whatever the pattern.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from postroom.mailstore import INBOX
from postroom_imap4.commands import List
from postroom_imap4.special_uses import Uses, of_folders


@dataclass(frozen=True, slots=True)
class Listed:
    """One answer."""

    name: str
    attributes: tuple[bytes, ...] = ()
    exists: bool = True
    by_child: tuple[str, ...] = ()  # options by which something below it is selected (CHILDINFO, RFC 5258 section 3.5)


_ANY: Final = List("", (), returns=frozenset(("SUBSCRIBED",)))
_CRITERIA: Final = ("SUBSCRIBED", "SPECIAL-USE")  # the selection options that a name satisfies or not


class Tree:
    """A mailbox's folders and subscriptions at one moment. `uses`: what the folders are for; by their names unless said."""

    def __init__(self, folders: Sequence[str], subscribed: Iterable[str], uses: Uses | None = None) -> None:
        self.folders = {key_of(name): name for name in folders}
        self.subscribed = {key_of(name): name for name in subscribed}
        self.uses = {key_of(name): use for name, use in (of_folders(folders, {}) if uses is None else uses).items()}
        self.parents = {above for key in self.folders for above in _above(key)}

    def listed(self, asked: List) -> Iterator[Listed]:
        """What a LIST or LSUB is answered, by name."""
        return (found for found in self.steps(asked) if found is not None)

    def steps(self, asked: List) -> Iterator[Listed | None]:
        """The same; None for each name that was looked at and is not told, as many patterns and names take their time."""
        patterns = [Pattern(asked.reference + pattern) for pattern in asked.patterns]
        if asked.is_lsub:
            yield from self._lsub(patterns)
            return
        names = self._candidates(asked)
        marked = (
            {above for key, _ in names if self._is_selected(asked, key) for above in _above(key)}
            if "RECURSIVEMATCH" in asked.select
            else ()
        )
        for key, name in names:
            is_meant = any(pattern.matches(name) for pattern in patterns)
            yield self._answer(asked, key, name, has_selected=key in marked) if is_meant else None

    def about(self, name: str) -> Listed:
        """All that is told of one name, whether there is such a folder or not."""
        if (found := self._answer(_ANY, key_of(name), name)) is not None:
            return found
        subscribed = (b"\\Subscribed",) if key_of(name) in self.subscribed else ()
        return Listed(name, (b"\\NonExistent", b"\\Noselect", b"\\HasNoChildren", *subscribed), exists=False)

    def _candidates(self, asked: List) -> list[tuple[str, str]]:
        """Every name that may be told, with its key, in the store's order and what does not exist behind it."""
        names = dict(self.folders)
        if "SUBSCRIBED" in asked.select:
            names |= {key: name for key, name in self.subscribed.items() if key not in names}
        for key in list(names):
            for above, name in zip(_above(key), _above(names[key])):
                names.setdefault(above, name)  # a level without a folder of its own
        return list(names.items())

    def _is_selected(self, asked: List, key: str) -> bool:
        return ("SUBSCRIBED" not in asked.select or key in self.subscribed) and (
            "SPECIAL-USE" not in asked.select or bool(self.uses.get(key))
        )

    def _answer(self, asked: List, key: str, name: str, *, has_selected: bool = False) -> Listed | None:
        """`has_selected`: below it, and that is to be told."""
        exists, is_subscribed = key in self.folders, key in self.subscribed
        if not self._is_selected(asked, key):
            if not has_selected:
                return None
        elif not exists and "SUBSCRIBED" not in asked.select and key not in self.parents:
            return None
        attributes = [] if exists else [b"\\NonExistent", b"\\Noselect"]
        attributes.append(b"\\HasChildren" if key in self.parents else b"\\HasNoChildren")
        if is_subscribed and ("SUBSCRIBED" in asked.select or "SUBSCRIBED" in asked.returns):
            attributes.append(b"\\Subscribed")
        attributes += self.uses.get(key, ())
        by_child = tuple(option for option in _CRITERIA if option in asked.select) if has_selected else ()
        return Listed(self.folders.get(key, name), tuple(attributes), exists, by_child)

    def _lsub(self, patterns: Sequence[Pattern]) -> Iterator[Listed | None]:
        """RFC 3501 section 6.3.9: with "%", a level above a subscribed name is told as \\Noselect, so that the client looks below it."""
        told = set()
        for key, name in self.subscribed.items():
            if any(pattern.matches(name) for pattern in patterns):
                told.add(key)
                yield Listed(name)
                continue
            yield None
            for above, shown in zip(_above(key), _above(name)):
                if (
                    above in told
                    or above in self.subscribed
                    or not any(pattern.is_shallow and pattern.matches(shown) for pattern in patterns)
                ):
                    continue
                told.add(above)
                yield Listed(shown, (b"\\Noselect",))


class Pattern:
    """A mailbox pattern: "*" stands for anything, "%" for anything within one level. Inbox is matched as it is told, as INBOX (RFC 3501 section
    6.3.8)."""

    __slots__ = ("_masks", "_rest", "_start", "text")

    def __init__(self, text: str) -> None:
        if text[:5].upper() == "INBOX" and text[5:6] in ("", "/", "*", "%"):
            text = text[:5].upper() + text[5:]
        self.text = text
        star = min((place for place in (text.find("*"), text.find("%")) if place >= 0), default=len(text))
        self._start, self._rest = text[:star], _WILD.sub(lambda run: "*" if "*" in run[0] else "%", text[star:])
        self._masks: _Masks | None = None

    @property
    def is_shallow(self) -> bool:
        return self.text.endswith("%")

    def matches(self, name: str) -> bool:
        if name[: len(INBOX)] == INBOX and name[len(INBOX) : len(INBOX) + 1] in ("", "/"):
            name = INBOX.upper() + name[len(INBOX) :]
        if not name.startswith(self._start):
            return self.text == "*"
        rest = name[len(self._start) :]
        match self._rest:
            case "":
                return not rest
            case "*":
                return True
            case "%":
                return "/" not in rest
        self._masks = masks = self._masks or _masks(self._rest)
        return _matches(masks, rest)


_WILD: Final = re.compile(r"[*%]{2,}+")  # the same as one of them


class _Masks(NamedTuple):
    """A pattern: the places of its "*", of both wildcards, and of each other character, as bits of numbers."""

    stars: int
    wild: int
    same: Mapping[str, int]
    size: int


def _masks(pattern: str) -> _Masks:
    found: dict[str, int] = {}
    for place, char in enumerate(pattern):
        found[char] = found.get(char, 0) | 1 << place
    stars = found.pop("*", 0)
    return _Masks(stars, stars | found.pop("%", 0), found, len(pattern))


def _matches(pattern: _Masks, name: str) -> bool:
    """All places in the pattern that the name read so far may have come to, as bits of one number: no backtracking. A wildcard may stand for
    nothing: whoever is at one is behind it too, and no two stand side by side."""
    stars, wild, same, size = pattern
    places = 1 | (1 & wild) << 1
    for char in name:
        places = places & (stars if char == "/" else wild) | (places & same.get(char, 0)) << 1
        if not places:
            return False
        places |= (places & wild) << 1
    return bool(places >> size & 1)


@lru_cache(maxsize=4096)
def key_of(name: str) -> str:
    """One text for all spellings of a name."""
    return unicodedata.normalize("NFC", name).casefold()


def _above(name: str) -> list[str]:
    """The levels above a name, from the top."""
    levels = name.split("/")
    return ["/".join(levels[:depth]) for depth in range(1, len(levels))]


def is_inbox(name: str) -> bool:
    return key_of(name) == key_of(INBOX)
