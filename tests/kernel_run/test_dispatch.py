"""The dispatcher: order, deadlines, failure policies, breaker and shadow, with a clock turned by hand."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postroom.dispatch import Call, Dispatcher, asking
from postroom.envelope import Envelope
from postroom.message import FileMessage, MemoryMessage
from postroom.settings import HookPolicy
from postroom.site import HookFailed
from postroom.transfer import PASS, Defer, Discard, Pass, Quarantine, Reject, Replace, Stage, TransferEvent, Verdict
from postroom_disk.disk import Disk
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines

Hook = Callable[..., Awaitable[Any]]
MESSAGE = MemoryMessage("A" * 32, b"one\r\n")
EVENT = TransferEvent(Stage.PICKUP, Envelope("A" * 32, "A" * 32, "SMTP", None, (), 0.0), MESSAGE, "SMTP")


class Bench:
    """A dispatcher with hooks of this test's own."""

    def __init__(self, folder: Path = Path("/nowhere")) -> None:
        self.clock, self.log = HandClock(), Lines()
        self.ask = Dispatcher(self.clock, Disk(), folder)

    def load(self, *hooks: tuple[str, Hook, HookPolicy]) -> list[Call]:
        calls = [Call(name, "h", hook, ("event",), policy, self.log.bind(plugin=name)) for name, hook, policy in hooks]
        self.ask.chains["h"] = tuple(calls)
        return calls

    async def verdict(self, event: TransferEvent = EVENT) -> Verdict:
        return (await self.ask.transfer("h", event))[0]


def says(answer: object, seen: list[object] | None = None) -> Hook:
    async def hook(event: TransferEvent) -> object:
        if seen is not None:
            seen.append(event.message.peek())
        return answer

    return hook


def raises(error: BaseException) -> Hook:
    async def hook(event: TransferEvent) -> object:
        raise error

    return hook


async def hangs(event: TransferEvent) -> Verdict:
    await asyncio.Event().wait()
    return PASS


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


PLAIN = HookPolicy()


def test_they_are_asked_in_order_until_one_is_final() -> None:
    async def main() -> None:
        bench, seen = Bench(), list[object]()
        bench.load(("a", says(PASS, seen), PLAIN), ("b", says(Reject("no"), seen), PLAIN), ("c", says(PASS, seen), PLAIN))
        assert await bench.verdict() == Reject("no")
        assert len(seen) == 2

    run(main())


def test_a_replace_feeds_the_next_and_comes_back_in_the_event() -> None:
    async def main() -> None:
        bench, seen = Bench(), list[object]()
        edited = MemoryMessage("B" * 32, b"two\r\n")
        bench.load(("a", says(Replace(edited), seen), PLAIN), ("b", says(PASS, seen), PLAIN))
        verdict, event = await bench.ask.transfer("h", EVENT)
        assert verdict is PASS and event.message is edited and event.envelope is EVENT.envelope
        assert seen == [b"one\r\n", b"two\r\n"]

    run(main())


@pytest.mark.parametrize("verdict", [Defer("later"), Reject("no"), Quarantine("odd"), Discard("gone"), Pass()])
def test_each_verdict_comes_through_as_it_is(verdict: Verdict) -> None:
    async def main() -> None:
        bench = Bench()
        bench.load(("a", says(verdict), PLAIN))
        assert await bench.verdict() == verdict

    run(main())


