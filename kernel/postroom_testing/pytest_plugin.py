"""The pytest plugin `postroom.testing`: fixtures for tests of plugins. The contract suites are classes to subclass, one module per role.

It is loaded in every pytest run of an environment that has postroom, so it imports nothing of it: each fixture does when a test asks for it.

| fixture | gives |
| --- | --- |
| `postroom_clock` | a clock turned by hand |
| `postroom_log` | a log that keeps its lines |
| `postroom_disk` | a disk that fails or dies at a chosen call |
| `postroom_letter` | makes messages: `postroom_letter(b"Subject: x\\r\\n\\r\\nbody\\r\\n")` |
| `postroom_site` | opens a site in a folder of the test's own: `async with postroom_site(yaml) as parts:` |
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from postroom.message import MemoryMessage
    from postroom_run.assembly import Assembled
    from postroom_testing.clock import HandClock
    from postroom_testing.faults import FaultDisk
    from postroom_testing.ground import Lines

    class Letters(Protocol):
        def __call__(self, data: bytes = ..., *, name: str = ...) -> MemoryMessage: ...

    class Sites(Protocol):
        def __call__(self, yaml: str = ..., *, plugins: dict[str, type] | None = ...) -> AbstractAsyncContextManager[Assembled]: ...


pytest.register_assert_rewrite(
    *(f"postroom_testing.{name}" for name in ("agents", "connectors", "plugin", "providers", "services", "transfer", "watching")),
    *(f"postroom_testing.store_{name}" for name in ("arrivals", "faults", "folders", "ground", "mailboxes")),
)


@pytest.fixture
def postroom_clock() -> HandClock:
    """A clock turned by hand: `await postroom_clock.advance(3600)`."""
    from postroom_testing.clock import HandClock

    return HandClock()


@pytest.fixture
def postroom_log() -> Lines:
    """A log that keeps what it was told: `postroom_log.events("error")`."""
    from postroom_testing.ground import Lines

    return Lines()


@pytest.fixture
def postroom_disk() -> FaultDisk:
    """The real disk until its `at` and `how` are set: then it fails, tears or dies at that call."""
    from postroom_testing.faults import FaultDisk

    return FaultDisk()


@pytest.fixture
def postroom_letter() -> Letters:
    """Makes messages in memory, each with an id of its own unless it has a name."""
    from postroom_testing.mail import letter

    return letter


@pytest.fixture
def postroom_site(tmp_path: Path, postroom_clock: HandClock, postroom_log: Lines, postroom_disk: FaultDisk) -> Sites:
    """Opens a site in `tmp_path` with the other fixtures' clock, log and disk; the plugins its YAML names are the installed ones, or by
    entry point those handed in as `plugins`."""

    def opened(yaml: str = "", **how: Any) -> AbstractAsyncContextManager[Assembled]:
        from postroom_testing.ground import PLAIN, site_in

        return site_in(tmp_path, yaml or PLAIN, clock=postroom_clock, log=postroom_log, disk=postroom_disk, **how)

    return opened
