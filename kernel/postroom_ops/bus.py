"""Hints between the workers of a site, through datagram sockets in `run/bus/`.

A hint may be lost or doubled, and nobody waits for one: a full buffer, a dead peer or a payload beyond 32 KiB drops it, and
`dropped` counts. Whoever gets a hint looks for himself.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

from postroom_ops.asks import Files, Log, near

_LARGEST = 32 * 1024  # octets of a hint
_AT_ONCE = 64  # hints taken before the loop gets its turn


class LocalBus:
    """This worker's place on the bus. Implements `postroom.site.Bus`."""

    def __init__(self, folder: Path, slot: int, disk: Files, log: Log) -> None:
        self.dropped = 0
        self._folder, self._name, self._disk, self._log = folder, f"{slot}.sock", disk, log
        self._told: dict[str, list[Callable[[bytes], None]]] = {}
        self._peers: tuple[str, ...] = ()
        self._seen = -1  # when the folder last changed, as far as we know
        self._socket: socket.socket | None = None
        self._place = -1

    def open(self) -> None:
        """Take the place and read from now on; needs the running loop."""
        self._disk.make_folders(self._folder)
        self._place = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._disk.unlink(self._folder / self._name)
        except FileNotFoundError:
            pass
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(near(self._place, self._name))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read, self._socket)

    def close(self) -> None:
        """Leave; later sends are dropped."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        self._disk.unlink(self._folder / self._name)
        os.close(self._place)

    def send(self, topic: str, payload: bytes = b"", *, here: bool = False) -> None:
        if here:
            self._hear(topic, payload)
        if self._socket is None or len(payload) > _LARGEST:
            self.dropped += 1
            return
        hint = b"%b\0%b" % (topic.encode(), payload)
        for peer in self._others():
            try:
                self._socket.sendto(hint, near(self._place, peer))
            except OSError:  # full, dead or gone
                self.dropped += 1

    def listen(self, topic: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        self._told.setdefault(topic, []).append(told)
        return lambda: self._told[topic].remove(told)

    def _others(self) -> tuple[str, ...]:
        """Who else is there; the folder is read again only when it changed."""
        changed = os.fstat(self._place).st_mtime_ns
        if changed != self._seen:
            self._seen = changed
            self._peers = tuple(name for name in os.listdir(self._place) if name.endswith(".sock") and name != self._name)
        return self._peers

    def _read(self, taken_from: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                hint = taken_from.recv(_LARGEST + 1024)
            except OSError:
                return
            topic, _, payload = hint.partition(b"\0")
            self._hear(topic.decode(errors="replace"), payload)

    def _hear(self, topic: str, payload: bytes) -> None:
        for told in tuple(self._told.get(topic, ())):
            self._tell(told, payload)

    def _tell(self, told: Callable[[bytes], None], payload: bytes) -> None:
        try:
            told(payload)
        except Exception as error:  # one listener's mistake is not the others'
            self._log.error("bus.listener_failed", listener=getattr(told, "__qualname__", ""), error=f"{type(error).__name__}: {error}")
