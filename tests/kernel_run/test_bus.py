"""The bus: hints reach the others, and nobody is hurt when they do not."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from postroom_disk.disk import Disk
from postroom_ops.bus import LocalBus
from postroom_testing.ground import Lines


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def place(folder: Path, slot: int, log: Lines | None = None) -> LocalBus:
    bus = LocalBus(folder, slot, Disk(), log or Lines())
    bus.open()
    return bus


async def heard(bus: LocalBus, topic: str) -> bytes:
    """The next hint on a topic."""
    told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    end = bus.listen(topic, lambda payload: told.set_result(payload) if not told.done() else None)
    try:
        return await told
    finally:
        end()


def test_all_others_hear_and_the_sender_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        folder = tmp_path / ("deep" * 20) / "run" / "bus"  # beyond the 108 octets of a socket's address
        one, two, three = (place(folder, slot) for slot in range(3))
        echo: list[bytes] = []
        one.listen("news", echo.append)
        waiting = [asyncio.ensure_future(heard(bus, "news")) for bus in (two, three)]
        await asyncio.sleep(0)
        one.send("other", b"no")
        one.send("news", b"a\0b")
        assert await asyncio.gather(*waiting) == [b"a\0b", b"a\0b"]
        assert echo == [] and one.dropped == 0
        one.send("news", b"mine too", here=True)
        assert echo == [b"mine too"]
        for bus in (one, two, three):
            bus.close()

    run(main())


def test_a_full_buffer_drops_and_does_not_wait(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = place(tmp_path, 0), place(tmp_path, 1)
        for _ in range(5000):
            one.send("news", b"x" * 1000)
        assert one.dropped > 0
        got = asyncio.ensure_future(heard(two, "news"))
        await got
        one.send("news", b"x" * 100_000)  # too large for a hint
        one.close()
        two.close()

    run(main())


def test_a_dead_peer_is_passed_over_and_its_place_can_be_taken_again(tmp_path: Path) -> None:
    async def main() -> None:
        one, dead = place(tmp_path, 0), place(tmp_path, 1)
        asyncio.get_running_loop().remove_reader(dead._socket.fileno())  # type: ignore[union-attr]
        dead._socket.close()  # type: ignore[union-attr]  # its process died: the name stays
        one.send("news")
        assert one.dropped == 1
        again = place(tmp_path, 1)
        got = asyncio.ensure_future(heard(again, "news"))
        await asyncio.sleep(0)
        one.send("news", b"back")
        assert await got == b"back"
        one.close()
        again.close()
        one.send("news")  # after the end: dropped
        assert one.dropped == 2

    run(main())


def test_a_listener_that_fails_does_not_keep_the_others_from_hearing(tmp_path: Path) -> None:
    async def main() -> None:
        log = Lines()
        one, two = place(tmp_path, 0), place(tmp_path, 1, log)

        def fails(payload: bytes) -> None:
            raise ValueError("boom")

        two.listen("news", fails)
        got = asyncio.ensure_future(heard(two, "news"))
        await asyncio.sleep(0)
        one.send("news", b"x")
        assert await got == b"x" and log.events("error") == ["bus.listener_failed"]
        one.close()
        two.close()

    run(main())
