"""Work in a child process that dies at a chosen call of its disk: what is on disk afterwards is what a `kill -9` there would leave.

The child is forked, so it costs milliseconds and knows whatever the test knows; its locks fall and its threads end with it, as in life. An error
of the work itself, which is no death, comes back as an AssertionError with its traceback.
"""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import pytest

from postroom_testing.faults import FaultDisk

ENDED, FAILED, DEAD = 0, 1, 7  # how the child left
_LONGEST = 60  # seconds after which a child that hangs is ended
Work = Callable[[FaultDisk, Callable[[], None]], Coroutine[Any, Any, None]]  # the disk, and what to call when calls are to count


def ends_before(number: int, work: Work, how: str = "die") -> bool:
    """Whether the work came to its end before the `number`-th call that changes the disk, counted from where it says so."""
    if not hasattr(os, "fork"):
        pytest.skip("deaths are tried in forked processes, which this system has not")
    told, tells = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that a fork leaves behind: the child needs none of them
        child = os.fork()
    if child == 0:
        os.close(told)
        _live(number, work, how, tells)
    os.close(tells)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    left = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert left in (ENDED, DEAD), said or f"the work hung for {_LONGEST} s or was killed (exit code {left})"
    return left == ENDED


def _live(number: int, work: Work, how: str, tells: int) -> NoReturn:
    left = FAILED
    try:
        signal.alarm(_LONGEST)
        disk = FaultDisk(how=how, died=lambda: os._exit(DEAD))

        def arm() -> None:
            disk.calls.clear()
            disk.at = number

        asyncio.run(work(disk, arm))
        left = ENDED
    except BaseException:
        os.write(tells, traceback.format_exc().encode()[-60_000:])
    finally:
        os._exit(left)
