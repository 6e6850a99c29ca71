"""The mailbox delivery event through the real dispatcher: order, replacement, failure policy, skip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from postroom.clock import SystemClock
from postroom.dispatch import Call, Dispatcher
from postroom.mailstore import Target
from postroom.message import MemoryMessage, Message
from postroom.settings import HookPolicy
from postroom.site import Log
from postroom.transfer import PASS, Defer, Pass, Reject, Replace, Verdict
from postroom_disk.disk import Disk
from postroom_postoffice import events
from postroom_postoffice.api import HOOK, MailboxDelivery
from tests.plugins_postoffice.rows import envelope

TEXT = MemoryMessage("A" * 32, b"Subject: a\r\n\r\nhello\r\n")
TARGET = Target("Acme", "alice")
Hook = Callable[[MailboxDelivery], Awaitable[Verdict]]


class NoLog:
    """Says nothing."""

    def debug(self, event: str, **facts: object) -> None: ...

    info = warning = error = debug

    def bind(self, **facts: object) -> Log:
        return self


def asked(tmp_path: Path, *hooks: tuple[str, Hook], skip: frozenset[str] = frozenset()) -> tuple[Verdict, Message]:
    dispatcher = Dispatcher(SystemClock(), Disk(), tmp_path)
    calls = tuple(Call(name, HOOK, cast("Callable[..., object]", hook), ("event",), HookPolicy(), NoLog()) for name, hook in hooks)
    dispatcher.chains = {HOOK: calls}
    return asyncio.run(events.ask(dispatcher, replace(envelope("alice"), skip=skip), TEXT, TARGET))


async def cleans(event: MailboxDelivery) -> Verdict:
    return Replace(MemoryMessage("F" * 32, b"X-Cleaned: yes\r\n" + (event.message.peek() or b"")))


async def wants_clean(event: MailboxDelivery) -> Verdict:
    assert (event.postoffice, event.mailbox, event.folder, event.target) == ("Acme", "alice", "Inbox", "SF")
    return PASS if (event.message.peek() or b"").startswith(b"X-Cleaned") else Reject("not cleaned")


async def breaks(event: MailboxDelivery) -> Verdict:
    raise ValueError("a bug")


def test_a_replacement_feeds_the_next_and_is_what_is_stored(tmp_path: Path) -> None:
    verdict, message = asked(tmp_path, ("a", cleans), ("b", wants_clean))
    assert isinstance(verdict, Pass | Replace) and (message.peek() or b"").startswith(b"X-Cleaned")
    assert message.id == TEXT.id


@pytest.mark.parametrize(("hooks", "kind"), [((("a", wants_clean), ("b", cleans)), Reject), ((("a", breaks),), Defer)])
def test_the_first_final_verdict_wins_and_a_broken_hook_defers(
    tmp_path: Path, hooks: tuple[tuple[str, Hook], ...], kind: type[Verdict]
) -> None:
    verdict, message = asked(tmp_path, *hooks)
    assert isinstance(verdict, kind) and message is TEXT


def test_a_hook_that_is_to_be_skipped_is_not_asked(tmp_path: Path) -> None:
    assert asked(tmp_path, ("a", wants_clean), skip=frozenset({"a"})) == (PASS, TEXT)
