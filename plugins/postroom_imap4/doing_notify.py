"""NOTIFY (RFC 5465): what the client wishes to know from now on.

A NOTIFY that is refused leaves the one before it in force. Whatever happened in the selected folder is told with the answer, as NOOP would; from
there on the new wishes say what is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from postroom_imap4.commands import Notify
from postroom_imap4.notifying import Wishes
from postroom_imap4.replies import Ended, no, ok
from postroom_imap4.watching import OVERFLOW, TooMany, Watch

if TYPE_CHECKING:
    from postroom_imap4.session import Session

_TOO_MANY: Final = no("these are too many folders to watch; name fewer", OVERFLOW)  # RFC 5465 section 3.1


async def notify(session: Session, command: Notify) -> Ended:
    watch = Watch(session, Wishes(command.groups))
    try:
        lines = [line async for line in watch.begin(tells=command.status)]
    except TooMany:
        watch.end()
        return _TOO_MANY
    except BaseException:
        watch.end()
        raise
    await _tell_all(session)
    if session.watch is not None:
        session.watch.end()
    session.watch = watch
    for line in lines:
        await session.wire.send(line)
    return ok("noted")


async def _tell_all(session: Session) -> None:
    """An implicit NOOP, whatever the wishes were (RFC 5465 section 3.1)."""
    if session.watch is not None:
        session.watch.thawed = True
    if session.selected is not None:
        await session.tell(may_expunge=True)
