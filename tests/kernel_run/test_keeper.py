"""Keeping processes: who dies is replaced, who is silent is killed, who will not start is told of. Real children, small ones."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest

from postroom.clock import SystemClock
from postroom_ops.child import Channel, Sockets
from postroom_ops.keeper import Keeper, Life, StartFailed, bind, spawn
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines

pytestmark = pytest.mark.long

UP = "import os, sys, socket; line = socket.socket(fileno=int(sys.argv[1])); say = lambda text: line.send(text + b'\\n')\n"
READY = UP + 'say(b\'{"event": "ready"}\')\n'
STAYS = READY + "import signal; signal.pause()\n"


class Bench:
    """A keeper of children that run this text."""

    def __init__(self, text: str, places: int = 1, clock: SystemClock | HandClock | None = None) -> None:
        self.text, self.log, self.failures = text, Lines(), asyncio.Queue[BaseException]()
        self.keeper = Keeper(self.command, places, clock or SystemClock(), self.log, self.failures.put_nowait)

    def command(self, channel: int) -> list[str]:
        return [sys.executable, "-S", "-E", "-c", self.text, str(channel)]

    async def until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.keeper._news:
            await self.keeper._news.wait_for(so)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_each_place_gets_a_slot_and_its_own_socket() -> None:
    async def main() -> None:
        bench = Bench(STAYS, places=3)
        bench.keeper.sockets = {"smtp": bind("127.0.0.1", 0, 3)}
        await bench.keeper.start()
        assert sorted(life.slot for life in bench.keeper.lives.values()) == [0, 1, 2]
        await bench.keeper.stop(5)
        assert all(life.process.returncode == -15 for life in bench.keeper.lives.values())
        assert len({one.getsockname() for one in bench.keeper.sockets["smtp"]}) == 1
        for one in bench.keeper.sockets["smtp"]:
            one.close()

    run(main())


def test_the_first_comes_up_before_the_others_start() -> None:
    async def main() -> None:
        bench = Bench(STAYS, places=2)
        starting = asyncio.ensure_future(bench.keeper.start())
        await bench.until(lambda: 0 in bench.keeper.lives)
        assert [facts["place"] for _, event, facts in bench.log.told if event == "worker.started"] in ([0], [0, 1])
        await starting
        order = [(event, facts["place"]) for _, event, facts in bench.log.told]
        assert order == [("worker.started", 0), ("worker.started", 1)]
        await bench.keeper.stop(5)

    run(main())


def test_who_dies_is_replaced_in_the_same_place() -> None:
    async def main() -> None:
        bench = Bench(STAYS)
        await bench.keeper.start()
        first = bench.keeper.lives[0]
        first.process.kill()
        await bench.until(lambda: bench.keeper.lives[0] is not first)
        assert (bench.keeper.lives[0].slot, bench.keeper.lives[0].place) == (0, 0)
        assert bench.log.events("error") == ["worker.died"]
        await bench.keeper.stop(5)

    run(main())


def test_who_refuses_to_start_is_told_with_his_words() -> None:
    async def main() -> None:
        said = json.dumps({"event": "refused", "error": "no such folder"})
        bench = Bench(UP + f"say({said.encode()!r}); sys.exit(3)\n")
        starting = asyncio.ensure_future(bench.keeper.start())
        error = await bench.failures.get()
        assert isinstance(error, StartFailed) and str(error) == "no such folder"
        starting.cancel()
        await bench.keeper.stop(5)

    run(main())


def test_who_never_comes_up_is_given_up_after_three_tries() -> None:
    async def main() -> None:
        bench = Bench("import sys; sys.exit(7)")
        starting = asyncio.ensure_future(bench.keeper.start())
        error = await bench.failures.get()
        assert str(error) == "the first process cannot start, it ended with 7"
        assert bench.log.events().count("worker.started") == 3
        starting.cancel()
        await bench.keeper.stop(5)

    run(main())


def test_features_who_is_silent_for_ten_seconds_is_killed() -> None:
    async def main() -> None:
        clock = HandClock()
        bench = Bench(STAYS, clock=clock)
        await bench.keeper.start()
        first: Life = bench.keeper.lives[0]
        await clock.advance(9)
        assert first.process.returncode is None and "worker.silent" not in bench.log.events()
        await clock.advance(2)
        assert bench.log.events("error")[0] == "worker.silent"
        assert await first.process.wait() == -9
        await bench.keeper.stop(5)

    run(main())


def test_renewed_places_have_new_processes_and_the_old_ones_are_told_to_go() -> None:
    async def main() -> None:
        bench = Bench(STAYS, places=2)
        await bench.keeper.start()
        before = dict(bench.keeper.lives)
        assert await bench.keeper.renew(20)
        after = dict(bench.keeper.lives)
        assert {life.slot for life in after.values()} == {2, 3}
        assert [await life.process.wait() for life in before.values()] == [-15, -15]
        assert await bench.keeper.renew(20)
        assert {life.slot for life in bench.keeper.lives.values()} <= {0, 1, 4, 5}  # slots of the dead are used again
        await bench.keeper.stop(5)

    run(main())


SHARES = (
    UP
    + """
