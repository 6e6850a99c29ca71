"""Nothing is left behind: no socket, task, timer or place in a lane, whoever hangs up or is cancelled, and when."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.plugins_smtp.outbound.sealed import LOOPS
from tests.plugins_smtp.outbound.world import MODERN, Line, Server, World, run, words

pytestmark = pytest.mark.long

loops = pytest.mark.parametrize("loop", LOOPS)
STAGES = ["connect", "greeting", "starttls", "handshake", "implicit"]


def nothing_is_left(world: World) -> None:
    pool = world.agent.pool
    assert not pool._channels and not pool._kept and not pool._open_now and not pool._making and not len(pool.wheel)
    assert all((lane.live, lane.busy, lane.called, len(lane.waiters)) == (0, 0, 0, 0) for lane in pool._lanes.values())
    assert pool._turning is None or pool._turning.done() or pool._turning.cancelling()


@asynccontextmanager
async def stuck(stage: str) -> AsyncIterator[tuple[int, asyncio.Event, set[asyncio.Task[Any]]]]:
    """A server that goes so far and then says nothing: its port, when it is that far, and its open connections."""
    there, open_now = asyncio.Event(), set[asyncio.Task[Any]]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            if stage == "implicit":
                await reader.read(1)  # the client's hello begins
            elif stage != "greeting":
                writer.write(b"220 localhost\r\n")
                await reader.readline()
                writer.write(b"250-localhost\r\n250 STARTTLS\r\n")
                await reader.readline()
                if stage == "handshake":
                    writer.write(b"220 Go\r\n")
                    await reader.read(1)
            there.set()
            while await reader.read(4096):
                pass
        except OSError:
            pass
        finally:
            open_now.discard(task)
            writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], there, open_now


def client(port: int, stage: str) -> World:
    if stage == "implicit":
        smart = {"host": "localhost", "port": port, "tls": "implicit"}
        return World(dns={"A localhost": "127.0.0.1"}, real=True, smart_host=smart)
    return World(dns={"MX example.test": "10 localhost.", "A localhost": "127.0.0.1"}, real=True, port=port)


@loops
@pytest.mark.parametrize("stage", STAGES[1:])
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_who_is_cancelled_in_a_handshake_left_its_connection_behind(loop: str, stage: str, how: str) -> None:
    """And the agent, when it ended, waited for ever for a socket that told it nothing any more."""

    async def main() -> None:
        async with asyncio.timeout(10), stuck(stage) as (port, there, open_now):
            world = client(port, stage)
            waiting = asyncio.ensure_future(world.deliver("bob@example.test"))
            await there.wait()
            if how == "close":
                await world.agent.pool.close()
            else:
                waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            while open_now:  # the server sees that it ended
                await asyncio.sleep(0)
            await world.end()
            nothing_is_left(world)
            gc.collect()  # a socket that nobody closed would warn

    LOOPS[loop](main())


@pytest.mark.parametrize("turns", range(1, 40))
def test_cancelled_at_each_turn_of_the_loop(turns: int) -> None:
    world = World(Server((*MODERN, "STARTTLS"), {"STARTTLS": "454 4.7.0 Not now"}))

    async def test() -> None:
        await world.keep()
        waiting = asyncio.ensure_future(world.deliver())
        for _ in range(turns):
            await asyncio.sleep(0)
        done = waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)
        lane = world.agent.pool.lane("192.0.2.1", 25)
        assert world.server.open_lines == lane.live == int(done) and lane.busy == 0
        assert words(await world.deliver()) == ["delivered"]
        await world.end()
        nothing_is_left(world)

    run(world, test)


def test_a_server_that_hangs_up_at_once_was_counted_as_open_for_ever() -> None:
    world = World()
    begin = Line.begin

    def cut(self: Line) -> None:
        self.protocol.connection_made(self)
        self.cut()

    async def test() -> None:
        Line.begin = cut  # type: ignore[method-assign]
        try:
            assert words(await world.deliver()) == ["deferred 421 4.4.2"]
        finally:
            Line.begin = begin  # type: ignore[method-assign]
        nothing_is_left(world)

    run(world, test)


def test_a_connection_that_made_room_for_another_was_counted_as_kept() -> None:
    """Two logins at one host with one connection at a time. What the pool believed open made a dead host look crowded."""
    smart = {"host": "192.0.2.1", "user": "me", "password": "x", "tls": "none"}
    server = Server((*MODERN, "AUTH PLAIN"), {"AUTH": "235 Ok"})
    hosts = {"a.test": smart, "c.test": dict(smart, user="you")}
    world = World(server, dns={}, smart_hosts=hosts, connections_per_host=1)

    async def test() -> None:
        await world.keep()
        for sender in ("x@a.test", "x@c.test") * 5:
            assert words(await world.deliver(sender=sender)) == ["delivered"]
        await world.clock.advance(0)
        pool = world.agent.pool
        assert len(pool._channels) == len(pool._kept) == server.open_lines == pool.lane("192.0.2.1", 587).live == 1
        await world.end()
        nothing_is_left(world)

    run(world, test)


def test_a_message_that_was_cancelled_did_not_go_well() -> None:
    """A cancelled message made its host look faster than it is."""
    world = World(Server(says={"FINAL": ""}))

    async def test() -> None:
        waiting = asyncio.ensure_future(world.deliver())
        for _ in range(20):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert world.agent.pool.lane("192.0.2.1", 25).window == 2

    run(world, test)
