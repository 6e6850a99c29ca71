"""Ids of messages that a mailbox had and no folder log names any more, for as long as a journal could bring them back.

One text file a mailbox, `forgotten`: a line `live SLOT:GENERATION ...` (the journal segments that lived when the ids were
forgotten), then the ids, a line each; `uidvalidity N` is the highest ever given out. Written aside and synced before any log forgets.
A batch may go when none of its segments lives any more. Changed only under the mailbox's lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from postroom_disk.disk import Disk
from postroom_store import layout

Segments = frozenset[tuple[int, int]]
KEEP = 86400  # seconds for which a UIDVALIDITY is remembered that the clock has passed


@dataclass(frozen=True, slots=True)
class Batch:
    """Ids forgotten at one time."""

    live: Segments
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What the file says."""

    batches: tuple[Batch, ...] = ()
    uidvalidity: int = 0

    def __contains__(self, message_id: str) -> bool:
        return any(message_id in batch.ids for batch in self.batches)

    def after(self, live: Segments, now: float) -> Forgotten:
        """What is left when only these segments live."""
        batches = tuple(batch for batch in self.batches if batch.live & live)
        return Forgotten(batches, self.uidvalidity if self.uidvalidity > now - KEEP else 0)

    def and_also(self, ids: Iterable[str], live: Segments, uidvalidity: int) -> Forgotten:
        more = tuple(dict.fromkeys(ids)) if live else ()
        return Forgotten((*self.batches, Batch(live, more)) if more else self.batches, max(self.uidvalidity, uidvalidity))

    @property
    def is_empty(self) -> bool:
        return not self.batches and not self.uidvalidity

    def text(self) -> str:
        lines = [f"uidvalidity {self.uidvalidity}"]
        for batch in self.batches:
            lines.append("live " + " ".join(f"{slot}:{generation}" for slot, generation in sorted(batch.live)))
            lines.extend(batch.ids)
        return "\n".join(lines) + "\n"


def parse(text: str) -> Forgotten:
    """Read the file; a line that is none of ours is passed over."""
    uidvalidity, live, batches = 0, Segments(), list[tuple[Segments, list[str]]]()
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "uidvalidity" and rest.isdigit():
            uidvalidity = int(rest)
        elif word == "live":
            live = frozenset(_segment(pair) for pair in rest.split() if pair.replace(":", "", 1).isdigit() and ":" in pair[1:-1])
            batches.append((live, []))
        elif len(line) == 32 and batches:
            batches[-1][1].append(line)
    return Forgotten(tuple(Batch(segments, tuple(ids)) for segments, ids in batches), uidvalidity)


def load(mailbox: str) -> Forgotten:
    """The file of the mailbox in this directory; nothing where there is none."""
    try:
        return parse(Path(mailbox, layout.FORGOTTEN).read_text("ascii", "replace"))
    except (FileNotFoundError, NotADirectoryError):
        return Forgotten()


def save(disk: Disk, mailbox: str, said: Forgotten) -> None:
    """Durable on return; no file where there is nothing to say. OSError when the disk refuses."""
    path = Path(mailbox, layout.FORGOTTEN)
    if not said.is_empty:
        disk.write_aside(path, said.text().encode())
    elif path.exists():
        disk.unlink(path)


def _segment(pair: str) -> tuple[int, int]:
    slot, _, generation = pair.partition(":")
    return int(slot), int(generation)
