"""GETMETADATA, SETMETADATA and LIST RETURN (METADATA ...): annotations of folders and of the server (RFC 5464, RFC 9590).

An entry is an attribute of the store under the same name; what the store keeps there for others begins with no slash and is neither told nor
touched. Nobody but its owner reads a mailbox here, so /private and /shared differ by name only. The server's own entries (mailbox name "")
are the asker's: /private/... lies beside the mailbox, and /shared/... is the operator's and has nothing. Two entries mean something:
/private/specialuse of a folder (RFC 6154 section 4), and `EXPUNGED` of "", the expunged messages that can be brought back. A SETMETADATA
is done as a whole or not at all, which is why EXPUNGED is set alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from postroom.errors import StoreError
from postroom.mailstore import EXPUNGED, Mailbox
from postroom_disk.disk import DiskError
from postroom_imap4 import special_uses
from postroom_imap4.answers import astring, mailbox, nstring
from postroom_imap4.commands import GetMetadata, SetMetadata
from postroom_imap4.listing import key_of
from postroom_imap4.replies import Ended, bad, no, ok

if TYPE_CHECKING:
    from postroom_imap4.session import Session

LARGEST: Final = 32 * 1024  # octets of one value; RFC 5464 section 4.3 asks for 1,024 at least
MOST: Final = 100  # entries of one folder
TOGETHER: Final = 128 * 1024  # octets of all of them, names included
_ROOTS: Final = ("/private", "/shared")
_OURS: Final = ("/private/vendor/vendor.postroom/", "/shared/vendor/vendor.postroom/")
_NOT_AN_ENTRY: Final = bad("an entry begins with /private/ or /shared/")  # RFC 5464 section 3.1

_ID: Final = re.compile(rb"[0-9A-F]{32}")

Kept = Mapping[str, bytes]


async def get_metadata(session: Session, command: GetMetadata) -> Ended:
    """An entry without a value is NIL; values beyond MAXSIZE are left out, the largest of them is told of (RFC 5464 section 4.2.1)."""
    if not all(f"{entry}/".startswith(tuple(f"{root}/" for root in _ROOTS)) for entry in command.entries):
        return _NOT_AN_ENTRY
    kept = await _kept(session.box, command.name)
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


async def beside_list(session: Session, name: str, entries: Sequence[str], uses: special_uses.Uses) -> bytes:
    """What stands behind a LIST answer (RFC 9590 section 2); nothing where the folder cannot be asked."""
    try:
        kept = await _kept(session.box, name, uses)
    except (StoreError, DiskError):
        return b""
    return _line(session, name, dict(_found(kept, entries, "0")))


def _line(session: Session, name: str, found: Mapping[str, bytes | None]) -> bytes:
    told = b" ".join(b"%b %b" % (astring(entry), nstring(value)) for entry, value in found.items())
    return b"* METADATA %b (%b)\r\n" % (mailbox(name, session.modes.utf8_names), told)


async def _kept(box: Mailbox, name: str, uses: special_uses.Uses | None = None) -> Kept:
    """What may be told. The use of a folder is told as LIST does, also where it comes from the name (RFC 6154 section 4)."""
    kept = {entry: value for entry, value in (await box.attributes(name)).items() if _is_told(entry)}
    if name:
        if uses is None:
            uses = await special_uses.of_mailbox(box, await box.folders())
        kept.pop(special_uses.KEY, None)
        if use := next((use for folder, use in uses.items() if key_of(folder) == key_of(name)), ()):
            kept[special_uses.KEY] = b" ".join(use)
    return kept


def _is_told(entry: str) -> bool:
    return entry == EXPUNGED or (entry.startswith(_ROOTS) and not entry.startswith(_OURS))


def _found(kept: Kept, entries: Sequence[str], depth: str) -> Iterator[tuple[str, bytes | None]]:
    """RFC 5464 section 4.2.2: an entry, and with a depth those below it that have a value. Pure."""
    for entry in entries:
        if entry in kept or depth == "0":
            yield entry, kept.get(entry)
        if depth == "0":
            continue
        for name, value in kept.items():
            if name.startswith(f"{entry}/") and (depth == "infinity" or "/" not in name[len(entry) + 1 :]):
                yield name, value


async def set_metadata(session: Session, command: SetMetadata) -> Ended:
    changes = dict(command.values)
    if not all(entry.startswith(tuple(f"{root}/" for root in _ROOTS)) for entry in changes):
        return _NOT_AN_ENTRY
    if not command.name and EXPUNGED in changes:
        return await _undelete(session, changes)
    if (wrong := _forbidden(command.name, changes) or _special(command.name, changes)) is not None:
        return wrong
    if (wrong := _too_much(await session.box.attributes(command.name), changes)) is not None:
        return wrong
    if special_uses.KEY in changes:
        await special_uses.before_giving(session.box)
    await session.box.annotate(command.name, changes)
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
    after = {
        entry: value for entry, value in {**kept, **changes}.items() if value is not None and entry.startswith("/") and entry != EXPUNGED
    }
    if len(after) > MOST or sum(len(entry) + len(value) for entry, value in after.items()) > TOGETHER:
        return no(f"a folder has at most {MOST} entries, of {TOGETHER} octets together", b"METADATA TOOMANY")
    return None


async def _undelete(session: Session, changes: Mapping[str, bytes | None]) -> Ended:
    """Bring expunged messages back: "all", or ids as GETMETADATA tells them."""
    wanted = changes[EXPUNGED]
    if len(changes) > 1:
        return no("what was expunged is brought back by a command of its own", b"CANNOT")
    words = (wanted or b"").upper().split()
    if not words or (words != [b"ALL"] and not all(map(_ID.fullmatch, words))):
        return bad('say "all", or the ids of the messages that are to come back')
    if EXPUNGED not in await session.box.attributes(""):
        return no("nothing is there to be brought back", b"NONEXISTENT")
    await session.box.annotate("", {EXPUNGED: b" ".join(words).lower() if words == [b"ALL"] else b" ".join(words)})
    return ok("brought back into their folders")