FAILURES: dict[str, Hook] = {
    "raises": raises(ValueError("boom")),
    "exits": raises(SystemExit(3)),
    "cancels itself": raises(asyncio.CancelledError()),
    "None": says(None),
    "a text": says("ok"),
    "a class": says(Pass.__mro__),
    "a Replace by nothing": says(Replace(None)),  # type: ignore[arg-type]
    "a reason that is no text": says(Reject(3)),  # type: ignore[arg-type]
    "recursion": raises(RecursionError("deep")),
}
POLICIES: dict[str, Verdict] = {
    "defer": Defer("scan failed"),
    "reject": Reject("scan failed"),
    "quarantine": Quarantine("scan failed"),
    "pass": PASS,
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("policy", POLICIES)
def test_features_case_48_a_failure_becomes_what_the_policy_says(failure: str, policy: str) -> None:
    async def main() -> None:
        bench = Bench()
        [call] = bench.load(("scan", FAILURES[failure], HookPolicy.model_validate({"on_error": policy})))
        assert await bench.verdict() == POLICIES[policy]
        counters = call.counters
        assert (counters.calls, counters.errors, counters.timeouts) == (1, 1, 0)
        assert (counters.failed_open, counters.failed_closed) == ((1, 0) if policy == "pass" else (0, 1))
        assert bench.log.told[0][1:] == ("hook.failed", {"plugin": "scan", "hook": "h", "error": bench.log.told[0][2]["error"]})

    run(main())


def test_a_reason_becomes_one_short_line() -> None:
    async def main() -> None:
        bench = Bench()
        bench.load(("a", says(Reject("no\r\n250 yes" + "x" * 10_000)), PLAIN))
        verdict = await bench.verdict()
        assert isinstance(verdict, Reject) and verdict.why.startswith("no 250 yesx") and len(verdict.why) == 500

    run(main())


def test_a_hook_that_does_not_suspend_arms_no_timer_and_makes_no_task() -> None:
    async def main() -> None:
        bench = Bench()
        bench.load(("a", says(PASS), PLAIN))
        tasks = asyncio.all_tasks()
        assert await bench.verdict() is PASS
        assert bench.clock.sleepers == 0 and asyncio.all_tasks() == tasks

    run(main())


def test_a_suspended_hook_goes_on_in_the_same_task() -> None:
    async def main() -> None:
        bench = Bench()
        tasks = []

        async def hook(event: TransferEvent) -> Verdict:
            tasks.append(asyncio.current_task())
            await asyncio.sleep(0)
            async with asyncio.timeout(10):
                await asyncio.sleep(0)
            tasks.append(asyncio.current_task())
            return Reject("at last")

        bench.load(("a", hook, PLAIN))
        assert await bench.verdict() == Reject("at last")
        assert tasks == [asyncio.current_task()] * 2
        await asyncio.sleep(0)
        assert bench.clock.sleepers == 0

    run(main())


def test_a_missed_deadline_is_the_policys_and_cancels_the_hook() -> None:
    async def main() -> None:
        bench, ended = Bench(), []

        async def slow(event: TransferEvent) -> Verdict:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)
            return PASS

        policy = HookPolicy.model_validate({"timeout": 5, "on_timeout": "quarantine", "on_error": "pass"})
        [call] = bench.load(("slow", slow, policy))
        asking = asyncio.create_task(bench.verdict())
        await bench.clock.advance(4.9)
        assert not asking.done()
        await bench.clock.advance(0.2)
        assert await asking == Quarantine("slow gave no answer in time") and ended == [True]
        assert (call.counters.timeouts, call.counters.errors) == (1, 0)

    run(main())


def test_a_hook_that_swallows_its_cancellation_is_late_all_the_same() -> None:
    async def main() -> None:
        bench = Bench()

        async def stubborn(event: TransferEvent) -> Verdict:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return PASS
            raise AssertionError

        bench.load(("s", stubborn, HookPolicy(timeout=1)))
        asking = asyncio.create_task(bench.verdict())
        await bench.clock.advance(1)
        assert await asking == Defer("s gave no answer in time") and asking.cancelling() == 0

    run(main())


