"""What `postroom check` should say of mailboxes and groups: each sentence names the row and the remedy."""

from __future__ import annotations

from collections.abc import Iterator

from postroom.address import InternalAddress
from postroom.errors import AddressError
from postroom.providers import Providers
from postroom.records import GroupRecord, MailboxRecord, Record
from postroom_postoffice import rules
from postroom_postoffice.book import Book
from postroom_postoffice.groups import TooManyMembers, expand


def faults(providers: Providers, *, max_members: int) -> Iterator[str]:
    """All that is wrong with the rows of the post office family; nothing is read but memory."""
    book = Book(providers.postoffice)
    for mailbox in book.all_mailboxes():
        yield from _mailbox(book, mailbox)
    for group in book.all_groups():
        yield from _group(book, group, max_members)


def _mailbox(book: Book, row: MailboxRecord) -> Iterator[str]:
    about = f"{_where(row)}mailbox {row.postoffice}/{row.mailbox}"
    if book.postoffice(row.postoffice) is None:
        yield f"{about}: its post office has no row in POSTOFFICE.TAB, so mail to it is refused. Add the post office with `postroom domain add`"
    for text in rules.unreadable(row):
        yield f"{about}: the redirect {text!r} is no address and is passed over. Write it as [SMTP:user@domain] or [SF:POSTOFFICE/MAILBOX]"
    if row.redirect_status and not any(True for _ in rules.redirects(row)):
        yield f"{about}: its redirect is on but names nobody, so its mail stays here. Set an address, or the redirect to 0"
    if row.redirect_status not in (rules.OFF, rules.FORWARD, rules.FORWARD_AND_KEEP):
        yield f"{about}: redirect status {row.redirect_status} means nothing, so its mail stays here. Use 0 (off), 1 (forward) or 2 (forward and keep)"


def _group(book: Book, row: GroupRecord, max_members: int) -> Iterator[str]:
    about = f"{_where(row)}group {row.postoffice}/{row.group}"
    try:
        expansion = expand(book, row, limit=max_members)
    except TooManyMembers:
        yield f"{about}: it comes to more than {max_members} members, so mail to it is refused. Raise postoffice.max_members, or use a list"
        return
    for text in expansion.broken:
        yield f"{about}: the member {text!r} is no address and is passed over. Write it as [SMTP:user@domain] or [SF:POSTOFFICE/MAILBOX]"
    if not expansion.members:
        yield f"{about}: nobody is in it, so mail to it is refused. Add a member with `postroom group set`, or delete the group"
    for address in expansion.members:
        if address.connector == "SF" and (reply := rules.refusal(book, address)):
            yield f"{about}: the member {address} cannot be reached ({reply}). Take it out, or create it"
    if not _reached(row):
        yield f"{about}: its address {row.recipient!r} is none. Write it as [SF:{row.postoffice}/{row.group}]"


def _reached(row: GroupRecord) -> bool:
    try:
        InternalAddress.parse(row.recipient)
    except AddressError:
        return False
    return True


def _where(row: Record) -> str:
    return f"{row.origin}: " if row.origin else ""
