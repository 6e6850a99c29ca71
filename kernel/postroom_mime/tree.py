"""The tree of a message's entities, found in one walk over its octets.

Any octets are a message. Why the walk is linear, whatever they are (features case 31):

* `find` never looks back: each search begins where the last one ended, but for the one octet of line end before a delimiter.
* The needle is LF, two dashes and what all open boundaries have in common. LF stands in it once, at its start, so no text makes
  `find` compare an octet more than twice, and with one boundary open (most mail) it stops nowhere else.
* A line that was found is looked up, as a whole, in a dictionary of the open delimiters: the cost is the line's length, however many
  boundaries are open and however alike they are. A boundary that begins another one is thus no danger.
* The end of a header is looked for in windows that grow fourfold and end at the first delimiter, so parts without a blank line do not
  each search the rest of the message.
* Found lines that are no delimiter are counted: after MAX_STRAY of them, MAX_PARTS parts or at MAX_DEPTH, what follows stays as it is,
  octets of the part it lies in.
"""

from __future__ import annotations

from dataclasses import dataclass

from postroom_mime import content, envelope
from postroom_mime.content import Content, Media
from postroom_mime.headers import WINDOW, blank_line
from postroom_mime.onfile import FileOctets

MAX_DEPTH = 100  # entities within entities
MAX_PARTS = 10_000
MAX_STRAY = 1_000_000
_MULTIPART = int(Media.MULTIPART)
_CR = 13
_NOWHERE = (-1, False)


@dataclass(slots=True, eq=False)
class Entity:
    """A message or a part. Offsets as in parts.Part; `children` of a multipart, or the one message within a message/rfc822."""

    header: int
    body: int
    depth: int
    content: Content
    children: list[Entity]
    message: envelope.MessageHeader | None = None  # where the entity is a message: its header
    end: int = -1  # -1 until it is closed
    lines: int = 0


def grow(data: bytes | FileOctets) -> list[Entity]:
    """All entities of this message, closed, in the order in which they begin: the root first."""
    return _Walk(data).run()


