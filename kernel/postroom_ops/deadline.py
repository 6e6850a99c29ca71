"""Calls with a deadline that cost nothing as long as they do not wait.

A coroutine is begun with `send(None)`; only when it suspends is a deadline armed, and it goes on in the same task, so cancellation,
context and `asyncio.timeout` inside it work as if it had been awaited.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from postroom_ops.asks import Clock

T = TypeVar("T")


async def before_deadline(clock: Clock, begun: Coroutine[Any, Any, T], waiting: Any, seconds: float) -> T:
    """The rest of a coroutine that has begun and waits; TimeoutError after so many seconds of the clock.

    One that swallows the cancellation is late too: its answer is dropped."""
    task = asyncio.current_task()
    assert task is not None
    cancels, late, over = task.cancelling(), False, False

    def expire(timer: asyncio.Task[None]) -> None:
        nonlocal late
        if not over and not timer.cancelled():
            late = task.cancel()

    timer = asyncio.ensure_future(clock.sleep(seconds))
    timer.add_done_callback(expire)
    try:
        answer = await _go_on(begun, waiting)
    except BaseException:
        if late and task.uncancel() <= cancels:
            raise TimeoutError(f"no answer in {seconds:g} seconds") from None
        raise
    finally:
        over = True
        timer.cancel()
    if late and task.uncancel() <= cancels:
        raise TimeoutError(f"no answer in {seconds:g} seconds")
    return answer


@types.coroutine
def _go_on(begun: Coroutine[Any, Any, T], waiting: Any) -> Generator[Any, Any, T]:
    """Await what it is waiting for, and all that follows."""
    try:
        while True:
            try:
                sent = yield waiting
            except GeneratorExit:
                begun.close()
                raise
            except BaseException as error:
                waiting = begun.throw(error)
            else:
                waiting = begun.send(sent)
    except StopIteration as done:
        value: T = done.value
        return value


def is_cancelled() -> bool:
    """Whether someone wants this task to end; code may also raise CancelledError of its own accord."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
