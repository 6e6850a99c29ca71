"""How a hook is called: in order, with a deadline, a failure policy and a breaker.

A hook that raises, answers nonsense or misses its deadline harms that message only: the operator's policy says what the
message gets. One that fails again and again is not asked until a probe succeeds. A call that does not suspend costs no
timer and no task. A shadow hook gets a copy and a task of its own, and nothing it does is waited for or obeyed; what it would have
said is compared with what was decided.
"""

from __future__ import annotations

import asyncio
import reprlib
import types
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from postroom.clock import Clock
from postroom.errors import PostroomError
from postroom.message import FileMessage, Message, new_id
from postroom.settings import HookPolicy, Policy
from postroom.site import HookFailed, Log
from postroom.transfer import PASS, Defer, Discard, Pass, Quarantine, Reject, Replace, TransferEvent, Verdict
from postroom_disk.disk import Disk
from postroom_ops.breaker import Breaker
from postroom_ops.deadline import before_deadline, is_cancelled

# The instance that is being asked, and who is skipped for the message it is asked about: mail a hook sends is not shown to these. Known by
# the step under way while a hook has not suspended, then by its context: setting a context variable twice costs a third of a passing hook.
Asked = tuple[str, frozenset[str]] | None
ASKING: Final[ContextVar[Asked]] = ContextVar("asking", default=None)
_SHADOWS: Final = 32  # calls of one shadow hook under way; what comes on top is counted and dropped
_WHY: Final = 500  # characters of a reason that are kept: it ends in replies and logs
_GROWTH: Final = 64 << 20  # octets by which a Replace may be larger than its message
_FAILURES: Final = (Exception, SystemExit, asyncio.CancelledError)  # what a hook may raise without ending the worker
Answer = Any  # what the hook's own spec says
Check = Callable[[Answer], Answer] | None


class _Step:
    """What the interpreter does just now, between two waits of the loop."""

    __slots__ = ("asked",)

    asked: Asked


_STEP: Final = _Step()
_STEP.asked = None


def asking() -> Asked:
    """Who is being asked where this is called from."""
    return _STEP.asked or ASKING.get()


class Nonsense(PostroomError):
    """A hook answered what its spec does not know."""


@dataclass(slots=True)
class Counters:
    """What became of one plugin's answers to one hook."""

    calls: int = 0
    seconds: float = 0.0
    errors: int = 0
    timeouts: int = 0
    failed_open: int = 0  # the message went on without an answer
    failed_closed: int = 0  # it was kept, refused or set aside for want of one
    shadowed: int = 0  # verdicts without effect
    agreed: int = 0  # shadow answers that would have meant the same for the message as what was decided
    disagreed: int = 0
    dropped: int = 0  # shadow calls there was no room for
    blocked: int = 0  # times the watchdog found it blocking the loop


@dataclass(eq=False, slots=True)
class Call:
    """One plugin's implementation of one hook, bound and ready."""

    name: str
    hook: str
    function: Callable[..., Answer]
    wants: tuple[str, ...]
    policy: HookPolicy
    log: Log
    counters: Counters = field(default_factory=Counters)
    shadows: set[asyncio.Task[None]] = field(default_factory=set)

    breaker: Breaker = field(init=False)
    alone: tuple[str, frozenset[str]] = field(init=False)  # what ASKING says where nobody is skipped
    is_shadow: bool = field(init=False)
    is_plain: bool = field(init=False)  # nothing is wrong with it, and it takes the event alone: the short way is open

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.policy.breaker, self.policy.probe)
        self.alone = (self.name, frozenset())
        self.is_shadow = self.policy.mode == "shadow"
        self.is_plain = self.wants == ("event",)

    def answered(self) -> None:
        """A good answer came."""
        if self.breaker.failures:
            self.is_plain = self.wants == ("event",)
            if self.breaker.worked():
                self.log.info("hook.closed", hook=self.hook)

    def failed(self, error: BaseException, now: float) -> Verdict:
        """A call failed: count it, open the breaker after enough of them, say what the policy wants."""
        late = isinstance(error, TimeoutError)
        self.counters.timeouts += late
        self.counters.errors += not late
        self.is_plain = False  # the long way counts the answers that mend it
        self.log.error("hook.failed", hook=self.hook, error=f"{type(error).__name__}: {error}"[:_WHY])
        if self.breaker.failed(now):
            self.log.error("hook.opened", hook=self.hook, failures=self.breaker.failures, probe=self.policy.probe)
        return self.verdict(self.policy.on_timeout if late else self.policy.on_error, "gave no answer in time" if late else "failed")

    def verdict(self, policy: Policy, what: str) -> Verdict:
        """What the operator wants done for want of an answer."""
        self.counters.failed_open += policy == "pass"
        self.counters.failed_closed += policy != "pass"
        why = f"{self.name} {what}"
        match policy:
            case "pass":
                return PASS
            case "defer":
                return Defer(why)
            case "reject":
                return Reject(why)
            case "quarantine":
                return Quarantine(why)


