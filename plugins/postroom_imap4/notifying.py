"""What a client asked to be notified of (NOTIFY, RFC 5465), and what of a change it is therefore told. Pure.

Names compare without case. Several event groups may name one folder, which then has the events of all of them; a group that says NONE takes the
folders it names out of the groups behind it. "inboxes" are all of the user's own folders: rules may deliver into any of them (section 6.3).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from postroom.mailstore import FolderStatus
from postroom_imap4.answers import astring, mailbox
from postroom_imap4.commands import EventGroup, FetchItem
from postroom_imap4.listing import Listed, key_of

MESSAGES: Final = frozenset(("MessageNew", "MessageExpunge", "FlagChange"))
TREE: Final = frozenset(("MailboxName", "SubscriptionChange"))
_SELECTED: Final = ("selected", "selected-delayed")
_NOTHING: Final = frozenset[str]()
_RENAMES: Final = 20  # that are told as such at once; of more the client hears as of new folders


class Wishes:
    """The groups of one NOTIFY; without any it is NOTIFY NONE."""

    def __init__(self, groups: Iterable[EventGroup] = ()) -> None:
        every = tuple(groups)
        self._selected = next((group for group in every if group.which in _SELECTED), None)
        self._others = [(group, frozenset(map(key_of, group.names))) for group in every if group.which not in _SELECTED]

    @property
    def selected(self) -> frozenset[str]:
        """The events of the selected folder; none: it is told nothing but what its own commands do (section 3.1)."""
        return frozenset(self._selected.events) if self._selected is not None else _NOTHING

    @property
    def delays(self) -> bool:
        """Whether EXPUNGE waits for a command that allows it (section 6.1.2)."""
        return self._selected is not None and self._selected.which == "selected-delayed"

    @property
    def fetch(self) -> tuple[FetchItem, ...]:
        """What is told of each message that comes into the selected folder."""
        return self._selected.fetch if self._selected is not None else ()

    @property
    def others(self) -> bool:
        """Whether anything but the selected folder is watched."""
        return any(group.events for group, _ in self._others)

    @property
    def names_others(self) -> bool:
        """Whether a group may mean folders of other users."""
        return any(group.events and group.which not in ("personal", "inboxes") for group, _ in self._others)

    def wants(self, event: str) -> bool:
        return any(event in group.events for group, _ in self._others)

    def of(self, name: str, *, is_subscribed: bool, is_own: bool = True) -> frozenset[str]:
        """The events of a folder, as long as it is not selected those of its messages too. `is_own`: it lies in the user's own mailbox."""
        found, key = set[str](), key_of(name)
        for group, names in self._others:
            if _is_meant(group, names, key, is_subscribed=is_subscribed, is_own=is_own):
                if not group.events:
                    break
                found.update(group.events)
        return frozenset(found)


def _is_meant(group: EventGroup, names: Collection[str], key: str, *, is_subscribed: bool, is_own: bool) -> bool:
    match group.which:
        case "personal" | "inboxes":
            return is_own
        case "subscribed":
            return is_subscribed
        case "mailboxes":
            return key in names
        case "subtree":
            return is_at_or_below(key, names)
        case _:
            return False


def items_at_first(events: Collection[str]) -> list[str]:
    """What NOTIFY SET STATUS tells of a folder (section 3.1)."""
    items = ["MESSAGES", "UIDNEXT", "UIDVALIDITY"]
    return [*items, "UNSEEN", "HIGHESTMODSEQ"] if "FlagChange" in events else items


def items_at_meeting(events: Collection[str], now: FolderStatus) -> list[str]:
    """What a STATUS tells of a folder that is new to the client: nothing of an empty one, but that FlagChange asks for the UIDVALIDITY."""
    return items_at_first(events) if now.uidnext > 1 or "FlagChange" in events else []


def items_of_change(events: Collection[str], before: FolderStatus | None, now: FolderStatus, *, condstore: bool) -> list[str]:
    """What a STATUS tells of a change in a folder that is not selected (sections 5.1 to 5.3); nothing where the client did not ask for it.
    `before`: as the client knows it, None for a folder that it made. UIDVALIDITY goes along where the numbers are of another folder."""
    if before is None or before.uidvalidity != now.uidvalidity:
        return items_at_first(events) if before is not None or now.uidnext > 1 else []
    items = []
    if "MessageNew" in events and (now.messages, now.uidnext) != (before.messages, before.uidnext):
        items += ["MESSAGES", "UIDNEXT"]
    if "FlagChange" in events:
        items += ["UNSEEN"] if now.unseen != before.unseen else []
        items += ["UIDVALIDITY"] if condstore and now.modseq != before.modseq else []
    return [*items, "HIGHESTMODSEQ"] if items and condstore else items


