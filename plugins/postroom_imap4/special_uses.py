"""What folders are for: \\Sent, \\Trash and their kin (RFC 6154), by what a client said and else by their names.

A use that a client gave lies in the folder's attribute `KEY` and goes where the folder goes. Where no folder was given a use, the first of
the well-known names has it. A folder whose attribute is empty has no use whatever its name. So that a LIST need not look into every folder of
a mailbox where no client ever said anything, Inbox has the attribute `_SAID` from the first word on; it is set before, so no crash loses a use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from postroom.errors import NoSuchFolder, StoreError
from postroom.mailstore import INBOX, Mailbox
from postroom_disk.disk import DiskError

KEY: Final = "/private/specialuse"
OFFERED: Final = {use.lower(): use for use in (b"\\Archive", b"\\Drafts", b"\\Junk", b"\\Sent", b"\\Trash")}
_SAID: Final = "postroom:special-uses"  # no entry of METADATA begins without a slash, so no client sees it

_NAMES: Final = {  # as mail programs and MailEnable call them, the likeliest first
    "sent": b"\\Sent",
    "sent items": b"\\Sent",
    "sent messages": b"\\Sent",
    "drafts": b"\\Drafts",
    "trash": b"\\Trash",
    "deleted items": b"\\Trash",
    "deleted messages": b"\\Trash",
    "junk": b"\\Junk",
    "junk e-mail": b"\\Junk",
    "spam": b"\\Junk",
    "archive": b"\\Archive",
    "archives": b"\\Archive",
}

Uses = Mapping[str, tuple[bytes, ...]]  # of folders by name; a folder without one is not there


class BadUse(ValueError):
    """A use that no folder can have here; the text says which."""


def read(value: bytes) -> tuple[bytes, ...]:
    """The uses in a value of the attribute, each once. BadUse. \\All and \\Flagged would have to hold what lies elsewhere (RFC 6154 section 2)."""
    found = dict[bytes, None]()
    for word in value.split():
        if (use := OFFERED.get(word.lower())) is None:
            raise BadUse(f"no folder can be made {word.decode('ascii', 'replace')[:40]} here, only {b' '.join(OFFERED.values()).decode()}")
        found[use] = None
    return tuple(found)


def of_folders(folders: Iterable[str], given: Uses) -> Uses:
    """What each folder is for. `given` is what clients said, empty for those that are to have no use. Pure."""
    by_name: dict[str, str] = {}
    for folder in folders:
        by_name.setdefault(folder.casefold(), folder)
    taken = {use for uses in given.values() for use in uses}
    found = {folder: uses for folder, uses in given.items() if uses}
    for name, use in _NAMES.items():
        folder = by_name.get(name, "")
        if folder and use not in taken and folder not in given:
            found[folder] = (use,)
            taken.add(use)
    return found


async def of_mailbox(box: Mailbox, folders: Sequence[str]) -> Uses:
    """What its folders are for. A folder that goes meanwhile, or cannot be asked, goes by its name."""
    given = dict[str, tuple[bytes, ...]]()
    with suppress(DiskError):
        for folder, kept in (await box.all_attributes() if await _is_said(box) else {}).items():
            with suppress(BadUse):
                if folder and KEY in kept:
                    given[folder] = read(kept[KEY])
    return of_folders(folders, given)


async def _is_said(box: Mailbox) -> bool:
    """Whether any folder may have the attribute. Where Inbox cannot be asked each is, so that nobody's folders vanish with one damaged file."""
    try:
        return _SAID in await box.attributes(INBOX)
    except (StoreError, DiskError):
        return True


async def before_giving(box: Mailbox) -> None:
    """To be awaited before a folder's attribute is set."""
    if _SAID not in await box.attributes(INBOX):
        await box.annotate(INBOX, {_SAID: b"yes"})


async def made_with(box: Mailbox, folder: str, given: Mapping[str, bytes]) -> None:
    """Give a folder that was just made its attributes; where that fails it is taken back, and the error raised (RFC 6154 section 3)."""
    if not given:
        return
    try:
        await box.annotate(folder, given)
    except BaseException:
        with suppress(NoSuchFolder):
            await box.delete(folder)
        raise
