"""Names that never meet: 32 upper-case hexadecimal digits for messages, items and files."""

from __future__ import annotations

import hashlib
import os
from typing import Final

HALF: Final = 16  # digits that a message's id and those of its parts have in common

_random: list[str] = []


def new_id() -> str:
    """A fresh message id: 128 random bits, so two machines never meet on one name. Drawn from the system 256 at a time: a call each
    costs more than parsing a command."""
    if not _random:
        drawn = os.urandom(16 * 256).hex().upper()
        _random.extend(drawn[at : at + 32] for at in range(0, len(drawn), 32))
    return _random.pop()


os.register_at_fork(after_in_child=_random.clear)  # a child must not draw its parent's names


def part_id(message_id: str, *what: str) -> str:
    """The id of a part of a message. It begins as the message's does, so all parts of one are found by their names, whatever they were made of."""
    return message_id[:HALF] + derived_id(*what)[:HALF]


def derived_id(message_id: str, *what: str) -> str:
    """The id that follows from a message and a purpose; the same input gives the same id, so a replay makes the same names."""
    return hashlib.blake2b("\0".join((message_id, *what)).encode(), digest_size=16).hexdigest().upper()
