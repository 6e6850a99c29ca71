"""The list of a domain's keys, `keys.json`: which sign, which wait for DNS, which are kept for mail that is on its way. Pure.

A set is the keys made together, one a kind. One set signs, at most one waits; a set that another took the place of is retired and goes after a
while. The file is JSON, `{"sets": [{"name", "state", "since", "keys": [file names]}]}`; a key's selector is its file's name up to the first dot.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from postroom_dkim.errors import KeyFault
from postroom_dkim.keys import Kind

State = Literal["active", "next", "retired"]
_FILE = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\.(rsa|ed25519)\.pem")
_LETTERS: Final = "bcdfghjkmnpqstvwxyz"  # what tells apart sets of one day; without r and e, which end a selector


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys that were made together."""

    name: str
    state: State
    since: float  # unix seconds at which it came into this state
    keys: tuple[str, ...]  # names of PEM files

    @property
    def selectors(self) -> tuple[str, ...]:
        return tuple(map(selector_of, self.keys))


Sets = tuple[KeySet, ...]


def file_of(selector: str, kind: Kind) -> str:
    """The name of a private key's file."""
    return f"{selector}.{kind}.pem"


def selector_of(file: str) -> str:
    """The name in DNS of the key in this file."""
    return file.partition(".")[0]


def is_selector(text: str) -> bool:
    """One label, in lower case."""
    return _FILE.fullmatch(f"{text}.rsa.pem") is not None


def decode(data: bytes, where: str) -> Sets:
    """The list in a file. KeyFault where it is none: nobody guesses which key signs."""
    try:
        found = tuple(_set(one) for one in json.loads(data)["sets"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeyFault(f"{where} is no list of keys ({type(error).__name__}: {error}); put it back from a backup") from None
    if [one.state for one in found].count("active") != 1 or [one.state for one in found].count("next") > 1:
        raise KeyFault(f'{where} must name one set whose state is "active", and one "next" at most; mend it by hand')
    return found


def _set(one: dict[str, object]) -> KeySet:
    name, state, since, keys = one["name"], one["state"], one["since"], one["keys"]
    if not isinstance(name, str) or not isinstance(since, int | float) or not isinstance(keys, list) or state not in get_args(State):
        raise ValueError(f"a set reads {one!r:.200}")
    if not keys or not all(isinstance(key, str) and _FILE.fullmatch(key) for key in keys):
        raise ValueError(f"the keys of {name} are {keys!r:.200}")
    return KeySet(name, state, float(since), tuple(keys))  # type: ignore[arg-type]  # a State by the test above


def encode(sets: Sets) -> bytes:
    """The list as its file has it, for people too."""
    plain = [{"name": one.name, "state": one.state, "since": one.since, "keys": list(one.keys)} for one in sets]
    return (json.dumps({"sets": plain}, indent=1) + "\n").encode()


def find(sets: Iterable[KeySet], state: State) -> KeySet | None:
    """The set in this state; of retired ones the first."""
    return next((one for one in sets if one.state == state), None)


def new_name(now: float, taken: Collection[str]) -> str:
    """A name that says the day, and that no set of this domain ever had as far as is known."""
    day = time.strftime("%Y%m%d", time.gmtime(now))
    return next(
        name for name in (day, *(day + letter for letter in _LETTERS), *(f"{day}{n}" for n in range(len(taken) + 1))) if name not in taken
    )


def activated(sets: Sets, now: float) -> Sets:
    """The waiting set signs from now on, the one that signed is kept."""
    if find(sets, "next") is None:
        return sets
    becomes: dict[State, State] = {"next": "active", "active": "retired", "retired": "retired"}
    return tuple(one if one.state == "retired" else replace(one, state=becomes[one.state], since=now) for one in sets)


def without_old(sets: Sets, before: float) -> tuple[Sets, Sequence[KeySet]]:
    """The list without sets retired before then, and those."""
    old = [one for one in sets if one.state == "retired" and one.since < before]
    return tuple(one for one in sets if one not in old), old
