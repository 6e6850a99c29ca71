"""LIST, LSUB, STATUS, NAMESPACE, and what changes the tree: CREATE, DELETE, RENAME, SUBSCRIBE."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Final

from postroom.errors import NoSuchFolder, StoreError
from postroom.mailstore import DELETED, Folder, FolderStatus, View
from postroom_disk.disk import DiskError
from postroom_imap4 import rights, special_uses
from postroom_imap4.answers import NIL, astring, mailbox, quoted
from postroom_imap4.attributes import beside_list
from postroom_imap4.commands import Create, Delete, List, Namespace, Rename, Status, Subscribe
from postroom_imap4.listing import Listed, Tree, is_inbox, key_of
from postroom_imap4.names import written
from postroom_imap4.pace import LOOK, Pace
from postroom_imap4.reach import between, inherited, missing
from postroom_imap4.replies import Ended, bad, no, ok, untagged
from postroom_imap4.rights import Rights

if TYPE_CHECKING:
    from postroom_imap4.session import Session

_AT_ONCE: Final = 50  # answers between two turns of the loop


def object_id(status: FolderStatus) -> bytes:
    """MAILBOXID (RFC 8474 section 4): begins with a letter, so that it is never mistaken for a number."""
    return b"F" + status.object_id.encode()


async def namespace(session: Session, command: Namespace) -> Ended:
    """RFC 2342. Public folders are told of where the post office has any."""
    sharing, utf8 = session.world.sharing, session.modes.utf8_names
    public = sharing.names.public if sharing.public_of(session.reach.postoffice) else ""
    told = [b'((%b "/"))' % quoted(written(f"{root}/", utf8), utf8) if root else NIL for root in (sharing.names.others, public)]
    await session.wire.send(b'* NAMESPACE (("" "/")) %b\r\n' % b" ".join(told))
    return ok("that is all")


async def list_folders(session: Session, command: List) -> Ended:
    kind = b"LSUB" if command.is_lsub else b"LIST"
    if not command.is_extended and command.patterns == ("",):  # RFC 9051 section 6.3.9: asks for the delimiter and the root
        await session.wire.send(b'* %b (\\Noselect) "/" ""\r\n' % kind)
        return ok("that is all")
    if "RECURSIVEMATCH" in command.select and not command.select & {"SUBSCRIBED", "SPECIAL-USE"}:
        return bad("RECURSIVEMATCH needs SUBSCRIBED")  # RFC 5258 section 3.1
    reach = session.reach
    folders = [name for name in await session.box.folders() if reach.sharing.names.is_own(name)]
    uses = {} if command.is_lsub else await special_uses.of_mailbox(session.box, folders)
    theirs = {} if command.is_lsub else await reach.visible([command.reference + pattern for pattern in command.patterns])
    tree = Tree([*folders, *theirs], await session.box.subscriptions(), uses)
    answers, pace = list[bytes](), Pace()
    work = LOOK + sum(map(len, command.patterns)) + len(command.patterns) * len(command.reference)
    for listed in tree.steps(command):
        await pace.did(work)
        if listed is None:
            continue
        answers.append(_line(kind, listed, session.modes.utf8_names))
        if "MYRIGHTS" in command.returns and listed.exists:
            answers.append(await _rights_beside(session, listed.name, theirs))
        if command.status and listed.exists:
            answers.append(await _status_beside(session, listed.name, command.status))
        if command.metadata and listed.exists:
            answers.append(await beside_list(session, listed.name, command.metadata, uses))
        if len(answers) >= _AT_ONCE:
            await session.wire.send(b"".join(answers))
            answers.clear()
            await asyncio.sleep(0)
    await session.wire.send(b"".join(answers))
    return ok("that is all")


def _line(kind: bytes, listed: Listed, utf8: bool) -> bytes:
    child = b' ("CHILDINFO" (%b))' % b" ".join(b'"%b"' % option.encode() for option in listed.by_child) if listed.by_child else b""
    return b'* %b (%b) "/" %b%b\r\n' % (kind, b" ".join(listed.attributes), mailbox(listed.name, utf8), child)


async def _rights_beside(session: Session, name: str, theirs: Mapping[str, Rights]) -> bytes:
    """RFC 8440; nothing where the folder cannot be asked. Who sees a folder has `l`, which is enough to be told."""
    try:
        found = theirs[name] if name in theirs else await session.reach.rights(await session.reach.place(name))
    except (StoreError, DiskError):
        return b""
    return rights_line(session, name, found)


def rights_line(session: Session, name: str, found: Rights) -> bytes:
    """A MYRIGHTS answer."""
    return b"* MYRIGHTS %b %b\r\n" % (mailbox(name, session.modes.utf8_names), astring(rights.told(found)))


async def _status_beside(session: Session, name: str, items: Sequence[str]) -> bytes:
    """RFC 5819 section 2: a folder that cannot be asked has no STATUS."""
    try:
        return await _status(session, name, items)
    except (StoreError, DiskError):
        return b""


async def status(session: Session, command: Status) -> Ended:
    line = await _status(session, command.name, command.items)
    noted = session.condstore() if "HIGHESTMODSEQ" in command.items else b""
    await session.wire.send(noted + line)
    return ok("that is all")


async def _status(session: Session, name: str, items: Sequence[str]) -> bytes:
    _, folder, _ = await session.reach.open(name, "r")
    view = folder.view()
    told = b" ".join(b"%b %b" % (item.encode(), _ITEMS[item](view, session)) for item in dict.fromkeys(items) if item in _ITEMS)
    return b"* STATUS %b (%b)\r\n" % (mailbox(name, session.modes.utf8_names), told)


def _deleted_octets(view: View) -> int:
    """DELETED-STORAGE (RFC 9208 section 5.3)."""
    return sum(compress(view.octets, [flags & DELETED for flags in view.flags])) if view.status.deleted else 0


_ITEMS: Final[dict[str, Callable[[View, Session], bytes]]] = {
    "MESSAGES": lambda view, session: b"%d" % view.status.messages,
    "UIDNEXT": lambda view, session: b"%d" % view.status.uidnext,
    "UIDVALIDITY": lambda view, session: b"%d" % view.status.uidvalidity,
    "UNSEEN": lambda view, session: b"%d" % view.status.unseen,
    "DELETED": lambda view, session: b"%d" % view.status.deleted,
    "DELETED-STORAGE": lambda view, session: b"%d" % _deleted_octets(view),
    "SIZE": lambda view, session: b"%d" % view.status.octets,
    "HIGHESTMODSEQ": lambda view, session: b"%d" % max(1, view.status.modseq),
    "MAILBOXID": lambda view, session: b"(%b)" % object_id(view.status),
    "APPENDLIMIT": lambda view, session: b"%d" % session.world.settings.append_limit,
    "RECENT": lambda view, session: b"0",
}


async def create(session: Session, command: Create) -> Ended:
    """A trailing delimiter says that there will be names below it, which every name here may have (RFC 9051 section 6.3.4)."""
    try:
        uses = special_uses.read(" ".join(command.use).encode())
    except special_uses.BadUse as error:
        return no(str(error), b"USEATTR")  # RFC 6154 section 3
    place = await session.reach.place(command.name.rstrip("/"))
    if uses and not place.is_own:
        return no("a use is given to folders of one's own", b"USEATTR")
    above = await session.reach.may_create(place)
    given = await inherited(above) if above is not None else {}
    use = {special_uses.KEY: b" ".join(uses)} if uses else {}
    if uses:
        await special_uses.before_giving(place.box)
    folder = await place.box.create(place.folder)
    for made in between(above.folder, folder.name) if above is not None else ():
        await special_uses.made_with(place.box, made, given)
    await special_uses.made_with(place.box, folder.name, given | use)
    session.noted(lambda known: known.created(place.shown, use))
    return ok("made", b"MAILBOXID (%b)" % object_id(folder.view().status))


async def delete(session: Session, command: Delete) -> Ended:
    """Who deletes the folder it has selected has none selected any more."""
    selected = session.selected
    place = await session.reach.place(command.name)
    await session.reach.may(place, "x")
    try:
        await place.box.delete(place.folder)
    except NoSuchFolder:
        raise missing(place.shown) from None
    session.noted(lambda known: known.deleted(place.shown))
    if selected is not None and key_of(selected.name) == key_of(command.name):
        session.deselect()
        await session.wire.send(untagged("the selected folder was deleted", b"CLOSED"))
    return ok("deleted")


async def rename(session: Session, command: Rename) -> Ended:
    """A selected folder stays selected under its new name where this worker moved it, which is the same object then."""
    old, new = await session.reach.place(command.old), await session.reach.place(command.new.rstrip("/"))
    await session.reach.may(old, "x")  # RFC 4314 section 4: and `k` on what is above the new name
    await session.reach.may_create(new)
    if old.prefix != new.prefix or (is_inbox(old.folder) and not old.is_own):
        return no("folders are renamed within their mailbox, and nobody else's Inbox", b"CANNOT")
    try:
        await old.box.rename(old.folder, new.folder)
    except NoSuchFolder:
        raise missing(old.shown) from None
    selected = session.selected
    if selected is not None and not is_inbox(command.old) and _is_at_or_below(selected.name, command.old):
        selected.name = command.new.rstrip("/") + selected.name[len(command.old) :]
    session.noted(lambda known: known.renamed(old.shown, new.shown))
    return ok("renamed")


def _is_at_or_below(name: str, other: str) -> bool:
    return f"{key_of(name)}/".startswith(f"{key_of(other)}/")


async def subscribe(session: Session, command: Subscribe) -> Ended:
    """A name that does not exist may be taken off the list at any time, and put on it only where there is such a folder."""
    if command.on:
        await session.reach.open(command.name, "l")
    await session.box.subscribe(command.name, command.on)
    session.noted(lambda known: known.subscribed(command.name, command.on))
    return ok("done")


async def target_of(session: Session, name: str) -> tuple[Folder, int] | Ended:
    """A folder to put messages into, and the flags they may have there; the answer where there is none: the client may make it (TRYCREATE, RFC
    9051 section 6.3.12)."""
    try:
        _, folder, found = await session.reach.open(name, "i")
        return folder, rights.flags_of(found)
    except NoSuchFolder as error:
        return no(str(error), b"TRYCREATE" if await _may_make(session, name) else b"NONEXISTENT")


async def _may_make(session: Session, name: str) -> bool:
    try:
        await session.reach.may_create(await session.reach.place(name))
    except (NoSuchFolder, rights.NotPermitted):
        return False
    return True
