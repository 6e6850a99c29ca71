"""What a mailbox's row makes of a message: pure. Overview section 3.2, MAILBOX.TAB's redirect columns.

Redirect status 0 is off, 1 forwards without keeping, 2 forwards and keeps. A redirect that would send a message where it has been
ends in the mailbox it came back to: mail is never lost to a circle. So does a redirect of which no address can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from postroom.address import InternalAddress, mailbox
from postroom.envelope import Envelope, Recipient
from postroom.errors import AddressError
from postroom.outcome import Reply
from postroom.records import GroupRecord, MailboxRecord, Record
from postroom_postoffice.book import Book
from postroom_postoffice.groups import Resolve, TooManyMembers, expand, in_place_of

OFF, FORWARD, FORWARD_AND_KEEP = 0, 1, 2
UNKNOWN = Reply(550, "5.1.1", "no such mailbox here")
DISABLED = Reply(550, "5.2.1", "this mailbox is disabled")
EMPTY = Reply(550, "5.2.4", "this group has no members")
TOO_MANY = Reply(554, "5.2.4", "this group has more members than this site allows")
FANS_OUT = Reply(554, "5.2.4", "this mailbox is redirected to more addresses than this site allows")
CIRCLE = Reply(554, "5.4.6", "this message has been to this group before: mail goes in a circle")


class Plan(NamedTuple):
    """What should happen for one recipient: a refusal, or a copy kept, or new recipients, or both; neither where all have it already."""

    recipient: Recipient
    keep: MailboxRecord | None = None
    into: tuple[Recipient, ...] = ()
    refusal: Reply | None = None
    by: tuple[Record, ...] = ()  # the rows that decided


def reached(book: Book, address: InternalAddress) -> MailboxRecord | GroupRecord | Reply:
    """Whom this address reaches, or why nobody."""
    postoffice, _, name = address.detail.partition("/")
    office = book.postoffice(postoffice)
    if office is None or not name:
        return UNKNOWN
    if not office.status:
        return DISABLED
    if group := book.group(address):
        return group if book.members(group) else EMPTY
    row = book.mailbox(address)
    return UNKNOWN if row is None else row if row.status else DISABLED


def refusal(book: Book, address: InternalAddress) -> Reply | None:
    """Why nobody can be reached by this address, else None; what RCPT is told."""
    found = reached(book, address)
    return found if isinstance(found, Reply) else None


def plan(book: Book, envelope: Envelope, recipient: Recipient, *, max_members: int, resolve: Resolve = lambda address: ()) -> Plan:
    """Decide for one recipient."""
    found = reached(book, recipient.address)
    if isinstance(found, MailboxRecord):
        return forward(found, envelope, recipient, max_members)
    if isinstance(found, GroupRecord):
        return _open(book, envelope, recipient, found, max_members, resolve)
    return Plan(recipient, refusal=found, by=_rows(book, recipient.address))


def come_back(plan: Plan) -> Plan:
    """What becomes of a message that was forwarded before and came back from outside: it stays in the mailbox; a group's members have
    it already, and its sender is told."""
    row = next((row for row in plan.by if isinstance(row, MailboxRecord)), None)
    return plan._replace(keep=row, into=(), refusal=None if row else CIRCLE)


def forward(row: MailboxRecord, envelope: Envelope, recipient: Recipient, max_members: int) -> Plan:
    """A mailbox's redirect."""
    if row.redirect_status not in (FORWARD, FORWARD_AND_KEEP):
        return Plan(recipient, keep=row, by=(row,))
    here = mailbox(row.postoffice, row.mailbox)
    if here in envelope.expanded:
        return Plan(recipient, keep=row, by=(row,))
    addresses = list(dict.fromkeys(redirects(row)))
    away = [address for address in addresses if address != here]
    keep = row.redirect_status == FORWARD_AND_KEEP or len(away) < len(addresses) or not away
    if len(away) > max_members:
        return Plan(recipient, refusal=FANS_OUT, by=(row,))
    return Plan(recipient, keep=row if keep else None, into=in_place_of(recipient, away, kept=keep), by=(row,))


def redirects(row: MailboxRecord) -> Iterator[InternalAddress]:
    """The addresses of a redirect, joined by ";"; what cannot be read is passed over here and told by `unreadable`."""
    for text in row.redirect_address.split(";"):
        try:
            yield InternalAddress.parse(text)
        except AddressError:
            continue


def unreadable(row: MailboxRecord) -> Iterator[str]:
    """The parts of a redirect that are no addresses."""
    for text in filter(None, map(str.strip, row.redirect_address.split(";"))):
        try:
            InternalAddress.parse(text)
        except AddressError:
            yield text


def _open(book: Book, envelope: Envelope, recipient: Recipient, group: GroupRecord, max_members: int, resolve: Resolve) -> Plan:
    if any(book.group(address) is group for address in envelope.expanded):
        return Plan(recipient, by=(group,))
    try:
        expansion = expand(book, group, passed=envelope.expanded, limit=max_members, resolve=resolve)
    except TooManyMembers:
        return Plan(recipient, refusal=TOO_MANY, by=(group,))
    if not expansion.members and (expansion.broken or not envelope.expanded):  # nobody would ever get it: not a circle that closed
        return Plan(recipient, refusal=EMPTY, by=(group,))
    return Plan(recipient, into=in_place_of(recipient, expansion.members), by=(group,))


def _rows(book: Book, address: InternalAddress) -> tuple[Record, ...]:
    """Whatever has this name."""
    return tuple(row for row in (book.group(address), book.mailbox(address), book.postoffice(address.postoffice)) if row)[:1]
