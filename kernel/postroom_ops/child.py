"""The child's side of `keeper`: the line to the parent, its order, and the sockets handed over with it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_MOST = 250  # sockets handed over at once; the kernel passes 253


@dataclass(frozen=True, slots=True)
class Order:
    """What this process is to be: its slot, and the descriptors it listens on by label."""

    slot: int
    descriptors: Mapping[str, Sequence[int]]


class Channel:
    """The line to the parent. Its end means that the parent is gone."""

    def __init__(self, descriptor: int) -> None:
        self._end = socket.socket(fileno=descriptor) if descriptor >= 0 else None
        if self._end is not None:
            self._end.setblocking(False)

    def order(self) -> Order | None:
        """Wait for the parent's order; None when the parent is gone. Blocks, for nothing else is to be done yet."""
        if self._end is None:
            return Order(0, {})
        self._end.setblocking(True)
        try:
            text, descriptors, _, _ = socket.recv_fds(self._end, 65536, _MOST)
        except ConnectionError:
            return None
        self._end.setblocking(False)
        if not text:
            return None
        said = json.loads(text)
        sockets: dict[str, list[int]] = {}
        for label, descriptor in zip(said["labels"], descriptors, strict=True):
            sockets.setdefault(label, []).append(descriptor)
        return Order(said["slot"], sockets)

    def tell(self, event: str, **facts: object) -> None:
        """One line of JSON; dropped where nobody reads."""
        try:
            if self._end is not None:
                self._end.send(json.dumps({"event": event, **facts}, default=str).encode() + b"\n")
        except OSError:
            pass

    def on_end(self, ended: Callable[[], None]) -> None:
        """Call this once, in the loop, when the parent is gone."""
        if self._end is not None:
            asyncio.get_running_loop().add_reader(self._end.fileno(), self._ended, self._end, ended)

    def _ended(self, end: socket.socket, ended: Callable[[], None]) -> None:
        asyncio.get_running_loop().remove_reader(end.fileno())  # an end stays readable for ever
        ended()

    def close(self) -> None:
        """Hang up, once no loop listens to this end any more."""
        if self._end is not None:
            self._end.close()


class Sockets(Mapping[str, Sequence[socket.socket]]):
    """Bound sockets by label. Each asking gets duplicates of its own to close, so whoever listens can be started again."""

    def __init__(self, descriptors: Mapping[str, Sequence[int]]) -> None:
        self._kept = {label: [socket.socket(fileno=fd) for fd in fds] for label, fds in descriptors.items()}

    def __getitem__(self, label: str) -> Sequence[socket.socket]:
        copies = [kept.dup() for kept in self._kept[label]]
        for copy in copies:
            copy.setblocking(False)
        return copies

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        for kept in (one for some in self._kept.values() for one in some):
            kept.close()
