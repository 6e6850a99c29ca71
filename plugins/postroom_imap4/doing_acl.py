"""SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314).

A change is durable on return and counts at the next command of every session, in every worker. The register is told before the folder's list is
changed, so that no crash leaves a share that LIST would not find; and again after it, because somebody may have found the register's entry empty
in between. Rights are given to logins and groups that are there, so that a slip of the pen is told; taken from any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from postroom_imap4 import rights
from postroom_imap4.answers import astring, mailbox
from postroom_imap4.commands import GetAcl, ListRights, MyRights, SetAcl
from postroom_imap4.doing_folders import rights_line
from postroom_imap4.listing import key_of
from postroom_imap4.register import OWN
from postroom_imap4.replies import Ended, bad, no, ok
from postroom_imap4.rights import ANY, ANYONE, PREFIX

if TYPE_CHECKING:
    from postroom_imap4.session import Session

MOST: Final = 500  # entries of one folder
LONGEST: Final = 400  # characters of an identifier


async def set_acl(session: Session, command: SetAcl) -> Ended:
    try:
        wanted = rights.read(command.rights)
    except rights.BadRights as error:
        return bad(str(error))
    place = await session.reach.place(command.name)
    await session.reach.may(place, "a")
    if (who := _identifier(session, command.identifier)) is None:
        return bad("this can be no identifier")
    acl = await session.reach.acl(place)
    after = acl.changed(who, "" if command.is_delete else command.mode, wanted)
    if after and not await _is_known(session, who):
        return no(f"there is no login or group {who.removeprefix('-')} in this post office", b"NONEXISTENT")
    if after and len(acl.entries) >= MOST and who not in acl.entries:
        return no(f"a folder's list of rights has at most {MOST} entries", b"LIMIT")
    noted = (OWN, *([who] if after and not who.startswith("-") else []))
    await session.reach.note(place, noted)
    await place.box.annotate(
        place.folder, {f"{PREFIX}{who}": rights.value_of(acl, who, after, session.world.sharing.by_default(place.box))}
    )
    await session.reach.note(place, noted)
    session.world.sharing.shares.tell(place.box.postoffice, place.box.name, who)
    return ok("the rights are changed")


def _identifier(session: Session, said: str) -> str | None:
    """As it is kept. A login may be said without the post office. None for what nobody can be called."""
    minus, name = ("-", said[1:]) if said.startswith("-") else ("", said)
    name = key_of(name)
    if not name or len(name) > LONGEST or "/" in name or name.startswith("-") or not name.isprintable():
        return None
    if name != ANYONE and "@" not in name and not name.startswith("$"):
        name = f"{name}@{key_of(session.reach.postoffice)}"
    return minus + name


async def _is_known(session: Session, identifier: str) -> bool:
    """Whether there is such a login or group in the post office. Rights reach no further."""
    name, postoffice, sharing = identifier.removeprefix("-"), session.reach.postoffice, session.world.sharing
    if name == ANYONE:
        return True
    if name.startswith("$"):
        return await sharing.circles.has(postoffice, name[1:])
    local, _, domain = name.rpartition("@")
    return domain == key_of(postoffice) and await sharing.postoffices.mailboxes.get(postoffice, local) is not None


async def get_acl(session: Session, command: GetAcl) -> Ended:
    place = await session.reach.place(command.name)
    await session.reach.may(place, "a")
    acl = await session.reach.acl(place)
    named = [who for who in acl.entries if not who.startswith("-") and who != acl.owner]
    await session.reach.note(place, [OWN, *named] if named else ())
    pairs = b"".join(b" %b %b" % (_text(session, who), astring(told)) for who, told in acl.shown())
    await session.wire.send(b"* ACL %b%b\r\n" % (mailbox(command.name, session.modes.utf8_names), pairs))
    return ok("that is all")


async def list_rights(session: Session, command: ListRights) -> Ended:
    """The identifier is told as it was said (RFC 4314 section 3.4)."""
    place = await session.reach.place(command.name)
    await session.reach.may(place, "a")
    if (who := _identifier(session, command.identifier)) is None:
        return bad("this can be no identifier")
    groups = b" ".join(astring(letters) for letters in rights.grantable(await session.reach.acl(place), who))
    name = mailbox(command.name, session.modes.utf8_names)
    await session.wire.send(b"* LISTRIGHTS %b %b %b\r\n" % (name, _text(session, command.identifier), groups))
    return ok("that is all")


async def my_rights(session: Session, command: MyRights) -> Ended:
    place = await session.reach.place(command.name)
    await session.reach.may(place, ANY, any_of=True)
    _, _, found = await session.reach.open(command.name, "")
    await session.wire.send(rights_line(session, command.name, found))
    return ok("that is all")


def _text(session: Session, identifier: str) -> bytes:
    return astring(identifier, session.modes.utf8_names)
