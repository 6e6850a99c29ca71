"""The contract of a service as a test suite: what lets people at their mail serves them, many at once, and survives whoever else comes.

    class TestFinger(ServiceContract):
        plugin = FingerPlugin
        settings = {"listen": [{"port": 0, "host": "127.0.0.1"}]}

        async def converse(self, reader, writer):
            writer.write(b"bob\\r\\n")
            assert (await reader.readline()).startswith(b"bob has ")

`converse` is one short conversation with a client that behaves; what it needs (mailboxes, logins) is put there by `furnish`. Without it the suite
only connects.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from postroom.connectors import Endpoint
from postroom_testing.agents import HOST, AgentContract
from postroom_testing.plugin import Alive
from postroom_testing.watching import Census, longest_step, memory

RUBBISH: Mapping[str, bytes] = {
    "nothing": b"",
    "nul octets": b"\0" * 10_000 + b"\r\n",
    "8-bit octets": bytes(range(128, 256)) * 100 + b"\r\n",
    "line ends": b"\r\n" * 10_000,
    "carriage returns": b"\r" * 10_000,
    "blanks": b" " * 10_000 + b"\r\n",
    "a long word": b"A" * 100_000 + b"\r\n",
    "a handshake": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "another protocol": b"GET / HTTP/1.1\r\nHost: mail.example.test\r\n\r\n",
    "braces": b"a {4294967295}\r\n{-1}\r\n{99999999999999999999+}\r\n",
    "brackets": b"(" * 10_000 + b")" * 10_000 + b"\r\n",
    "percent signs": b"%s%n%x " * 1_000 + b"\r\n",
    "paths": b"../../../../etc/passwd\r\n\\\\..\\..\r\n",
}
_STILL = 0.5  # seconds in which a peer gets rid of nothing, until it gives up: that nobody will ever read can only be told by time


class ServiceContract(AgentContract):
    """Name your class and its settings, with ports of 0, and hold a conversation."""

    house = ("tab", "store")
    endpoint: ClassVar[str] = ""  # label of the endpoint where `converse` is held; the first one unless said
    many: ClassVar[int] = 50  # conversations at once
    command: ClassVar[bytes] = b"NOOP\r\n"  # a line that is answered; sent without end by a peer that never reads
    rubbish: ClassVar[Mapping[str, bytes]] = {}  # what is hostile in your protocol beyond the usual

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation of a client that behaves; AssertionError where the service does not."""

    def spoken(self, alive: Alive) -> Endpoint:
        """The endpoint where conversations are held; the test is skipped where there is none."""
        found = [one for one in alive.endpoints if self.endpoint in ("", one.label)]
        if not found:
            pytest.skip("the service has no endpoint")
        return found[0]

    async def talk(self, alive: Alive) -> None:
        async with self.connected(alive, self.spoken(alive)) as (reader, writer):
            await self.within(self.converse(reader, writer), "a conversation")

    async def visit(self, alive: Alive) -> None:
        if alive.endpoints:
            await self.talk(alive)
            before = Census.now()
            await self._hang_up(alive)
            await self._forgotten(before)

    # Who behaves.

    def test_it_is_a_service(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path, run=False) as alive:
                assert alive.agents, "the hook services gives nothing"

        asyncio.run(main())

    def test_it_holds_a_conversation(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.serving(tmp_path) as alive:
                await self.talk(alive)
                await self.talk(alive)

        asyncio.run(main())

    def test_it_holds_many_conversations_at_once(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.serving(tmp_path) as alive:
                self.spoken(alive)
                await asyncio.gather(*(self.talk(alive) for _ in range(self.many)))

        asyncio.run(main())

    def test_the_loop_is_not_blocked(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.serving(tmp_path) as alive:
                await self.talk(alive)

                async def work() -> None:
                    await self.talk(alive)
                    for _, octets in self.bad_lines():
                        await self._throw(alive, octets)

                (await longest_step(work, self.is_mine)).check()

        asyncio.run(main())

    # Who does not.

    def test_peers_that_hang_up_cost_nothing(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.serving(tmp_path) as alive:
                await self.talk(alive)
                before = Census.now()
                for _ in range(20):
                    await self._hang_up(alive)
                await self._forgotten(before)
                await self.talk(alive)

        asyncio.run(main())

    async def _forgotten(self, before: Census) -> None:
        await self.until(lambda: not before.more_in(Census.now()), "the end of connections whose peers hung up")

    async def _hang_up(self, alive: Alive) -> None:
        """Peers that leave at once, in the middle of a line, and with a reset."""
        port = alive.port(self.spoken(alive))
        for octets, reset in ((b"", False), (b"HAL", False), (self.command, True), (b"", True)):
            with socket.create_connection((HOST, port), timeout=self.patience) as peer:
                peer.sendall(octets)
                if reset:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await asyncio.sleep(0)

    def test_rubbish_ends_at_worst_the_connection_it_came_by(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.serving(tmp_path) as alive:
                for name, octets in self.bad_lines():
                    await self._throw(alive, octets)
                    broken = [facts for level, event, facts in alive.log.told if level == "error"]
                    assert not broken, f"{name} made an error of the service's own: {broken[0]}"
                    for agent, task in alive.running.items():
                        assert not task.done(), f"{name} ended the agent {agent}"
                await self.talk(alive)

        asyncio.run(main())

    def bad_lines(self) -> Iterator[tuple[str, bytes]]:
        yield from RUBBISH.items()
        yield from self.rubbish.items()
        yield "random octets", os.urandom(50_000)

    async def _throw(self, alive: Alive, octets: bytes) -> None:
        """Send these octets, then the end, and hear out what the service says."""
        loop = asyncio.get_running_loop()
        with socket.socket() as peer:
            peer.setblocking(False)
            await loop.sock_connect(peer, (HOST, alive.port(self.spoken(alive))))
            try:
                async with asyncio.timeout(self.patience):
                    hearing = asyncio.create_task(_heard(peer))
                    try:
                        await loop.sock_sendall(peer, octets)
                        peer.shutdown(socket.SHUT_WR)
                        await hearing
                    finally:
                        hearing.cancel()
                        await asyncio.wait([hearing])
            except (OSError, TimeoutError):
                pass  # hung up, or waits for more: either is its right

    def test_a_line_without_end_costs_little_memory(self, tmp_path: Path) -> None:
        asyncio.run(self._flood(tmp_path, b"a" * 65536, "a line without end"))

    def test_a_peer_that_never_reads_costs_little_memory(self, tmp_path: Path) -> None:
        asyncio.run(self._flood(tmp_path, self.command * (65536 // len(self.command)), "a peer that never reads"))

    async def _flood(self, place: Path, block: bytes, what: str) -> None:
        """Send without reading: twice what memory may be used, or until the service hangs up or takes no more for a while."""
        async with self.serving(place) as alive:
            await self.talk(alive)
            with socket.socket() as peer, memory() as used:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # the system keeps as little as it can of what is not read
                await asyncio.get_running_loop().run_in_executor(None, peer.connect, (HOST, alive.port(self.spoken(alive))))
                peer.setblocking(False)
                left = 2 * self.memory
                while left > 0 and used() < self.memory:
                    try:
                        left -= peer.send(block)
                    except BlockingIOError:
                        if not await _is_writable(peer, _STILL):
                            break
                    except OSError:
                        break
            assert used() < self.memory, f"{what} took {used() >> 20} MiB; {self.memory >> 20} MiB is the limit"
            await self.talk(alive)

    # The end.

    def test_drain_takes_nobody_new_and_waits_for_who_is_there(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.serving(tmp_path) as alive:
                endpoint = self.spoken(alive)
                async with self.connected(alive, endpoint):
                    await asyncio.sleep(0)
                    draining = [asyncio.create_task(agent.drain()) for agent in alive.agents]
                    await self.until(lambda: self.refuses_connections(alive.port(endpoint)), "the listener of a service that drains")
                await self.within(asyncio.wait(draining), "drain, after the last client left,")
                await asyncio.gather(*draining)

        asyncio.run(main())

    def test_cancelled_it_hangs_up(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.serving(tmp_path) as alive, self.connected(alive, self.spoken(alive)) as (reader, _):
                await self.talk(alive)  # a later peer was served, so this one is accepted
                for task in alive.running.values():
                    task.cancel()
                try:
                    await self.within(reader.read(), "the connection of a service that was cancelled")
                except ConnectionError:
                    pass

        asyncio.run(main())


async def _heard(peer: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(peer, 65536):
        pass


async def _is_writable(peer: socket.socket, seconds: float) -> bool:
    """Whether it takes octets again within so many seconds."""
    loop, can = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(peer, can.set)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(can.wait(), seconds)
    finally:
        loop.remove_writer(peer)
    return can.is_set()
