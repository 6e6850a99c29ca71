"""What a client that said NOTIFY knows of its folders, entry by entry (RFC 5465): names, subscriptions, counters, annotations. Pure.

News are what is entered anew. What the client does itself is entered at once and so is no news (section 5), unless others were at it too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from postroom.mailstore import FolderStatus
from postroom_imap4.listing import is_inbox, key_of
from postroom_imap4.notifying import Wishes, above, is_all_own, items_at_first, items_of_change, renames

Kept = Mapping[str, bytes]
Names = Mapping[str, str]  # by key


@dataclass(slots=True)
class Known:
    """What the client knows of one folder."""

    name: str
    object_id: str = ""  # "" where it made the folder itself
    status: FolderStatus | None = None  # None: as good as new, nothing was in it
    kept: Kept | None = None  # its annotations; None where they are not asked for


class Bar(NamedTuple):
    """A folder that the client was told it has no access to (section 5.9)."""

    name: str
    is_listed: bool  # it may be listed still, and not read


class Ledger:
    """One client's. `known` has the folders with events that may be read, `names` all that may be listed."""

    def __init__(self, wishes: Wishes, is_own: Callable[[str], bool]) -> None:
        self.wishes, self._is_own = wishes, is_own
        self.known: dict[str, Known] = {}
        self.barred: dict[str, Bar] = {}  # of those with events
        self.names: dict[str, str] = {}
        self.subscriptions: dict[str, str] = {}
        self.server: Kept = {}
        self.selected = ""  # the key of the selected folder
        self._brought: dict[str, set[int]] = {}  # UIDs that this client put into a folder, until that is looked at

    def events(self, name: str, *, subscribed: bool | None = None) -> frozenset[str]:
        is_subscribed = key_of(name) in self.subscriptions if subscribed is None else subscribed
        return self.wishes.of(name, is_subscribed=is_subscribed, is_own=self._is_own(name))

    # What the client does

    def created(self, name: str, kept: Kept | None = None) -> None:
        for one in (*above(name), name):
            if key_of(one) not in self.names:
                self.names[key_of(one)] = one
                if self.events(one):
                    self.known[key_of(one)] = Known(one, kept=(kept if one == name else None) or {})

    def deleted(self, name: str) -> None:
        self.names.pop(key_of(name), None)
        self.known.pop(key_of(name), None)
        self.barred.pop(key_of(name), None)

    def renamed(self, old: str, new: str) -> None:
        if is_inbox(old):  # which stays, empty
            self.created(new)
            return
        for key in [key for key in self.names if f"{key}/".startswith(f"{key_of(old)}/")]:
            name = new + self.names.pop(key)[len(old) :]
            self.names[key_of(name)] = name
            known = self.known.pop(key, None)
            if self.barred.pop(key, None) is not None:
                self.barred[key_of(name)] = Bar(name, is_listed=True)
            elif self.events(name):
                self.known[key_of(name)] = replace(known, name=name) if known is not None else Known(name)
        for one in above(new):
            self.created(one)

    def subscribed(self, name: str, on: bool) -> None:
        self.subscriptions.pop(key_of(name), None)
        if on:
            self.subscriptions[key_of(name)] = name

    def annotated(self, name: str, changes: Mapping[str, bytes | None]) -> None:
        known = self.known.get(key_of(name)) if name else None
        before = self.server if not name else known.kept if known is not None else None
        after = {entry: value for entry, value in {**(before or {}), **changes}.items() if value is not None}
        if not name:
            self.server = after
        elif known is not None and before is not None:
            known.kept = after

    def brought(self, name: str, uids: Collection[int]) -> None:
        """It put these messages there."""
        if key_of(name) in self.known or key_of(name) == self.selected:
            self._brought.setdefault(key_of(name), set()).update(uids)

    def own(self, name: str) -> Collection[int]:
        """Those, once."""
        return self._brought.pop(key_of(name), ())

    # What is so

    def counted(self, known: Known, now: FolderStatus, *, condstore: bool) -> list[str]:
        """Enter the counters of a folder; which of them are to be told."""
        before, known.status = known.status, now
        if own := self.own(known.name):  # the client counted these itself, so what others did in between may not show as a difference
            return [] if is_all_own(before, now, own) else items_at_first(self.events(known.name))
        return items_of_change(self.events(known.name), before, now, condstore=condstore)

    def out_of_sight(self, names: Names) -> dict[str, tuple[str, str]]:
        """Names and object ids, where known, by key, of folders the client had to do with that are not among these names."""
        found = {key: (bar.name, "") for key, bar in self.barred.items() if key not in names}
        return found | {key: (known.name, known.object_id) for key, known in self.known.items() if key not in names}

    def listed(
        self,
        names: Names,
        subscriptions: Names,
        ids: Mapping[str, str],
        unread: Collection[str] = (),
        withdrawn: Collection[str] = (),
    ) -> dict[str, str]:
        """Enter the tree of folders and the subscriptions. `ids` are object ids by key of the folders that are new by name, or may be others than
        before; `unread` the keys of names that may be listed and not read, `withdrawn` those of folders that are there and may not be listed any
        more. Answers what LIST is to tell, in this order: names, with the one before where a folder was renamed."""
        before, subscribed = self.names, self.subscriptions
        self.names, self.subscriptions = dict(names), dict(subscriptions)
        barred = self._bar(unread, withdrawn)
        unmet = [name for key, name in before.items() if key not in names and key not in self.known]
        gone, renamed = self._compared(ids)
        gone += unmet
        come = [name for key, name in names.items() if key not in self.known and (key not in before or key in ids)]
        told = dict.fromkeys([name for name in gone if "MailboxName" in self.events(name)], "")
        told |= {new: old for old, new in renamed if "MailboxName" in self.events(old) | self.events(new)}
        for name in (*gone, *come):
            if "MailboxName" in self.events(name):
                told |= {one: told.get(one, "") for one in self._affected(name)}
        for key in subscribed.keys() ^ self.subscriptions.keys():
            name = names.get(key) or self.subscriptions.get(key) or subscribed[key]
            if "SubscriptionChange" in self.events(name, subscribed=True) | self.events(name, subscribed=False):
                told.setdefault(name, "")
        self.known = {key: known for key, known in self.known.items() if self.events(known.name) and key not in self.barred}
        return told | {name: "" for name in barred if name not in told}

    def _bar(self, unread: Collection[str], withdrawn: Collection[str]) -> list[str]:
        """Enter which folders the client has no access to; names of those where that is another thing than before. What becomes of one that it
        may not list is not for it to know."""
        before, away = self.barred, self.out_of_sight(self.names)
        found = {key: Bar(name, is_listed=True) for key, name in self.names.items() if key in unread}
        found |= {key: Bar(away[key][0], is_listed=False) for key in withdrawn}
        self.barred = {key: bar for key, bar in found.items() if self.events(bar.name)}
        changed = [bar.name for key, bar in self.barred.items() if before.get(key) != bar]
        return changed + [self.names[key] for key in before if key in self.names and key not in unread]

    def _compared(self, ids: Mapping[str, str]) -> tuple[list[str], list[tuple[str, str]]]:
        """Enter what became of the known folders: names of those that are gone, and renames. Those that changed places are forgotten: they come
        anew."""
        believed = {known.object_id or key: known for key, known in self.known.items()}
        where = {object_id: self.names[key] for key, object_id in ids.items()}
        so = {one: self.names[key] for one, known in believed.items() if (key := key_of(known.name)) in self.names and key not in ids}
        so |= {one: where[one] for one in believed if one in where}
        gone = [known.name for one, known in believed.items() if one not in so and key_of(known.name) not in self.names]
        kept = {one: known for one, known in believed.items() if one in so}
        told, lost = renames({one: known.name for one, known in kept.items()}, so)
        replaced = {key: known for key, known in self.known.items() if key in self.names and (known.object_id or key) not in so}
        moved = {key_of(so[one]): replace(known, name=so[one]) for one, known in kept.items() if one not in lost}
        self.known = {**replaced, **moved}
        return gone, told

    def _affected(self, name: str) -> Iterator[str]:
        """A name that came or went, and its direct parent (section 5.4)."""
        yield name
        parent = self.names.get(key_of(name.rpartition("/")[0]))
        if parent is not None and "MailboxName" in self.events(parent):
            yield parent

    def replaced(self, ids: Mapping[str, str]) -> list[str]:
        """Enter that other folders lie in these places; their keys."""
        found = [key for key, known in self.known.items() if ids.get(key, known.object_id) != known.object_id]
        for key in found:
            self.known[key].object_id = ids[key]
        return found

    def unmet(self) -> list[str]:
        """Names with events of which nothing is known yet."""
        return [name for key, name in self.names.items() if key not in self.known and key not in self.barred and self.events(name)]