text, handed, _, _ = socket.recv_fds(line, 4096, 9)
import json, signal
print(os.getpid(), json.loads(text)["labels"], sorted(os.stat(f"/proc/self/fd/{one}").st_ino for one in handed), file=open(sys.argv[2], "a"))
say(b'{"event": "ready"}')
signal.pause()
"""
)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 5), (5, 2)])
def test_renewed_at_more_or_fewer_places_every_socket_is_somebodys(before: int, after: int, tmp_path: Path) -> None:
    """A peer that waits in a socket nobody listens to would wait for ever."""

    class Told(Bench):
        def command(self, channel: int) -> list[str]:
            return [*super().command(channel), str(tmp_path / "shares")]

    def shares(of: Iterable[Life]) -> list[list[int]]:
        lines = [line.split(" ", 1) for line in (tmp_path / "shares").read_text().splitlines()]
        told = {int(pid): json.loads(said[said.rindex("[") :]) for pid, said in lines}
        return [told[life.process.pid] for life in of]

    async def main() -> None:
        bench = Told(SHARES, places=before)
        keeper = bench.keeper
        keeper.sockets = {"smtp": bind("127.0.0.1", 0, before), "pop3": bind("127.0.0.1", 0, 1)}
        every = sorted(os.fstat(one.fileno()).st_ino for some in keeper.sockets.values() for one in some)
        await keeper.start()
        old = list(keeper.lives.values())
        assert await keeper.renew(20, after)
        assert sorted(keeper.lives) == list(range(after)) and keeper.places == after
        assert [await life.process.wait() for life in old] == [-15] * before
        assert sorted({one for share in shares(keeper.lives.values()) for one in share}) == every
        assert all(len(share) >= 2 for share in shares(keeper.lives.values())), "each place hears both"
        assert await keeper.renew(20) and sorted(keeper.lives) == list(range(after))
        await keeper.stop(5)
        assert bench.failures.empty()
        for one in (one for some in keeper.sockets.values() for one in some):
            one.close()

    run(main())


def test_fewer_places_whose_new_processes_do_not_come_up_leave_all_at_work() -> None:
    async def main() -> None:
        bench = Bench(STAYS, places=2)
        await bench.keeper.start()
        before = dict(bench.keeper.lives)
        bench.text = UP + "import signal; signal.pause()\n"  # starts, and is never ready
        assert not await bench.keeper.renew(0.2, 1)
        assert (bench.keeper.lives, bench.keeper.places) == (before, 2)
        assert all(life.process.returncode is None for life in before.values())
        bench.keeper.kill()
        await bench.keeper.stop(0.2)

    run(main())


PLANS = (
    UP
    + """
say(b'{"event": "planned", "endpoints": []}')
text, handed, _, _ = socket.recv_fds(line, 4096, 9)
if text:
    say(b'{"event": "ready"}')
    import signal; signal.pause()
