"""One question to one program: its files laid, the program run, its end read as a verdict, the files removed.

At most `processes_at_once` run at a time; who waits for a turn waits within the hook's deadline. Whatever is cancelled, fails or is
killed leaves neither a process nor a file, and no verdict: the hook's policy decides. A change of the message comes back as Replace;
a change of the command file (recipients, sender) has no effect and is logged.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from postroom.site import Ground
from postroom.transfer import PASS, Defer, Discard, Quarantine, Reject, Replace, TransferEvent, Verdict
from postroom_command import contract, marks, readback
from postroom_command.contract import UNTOUCHED, Answer, Files, Found, ProgramFailed, Stage
from postroom_command.launcher import Account, Ended, Launcher, Program
from postroom_command.pair import Pair
from postroom_command.settings import CommandSettings

T = TypeVar("T")


@dataclass(slots=True)
class _Question:
    """What one program is asked."""

    stage: Stage
    event: TransferEvent
    argv: tuple[str, ...]


class Programs:
    """The programs of one instance."""

    def __init__(self, settings: CommandSettings, ground: Ground, account: Account | None) -> None:
        self._settings, self._ground, self._account = settings, ground, account
        self._log = ground.log
        self._programs = settings.programs()
        self._connectors = frozenset(name.upper() for name in settings.connectors)
        self._turns = asyncio.Semaphore(settings.processes_at_once)
        self._launcher = Launcher(ground.log)
        self._is_swept = False

    async def ask(self, stage: Stage, event: TransferEvent) -> Verdict:
        """The program's verdict. ProgramFailed where it has none, OSError where the disk refuses its files."""
        connector = contract.connector_of(stage, event)
        if self._connectors and stage != "mailbox" and connector.upper() not in self._connectors:
            return PASS
        if not marks.ACRONYM.fullmatch(connector):  # a pair dropped by hand may name any source, and it becomes a path
            raise ProgramFailed(f"was not asked: {connector!r} is no connector")
        question = _Question(stage, event, self._programs[stage])
        async with self._turns:
            return await (self._with_files(question, connector) if self._settings.files else self._without_files(question))

    async def _with_files(self, question: _Question, connector: str) -> Verdict:
        """By the old contract: the pair is there, and what becomes of it counts."""
        await self._sweep()
        event = question.event
        pair = Pair(self._ground, connector, "Inbound" if question.stage == "pickup" else "Outgoing", self._account)
        keeps = False
        try:
            await self._lay(pair, event)
            with ExitStack() as stack:
                stdin = -1
                if self._settings.stdin:
                    stdin = os.open(pair.place.message, os.O_RDONLY | os.O_CLOEXEC)
                    stack.callback(os.close, stdin)
                ended = await self._run(question, pair.files(), pair.place.root, stdin)
            found = await _where(pair, pair.found)
            answer = self._answer(question, ended, found)
            if pair.is_edited():
                self._log.warning("command.edit_ignored", id=event.envelope.id, program=question.argv[0])
            verdict = await self._verdict(question, answer, ended, pair)
            keeps = answer not in ("quarantine", "defer")  # a deferred message comes again, and its program makes another copy
            return verdict
        finally:
            await _where(pair, partial(pair.remove, copies=not keeps))

    async def _sweep(self) -> None:
        """Once in a worker's life, with its first question: what died with another one."""
        if not self._is_swept:
            self._is_swept = True
            for item, error in await finished(lambda: list(marks.sweep(self._ground.root, self._ground.disk))):
                self._log.warning("command.not_swept" if error else "command.swept", pair=item, error=str(error or ""))

    async def _lay(self, pair: Pair, event: TransferEvent) -> None:
        data = event.message.peek()
        if data is not None:
            pair.lay(event.envelope, [data])
            return
        async with event.message.as_file() as path:
            await finished(lambda: _from_file(path, lambda octets: pair.lay(event.envelope, octets)))

    async def _without_files(self, question: _Question) -> Verdict:
        """The exit code alone counts."""
        with ExitStack() as stack:
            stdin = -1
            if self._settings.stdin:
                stdin = await _opened(question.event)
                stack.callback(os.close, stdin)
            ended = await self._run(question, None, self._ground.root, stdin)
        answer = self._answer(question, ended, UNTOUCHED)
        return await self._verdict(question, answer, ended, None)

    async def _run(self, question: _Question, files: Files | None, folder: Path, stdin: int) -> Ended:
        settings, stage, event = self._settings, question.stage, question.event
        argv = [*question.argv, *contract.arguments(settings.arguments, stage, event, files)]
        environment = contract.environment(settings.environment, stage, event, files)
        return await self._launcher.run(Program(argv, environment, folder, settings.limits.model_dump(), self._account), stdin)

    def _answer(self, question: _Question, ended: Ended, found: Found) -> Answer:
        facts = {"id": question.event.envelope.id, "program": question.argv[0], "code": ended.code}
        try:
            answer = contract.answer(ended.code, found, self._settings.verdicts)
        except ProgramFailed:
            self._log.warning("command.failed", **facts, said=contract.reason(ended.err, contract.reason(ended.out, "")))
            raise
        if found.has_message != found.has_command:
            self._log.warning("command.half_gone", **facts, left="message" if found.has_message else "command file")
        if answer != "pass":
            self._log.info("command.answered", **facts, verdict=answer)
        return answer

    async def _verdict(self, question: _Question, answer: Answer, ended: Ended, pair: Pair | None) -> Verdict:
        if answer == "replace" and pair is not None:
            envelope, message = question.event.envelope, question.event.message
            work = partial(pair.taken, message.id, binary=envelope.body == "BINARYMIME")
            return Replace(await _where(pair, work))
        why = contract.meaning(answer, question.argv[0])
        return _final(answer, contract.reason(ended.out, why) if self._settings.reason else why)


def _final(answer: Answer, why: str) -> Verdict:
    match answer:
        case "reject":
            return Reject(why)
        case "defer":
            return Defer(why)
        case "quarantine":
            return Quarantine(why)
        case "discard":
            return Discard(why)
    return PASS


async def _where(pair: Pair, work: Callable[[], T]) -> T:
    """Work on the files of a pair: here where it is quick, in a thread where it is not."""
    return work() if pair.is_small() else await finished(work)


async def finished(work: Callable[[], T]) -> T:
    """Work in a thread; also a cancelled call waits for its end, so that nothing is removed under its hands."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    finally:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])


def _from_file(path: Path, work: Callable[[Iterable[bytes]], None]) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        work(readback.chunks(fd))
    finally:
        os.close(fd)


async def _opened(event: TransferEvent) -> int:
    """A descriptor to read the message from."""
    data = event.message.peek()
    if data is None:
        async with event.message.as_file() as path:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fd = os.memfd_create("message", os.MFD_CLOEXEC)
    os.pwrite(fd, data, 0)
    return fd
