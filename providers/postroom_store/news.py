"""Telling who follows a folder that it changed: in this worker at once, in the others by a hint on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postroom.site import Bus

TOPIC = "store"


class News:
    """Followers by the folder's key. A hint may be lost or doubled; who gets one looks for himself."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._followers: dict[str, list[Callable[[], None]]] = {}
        self._end: Callable[[], None] | None = None

    def open(self) -> None:
        if self._end is None:
            self._end = self._bus.listen(TOPIC, self._heard)

    def close(self) -> None:
        if self._end is not None:
            self._end()
            self._end = None

    def follow(self, key: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` in the loop after each change of the folder, until the answer is called."""
        self._followers.setdefault(key, []).append(changed)

        def end() -> None:
            followers = self._followers.get(key, [])
            if changed in followers:
                followers.remove(changed)
            if not followers:
                self._followers.pop(key, None)

        return end

    def tell(self, key: str) -> None:
        """The folder changed."""
        self._bus.send(TOPIC, key.encode())
        if key in self._followers:
            self._call(key)

    def _heard(self, payload: bytes) -> None:
        self._call(payload.decode("utf-8", "replace"))

    def _call(self, key: str) -> None:
        for changed in self._followers.get(key, ()):
            asyncio.get_running_loop().call_soon(changed)