class _Walk:
    """State of one walk: the multiparts and messages that are open, outermost first, the leaf open in the last of them, and the delimiters
    that would end them."""

    __slots__ = ("data", "delimiters", "entities", "leaf", "needles", "path", "size", "stray")

    def __init__(self, data: bytes | FileOctets) -> None:
        self.data, self.size = data, len(data)
        self.entities: list[Entity] = []
        self.path: list[Entity] = []
        self.leaf: Entity | None = None
        self.needles: list[bytes | None] = []  # beside `path`: what to search within that entity; None when no delimiter is open
        self.delimiters: dict[bytes, tuple[int, bool]] = {}  # line -> (place in path of its multipart, whether it closes it)
        self.stray = 0

    def run(self) -> list[Entity]:
        data, size, entities = self.data, self.size, self.entities
        body = self.open_message(0, self.header_end(0, WINDOW))
        position = body - 1 if body else 0  # from the line end before the innermost body, for a delimiter may come at once
        while (found := self.next_delimiter(position, size)) is not None:
            at, after, place, closes = found
            if len(entities) >= MAX_PARTS:
                break
            self.close(at - (data[at - 1] == _CR), place + 1)
            if closes:
                self.forget(place)
                position = after - 1
            else:
                position = self.open_part(after) - 1
        self.close(size, 0)
        return entities

    def next_delimiter(self, position: int, stop: int) -> tuple[int, int, int, bool] | None:
        """The next line between here and `stop` that is an open delimiter: (its line end before, the offset after it, place, closes)."""
        needle, data = self.needles[-1] if self.needles else None, self.data
        if needle is None:
            return None
        while (at := data.find(needle, position, stop)) >= 0:
            after = data.find(b"\n", at + 1) + 1 or self.size
            hit = self.delimiters.get(data[at + 1 : after].rstrip())
            if hit is not None:
                return at, after, hit[0], hit[1]
            self.stray += 1
            if self.stray > MAX_STRAY:
                self.needles = [None] * len(self.needles)
                return None
            position = after - 1 if after - 1 > at else self.size
        return None

    def open_message(self, start: int, body: int) -> int:
        """Open a message; where its innermost body begins."""
        header = envelope.read(self.data[start:body])
        return self.push(Entity(start, body, len(self.path), content.of_values(header.content), [], header))

    def open_part(self, start: int) -> int:
        """Open the part that begins here; where its innermost body begins. Most headers are short, whole, and were seen before."""
        in_digest = self.path[-1].content.is_digest
        end = self.data.find(b"\n\r\n", start, start + content.SHORT) + 3
        known = content.of_short_part(self.data[start:end], in_digest) if end > 2 else None
        if known is None:
            end = self.header_end(start)
            known = content.of_part(self.data[start:end], in_digest)
        return self.push(Entity(start, end, len(self.path), known, []))

    def push(self, entity: Entity) -> int:
        """Open an entity within the innermost one; a message/rfc822 opens the message within it. Where the innermost body begins now."""
        self.entities.append(entity)
        path = self.path
        if path:
            path[-1].children.append(entity)
        if entity.content.media >= _MULTIPART and self.is_deep(entity):
            entity.content = content.opaque(entity.content)
        if entity.content.media < _MULTIPART:
            self.leaf = entity
            return entity.body
        self.needles.append(self.needles[-1] if path else None)
        path.append(entity)
        if entity.content.media == _MULTIPART:
            self.watch(entity.content.boundary)
            return entity.body
        return self.open_message(entity.body, self.header_end(entity.body))

    def is_deep(self, entity: Entity) -> bool:
        """Whether an entity lies too deep, or behind too many others, to be taken apart."""
        return entity.depth >= MAX_DEPTH - 1 or len(self.entities) >= MAX_PARTS

    def watch(self, boundary: bytes) -> None:
        """Open this boundary's delimiters. One that is open already stays with the outer multipart, which ends there."""
        place = len(self.path) - 1
        line = b"--" + boundary
        self.delimiters.setdefault(line, (place, False))
        self.delimiters.setdefault(line + b"--", (place, True))
        outer = self.needles[-1]
        self.needles[-1] = b"\n" + line if outer is None else _common(outer, b"\n" + line)

    def forget(self, place: int) -> None:
        """The multipart at this place has ended, by its own last delimiter or by another's: its delimiters are text from here on."""
        line = b"--" + self.path[place].content.boundary
        for known in (line, line + b"--"):
            if self.delimiters.get(known, _NOWHERE)[0] == place:
                del self.delimiters[known]
        self.needles[place] = self.needles[place - 1] if place else None

    def close(self, end: int, place: int) -> None:
        """Close all from this place on, at `end`; but an empty body keeps the blank line before it, even where a delimiter claims it."""
        path, leaf = self.path, self.leaf
        innermost = path[-1] if leaf is None else leaf
        if end < innermost.body:
            end = innermost.body
        if leaf is not None:
            self.leaf, leaf.end = None, end
            if leaf.content.media:
                leaf.lines = self.data.count(b"\n", leaf.body, end)
        while len(path) > place:
            entity = path[-1]
            entity.end = end
            if entity.content.media != _MULTIPART:
                entity.lines = self.data.count(b"\n", entity.body, end)
            else:
                if self.needles[-1] is not None:
                    self.forget(len(path) - 1)
                if not entity.children:
                    self.fill(entity)
            path.pop()
            self.needles.pop()

    def fill(self, entity: Entity) -> None:
        """An empty multipart has one empty part (RFC 9051 section 9, body-type-mpart, wants one at least)."""
        part = Entity(entity.end, entity.end, entity.depth + 1, content.EMPTY, [], end=entity.end)
        entity.children.append(part)
        self.entities.append(part)

    def header_end(self, start: int, width: int = 256) -> int:
        """Where a body begins: after the blank line, or where an open delimiter comes first."""
        first = self.data[start : start + 2]
        if first == b"\r\n" or first[:1] == b"\n":
            return start + (2 if first == b"\r\n" else 1)
        while True:
            stop = min(start + width, self.size)
            end = blank_line(self.data, start, stop)
            found = self.next_delimiter(max(start - 1, 0), stop if end < 0 else end)
            if found is not None:
                return max(found[0] + 1, start)
            if end >= 0 or stop == self.size:
                return end if end >= 0 else stop
            width *= 4


def _common(one: bytes, other: bytes) -> bytes:
    """What both begin with."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return one[:size]
    return one[: next(place for place in range(size) if one[place] != other[place])]
