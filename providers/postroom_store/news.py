"""Telling who follows a folder, or all of a mailbox, that it changed: in this worker at once, in the others by a hint on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from postroom.site import Bus

TOPIC = "store"


class News:
    """Followers by the folder's key, watchers by the mailbox's. A hint may be lost or doubled; who gets one looks for himself."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._followers: dict[str, list[Callable[[], None]]] = {}
        self._watchers: dict[str, list[Callable[[str], None]]] = {}
        self._end: Callable[[], None] | None = None
        self.trees: Callable[[str], None] = lambda mailbox: None  # called at once with a mailbox's key when its tree changed

    def open(self) -> None:
        if self._end is None:
            self._end = self._bus.listen(TOPIC, self._heard)

    def close(self) -> None:
        if self._end is not None:
            self._end()
            self._end = None

    def follow(self, key: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` in the loop after each change of the folder, until the answer is called."""
        return _joined(self._followers, key, changed)

    def watch(self, mailbox: str, changed: Callable[[str], None]) -> Callable[[], None]:
        """Likewise with the folder's name, as keys have it, after each change in the mailbox with this key (that of its folder "")."""
        return _joined(self._watchers, mailbox, changed)

    def tell(self, key: str) -> None:
        """The folder changed; with the key of a mailbox: its tree, subscriptions or attributes did, or a log was put in another's place."""
        self._bus.send(TOPIC, key.encode())
        self._call(key)

    def _heard(self, payload: bytes) -> None:
        self._call(payload.decode("utf-8", "replace"))

    def _call(self, key: str) -> None:
        at = key.find("\0", key.find("\0") + 1) + 1
        if not key[at:]:
            self.trees(key)
        for told in self._watchers.get(key[:at], ()):
            asyncio.get_running_loop().call_soon(told, key[at:])
        for changed in self._followers.get(key, ()) if key[at:] else self._all_in(key):
            asyncio.get_running_loop().call_soon(changed)

    def _all_in(self, mailbox: str) -> list[Callable[[], None]]:
        """Who follows any of its folders, for each may bear another name now."""
        return [changed for key, followers in self._followers.items() if key.startswith(mailbox) for changed in followers]


F = TypeVar("F")


def _joined(table: dict[str, list[F]], key: str, one: F) -> Callable[[], None]:
    """Put it into the table; the answer takes it out."""
    table.setdefault(key, []).append(one)

    def end() -> None:
        others = table.get(key, [])
        if one in others:
            others.remove(one)
        if not others:
            table.pop(key, None)

    return end