class Dispatcher:
    """Every hook as a tuple of calls. Implements `postroom.site.Asking`."""

    def __init__(self, clock: Clock, disk: Disk, shadow_folder: Path) -> None:
        self.chains: dict[str, tuple[Call, ...]] = {}
        self._clock, self._disk, self._shadow_folder = clock, disk, shadow_folder
        self._monotonic = clock.monotonic

    def has(self, hook: str) -> bool:
        return hook in self.chains

    async def __call__(self, hook: str, **arguments: object) -> Answer:
        """The first answer that is not None; HookFailed where a hook failed and its policy is not `pass`."""
        for call in self.chains.get(hook, ()):
            if call.is_shadow:
                self._shadow(call, arguments)
                continue
            answer, ruled = await self._ask(call, arguments)
            if ruled is not None and not isinstance(ruled, Pass):
                raise HookFailed(ruled)
            if answer is not None:
                return answer
        return None

    async def transfer(self, hook: str, event: TransferEvent) -> tuple[Verdict, TransferEvent]:
        """Asked in order until a final verdict; a Replace feeds the next and is in the event that comes back."""
        skip = event.envelope.skip
        shadows: Sequence[asyncio.Future[Verdict]] = ()
        decided: Verdict | None = None
        try:
            for call in self.chains.get(hook, ()):
                if skip and call.name in skip:
                    continue
                if call.is_shadow:
                    shadows = (*shadows, *self._shadow(call, {"event": event}))
                    continue
                asked = (call.name, skip) if skip else call.alone
                if call.is_plain:
                    began = self._monotonic()
                    _STEP.asked = asked
                    try:
                        waiting = (begun := call.function(event)).send(None)
                    except StopIteration as done:
                        _STEP.asked = None
                        if (verdict := done.value) is PASS:
                            counters = call.counters
                            counters.calls += 1
                            counters.seconds += self._monotonic() - began
                            continue
                        verdict, ruled = self._judged(call, began, verdict, _checked)
                    except _FAILURES as error:
                        _STEP.asked = None
                        verdict, ruled = self._failed(call, began, error)
                    else:
                        _STEP.asked = None
                        ASKING.set(asked)
                        verdict, ruled = await self._rest(call, began, begun, waiting, _checked)
                        ASKING.set(None)
                else:
                    ASKING.set(asked)
                    verdict, ruled = await self._ask(call, {"event": event}, _checked)
                    ASKING.set(None)
                verdict = verdict if ruled is None else ruled
                if isinstance(verdict, Replace) and verdict.message.size > event.message.size + _GROWTH:
                    verdict = call.failed(Nonsense("answered a message far larger than the one it was shown"), self._monotonic())
                if isinstance(verdict, Replace):
                    event = replace(event, message=verdict.message)
                elif not isinstance(verdict, Pass):
                    decided = replace(verdict, by=call.name)
                    return decided, event
            decided = PASS
            return PASS, event
        finally:
            for shadow in shadows:
                shadow.cancel() if decided is None else shadow.set_result(decided)

    async def _ask(self, call: Call, arguments: Mapping[str, object], check: Check = None) -> tuple[Answer, Verdict | None]:
        """The answer, or what the policy rules where there is none."""
        began = self._monotonic()
        if not call.breaker.may_try(began):
            return None, call.verdict(call.policy.on_error, "is out of service")
        try:
            answer = call.function(*[arguments[name] for name in call.wants])
            if not isinstance(answer, types.CoroutineType):
                return self._judged(call, began, answer, check)
            waiting = answer.send(None)
        except StopIteration as done:
            return self._judged(call, began, done.value, check)
        except _FAILURES as error:
            return self._failed(call, began, error)
        return await self._rest(call, began, answer, waiting, check)

    async def _rest(
        self, call: Call, began: float, hook: Coroutine[Any, Any, Answer], waiting: Any, check: Check
    ) -> tuple[Answer, Verdict | None]:
        """What comes of a hook that suspended."""
        try:
            answer = await before_deadline(self._clock, hook, waiting, call.policy.timeout)
        except _FAILURES as error:
            return self._failed(call, began, error)
        return self._judged(call, began, answer, check)

    def _judged(self, call: Call, began: float, answer: Answer, check: Check) -> tuple[Answer, Verdict | None]:
        """A hook answered; what it said may still be nonsense."""
        try:
            answer = check(answer) if check is not None else answer
        except Nonsense as error:
            return self._failed(call, began, error)
        call.counters.calls += 1
        call.counters.seconds += self._monotonic() - began
        call.answered()
        return answer, None

    def _failed(self, call: Call, began: float, error: BaseException) -> tuple[Answer, Verdict | None]:
        """A hook did not answer. A cancellation that is meant for this task goes on."""
        now = self._monotonic()
        call.counters.calls += 1
        call.counters.seconds += now - began
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            call.breaker.let_go()
            raise error
        return None, call.failed(error, now)

    def _shadow(self, call: Call, arguments: Mapping[str, object]) -> list[asyncio.Future[Verdict]]:
        """Call it beside the road: on a copy, in a task of its own, if there is room. It wants to be told what was decided."""
        try:
            if len(call.shadows) >= _SHADOWS:
                raise BlockingIOError("too many calls under way")
            event = arguments.get("event")
            copy = self._linked(event.message) if isinstance(event, TransferEvent) else None
        except OSError:
            call.counters.dropped += 1
            return []
        if copy is not None and isinstance(event, TransferEvent):
            arguments = {**arguments, "event": replace(event, message=copy)}
        loop = asyncio.get_running_loop()
        decided: asyncio.Future[Verdict] = loop.create_future()
        task = loop.create_task(self._run_shadow(call, arguments, copy, decided))
        call.shadows.add(task)
        task.add_done_callback(call.shadows.discard)
        return [decided] if isinstance(event, TransferEvent) else []

    def _linked(self, message: Message) -> FileMessage | None:
        """A message in a file, linked so that it outlives the original's journey; None where the bytes lie in memory."""
        if not isinstance(message, FileMessage):
            return None
        self._disk.make_folders(self._shadow_folder)
        path = self._shadow_folder / new_id()
        self._disk.link(message.path, path)
        return replace(message, path=path)

    async def _run_shadow(
        self, call: Call, arguments: Mapping[str, object], copy: FileMessage | None, decided: asyncio.Future[Verdict]
    ) -> None:
        event = arguments.get("event")
        try:
            if not isinstance(event, TransferEvent):
                await self._ask(call, arguments)
                return
            ASKING.set((call.name, event.envelope.skip))
            answer, ruled = await self._ask(call, arguments, _checked)
            if ruled is None:
                self._compare(call, event, answer, await decided)
        finally:
            if copy is not None:
                self._disk.unlink(copy.path)

    def _compare(self, call: Call, event: TransferEvent, said: Verdict, decided: Verdict) -> None:
        """What a shadow hook would have done, beside what was done."""
        call.counters.shadowed += not isinstance(said, Pass)
        agrees = _fate(said) == _fate(decided)
        call.counters.agreed += agrees
        call.counters.disagreed += not agrees
        if not agrees or not isinstance(said, Pass):
            facts = {"verdict": type(said).__name__, "why": getattr(said, "why", ""), "decided": _fate(decided)}
            call.log.info("hook.shadow", hook=call.hook, id=event.envelope.id, **facts)


def _fate(verdict: Verdict) -> str:
    """What a verdict means for a message: changed or not, it goes on."""
    return "Pass" if isinstance(verdict, Replace) else type(verdict).__name__


def _checked(answer: Answer) -> Verdict:
    """A verdict fit to act upon: reasons become one short line. Nonsense otherwise."""
    match answer:
        case Pass():
            return answer
        case Replace(message) if isinstance(getattr(message, "id", None), str) and isinstance(getattr(message, "size", None), int):
            return answer
        case Defer(why) | Reject(why) | Quarantine(why) | Discard(why) if isinstance(why, str):
            return replace(answer, why=" ".join(why[: 4 * _WHY].split())[:_WHY])
    raise Nonsense(f"answered {reprlib.repr(answer)}, which is no verdict")
