"""What was worked out of a whole folder and holds until a message comes or goes: subjects, orders, threads.

All sessions of a worker share it. It is bounded, what was not asked for longest goes first, and it goes with its folder. Nothing here is the only
copy of anything.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

from postroom.mailstore import Folder, View
from postroom_imap4.held import HeldView

MOST: Final = 64 << 20  # octets in a worker


class State(NamedTuple):
    """Which messages a view has. UIDs only grow and never come back, so the first four tell two views of a folder apart; where rows of
    expunged messages are held, those count too: a session may hold one that another never saw."""

    uidvalidity: int
    messages: int
    first: int
    last: int
    held: tuple[int, ...] = ()

    @classmethod
    def of(cls, view: View) -> State:
        uids = view.uids
        if not uids:
            return cls(view.status.uidvalidity, 0, 0, 0)
        return cls(view.status.uidvalidity, len(uids), uids[0], uids[-1], _held(view))

    def begins(self, view: View) -> bool:
        """Whether the view has just these messages, and perhaps later ones behind them."""
        uids = view.uids
        if self.uidvalidity != view.status.uidvalidity or self.messages > len(uids):
            return False
        if not self.messages:
            return True
        held = tuple(uid for uid in _held(view) if uid <= self.last)
        return uids[0] == self.first and uids[self.messages - 1] == self.last and held == self.held


def _held(view: View) -> tuple[int, ...]:
    return view.lost_uids if isinstance(view, HeldView) else ()


class _Known(NamedTuple):
    folder: weakref.ref[Folder]
    state: State
    value: object
    octets: int


class Remembered:
    """By folder and by what it is."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._octets = most, 0
        self._known: OrderedDict[tuple[int, Hashable], _Known] = OrderedDict()

    def get(self, folder: Folder, what: Hashable) -> tuple[State, object] | None:
        """What was kept last under this name, and for which messages."""
        key = (id(folder), what)
        known = self._known.get(key)
        if known is None or known.folder() is not folder:
            return None
        self._known.move_to_end(key)
        return known.state, known.value

    def now(self, folder: Folder, view: View, what: Hashable) -> object | None:
        """The same where it holds for this view."""
        known = self.get(folder, what)
        return known[1] if known is not None and known[0] == State.of(view) else None

    def keep(self, folder: Folder, view: View, what: Hashable, value: object, octets: int) -> None:
        key = (id(folder), what)
        self._forget(key)
        if octets > self._most // 2:
            return
        identity = id(folder)
        self._known[key] = _Known(weakref.ref(folder, lambda _: self._forget_folder(identity)), State.of(view), value, octets)
        self._octets += octets
        while self._octets > self._most:
            self._octets -= self._known.popitem(last=False)[1].octets

    def _forget(self, key: tuple[int, Hashable]) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self._octets -= known.octets

    def _forget_folder(self, identity: int) -> None:
        for key in [key for key in self._known if key[0] == identity]:
            self._forget(key)


REMEMBERED: Final = Remembered()