def test_a_cancelled_asker_is_cancelled() -> None:
    async def main() -> None:
        bench = Bench()
        [call] = bench.load(("a", hangs, PLAIN))
        asking = asyncio.create_task(bench.verdict())
        await bench.clock.advance(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert call.counters.errors == 0
        await bench.clock.advance(0)
        assert bench.clock.sleepers == 0

    run(main())


def test_the_breaker_opens_probes_and_closes() -> None:
    async def main() -> None:
        bench, asked = Bench(), 0
        answers: list[object] = [None] * 4 + [PASS] * 2

        async def hook(event: TransferEvent) -> object:
            nonlocal asked
            asked += 1
            return answers[asked - 1]

        [call] = bench.load(("scan", hook, HookPolicy(breaker=3, probe=30)))
        for _ in range(3):
            assert await bench.verdict() == Defer("scan failed")
        assert await bench.verdict() == Defer("scan is out of service") and asked == 3
        await bench.clock.advance(30)
        assert await bench.verdict() == Defer("scan failed") and asked == 4  # the probe fails: open again
        assert await bench.verdict() == Defer("scan is out of service") and asked == 4
        await bench.clock.advance(30)
        assert await bench.verdict() is PASS and asked == 5  # the probe succeeds: closed
        assert await bench.verdict() is PASS and asked == 6
        assert (call.breaker.failures, call.breaker.opened) == (0, None)
        assert [event for event in bench.log.events() if event != "hook.failed"] == ["hook.opened", "hook.opened", "hook.closed"]

    run(main())


def test_only_one_probe_is_under_way() -> None:
    async def main() -> None:
        bench = Bench()
        [call] = bench.load(("scan", hangs, HookPolicy(breaker=1, probe=30, timeout=5)))
        first = asyncio.create_task(bench.verdict())
        await bench.clock.advance(5)
        assert await first == Defer("scan gave no answer in time")
        await bench.clock.advance(30)
        probe = asyncio.create_task(bench.verdict())
        await bench.clock.advance(0)
        assert await bench.verdict() == Defer("scan is out of service")
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert call.breaker.may_try(bench.clock.monotonic())  # a cancelled probe leaves the place to the next

    run(main())


def test_one_good_answer_makes_the_count_start_anew() -> None:
    async def main() -> None:
        bench = Bench()
        answers = iter([None, PASS, None, PASS])

        async def hook(event: TransferEvent) -> object:
            return next(answers)

        [call] = bench.load(("scan", hook, HookPolicy(breaker=2)))
        for _ in range(4):
            await bench.verdict()
        assert call.breaker.opened is None and call.is_plain

    run(main())


@pytest.mark.parametrize("verdict", [PASS, Reject("no"), Replace(MemoryMessage("C" * 32, b"x")), None])
def test_features_case_49_a_shadow_hook_changes_nothing_and_is_counted(verdict: object) -> None:
    async def main() -> None:
        bench, seen = Bench(), list[object]()
        shadow, _ = bench.load(("s", says(verdict, seen), HookPolicy(mode="shadow")), ("b", says(PASS), PLAIN))
        assert await bench.ask.transfer("h", EVENT) == (PASS, EVENT)
        assert seen == []  # it has not even begun
        await asyncio.gather(*shadow.shadows)
        assert seen == [b"one\r\n"]
        assert shadow.counters.shadowed == (verdict not in (PASS, None)) and shadow.counters.errors == (verdict is None)

    run(main())


def test_a_shadow_hook_reads_a_copy_that_outlives_the_message(tmp_path: Path) -> None:
    async def main() -> None:
        bench, seen = Bench(tmp_path / "shadow"), []

        async def hook(event: TransferEvent) -> Verdict:
            seen.append(await event.message.read())
            return PASS

        [call] = bench.load(("s", hook, HookPolicy(mode="shadow")))
        path = tmp_path / "big"
        path.write_bytes(b"much")
        await bench.ask.transfer("h", TransferEvent(Stage.PICKUP, EVENT.envelope, FileMessage("A" * 32, path, 4), "SMTP"))
        path.unlink()
        await asyncio.gather(*call.shadows)
        assert seen == [b"much"] and os.listdir(tmp_path / "shadow") == []

    run(main())


def test_shadow_calls_are_bounded() -> None:
    async def main() -> None:
        bench = Bench()
        [call] = bench.load(("s", hangs, HookPolicy(mode="shadow", timeout=5)))
        for _ in range(40):
            assert await bench.verdict() is PASS
        assert (len(call.shadows), call.counters.dropped) == (32, 8)
        await bench.clock.advance(5)
        assert (len(call.shadows), call.counters.timeouts) == (0, 32)

    run(main())


def test_an_envelope_names_hooks_that_are_not_asked_again() -> None:
    async def main() -> None:
        bench, seen = Bench(), list[object]()
        bench.load(("scan", says(Quarantine("bad"), seen), PLAIN), ("b", says(PASS, seen), PLAIN))
        released = Envelope("A" * 32, "A" * 32, "SMTP", None, (), 0.0, skip=frozenset({"scan"}))
        assert await bench.verdict(TransferEvent(Stage.PICKUP, released, MESSAGE, "SMTP")) is PASS
        assert len(seen) == 1

    run(main())


def test_ask_gives_the_first_answer_that_is_not_none() -> None:
    async def main() -> None:
        bench, seen = Bench(), list[object]()
        bench.load(("a", says(None, seen), PLAIN), ("b", says(550, seen), PLAIN), ("c", says(250, seen), PLAIN))
        assert await bench.ask("h", event=EVENT) == 550 and len(seen) == 2
        assert await bench.ask("nobody", event=EVENT) is None
        assert bench.ask.has("h") and not bench.ask.has("nobody")

    run(main())


def test_ask_raises_what_the_policy_wants_said() -> None:
    async def main() -> None:
        bench = Bench()
        bench.load(("a", raises(ValueError("x")), HookPolicy(on_error="reject")))
        with pytest.raises(HookFailed) as raised:
            await bench.ask("h", event=EVENT)
        assert raised.value.verdict == Reject("a failed")
        bench.load(("a", raises(ValueError("x")), HookPolicy(on_error="pass")), ("b", says(250), PLAIN))
        assert await bench.ask("h", event=EVENT) == 250

    run(main())


def test_a_hook_gets_only_the_arguments_it_names() -> None:
    async def main() -> None:
        bench = Bench()

        async def hook(peer: str) -> str:
            return peer

        bench.ask.chains["h"] = (Call("a", "h", hook, ("peer",), PLAIN, bench.log),)
        assert await bench.ask("h", peer="192.0.2.1", event=EVENT) == "192.0.2.1"

    run(main())


def test_a_final_verdict_says_who_gave_it() -> None:
    async def main() -> None:
        for hook, policy in ((says(Quarantine("odd")), PLAIN), (raises(ValueError()), PLAIN), (hangs, HookPolicy(timeout=1))):
            bench = Bench()
            bench.load(("a", says(PASS), PLAIN), ("b", hook, policy))
            asked = asyncio.ensure_future(bench.verdict())
            await bench.clock.advance(1)
            verdict = await asked
            assert isinstance(verdict, Quarantine | Defer) and verdict.by == "b"

    run(main())


@pytest.mark.parametrize(
    ("shadow", "enforced", "agreed"),
    [
        (PASS, PASS, True),
        (Reject("no"), PASS, False),
        (PASS, Reject("no"), False),
        (Reject("a"), Reject("b"), True),
        (Reject("a"), Discard("b"), False),
        (Replace(MemoryMessage("C" * 32, b"x")), PASS, True),
    ],
)
def test_a_shadow_is_compared_with_what_was_decided(shadow: Verdict, enforced: Verdict, agreed: bool) -> None:
    async def main() -> None:
        bench = Bench()
        call, _ = bench.load(("s", says(shadow), HookPolicy(mode="shadow")), ("b", says(enforced), PLAIN))
        await bench.verdict()
        await asyncio.gather(*call.shadows)
        assert (call.counters.agreed, call.counters.disagreed) == ((1, 0) if agreed else (0, 1))
        told = [facts["decided"] for _, event, facts in bench.log.told if event == "hook.shadow"]
        assert agreed or told == [type(enforced).__name__]

    run(main())


def test_a_shadow_whose_message_was_never_decided_ends() -> None:
    async def main() -> None:
        bench = Bench()
        call, _ = bench.load(("s", says(PASS), HookPolicy(mode="shadow")), ("b", hangs, PLAIN))
        asked = asyncio.ensure_future(bench.verdict())
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, *call.shadows, return_exceptions=True)
        assert not call.shadows or all(task.done() for task in call.shadows)
        assert (call.counters.agreed, call.counters.disagreed) == (0, 0)

    run(main())


def test_a_hook_is_told_from_its_own_mail() -> None:
    """Case 48, recursion: who is asked, and who was skipped before him, is known while he is asked and not after."""

    async def main() -> None:
        bench, seen = Bench(), list[object]()

        async def hook(event: TransferEvent) -> Verdict:
            seen.append(asking())
            await asyncio.sleep(0)
            seen.append(asking())
            return PASS

        bench.load(("a", hook, PLAIN), ("b", says(PASS), PLAIN))
        await bench.verdict(replace(EVENT, envelope=replace(EVENT.envelope, skip=frozenset({"z"}))))
        assert seen == [("a", frozenset({"z"}))] * 2 and asking() is None

    run(main())


def test_features_case_48_a_huge_message_in_place_of_a_small_one_is_nonsense(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench()
        huge = FileMessage("C" * 32, tmp_path / "never read", 100 << 20)
        [call] = bench.load(("scan", says(Replace(huge)), HookPolicy(on_error="quarantine")))
        verdict, event = await bench.ask.transfer("h", EVENT)
        assert isinstance(verdict, Quarantine) and event.message is MESSAGE and call.counters.errors == 1

    run(main())
