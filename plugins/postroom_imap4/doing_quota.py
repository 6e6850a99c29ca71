"""GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208): one root for all of a mailbox, named by the empty text.

Only STORAGE has a limit here, so only STORAGE is told: a resource is told with its limit or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from postroom_imap4.answers import mailbox
from postroom_imap4.commands import GetQuota, GetQuotaRoot, SetQuota
from postroom_imap4.replies import Ended, no, ok

if TYPE_CHECKING:
    from postroom_imap4.session import Session


async def get_quota(session: Session, command: GetQuota) -> Ended:
    if command.root:
        return no("there is no such quota root", b"NONEXISTENT")
    await session.wire.send(await _line(session))
    return ok("that is all")


async def get_quota_root(session: Session, command: GetQuotaRoot) -> Ended:
    await session.box.folder(command.name)
    name = mailbox(command.name, session.modes.utf8_names)
    await session.wire.send(b'* QUOTAROOT %b ""\r\n%b' % (name, await _line(session)))
    return ok("that is all")


async def set_quota(session: Session, command: SetQuota) -> Ended:
    """RFC 9208 section 4.1.3: limits are the operator's; QUOTASET is not offered."""
    return no("limits are set by the administrator", b"NOPERM")


async def _line(session: Session) -> bytes:
    """STORAGE counts units of 1,024 octets (RFC 9208 section 5.1), begun ones too."""
    quota = await session.box.quota()
    if quota.limit is None:
        return b'* QUOTA "" ()\r\n'
    return b'* QUOTA "" (STORAGE %d %d)\r\n' % (-(-quota.used // 1024), quota.limit // 1024)
