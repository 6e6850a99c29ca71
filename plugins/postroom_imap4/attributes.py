"""GETMETADATA, SETMETADATA and LIST RETURN (METADATA ...): annotations of folders and of the server (RFC 5464, RFC 9590).

An entry is an attribute of the store under the same name; what the store keeps there for others begins with no slash and is neither told nor
touched. On folders of somebody else /private entries are each login's own, kept under a name with the login in it; /shared ones are the owner's,
and may be changed by who has `w`. The server's own entries (mailbox name "")
are the asker's: /private/... lies beside the mailbox, and /shared/... is the operator's and has nothing. Two entries mean something:
/private/specialuse of a folder (RFC 6154 section 4), and `EXPUNGED` of "", the expunged messages that can be brought back. A SETMETADATA
is done as a whole or not at all, which is why EXPUNGED is set alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from postroom.errors import NoSuchFolder, NoSuchMessage, StoreError
from postroom.mailstore import EXPUNGED
from postroom_disk.disk import DiskError
from postroom_imap4 import special_uses
from postroom_imap4.answers import astring, mailbox, nstring
from postroom_imap4.commands import GetMetadata, SetMetadata
from postroom_imap4.listing import key_of
from postroom_imap4.reach import Place, missing
from postroom_imap4.replies import Ended, bad, no, ok

if TYPE_CHECKING:
    from postroom_imap4.session import Session

LARGEST: Final = 32 * 1024  # octets of one value; RFC 5464 section 4.3 asks for 1,024 at least
MOST: Final = 100  # entries of one folder
TOGETHER: Final = 128 * 1024  # octets of all of them, names included
MINE: Final = "postroom:private:"  # no entry of METADATA begins without a slash
_ROOTS: Final = ("/private", "/shared")
_OURS: Final = ("/private/vendor/vendor.postroom/", "/shared/vendor/vendor.postroom/")
_NOT_AN_ENTRY: Final = bad("an entry begins with /private/ or /shared/")  # RFC 5464 section 3.1

_ASCII: Final = bytes(range(128))
_ID: Final = re.compile(rb"[0-9A-F]{32}")

Kept = Mapping[str, bytes]


async def get_metadata(session: Session, command: GetMetadata) -> Ended:
    """An entry without a value is NIL; values beyond MAXSIZE are left out, the largest of them is told of (RFC 5464 section 4.2.1)."""
    if not all(f"{entry}/".startswith(tuple(f"{root}/" for root in _ROOTS)) for entry in command.entries):
        return _NOT_AN_ENTRY
    place = await _place(session, command.name)
    kept = await _kept(session, place)
    if (
        not command.name
        and any(_asks(entry, command.depth, EXPUNGED) for entry in command.entries)
        and (lines := await session.box.expunged())
    ):
        kept = {**kept, EXPUNGED: lines}
    found = dict(_found(kept, command.entries, command.depth))
    longest = 0
    if command.most is not None:
        large = [name for name, value in found.items() if value is not None and len(value) > command.most]
        longest = max((len(kept[name]) for name in large), default=0)
        for name in large:
            del found[name]
    if found:
        await session.wire.send(_line(session, command.name, found))
    return ok("that is all", b"METADATA LONGENTRIES %d" % longest if longest else b"")


async def _place(session: Session, name: str, needed: str = "") -> Place:
    """A folder whose annotations may be read, and changed with the right `needed` (RFC 5464 section 3.3)."""
    if not name:
        return Place(session.box, "")
    place = await session.reach.place(name)
    await session.reach.may(place, {"l", *needed})
    await session.reach.may(place, "rswip", any_of=True)
    return place


def _private(session: Session, place: Place) -> str:
    """What stands before the name of this login's private entries of somebody else's folder."""
    return f"{MINE}{session.reach.identifier}:"


async def beside_list(session: Session, name: str, entries: Sequence[str], uses: special_uses.Uses) -> bytes:
    """What stands behind a LIST answer (RFC 9590 section 2); nothing where the folder cannot be asked."""
    try:
        kept = await _kept(session, await _place(session, name), uses)
    except (StoreError, DiskError):
        return b""
    return _line(session, name, dict(_found(kept, entries, "0")))


def _line(session: Session, name: str, found: Mapping[str, bytes | None]) -> bytes:
    told = b" ".join(b"%b %b" % (astring(entry), nstring(value)) for entry, value in found.items())
    return b"* METADATA %b (%b)\r\n" % (mailbox(name, session.modes.utf8_names), told)


async def _kept(session: Session, place: Place, uses: special_uses.Uses | None = None) -> Kept:
    """What may be told. The use of a folder is told as LIST does, also where it comes from the name (RFC 6154 section 4)."""
    kept = {entry: value for entry, value in (await _all(session, place)).items() if _is_told(entry)}
    if place.is_own and place.folder:
        if uses is None:
            uses = await special_uses.of_mailbox(place.box, await place.box.folders())
        kept.pop(special_uses.KEY, None)
        if use := next((use for folder, use in uses.items() if key_of(folder) == key_of(place.folder)), ()):
            kept[special_uses.KEY] = b" ".join(use)
    return kept


async def _all(session: Session, place: Place) -> Kept:
    """All entries of a folder, as this login names them. NoSuchFolder."""
    try:
        kept = await place.box.attributes(place.folder)
    except NoSuchFolder:
        raise missing(place.shown) from None
    if place.is_own:
        return kept
    mine = _private(session, place)
    shared = {entry: value for entry, value in kept.items() if entry.startswith("/shared/")}
    return shared | {entry.removeprefix(mine): value for entry, value in kept.items() if entry.startswith(mine)}


async def as_told(session: Session, name: str) -> Kept:
    """The entries of a folder, or of the server, that a client may have set. NoSuchFolder, DiskError."""
    place = await session.reach.place(name) if name else Place(session.box, "")
    return {entry: value for entry, value in (await _all(session, place)).items() if _is_told(entry)}


def _is_told(entry: str) -> bool:
    return entry.startswith(_ROOTS) and not entry.startswith(_OURS)


def _found(kept: Kept, entries: Sequence[str], depth: str) -> Iterator[tuple[str, bytes | None]]:
    """RFC 5464 section 4.2.2: an entry, and with a depth those below it that have a value. Pure."""
    for entry in entries:
        if entry in kept or depth == "0":
            yield entry, kept.get(entry)
        if depth == "0":
            continue
        for name, value in kept.items():
            if name != entry and _asks(entry, depth, name):
                yield name, value


def _asks(entry: str, depth: str, name: str) -> bool:
    """Whether who asks for this entry to that depth is told of the one named. Pure."""
    if name == entry or depth == "0":
        return name == entry
    return name.startswith(f"{entry}/") and (depth == "infinity" or "/" not in name[len(entry) + 1 :])


async def set_metadata(session: Session, command: SetMetadata) -> Ended:
    changes = dict(command.values)
    if not all(entry.startswith(tuple(f"{root}/" for root in _ROOTS)) for entry in changes):
        return _NOT_AN_ENTRY
    if not command.name and EXPUNGED in changes:
        return await _undelete(session, changes)
    if (wrong := _forbidden(command.name, changes) or _special(command.name, changes)) is not None:
        return wrong
    place = await _place(session, command.name, "w" if any(entry.startswith("/shared/") for entry in changes) else "")
    if special_uses.KEY in changes and not place.is_own:
        return no("a use is given to folders of one's own", b"USEATTR")
    if (wrong := _too_much(await _all(session, place), changes)) is not None:
        return wrong
    if special_uses.KEY in changes:
        await special_uses.before_giving(session.box)
    told = dict(changes)
    if not place.is_own:
        mine = _private(session, place)
        changes = {mine + entry if entry.startswith("/private/") else entry: value for entry, value in changes.items()}
        if _crowds(await place.box.attributes(place.folder), changes):
            return no("there is no room for more private entries of others beside this folder", b"METADATA TOOMANY")
    await place.box.annotate(place.folder, changes)
    session.noted(lambda known: known.annotated(command.name, told))
    return ok("kept")


def _forbidden(name: str, changes: Mapping[str, bytes | None]) -> Ended | None:
    if any(entry.startswith(_OURS) for entry in changes):
        return no("entries of vendor.postroom are the server's own", b"NOPERM")
    if not name and any(entry.startswith("/shared/") for entry in changes):
        return no("what the server shares is the operator's to say", b"NOPERM")
    return None


def _special(name: str, changes: dict[str, bytes | None]) -> Ended | None:
    """RFC 6154 section 4. The value is kept as LIST will tell it."""
    value = changes.get(special_uses.KEY)
    if value is None:
        return None
    if not name:
        return no("the server is no folder and has no use", b"USEATTR")
    try:
        changes[special_uses.KEY] = b" ".join(special_uses.read(value))
    except special_uses.BadUse as error:
        return no(str(error), b"USEATTR")
    return None


def _too_much(kept: Kept, changes: Mapping[str, bytes | None]) -> Ended | None:
    """RFC 5464 section 4.3. Pure. Two sessions at once may pass this together; the store's own limit is beyond."""
    if any(value is not None and len(value) > LARGEST for value in changes.values()):
        return no(f"a value has at most {LARGEST} octets", b"METADATA MAXSIZE %d" % LARGEST)
    if all(value is None for value in changes.values()):
        return None
    after = {entry: value for entry, value in {**kept, **changes}.items() if value is not None and entry.startswith("/")}
    if len(after) > MOST or sum(len(entry) + len(value) for entry, value in after.items()) > TOGETHER:
        return no(f"a folder has at most {MOST} entries, of {TOGETHER} octets together", b"METADATA TOOMANY")
    return None


