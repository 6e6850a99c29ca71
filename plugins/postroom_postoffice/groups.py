"""A group becomes its members: pure, proof against circles, bounded.

Groups within groups of this site are opened in one go, so that somebody who is in two of them gets one copy and the limit counts everybody.
A member that comes back through the address map (`[SMTP:sales@domain]` for a group) meets `Envelope.expanded`, which
names every group and redirect the envelope came through. Overview section 3.2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postroom.address import InternalAddress
from postroom.envelope import Recipient
from postroom.errors import AddressError
from postroom.records import GroupRecord
from postroom_postoffice.book import Book


class TooManyMembers(Exception):
    """The group and the groups in it come to more members than the site allows."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """Who is in a group, in the order of the files, each once; and the lines nobody can read."""

    members: tuple[InternalAddress, ...]
    broken: tuple[str, ...] = ()


def expand(book: Book, group: GroupRecord, *, passed: Sequence[InternalAddress] = (), limit: int) -> Expansion:
    """Open a group and the groups in it. A group that is open already, here or in `passed`, adds nobody; TooManyMembers beyond `limit`."""
    members: dict[InternalAddress, None] = {}
    broken: list[str] = []
    opened = {id(row) for address in passed if (row := book.group(address))} | {id(group)}
    waiting = [iter(book.members(group))]
    while waiting:
        text = next(waiting[-1], None)
        if text is None:
            waiting.pop()
            continue
        try:
            address = InternalAddress.parse(text)
        except AddressError:
            broken.append(text)
            continue
        inner = book.group(address) if address.connector == "SF" else None
        if inner is None:
            members.setdefault(address)
        elif id(inner) not in opened:
            opened.add(id(inner))
            waiting.append(iter(book.members(inner)))
        if len(members) > limit:
            raise TooManyMembers
    return Expansion(tuple(members), tuple(broken))


def in_place_of(recipient: Recipient, addresses: Sequence[InternalAddress]) -> tuple[Recipient, ...]:
    """The recipients that stand for this one. RFC 3461 section 5.2.7: one addressee inherits every wish; several never send a
    success notice each, because the expansion itself is what the sender is told."""
    if len(addresses) == 1:
        return (Recipient(addresses[0], recipient.original, recipient.notify),)
    notify = recipient.notify - {"SUCCESS"}
    if recipient.notify and not notify:
        notify = frozenset({"NEVER"})
    return tuple(Recipient(address, recipient.original, notify) for address in addresses)