"""
)


def test_a_spare_has_the_first_place_with_its_sockets() -> None:
    async def main() -> None:
        bench = Bench("import sys; sys.exit(7)")  # nobody else comes up
        spare = await spawn(lambda channel: [sys.executable, "-S", "-E", "-c", PLANS, str(channel)])
        assert await spare.hear() == {"event": "planned", "endpoints": []}
        bench.keeper.sockets, bench.keeper.spare = {"smtp": bind("127.0.0.1", 0, 1)}, spare
        await bench.keeper.start()
        assert bench.keeper.lives[0].process is spare.process
        assert getattr(bench.keeper, "spare") is None  # noqa: B009 (mypy believes what was assigned above)
        handed = [os.readlink(f"/proc/{spare.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{spare.process.pid}/fd")]
        assert os.readlink(f"/proc/self/fd/{bench.keeper.sockets['smtp'][0].fileno()}") in handed
        await bench.keeper.stop(5)
        bench.keeper.sockets["smtp"][0].close()

    run(main())


def test_a_spare_that_nobody_wanted_goes_with_the_others() -> None:
    async def main() -> None:
        bench = Bench(STAYS)
        await bench.keeper.start()
        bench.keeper.spare = spare = await spawn(lambda channel: [sys.executable, "-S", "-E", "-c", PLANS, str(channel)])
        await bench.keeper.stop(5)
        assert spare.process.returncode == -9

    run(main())


def test_a_child_that_ends_without_a_word_is_told() -> None:
    async def main() -> None:
        child = await spawn(lambda channel: [sys.executable, "-S", "-E", "-c", "import sys; sys.exit(9)"])
        with pytest.raises(StartFailed, match="ended with 9"):
            await child.hear()
        await child.dismiss()

    run(main())


def test_a_child_whose_parent_is_gone_gets_no_order() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs.detach())
    [bound] = bind("127.0.0.1", 0, 1)
    socket.send_fds(ours, [b'{"slot": 4, "labels": ["smtp"]}\n'], [bound.fileno()])
    order = channel.order()
    assert order is not None and (order.slot, list(order.descriptors)) == (4, ["smtp"])
    with socket.socket(fileno=order.descriptors["smtp"][0]) as handed:
        assert handed.getsockname() == bound.getsockname()
    ours.close()
    assert channel.order() is None
    channel.close()
    bound.close()


def test_when_the_new_ones_do_not_come_up_the_old_ones_serve_on() -> None:
    async def main() -> None:
        bench = Bench(STAYS)
        await bench.keeper.start()
        first = bench.keeper.lives[0]
        bench.text = UP + "import signal; signal.pause()\n"  # starts, and is never ready
        assert not await bench.keeper.renew(0.2)
        assert bench.keeper.lives[0] is first and first.process.returncode is None
        bench.keeper.kill()
        await bench.keeper.stop(0.2)

    run(main())


def test_who_does_not_drain_in_time_is_killed() -> None:
    async def main() -> None:
        bench = Bench(UP + 'import signal; signal.signal(15, signal.SIG_IGN)\nsay(b\'{"event": "ready"}\')\nwhile 1: signal.pause()\n')
        await bench.keeper.start()
        await bench.keeper.stop(0.1)
        assert bench.keeper.lives[0].process.returncode == -9

    run(main())


def test_a_taken_port_leaves_nothing_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="Address already in use"):
            bind("127.0.0.1", taken.getsockname()[1], 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")
def test_rights_are_dropped_for_good() -> None:
    code = (
        "import os, pwd; from postroom_ops.keeper import drop_rights; who = pwd.getpwnam('nobody'); drop_rights(who)\n"
        "assert os.getresuid() == (who.pw_uid,) * 3 and os.getresgid() == (who.pw_gid,) * 3 and os.getgroups() == []\n"
        "try: os.setuid(0)\nexcept PermissionError: print('gone')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "gone\n"


def test_sockets_are_handed_out_as_duplicates() -> None:
    [bound] = bind("::1", 0, 1)
    kept = Sockets({"pop3": [bound.detach()]})
    one, two = kept["pop3"][0], kept.get("pop3", ())[0]
    assert one.fileno() != two.fileno() and one.getsockname() == two.getsockname() and not one.getblocking()
    assert list(kept) == ["pop3"] and kept.get("smtp", ()) == ()
    for some in (one, two, kept):
        some.close()


def test_the_channel_survives_a_parent_that_is_gone() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        channel = Channel(theirs.detach())
        ended, ends = asyncio.Event(), list[int]()

        def end() -> None:
            ends.append(1)
            ended.set()

        channel.on_end(end)
        channel.tell("ready", n=1)
        assert json.loads(ours.recv(100)) == {"event": "ready", "n": 1}
        ours.close()
        await ended.wait()
        await asyncio.sleep(0)
        assert ends == [1]
        channel.tell("beat")
        channel.close()
        Channel(-1).tell("nobody")

    run(main())


def test_a_process_that_cannot_be_started_for_a_while_is_tried_again() -> None:
    """No process could be forked for a moment, and the whole site was stopped."""

    async def main() -> None:
        bench = Bench(STAYS)
        await bench.keeper.start()
        first, command, refusals = bench.keeper.lives[0], bench.keeper.command, 0

        def refuse(channel: int) -> list[str]:
            nonlocal refusals
            refusals += 1
            return ["/nonexistent/python"] if refusals < 3 else list(command(channel))

        bench.keeper.command = refuse
        first.process.kill()
        await bench.until(lambda: bench.keeper.lives[0] is not first)
        assert bench.log.events("error") == ["worker.died", "worker.not_started", "worker.not_started"]
        assert bench.keeper.lives[0].slot == 0, "a slot nobody got is free again"
        assert bench.failures.empty()
        await bench.keeper.stop(5)

    run(main())


def test_a_process_that_can_never_be_started_is_told_at_the_start() -> None:
    async def main() -> None:
        bench = Bench(STAYS)
        bench.keeper.command = lambda channel: ["/nonexistent/python"]
        starting = asyncio.ensure_future(bench.keeper.start())
        error = await bench.failures.get()
        assert isinstance(error, StartFailed) and "/nonexistent/python" in str(error)
        starting.cancel()
        await bench.keeper.stop(5)

    run(main())


def test_a_line_that_is_no_message_stops_nobody() -> None:
    """A torn line on one child's channel stopped the whole site."""

    async def main() -> None:
        bench = Bench(
            UP
            + "say(b'{\"event\": \"bea'); say(b'[1]'); say(b'x' * 100000)\n"
            + 'say(b\'{"event": "ready"}\')\nimport signal; signal.pause()\n'
        )
        starting = asyncio.ensure_future(bench.keeper.start())
        failing = asyncio.ensure_future(bench.failures.get())
        await asyncio.wait([starting, failing], return_when=asyncio.FIRST_COMPLETED)
        assert not failing.done(), failing
        await starting
        failing.cancel()
        await bench.keeper.stop(5)

    run(main())


def test_who_was_told_to_go_and_hangs_is_killed_after_a_minute() -> None:
    """A worker that hung while it drained was watched by nobody: it kept its journal slot, and what it had accepted stayed there."""

    async def main() -> None:
        clock = HandClock()
        deaf = UP + 'import signal; signal.signal(15, signal.SIG_IGN)\nsay(b\'{"event": "ready"}\')\nwhile 1: signal.pause()\n'
        bench = Bench(deaf, clock=clock)
        await bench.keeper.start()
        old = bench.keeper.lives[0]
        bench.text = STAYS
        assert await bench.keeper.renew(20)
        for _ in range(50):
            bench.keeper.lives[0].beat = clock.monotonic()
            await clock.advance(1)
        assert "worker.silent" not in bench.log.events(), "to sync a busy disk at the end may take its time"
        for _ in range(12):
            bench.keeper.lives[0].beat = clock.monotonic()
            await clock.advance(1)
        assert bench.log.events("error") == ["worker.silent"]
        assert await old.process.wait() == -9
        await bench.keeper.stop(5)

    run(main())
