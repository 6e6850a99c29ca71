"""The contract of a transfer event as a test suite: what a scanner or filter at pickup, delivery or a mailbox promises the house.

    class TestScanner(TransferEventContract):
        plugin = ScannerPlugin
        settings = {"socket": "/run/scanner.sock"}
        cases = (
            Case("a clean message", b"Subject: hello\\r\\n\\r\\nHow are you?\\r\\n", Pass),
            Case("a virus", b"Subject: hello\\r\\n\\r\\n" + EICAR, Reject),
        )

`cases` say what the plugin is for; without them the suite checks only that it does no harm. Each case is asked at every hook that the plugin answers.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, get_type_hints
from unittest import mock

import pytest

from postroom.errors import DiskError
from postroom.message import FileMessage, MemoryMessage, Message
from postroom.transfer import Defer, Discard, Pass, Quarantine, Reject, Replace, Stage, TransferEvent, Verdict
from postroom_testing.dying import ends_before
from postroom_testing.faults import FaultDisk
from postroom_testing.mail import SlowMessage, UnreadableMessage, envelope, hostile, huge, in_file, letter
from postroom_testing.plugin import NAME, Alive, PluginContract
from postroom_testing.watching import left_by, longest_step, memory, tasks_besides

VERDICTS = (Pass, Replace, Defer, Reject, Quarantine, Discard)
_MOST_FAULTS = 200  # disk calls of one verdict that are failed one by one


@dataclass(frozen=True, slots=True)
class Case:
    """A message and what the plugin must say to it."""

    name: str
    message: bytes
    verdict: type[Verdict]
    sender: str | None = "ann@example.com"
    recipient: str = "bob@example.test"
    hooks: tuple[str, ...] = ()  # asked at these hooks only; at all of the plugin's where empty


HARMLESS = Case("an ordinary message", b"From: ann@example.com\r\nSubject: hello\r\n\r\nHow are you?\r\n", Pass)


class TransferEventContract(PluginContract):
    """Name your class, its settings, and cases of what it lets pass and what it does not."""

    cases: ClassVar[Sequence[Case]] = ()

    # How a hook is asked.

    def asked_at(self, alive: Alive) -> list[str]:
        """The transfer hooks that the plugin answers."""
        return [hook for hook in alive.hooks if self.event_of(alive, hook) is not None]

    def event_of(self, alive: Alive, hook: str) -> type[TransferEvent] | None:
        """What this hook is handed, where that is a transfer event."""
        if hook in ("mta_pickup", "mta_delivery"):
            return TransferEvent
        for plugin in alive.parts.host.plugins.values():
            spec = getattr(getattr(plugin, "hookspecs", None), hook, None)
            event = get_type_hints(spec).get("event") if spec is not None else None
            if isinstance(event, type) and issubclass(event, TransferEvent):
                return event
        return None

    def event(self, alive: Alive, hook: str, case: Case, message: Message) -> TransferEvent:
        """What the plugin is handed with this message at this hook."""
        kind = self.event_of(alive, hook)
        assert kind is not None, f"{hook} is no transfer event"
        stage, target = (Stage.PICKUP, "") if hook == "mta_pickup" else (Stage.DELIVERY, "SF")
        own: dict[str, Any] = {"postoffice": "example.test", "mailbox": "bob", "folder": "Inbox"}
        more = {one.name: own.get(one.name, "") for one in fields(kind) if one.name not in {f.name for f in fields(TransferEvent)}}
        return kind(stage, envelope(message, case.recipient, sender=case.sender), message, "SMTP", target, **more)

    async def ask(self, alive: Alive, hook: str, case: Case, message: Message) -> tuple[Verdict, Message]:
        """The plugin's own verdict and the message as it left it; an error, nonsense or a missed deadline is an AssertionError."""
        seen = len(alive.log.told)
        verdict, after = await alive.parts.host.ask.transfer(hook, self.event(alive, hook, case, message))
        failed = [facts for _, event, facts in alive.log.told[seen:] if event == "hook.failed" and facts.get("plugin") == NAME]
        if failed:
            raise AssertionError(f"{hook} failed on {case.name}: {failed[0].get('error')}")
        return (Replace(after.message) if after.message is not message else verdict), after.message

    @asynccontextmanager
    async def asking(self, place: Path, **how: Any) -> AsyncIterator[tuple[Alive, list[str]]]:
        async with self.alive(place, **how) as alive:
            hooks = self.asked_at(alive)
            assert hooks, "the plugin answers no transfer event: mta_pickup, mta_delivery or mailbox_delivery"
            yield alive, hooks

    def expected(self, hooks: Sequence[str]) -> Iterator[tuple[str, Case]]:
        """Every case at every hook it is for."""
        for hook in hooks:
            yield from ((hook, case) for case in self.cases or (HARMLESS,) if not case.hooks or hook in case.hooks)

    def right(self, case: Case, verdict: Verdict, hook: str, how: str = "") -> None:
        if self.cases:
            got = f"{type(verdict).__name__} ({getattr(verdict, 'why', '')})"
            assert isinstance(verdict, case.verdict), f"{hook} on {case.name}{how}: {got}, {case.verdict.__name__} was expected"

    # Behaviour.

    def test_each_case_gets_its_verdict(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                for hook, case in self.expected(hooks):
                    verdict, _ = await self.ask(alive, hook, case, letter(case.message))
                    self.right(case, verdict, hook)
                    assert getattr(verdict, "why", "said"), f"{hook} on {case.name}: {type(verdict).__name__} gives no reason"

        asyncio.run(main())

    def test_a_message_in_a_file_gets_the_verdict_of_one_in_memory(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                for hook, case in self.expected(hooks):
                    message = letter(case.message)
                    here, _ = await self.ask(alive, hook, case, message)
                    there, _ = await self.ask(alive, hook, case, in_file(message, tmp_path / "mail"))
                    assert type(here) is type(there), (
                        f"{hook} on {case.name}: {type(here).__name__} in memory, {type(there).__name__} in a file"
                    )

        asyncio.run(main())

    def test_the_same_message_again_gets_the_same_verdict(self, tmp_path: Path) -> None:
        """After a crash the same message comes again, with the same id."""

        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                for hook, case in self.expected(hooks):
                    message = letter(case.message)
                    (one, left), (two, again) = [await self.ask(alive, hook, case, message) for _ in (1, 2)]
                    assert type(one) is type(two), f"{hook} on {case.name}: first {type(one).__name__}, then {type(two).__name__}"
                    assert await left.read() == await again.read(), f"{hook} on {case.name}: two runs made two different messages"

        asyncio.run(main())

    def test_a_message_is_never_changed_in_place(self, tmp_path: Path) -> None:
        """Stored files are shared by hard link; a change comes back as Replace."""

        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                for hook, case in self.expected(hooks):
                    message = in_file(letter(case.message), tmp_path / "mail")
                    before = message.path.stat()
                    await self.ask(alive, hook, case, message)
                    assert message.path.exists(), f"{hook} on {case.name}: the message's file is gone"
                    after = message.path.stat()
                    same = (before.st_ino, before.st_size, before.st_mode) == (after.st_ino, after.st_size, after.st_mode)
                    assert same and message.path.read_bytes() == case.message, f"{hook} on {case.name}: the message's file was changed"

        asyncio.run(main())

    def test_a_replacement_is_whole(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                for hook, case in self.expected(hooks):
                    verdict, left = await self.ask(alive, hook, case, letter(case.message))
                    if isinstance(verdict, Replace):
                        assert isinstance(left, MemoryMessage | FileMessage), "a Replace carries a MemoryMessage or a FileMessage"
                        assert len(await left.read()) == left.size, f"{hook} on {case.name}: the replacement has not the size it tells"

        asyncio.run(main())

    def test_what_cannot_be_read_is_not_passed(self, tmp_path: Path) -> None:
        """A plugin that objects to a message does not let it pass because the disk failed: it raises, and the operator's policy decides."""
        objected = [case for case in self.cases if not issubclass(case.verdict, Pass | Replace)]
        if not objected:
            pytest.skip("no case says what the plugin objects to")

        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                for hook in hooks:
                    for case in (case for case in objected if not case.hooks or hook in case.hooks):
                        message = UnreadableMessage(letter(case.message).id, len(case.message))
                        verdict, _ = await alive.parts.host.ask.transfer(hook, self.event(alive, hook, case, message))
                        assert not isinstance(verdict, Pass), f"{hook} passes {case.name} although it could not read it"

        asyncio.run(main())

    # Limits.

    def test_hostile_messages_get_a_verdict(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                for hook in hooks:
                    for name, message in hostile():
                        case = Case(name, message.data, Pass)
                        verdict, left = await self.ask(alive, hook, case, message)
                        assert isinstance(verdict, VERDICTS)
                        await left.read(0, 1)

        asyncio.run(main())

    def test_a_huge_message_gets_a_verdict_in_little_memory(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                message = huge(tmp_path / "mail")
                case = Case(f"a message of {message.size >> 20} MiB", b"", Pass)
                for hook in hooks:
                    await self.ask(alive, hook, HARMLESS, letter(HARMLESS.message))
                    with memory() as peak:
                        await self.ask(alive, hook, case, message)
                    assert peak() < self.memory, f"{hook} took {peak() >> 20} MiB for {case.name}; {self.memory >> 20} MiB is the limit"

        asyncio.run(main())

    def test_the_loop_is_not_blocked(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                for hook, case in self.expected(hooks):
                    await self.ask(alive, hook, case, letter(case.message))
                message = huge(tmp_path / "mail")
                alone = [(hook, Case(name, one.data, Pass), one) for hook in hooks for name, one in hostile()]

                async def work() -> None:
                    for hook, case in self.expected(hooks):
                        await self.ask(alive, hook, case, letter(case.message))
                    for hook, case, one in alone:
                        await asyncio.sleep(0)
                        await self.ask(alive, hook, case, one)
                    for hook in hooks:
                        await asyncio.sleep(0)
                        await self.ask(alive, hook, Case("a huge message", b"", Pass), message)

                (await longest_step(work, self.is_mine)).check()

        asyncio.run(main())

    # In a process of its own.

    def test_in_a_process_of_its_own_it_says_the_same(self, tmp_path: Path) -> None:
        """What the operator may ask of a plugin that offers transfer events and nothing else."""
        paths = os.pathsep.join(filter(None, sys.path))

        async def main() -> None:
            async with self.asking(tmp_path / "inline", run=False) as (alive, hooks):
                if more := [hook for hook in alive.hooks if hook not in hooks]:
                    pytest.skip(f"it offers more than transfer events ({', '.join(more)}), so it runs inline only")
            async with self.asking(tmp_path / "apart", policy={"isolation": "process"}) as (alive, hooks):
                for hook, case in self.expected(hooks):
                    verdict, _ = await self.ask(alive, hook, case, letter(case.message))
                    self.right(case, verdict, hook, ", in a process of its own")

        with mock.patch.dict(os.environ, {"PYTHONPATH": paths}):  # the child finds what this process does
            asyncio.run(main())

    # Many at once, and an end in the middle.

    def test_many_at_once_get_what_one_gets(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                wanted = [(hook, case, letter(case.message)) for hook, case in self.expected(hooks)] * 20
                answers = await self.within(asyncio.gather(*(self.ask(alive, *one) for one in wanted)), f"{len(wanted)} verdicts at once")
                for (hook, case, _), (verdict, _) in zip(wanted, answers):
                    self.right(case, verdict, hook, f", one of {len(wanted)} at once")

        asyncio.run(main())

    def test_cancelled_in_the_middle_it_ends_and_goes_on_with_the_next(self, tmp_path: Path) -> None:
        """A deadline, a peer that hangs up and a worker that stops all cancel."""

        async def main() -> None:
            async with self.asking(tmp_path) as (alive, hooks):
                for hook, case in self.expected(hooks):
                    before = set(asyncio.all_tasks())
                    await self._cancelled(alive, hook, case)
                    for _ in range(10):
                        await asyncio.sleep(0)
                    left = tasks_besides(before)
                    assert not left, f"{hook}, cancelled on {case.name}, left {', '.join(left)}"
                    verdict, _ = await self.ask(alive, hook, case, letter(case.message))
                    self.right(case, verdict, hook, ", after one that was cancelled")

        asyncio.run(main())

    async def _cancelled(self, alive: Alive, hook: str, case: Case) -> None:
        """Ask about a message whose bytes do not come, and cancel once they are asked for."""
        slow = SlowMessage(letter(case.message), asyncio.Event(), asyncio.Event(), alive.place / "slow.MAI")
        asking = asyncio.create_task(alive.parts.host.ask.transfer(hook, self.event(alive, hook, case, slow)))
        reading = asyncio.create_task(slow.asked.wait())
        await asyncio.wait([asking, reading], timeout=self.patience, return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        if asking.done():
            return  # it needs no octet of the message
        asking.cancel()
        await asyncio.wait([asking], timeout=self.patience)
        assert asking.done(), f"{hook} on {case.name} does not end when it is cancelled"
        assert asking.cancelled(), f"{hook} on {case.name} goes on when it is cancelled: it must let CancelledError pass"

    def test_nothing_is_left_open_or_running(self, tmp_path: Path) -> None:
        async def work() -> None:
            before = set(asyncio.all_tasks())
            async with self.asking(tmp_path) as (alive, hooks):
                for hook, case in self.expected(hooks):
                    message = letter(case.message)
                    await self.ask(alive, hook, case, message)
                    await self.ask(alive, hook, case, in_file(message, tmp_path / "mail"))
                    await self._cancelled(alive, hook, case)
            left = tasks_besides(before)
            assert not left, f"after the site was closed there is {', '.join(left)}"

        left = left_by(work)
        assert not left, f"after the site was closed there is {', '.join(left)}"

    # A disk that fails, and a process that dies.

    def test_a_disk_that_fails_harms_one_message_only(self, tmp_path: Path) -> None:
        async def main() -> None:
            disk = FaultDisk()
            async with self.asking(tmp_path, disk=disk) as (alive, hooks):
                await asyncio.sleep(0)
                for hook, case in self.expected(hooks):
                    for how in ("full", "broken"):
                        await self._refused(alive, disk, hook, case, how)

        asyncio.run(main())

    async def _refused(self, alive: Alive, disk: FaultDisk, hook: str, case: Case, how: str) -> None:
        """Fail each call of one verdict in turn; the next message is served as ever."""
        for number in range(1, _MOST_FAULTS):
            disk.calls.clear()
            disk.at, disk.how = number, how
            try:
                await self.within(
                    alive.parts.host.ask.transfer(hook, self.event(alive, hook, case, letter(case.message))),
                    f"{hook} with a disk that fails",
                )
            except DiskError as error:
                raise AssertionError(f"{hook} let {error!r} out of the dispatcher") from error
            finally:
                made = len(disk.calls)
                disk.heal()
            verdict, _ = await self.ask(alive, hook, case, letter(case.message))
            self.right(case, verdict, hook, f", after call {number} of another was refused ({how})")
            if number > made:
                return

    def test_after_a_death_at_any_call_the_message_gets_its_verdict(self, tmp_path: Path) -> None:
        at, many = 0, 1
        while at < many:
            for number in range(1, _MOST_FAULTS):
                many, ended = self._died(tmp_path, at, number)
                if ended:
                    break
            at += 1

    def _died(self, place: Path, at: int, number: int) -> tuple[int, bool]:
        """Die at this call of the `at`-th pair of hook and case, go on in the next process: how many pairs there are, and whether it died."""

        async def die(disk: FaultDisk, arm: Callable[[], None]) -> None:
            async with self.asking(place, disk=disk) as (alive, hooks):
                hook, case = list(self.expected(hooks))[at]
                message = letter(case.message, name=case.name)
                arm()
                await alive.parts.host.ask.transfer(hook, self.event(alive, hook, case, message))

        async def go_on() -> int:
            async with self.asking(place) as (alive, hooks):
                wanted = list(self.expected(hooks))
                hook, case = wanted[at]
                verdict, _ = await self.ask(alive, hook, case, letter(case.message, name=case.name))
                self.right(case, verdict, hook, f", after a death at call {number} of an earlier attempt")
                return len(wanted)

        ended = ends_before(number, die)
        return asyncio.run(go_on()), ended
