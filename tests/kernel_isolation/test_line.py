"""Frames and descriptors on a socket pair, whatever way the octets come."""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
import threading

import pytest

from postroom.dispatch import Nonsense
from postroom_isolation.crossing import Raised, Replaced, read_answer
from postroom_isolation.line import LARGEST, Broken, Frame, Line


def pair() -> tuple[Line, Line]:
    here, there = socket.socketpair()
    return Line(here), Line(there)


def test_frames_arrive_whole_and_in_order_with_their_descriptors() -> None:
    async def main() -> None:
        here, there = pair()
        got: list[Frame] = []
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        there.attach(asyncio.get_running_loop(), got.append, over.set_result)
        here.attach(asyncio.get_running_loop(), lambda frame: None, lambda why: None)
        for number in range(50):
            read, write = os.pipe()
            os.write(write, b"%d" % number)
            os.close(write)
            here.send(b"E", b"%d " % number * (number * 1000), read if number % 3 == 0 else -1)
            if number % 3:
                os.close(read)
            if number % 7 == 0:
                await asyncio.sleep(0)
        here.send(b"L", b"x" * LARGEST)
        while len(got) < 51:
            await asyncio.sleep(0)
        here.close()
        assert await over == ""
        for number, frame in enumerate(got[:50]):
            assert frame.data == b"%d " % number * (number * 1000) and (frame.descriptor >= 0) == (number % 3 == 0)
            if frame.descriptor >= 0:
                assert os.read(frame.descriptor, 10) == b"%d" % number
                os.close(frame.descriptor)
        assert len(got[50].data) == LARGEST
        there.close()

    asyncio.run(main())


def test_frames_of_several_threads_do_not_mix() -> None:
    async def main() -> None:
        here, there = pair()
        got: list[Frame] = []
        there.attach(asyncio.get_running_loop(), got.append, lambda why: None)
        here.attach(asyncio.get_running_loop(), lambda frame: None, lambda why: None)

        def send(number: int) -> None:
            for _ in range(100):
                here.send(b"L", b"%d" % number * 3000)

        threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while len(got) < 400:
            await asyncio.sleep(0)
        for thread in threads:
            thread.join()
        assert all(len(frame.data) == 3000 and len(set(frame.data)) == 1 for frame in got)
        here.close()
        there.close()

    asyncio.run(main())


BROKEN = {
    "too long": struct.pack(">cBI", b"V", 0, LARGEST + 1),
    "a descriptor that did not come": struct.pack(">cBI", b"V", 1, 0),
    "an odd flag": struct.pack(">cBI", b"V", 9, 0),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_frame_breaks_the_line(case: str) -> None:
    raw, end = socket.socketpair()
    line = Line(end)
    raw.send(BROKEN[case])
    with pytest.raises(Broken):
        line.receive()
    line.close()
    raw.close()


def test_a_flood_of_descriptors_breaks_the_line_and_leaves_none_open() -> None:
    before = os.listdir("/proc/self/fd")
    raw, end = socket.socketpair()
    line = Line(end)
    raw.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [raw.fileno()] * 100))])
    with pytest.raises(Broken):
        line.receive()
    line.close()
    raw.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


NONSENSE = [
    b"",
    b"{",
    b"[]",
    b"42",
    b"null",
    b'{"says":"maybe"}',
    b'{"says":"reject"}'.replace(b"}", b',"why":42}'),
    b'{"says":["pass"]}',
    b'{"says":"replace"}',
    b'{"says":"replace","id":"../../x","size":1}',
    b'{"says":"replace","id":"' + b"A" * 32 + b'","size":-1}',
    b'{"says":"replace","id":"' + b"A" * 32 + b'","size":true}',
    b"\xff\xfe\xfa",
    b"[" * 100_000,
]


@pytest.mark.parametrize("data", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_from_a_child_is_the_plugins_error(data: bytes) -> None:
    with pytest.raises(Nonsense):
        read_answer(data)


def test_an_answer_is_read() -> None:
    assert read_answer(b'{"says":"replace","id":"' + b"A" * 32 + b'","size":7}') == Replaced("A" * 32, 7)
    with pytest.raises(Raised, match="ValueError: boom"):
        read_answer(b'{"says":"error","why":"ValueError: boom"}')
