"""The children at work: who hangs, dies, swells or speaks nonsense harms its own message only, and the next one is served."""

from __future__ import annotations

import asyncio
import os
import select
from pathlib import Path

import pytest

from postroom.message import MemoryMessage, new_id
from postroom.transfer import PASS, Defer, Discard, Pass, Quarantine, Reject
from postroom_isolation.process import Child
from postroom_isolation.process import Order as ChildOrder
from postroom_testing.clock import HandClock
from postroom_testing.waiting import until
from tests.kernel_isolation.world import BAD, GOOD, World, event, gone, world

pytestmark = pytest.mark.long


def errors(it: World) -> list[str]:
    return [str(facts["error"]) for _, name, facts in it.log.told if name == "hook.failed"]


def test_features_case_48_a_child_that_hangs_is_killed_at_the_deadline_and_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Hangs", "timeout: 20, on_timeout: quarantine", clock=(clock := HandClock())) as it:
            [hung] = it.children
            asking = asyncio.create_task(it.ask(BAD))
            while clock.sleepers == 0:
                await asyncio.sleep(0)
            await clock.advance(21)
            assert await asking == Quarantine("bad gave no answer in time", by="bad")
            assert await it.ask(GOOD) == PASS
            assert gone(hung.process.pid) and hung not in it.children
            assert (it.counters["timeouts"], it.counters["failed_closed"]) == (1, 1)
            assert 'postroom_hook_children_ended_total{plugin="bad",why="deadline"} 1.0' in it.ground.metrics.exposition()

    asyncio.run(main())


def test_features_case_48_a_child_that_blocks_is_killed_at_the_deadline_and_the_loop_runs_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Blocks", "timeout: 5, on_timeout: reject", clock=(clock := HandClock())) as it:
            asking = asyncio.create_task(it.ask(BAD))
            while clock.sleepers == 0:
                await asyncio.sleep(0)
            for _ in range(5):
                await clock.advance(0.9)
                assert not asking.done()
            await clock.advance(1)
            assert await asking == Reject("bad gave no answer in time", by="bad")
            assert await it.ask(GOOD) == PASS

    asyncio.run(main())