def _crowds(kept: Kept, changes: Mapping[str, bytes | None]) -> bool:
    """Whether the private entries of all who share a folder would take the room that the owner's entries and rights need. Pure. An octet beyond
    ASCII takes six where the store keeps it."""
    if not any(value is not None and entry.startswith(MINE) for entry, value in changes.items()):
        return False
    after = {entry: value for entry, value in {**kept, **changes}.items() if value is not None and entry.startswith(MINE)}
    return sum(len(entry) + len(value) + 5 * len(value.translate(None, _ASCII)) for entry, value in after.items()) > TOGETHER


async def _undelete(session: Session, changes: Mapping[str, bytes | None]) -> Ended:
    """Bring expunged messages back: "all", or ids as GETMETADATA tells them."""
    wanted = changes[EXPUNGED]
    if len(changes) > 1:
        return no("what was expunged is brought back by a command of its own", b"CANNOT")
    words = (wanted or b"").upper().split()
    if not words or (words != [b"ALL"] and not all(map(_ID.fullmatch, words))):
        return bad('say "all", or the ids of the messages that are to come back')
    if not await session.box.expunged():
        return no("nothing is there to be brought back", b"NONEXISTENT")
    try:
        await session.box.annotate("", {EXPUNGED: b" ".join(words).lower() if words == [b"ALL"] else b" ".join(words)})
    except NoSuchMessage as error:
        return no(str(error), b"NONEXISTENT")
    return ok("brought back into their folders")
