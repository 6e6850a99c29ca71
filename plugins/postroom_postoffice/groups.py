"""A group becomes its members: pure, proof against circles, bounded.

Groups within groups of this site are opened in one go, so that somebody who is in two of them gets one copy and the limit counts everybody.
A member that is another group's address (`[SMTP:sales@domain]`) is opened like one. What comes back over a redirect meets `Envelope.expanded`, which
names every group and redirect the envelope came through. Overview section 3.2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from postroom.address import InternalAddress
from postroom.envelope import Recipient
from postroom.errors import AddressError
from postroom.records import GroupRecord
from postroom_postoffice.book import Book

Resolve = Callable[[InternalAddress], Sequence[InternalAddress]]  # where the address map sends an address


class TooManyMembers(Exception):
    """The group and the groups in it come to more members than the site allows."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """Who is in a group, in the order of the files, each once; and the lines nobody can read."""

    members: tuple[InternalAddress, ...]
    broken: tuple[str, ...] = ()


def expand(
    book: Book, group: GroupRecord, *, passed: Sequence[InternalAddress] = (), limit: int, resolve: Resolve = lambda address: ()
) -> Expansion:
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
        reached = resolve(address) if address.connector != "SF" else ()
        if any(to.connector == "SF" and book.group(to) for to in reached):
            waiting.append(iter([str(to) for to in reached if to != address]))
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


def in_place_of(recipient: Recipient, addresses: Sequence[InternalAddress], *, kept: bool = False) -> tuple[Recipient, ...]:
    """The recipients that stand for this one. RFC 3461 section 5.2.7: one addressee inherits every wish; several never send a
    success notice each, because the expansion itself is what the sender is told, or the copy that was `kept`."""
    if len(addresses) == 1 and not kept:
        return (Recipient(addresses[0], recipient.original, recipient.notify),)
    notify = recipient.notify - {"SUCCESS"}
    if recipient.notify and not notify:
        notify = frozenset({"NEVER"})
    return tuple(Recipient(address, recipient.original, notify) for address in addresses)
