"""What a client sends, given to the framer and the grammar as a connection would: every literal is given leave to be sent."""

from __future__ import annotations

from postroom_imap4 import grammar
from postroom_imap4.commands import Command, Octets, Tagged, Wrong
from postroom_imap4.framing import AFTER_LOGIN, Continue, Frame, Framer, Limits, MemoryOctets


class Shelf:
    """Spills kept in memory, so that a test sees what became of each; `full` is raised in place of the n-th write."""

    def __init__(self, fail_at: int = -1, error: Exception | None = None) -> None:
        self.made: list[Sheet] = []
        self.writes, self.fail_at = 0, fail_at
        self.error = error or OSError(28, "no space")

    def __call__(self, size: int) -> Sheet:
        self.count()
        self.made.append(Sheet(self, size))
        return self.made[-1]

    def count(self) -> None:
        self.writes += 1
        if self.writes - 1 == self.fail_at:
            raise self.error

    @property
    def left(self) -> list[Sheet]:
        """Those that neither were abandoned nor closed."""
        return [sheet for sheet in self.made if not sheet.is_gone]


class Sheet:
    """A spill, and what was written to it."""

    def __init__(self, shelf: Shelf, size: int) -> None:
        self.shelf, self.expected = shelf, size
        self.data = b""
        self.is_gone = False

    def write(self, data: bytes) -> None:
        self.shelf.count()
        assert not self.is_gone
        self.data += data

    def done(self) -> Octets:
        self.shelf.count()
        assert len(self.data) == self.expected and not self.is_gone
        return Spilled(self)

    def abandon(self) -> None:
        self.is_gone = True


class Spilled(MemoryOctets):
    """As what lies in a file: nothing to peek at."""

    __slots__ = ("sheet",)

    def __init__(self, sheet: Sheet) -> None:
        super().__init__(sheet.data)
        object.__setattr__(self, "sheet", sheet)
        self.sheet: Sheet

    def peek(self) -> bytes | None:
        return None

    def close(self) -> None:
        self.sheet.is_gone = True


Said = Frame | Continue | Wrong


def taken(framer: Framer) -> list[Said]:
    """All that there is to take."""
    return list(iter(framer.take, None))


def said(data: bytes, limits: Limits = AFTER_LOGIN, shelf: Shelf | None = None) -> list[Said]:
    """What a framer says to these octets."""
    framer = Framer(limits, shelf or Shelf())
    framer.feed(data)
    return taken(framer)


def frame(data: bytes) -> Frame:
    """The one command in these octets; its end is added."""
    (found,) = [one for one in said(data + b"\r\n") if not isinstance(one, Continue)]
    assert isinstance(found, Frame), found
    return found


def read(data: bytes, *, utf8: bool = False, is_rev2: bool = False) -> Tagged | Wrong:
    """What the grammar says to one command."""
    return grammar.read(frame(data), utf8=utf8, is_rev2=is_rev2)


def command(data: bytes, *, utf8: bool = False, is_rev2: bool = False) -> Command:
    """The one command in these octets, without its tag."""
    found = read(b"a " + data, utf8=utf8, is_rev2=is_rev2)
    assert isinstance(found, Tagged), found
    return found.command


def wrong(data: bytes, *, utf8: bool = False) -> tuple[str, bytes, bool]:
    """What is wrong with it: text, code, whether it is a NO. The octets counted in the text are those without the tag "a "."""
    found = read(b"a " + data, utf8=utf8)
    assert isinstance(found, Wrong), found
    assert found.tag == b"a"
    return found.text, found.code, found.is_no


def literal(data: bytes) -> bytes:
    """As a client writes a literal that waits for nothing."""
    return b"{%d+}\r\n%b" % (len(data), data)
