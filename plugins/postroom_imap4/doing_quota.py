"""GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208): one root for all of a mailbox, named by the empty text; that of somebody else's mailbox by what
stands before its folders, and told to who may read the folder.

Only STORAGE has a limit here, so only STORAGE is told: a resource is told with its limit or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from postroom.errors import NoSuchFolder
from postroom.mailstore import INBOX
from postroom_imap4.answers import mailbox, quoted
from postroom_imap4.commands import GetQuota, GetQuotaRoot, SetQuota
from postroom_imap4.listing import key_of
from postroom_imap4.reach import Place
from postroom_imap4.replies import Ended, no, ok
from postroom_imap4.rights import NotPermitted

if TYPE_CHECKING:
    from postroom_imap4.session import Session


async def get_quota(session: Session, command: GetQuota) -> Ended:
    place = await _root(session, command.root)
    if place is None:
        return no("there is no such quota root", b"NONEXISTENT")
    await session.wire.send(await _line(session, place))
    return ok("that is all")


async def _root(session: Session, root: str) -> Place | None:
    """The mailbox of a quota root; None where there is none, or its Inbox may not be read."""
    if not root:
        return Place(session.box, INBOX)
    try:
        place, _, _ = await session.reach.open(root, "r")
    except (NoSuchFolder, NotPermitted):
        return None
    return None if place.is_own or key_of(place.shown) != key_of(place.prefix) else place


async def get_quota_root(session: Session, command: GetQuotaRoot) -> Ended:
    place, _, _ = await session.reach.open(command.name, "r")
    name = mailbox(command.name, session.modes.utf8_names)
    await session.wire.send(b"* QUOTAROOT %b %b\r\n%b" % (name, _name(session, place), await _line(session, place)))
    return ok("that is all")


def _name(session: Session, place: Place) -> bytes:
    return quoted(place.prefix, session.modes.utf8_names)


async def set_quota(session: Session, command: SetQuota) -> Ended:
    """RFC 9208 section 4.1.3: limits are the operator's; QUOTASET is not offered."""
    return no("limits are set by the administrator", b"NOPERM")


async def _line(session: Session, place: Place) -> bytes:
    """STORAGE counts units of 1,024 octets (RFC 9208 section 5.1), begun ones too."""
    quota, name = await place.box.quota(), _name(session, place)
    if quota.limit is None:
        return b"* QUOTA %b ()\r\n" % name
    return b"* QUOTA %b (STORAGE %d %d)\r\n" % (name, -(-quota.used // 1024), quota.limit // 1024)
