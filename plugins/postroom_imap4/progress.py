"""Signs of life while a command takes long (INPROGRESS, RFC 9585)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from postroom_imap4.answers import quoted
from postroom_imap4.replies import untagged


class Progress:
    """Of the command under way."""

    __slots__ = ("_counted", "_is_told", "_tag")

    def __init__(self) -> None:
        self._tag = b""
        self._counted = (0, 0)  # how many of what it goes through are done, of how many
        self._is_told = False  # whether signs of life may stand between its answers now

    def begin(self, tag: bytes, *, slow: bool) -> None:
        """`slow`: it may take long without a word."""
        self._tag, self._counted, self._is_told = tag, (0, 0), slow

    def went_on(self, done: int, goal: int) -> None:
        """It is so far; told with the next sign of life."""
        self._counted = (done, goal)

    def uncounted(self) -> None:
        """What follows has no count."""
        self._counted = (0, 0)

    def silence(self) -> None:
        """Nothing may stand between what is sent from now on: the pieces of one answer, or the end."""
        self._is_told = False

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The same for as long as the block lasts."""
        told, self._is_told = self._is_told, False
        yield
        self._is_told = told

    def sign(self) -> bytes:
        """What the client is told now (RFC 9585 section 4), if anything."""
        if not self._is_told:
            return b""
        tag = quoted(self._tag) if b"]" not in self._tag else b"NIL"
        done, goal = self._counted
        state = b"%d %d" % (done, goal) if done < goal else b"NIL NIL"
        return untagged("still at it", b"INPROGRESS (%b %b)" % (tag, state))
