"""Hints that somebody shares folders with somebody: for the sessions, of this worker and of others, that want to know at once (NOTIFY).

A hint may be lost or doubled, and says only whom the change may concern; who gets one looks at the rights themselves. Whoever changes a list of
rights tells, once the change is durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from postroom_imap4.listing import key_of
from postroom_imap4.rights import ANYONE

if TYPE_CHECKING:
    from postroom.site import Bus

TOPIC: Final = "imap4.shares"
_GROUPS: Final = "$"  # all groups of a post office: who is in one may change meanwhile
Given = Callable[[str], None]


class Shares:
    """A worker's. It listens to the others as long as anybody of its own does."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._followers: dict[tuple[str, str], dict[object, Given]] = {}
        self._deaf: Callable[[], None] | None = None

    @property
    def is_heard(self) -> bool:
        """Whether anybody of this worker wants to hear."""
        return self._deaf is not None

    def tell(self, postoffice: str, owner: str, identifier: str) -> None:
        """The list of rights of one of the owner's folders says something else of this identifier."""
        who = identifier.removeprefix("-")
        key = (key_of(postoffice), _GROUPS if who.startswith("$") else key_of(who))
        self._bus.send(TOPIC, "\0".join((*key, key_of(owner))).encode(), here=True)

    def follow(self, postoffice: str, login: str, given: Given) -> Callable[[], None]:
        """Call `given` in the loop with the owner's key, where rights were changed that this login may have; the answer ends it."""
        keys, one = [(key_of(postoffice), who) for who in (login, ANYONE, _GROUPS)], object()
        for key in keys:
            self._followers.setdefault(key, {})[one] = given
        if self._deaf is None:
            self._deaf = self._bus.listen(TOPIC, self._heard)

        def end() -> None:
            for key in keys:
                self._forget(key, one)

        return end

    def _forget(self, key: tuple[str, str], one: object) -> None:
        followers = self._followers.get(key, {})
        followers.pop(one, None)
        if not followers:
            self._followers.pop(key, None)
        if not self._followers and self._deaf is not None:
            deaf, self._deaf = self._deaf, None
            deaf()

    def _heard(self, payload: bytes) -> None:
        postoffice, who, owner = payload.decode("utf-8", "replace").split("\0")
        for given in tuple(self._followers.get((postoffice, who), {}).values()):
            given(owner)