def is_all_own(before: FolderStatus | None, now: FolderStatus, uids: Collection[int]) -> bool:
    """Whether nothing came but what the client itself put there, these UIDs (section 5: it need not be told): each change has a MODSEQ of its
    own, so their number says it."""
    if not uids or sorted(uids) != list(range(before.uidnext if before is not None else 1, now.uidnext)):
        return False
    if before is None:
        return now.messages == len(uids)
    steps = (now.messages - before.messages, now.modseq - before.modseq)
    return now.uidvalidity == before.uidvalidity and steps == (len(uids),) * 2


def status_line(status: FolderStatus, items: Iterable[str], utf8: bool, name: str) -> bytes:
    told = b" ".join(b"%b %d" % (item.encode(), _COUNTERS[item](status)) for item in items)
    return b"* STATUS %b (%b)\r\n" % (mailbox(name, utf8), told)


_COUNTERS: Final[dict[str, Callable[[FolderStatus], int]]] = {
    "MESSAGES": lambda status: status.messages,
    "UIDNEXT": lambda status: status.uidnext,
    "UIDVALIDITY": lambda status: status.uidvalidity,
    "UNSEEN": lambda status: status.unseen,
    "HIGHESTMODSEQ": lambda status: max(1, status.modseq),
}

# Names


def renames(believed: Mapping[str, str], so: Mapping[str, str]) -> tuple[list[tuple[str, str]], set[str]]:
    """Names by object id, as the client believes them and as they are: the renames that lead from the one to the other when they are told one after
    the other, what lies below going along (section 5.4); and the ids of those that no rename leads right, because they changed places."""
    now, told = dict(believed), list[tuple[str, str]]()
    while len(told) < _RENAMES and (found := _next_rename(now, so)) is not None:
        old, new = found
        told.append(found)
        now = {one: new + name[len(old) :] if f"{name}/".startswith(f"{old}/") else name for one, name in now.items()}
    return told, {one for one, name in now.items() if so.get(one, name) != name}


def _next_rename(now: Mapping[str, str], so: Mapping[str, str]) -> tuple[str, str] | None:
    """The first, from the top, whose place is free and that of all below it."""
    wrong = sorted((name.count("/"), name, so[one]) for one, name in now.items() if so.get(one, name) != name)
    keys = {key_of(name) for name in now.values()} if wrong else set()
    for _, old, new in wrong:
        below = [name for name in now.values() if f"{name}/".startswith(f"{old}/")]
        if len(below) > 1 and f"{new}/".startswith(f"{old}/"):
            continue  # no folder goes into itself with what lies below it
        if keys.difference(map(key_of, below)).isdisjoint(key_of(new + name[len(old) :]) for name in below):
            return old, new
    return None


def above(name: str) -> Iterator[str]:
    """The levels above a name, from the top."""
    levels = name.split("/")
    return ("/".join(levels[:depth]) for depth in range(1, len(levels)))


def is_at_or_below(key: str, keys: Collection[str]) -> bool:
    """Whether a name is one of these or lies below one. Takes a look for each of its levels, however many they are."""
    return key in keys or any(one in keys for one in above(key))


def list_line(listed: Listed, utf8: bool, old: str = "", *, is_barred: bool = False) -> bytes:
    """LIST for a name that is there or not any more; with the name it had where it was renamed (section 5.4), and whether the client was taken the
    right to list or read it (sections 3.1 and 5.9)."""
    oldname = b' ("OLDNAME" (%b))' % mailbox(old, utf8) if old else b""
    attributes = (*listed.attributes, b"\\NoAccess") if is_barred else listed.attributes
    return b'* LIST (%b) "/" %b%b\r\n' % (b" ".join(attributes), mailbox(listed.name, utf8), oldname)


# Annotations


def entries_changed(before: Mapping[str, bytes], now: Mapping[str, bytes]) -> list[str]:
    """Names of those that have another value, or none any more."""
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]


def metadata_line(name: str, entries: Sequence[str], utf8: bool) -> bytes:
    """Names only (RFC 5464 section 4.4.2)."""
    return b"* METADATA %b %b\r\n" % (mailbox(name, utf8), b" ".join(map(astring, entries)))