def test_a_child_is_killed_with_all_it_started(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Spawns", "timeout: 600", clock=(clock := HandClock())) as it:
            asking = asyncio.create_task(it.ask(BAD))
            await until(lambda: (tmp_path / "spawned").exists() and (tmp_path / "spawned").read_text())
            program = os.pidfd_open(int((tmp_path / "spawned").read_text()))
            await clock.advance(601)
            assert isinstance(await asking, Defer)
            assert select.select([program], [], [], 30)[0]
            os.close(program)

    asyncio.run(main())


def test_features_case_48_a_child_that_dies_is_named_with_its_exit_status_and_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Dies", "on_error: reject") as it:
            assert await it.ask(BAD) == Reject("bad failed", by="bad")
            assert errors(it) == ["Ended: the child ended with exit status 9"]
            assert "hook.child_died" in it.log.events("error")
            assert await it.ask(GOOD) == PASS
            [child] = it.children
            child.process.kill()  # from outside, while nobody asks; the loop was not told yet
            assert select.select([child._death], [], [], 30)[0]
            assert await it.ask(GOOD) == PASS and len(errors(it)) == 1
            [child] = it.children
            child.process.kill()
            await until(lambda: not it.children, "word of the child's death")
            assert await it.ask(GOOD) == PASS and len(errors(it)) == 1

    asyncio.run(main())


def test_a_child_that_died_before_anybody_asked_is_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Dies") as it:
            [child] = it.children
            child._kill()
            assert select.select([child._death], [], [], 30)[0]
            assert await it.ask(GOOD) == PASS and errors(it) == []

    asyncio.run(main())


WRONG = {
    "Raises": "Raised: ValueError: boom",
    "Exits": "Raised: SystemExit: 3",
    "Nonsense": "Raised: Nonsense: answered 42, which is no verdict",
    "NoMessage": "Raised: Nonsense: answered a Replace of str, which is no message",
    "Recurses": "Raised: RecursionError: maximum recursion depth exceeded",
    "TouchesJournal": "Raised: PostroomError: a plugin in a process of its own has no journal; write hooks: {isolation: inline}",
    "LargeMessage": "Nonsense: its Replace has 104857600 octets, more than the 671088",
}


def test_features_case_48_a_wrong_answer_is_told_and_the_policy_applied(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "OneOfAll", "on_error: quarantine") as it:
            assert await it.ask(GOOD) == PASS
            before = os.listdir("/proc/self/fd")
            for kind, told in WRONG.items():
                assert await it.ask(BAD.replace(b"yes", kind.encode())) == Quarantine("bad failed", by="bad")
                assert errors(it).pop().startswith(told), (kind, errors(it))
                assert await it.ask(GOOD) == PASS
            assert len(errors(it)) == len(WRONG) and len(os.listdir("/proc/self/fd")) <= len(before)

    asyncio.run(main())


def test_features_case_48_a_child_over_its_memory_is_recycled_after_its_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Grows", "memory: 100", ", mib: 80") as it:
            [swollen] = it.children
            assert await it.ask(BAD) == PASS  # what it said counts
            [(_, _, facts)] = [line for line in it.log.told if line[1] == "hook.child_recycled"]
            assert facts["plugin"] == "bad" and int(str(facts["mib"])) > 100 and facts["limit"] == 100
            assert await it.ask(GOOD) == PASS and swollen not in it.children
            assert 'why="memory"} 1.0' in it.ground.metrics.exposition()

    asyncio.run(main())


def test_features_case_48_a_child_cannot_take_more_than_its_memory_in_one_event(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Grows", "memory: 100", ", mib: 1000") as it:
            assert isinstance(await it.ask(BAD), Defer)
            assert errors(it) == ["Raised: MemoryError: "]
            assert await it.ask(GOOD) == PASS

    asyncio.run(main())


def test_no_memory_limit_is_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Grows", "memory: 0", ", mib: 80") as it:
            [child] = it.children
            assert await it.ask(BAD) == PASS and await it.ask(GOOD) == PASS and it.children == [child]

    asyncio.run(main())


def test_who_finds_no_child_waits_in_turn(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Replaces", "processes: 2") as it:
            order: list[int] = []

            async def ask(number: int) -> None:
                await it.ask(GOOD)
                order.append(number)

            await asyncio.gather(*(ask(number) for number in range(40)))
            assert len(it.children) == 2 and sorted(order) == list(range(40))
            assert all(abs(place - number) <= 4 for place, number in enumerate(order)), order
            assert it.counters["errors"] == 0

    asyncio.run(main())


def test_while_one_hangs_the_others_are_served_by_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Hangs", "processes: 2, timeout: 600", clock=(clock := HandClock())) as it:
            hanging = asyncio.create_task(it.ask(BAD))
            while clock.sleepers == 0:
                await asyncio.sleep(0)
            assert [await it.ask(GOOD) for _ in range(20)] == [PASS] * 20
            waits = [asyncio.create_task(it.ask(BAD)) for _ in range(3)]  # one gets the second child, two wait in line
            while len(it.pool._waiting) < 2:
                await asyncio.sleep(0)
            await clock.advance(601)
            assert all(isinstance(verdict, Defer) for verdict in await asyncio.gather(hanging, *waits))
            assert await it.ask(GOOD) == PASS and not it.pool._waiting

    asyncio.run(main())


def test_a_waiter_that_goes_away_leaves_no_child_idle(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Replaces", "processes: 1") as it:
            for _ in range(50):
                asking = [asyncio.create_task(it.ask(GOOD)) for _ in range(3)]
                await asyncio.sleep(0)
                asking[1].cancel()
                await asyncio.gather(*asking, return_exceptions=True)
            assert await it.ask(GOOD) == PASS and len(it.children) == 1

    asyncio.run(main())


def test_when_no_child_comes_up_the_breaker_opens_and_health_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Dies", "breaker: 3, on_error: pass") as it:
            object.__setattr__(it.pool._order, "value", "tests.kernel_isolation.bad:Gone")  # uninstalled meanwhile
            assert await it.ask(BAD) == PASS
            verdicts = [await it.ask(GOOD) for _ in range(3)]
            assert verdicts == [PASS] * 3
            assert "no child comes up: tests.kernel_isolation.bad:Gone cannot be loaded" in errors(it)[1]
            assert it.counters["breaker"] == "open"
            await until(lambda: not it.children, "the burial of those that said no")
            assert it.pool._serving == 0

    asyncio.run(main())


def test_who_waits_when_the_host_closes_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Hangs", "processes: 1, timeout: 600", clock=HandClock()) as it:
            first, second = (asyncio.create_task(it.ask(BAD)) for _ in range(2))
            while not it.pool._waiting:
                await asyncio.sleep(0)
            it.host.close()
            assert isinstance(await second, Defer)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert isinstance(await it.ask(GOOD), Defer) and "the site is being closed" in errors(it)[-1]

    asyncio.run(main())


def test_a_message_that_cannot_be_read_costs_no_child(tmp_path: Path) -> None:
    from postroom.message import FileMessage

    async def main() -> None:
        async with world(tmp_path, "Replaces") as it:
            [child] = it.children
            missing = FileMessage(new_id(), tmp_path / "missing", 5)
            assert isinstance(await it.ask(message=missing), Defer) and "FileNotFoundError" in errors(it)[0]
            assert await it.ask(GOOD) == PASS and it.children == [child]

    asyncio.run(main())


def test_an_event_too_large_for_a_frame_costs_no_child(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Replaces") as it:
            [child] = it.children
            large = event(MemoryMessage(new_id(), GOOD))
            object.__setattr__(large.envelope, "subject", "x" * (2 << 20))
            assert isinstance((await it.host.pickup(large))[0], Defer) and "too many for a frame" in errors(it)[0]
            object.__setattr__(large.envelope, "subject", "x" * 900_000)  # more than a socket holds at once
            assert await it.host.pickup(large) == (PASS, large) and it.children == [child]

    asyncio.run(main())


def test_every_verdict_crosses_as_it_was_meant() -> None:
    from postroom_isolation.crossing import read_answer, write_verdict

    for verdict in (Pass(), Defer("a"), Reject("b"), Quarantine("c ü \udc80"), Discard("")):
        assert read_answer(write_verdict(verdict)) == verdict


def test_to_start_a_child_takes_the_loop_less_than_50_ms(tmp_path: Path) -> None:
    """Measured as the time its thread runs: a busy machine is not the code's fault."""

    async def main() -> None:
        async with world(tmp_path, "Raises") as it:
            took = []
            for _ in range(5):
                before = _ran()
                child = it.pool.make()
                took.append(_ran() - before)
                child.kill()
                it.pool._all.discard(child)
            assert min(took) < 0.05, took

    asyncio.run(main())


def _ran() -> float:
    return int(Path("/proc/thread-self/schedstat").read_text().split()[0]) / 1e9


def test_a_child_that_never_says_a_word_is_given_up(tmp_path: Path) -> None:
    from postroom_isolation.process import STARTING, NotUp

    class Late(HandClock):
        def monotonic(self) -> float:
            self._passed += STARTING  # a moment later it is too late
            return super().monotonic()

    child = Child(ChildOrder(str(tmp_path), "server: x", "x", "bad", "nothing", 0, 0), Late(), lambda frame: None, lambda lost: None)
    try:
        with pytest.raises(NotUp, match=r"it did not come up within 20 seconds"):
            child.greet()
    finally:
        child.kill()
    assert gone(child.process.pid)
