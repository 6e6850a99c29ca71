"""The line between a worker and the child of an isolated plugin: frames of octets on a socket pair, with descriptors beside them.

A frame is one letter for its kind, one octet that says whether a descriptor goes with it, its length (4, big-endian), and so many octets;
1 MiB is the most. The kernel hands a descriptor over with the first octet of its frame. Nothing is ever unpickled. What does not keep to
this raises `Broken`: the other side is to be ended. A send never waits; what finds no room goes out when there is some.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from postroom.errors import PostroomError

LARGEST: Final = 1 << 20  # octets of a frame
HELLO, EVENT, VERDICT, LOG = b"H", b"E", b"V", b"L"  # kinds
_HEAD: Final = struct.Struct(">cBI")
_AT_ONCE: Final = 32 * 1024  # octets taken from the socket in one go; a larger buffer is mapped and unmapped at every read
_DESCRIPTORS: Final = 4  # taken with one read, and kept until their frame is whole
_CUT, _CLOEXEC, _QUIET = int(socket.MSG_CTRUNC), int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_NOSIGNAL)  # a flag's own `&` is slow
_SPACE: Final = socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)


class Broken(PostroomError):
    """The other side does not speak as it should."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What was said; who takes a frame with a descriptor owns that."""

    kind: bytes
    data: bytes
    descriptor: int = -1


class Line:
    """One end. Frames may be sent from any thread; the rest is for the loop's."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._got, self._descriptors = bytearray(), deque[int]()
        self._unsent: deque[tuple[bytes | memoryview, int]] = deque()
        self._sending = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, kind: bytes, data: bytes, descriptor: int = -1) -> None:
        """Say this, now or as soon as there is room. The descriptor is the line's from now on. Broken where it is too long; OSError when
        nobody is there any more."""
        if len(data) > LARGEST:
            _close(descriptor)
            raise Broken(f"{len(data)} octets are too many for a frame")
        with self._sending:
            self._unsent.append((_HEAD.pack(kind, descriptor >= 0, len(data)) + data, descriptor))
            self._flush()
            if self._unsent and self._loop is not None:
                self._loop.call_soon_threadsafe(self._await_room)

    @property
    def behind(self) -> int:
        """Octets that found no room yet."""
        return sum(len(data) for data, _ in self._unsent)

    def _flush(self) -> None:
        while self._unsent:
            data, descriptor = self._unsent[0]
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))] if descriptor >= 0 else []
            try:
                sent = self._end.sendmsg([data], beside, _QUIET)
            except BlockingIOError:
                return
            _close(descriptor)
            if sent < len(data):
                self._unsent[0] = (memoryview(data)[sent:], -1)
            else:
                self._unsent.popleft()

    def _await_room(self) -> None:
        if self._loop is not None and self._end.fileno() >= 0:
            self._loop.add_writer(self._end.fileno(), self._has_room)

    def _has_room(self) -> None:
        with self._sending, suppress(OSError):  # who is gone is found out by reading
            self._flush()
        if not self._unsent and self._loop is not None:
            self._loop.remove_writer(self._end.fileno())

    def receive(self) -> list[Frame] | None:
        """The frames that are whole by now, after one read; None at the end of the line. BlockingIOError where nothing came; Broken."""
        try:
            data, beside, flags, _ = self._end.recvmsg(_AT_ONCE, _SPACE, _CLOEXEC)
        except ConnectionError:
            return None
        for level, kind, payload in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._descriptors.extend(array.array("i", payload[: len(payload) // 4 * 4]))
        if flags & _CUT or len(self._descriptors) > _DESCRIPTORS:
            raise Broken("too many descriptors")
        if not data:
            return None
        self._got += data
        return list(self._whole())

    def _whole(self) -> Iterator[Frame]:
        while len(self._got) >= _HEAD.size:
            kind, described, length = _HEAD.unpack_from(self._got)
            if length > LARGEST or described > 1:
                raise Broken(f"a frame of {length} octets")
            if len(self._got) < _HEAD.size + length:
                return
            if described and not self._descriptors:
                raise Broken("a descriptor is missing")
            data = bytes(self._got[_HEAD.size : _HEAD.size + length])
            del self._got[: _HEAD.size + length]
            yield Frame(kind, data, self._descriptors.popleft() if described else -1)

    def attach(self, loop: asyncio.AbstractEventLoop, told: Callable[[Frame], None], ended: Callable[[str], None]) -> None:
        """Tell of every frame in this loop, and once of the end, with what was wrong where something was."""
        self._loop = loop
        loop.add_reader(self._end.fileno(), self.read, told, ended)

    def read(self, told: Callable[[Frame], None], ended: Callable[[str], None]) -> None:
        """What came by now; called by the loop."""
        try:
            frames = self.receive()
        except BlockingIOError:
            return
        except Broken as error:
            self.detach()
            ended(str(error))
            return
        if frames is None:
            self.detach()
            ended("")
            return
        for frame in frames:
            told(frame)

    def detach(self) -> None:
        """Tell of nothing any more."""
        if self._loop is not None and self._end.fileno() >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(self._end.fileno())
            self._loop.remove_writer(self._end.fileno())
        self._loop = None

    def close(self) -> None:
        """Hang up; safe to be called twice."""
        self.detach()
        with self._sending:
            for descriptor in [*self._descriptors, *(descriptor for _, descriptor in self._unsent)]:
                _close(descriptor)
            self._descriptors.clear()
            self._unsent.clear()
            self._end.close()


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
