"""Case 48: hooks that hang, raise, answer nonsense or far too much, recurse into the kernel, leak threads, block the loop, swell or die.

Each is found and named, the declared policy is applied to its own message, and everybody else's mail goes on; on a real server, inline and
in processes. What a child does alone is in tests/kernel_isolation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.meter import descendants
from postroom_ops.keeper import SILENT
from postroom_run.control import ask
from postroom_run.supervisor import Supervisor
from postroom_testing.clock import HandClock
from postroom_testing.waiting import until
from tests.demo import await_change, letter
from tests.flows import scanned
from tests.flows.scanned import LOGIN, Scanned
from tests.kernel_isolation.world import gone

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scanned.template(tmp_path_factory.mktemp("made"))


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned.put_on_path(monkeypatch, scanned.install(tmp_path / "lib", bad="OneOfAll", inline="OneOfAllInline"))


def serving(made: Path, folder: Path, hooks: str, *, plugin: str = "bad", own: str = "", more: str = "") -> Iterator[Scanned]:
    site = scanned.site_with(made, folder, f"  bad: {{plugin: {plugin}, hooks: {{{hooks}}}{own}}}", more)
    with scanned.serving(site) as server:
        yield server


POLICY = "on_error: reject, on_timeout: reject, breaker: 100"
BLOCKED = '"event":"loop.blocked","worker":0,"plugin":"bad"'


@pytest.fixture
def inline(made: Path, tmp_path: Path) -> Iterator[Scanned]:
    yield from serving(made, tmp_path, f"{POLICY}, timeout: 1", plugin="inline", own=", seconds: 0.3")


@pytest.fixture
def process(made: Path, tmp_path: Path) -> Iterator[Scanned]:
    yield from serving(made, tmp_path, f"{POLICY}, isolation: process, processes: 1")


def test_inline_each_harms_its_own_message_and_is_named(inline: Scanned) -> None:
    wrong = ["Hangs", "Raises", "Exits", "Nonsense", "NoMessage", "LongReason", "Recurses"]
    for kind in wrong:
        assert inline.send(f"bad-{kind}", kind) == 554, kind
        assert inline.send(f"good-{kind}") == 250
    failed = [line for line in inline.lines("hook.failed") if line["plugin"] == "bad" and line["hook"] == "mta_pickup"]
    inline.logged("hook.failed", 6)
    failed = inline.lines("hook.failed")
    assert all(line["plugin"] == "bad" and line["hook"] == "mta_pickup" for line in failed)
    said = ["TimeoutError", "ValueError: boom", "SystemExit: 3", "Nonsense: answered 42", "Nonsense", "RecursionError"]
    assert [line["error"].startswith(start) for line, start in zip(failed, said, strict=True)] == [True] * 6
    assert inline.send("bad-blocks", "Blocks") == 250
    # On a busy machine what takes a few milliseconds (forty threads, a thousand calls) may block for more than the 50 ms too.
    await_change(inline.server.site, lambda: any(line["place"].endswith("Blocks.misbehave") for line in _blocked(inline)))
    assert inline.send("bad-threads", "LeaksThreads") == 250
    grown = inline.logged("threads.growing")
    assert (grown["plugin"], grown["threads"]) == ("bad", 40) and grown["place"].endswith("bad:stay")
    assert inline.send("bad-mail", "SendsMail") == 250  # one more copy, and not one more for that
    arrived = _arrived(inline, len(wrong) + 4)
    assert sorted(arrived) == sorted([*(f"good-{kind}" for kind in wrong), "bad-blocks", "bad-threads", "bad-mail", "bad-mail"])
    counters = _counters(inline)
    assert (counters["timeouts"], counters["errors"], counters["failed_closed"]) == (1, 5, 6)
    assert counters["blocked"] == len(_blocked(inline))
    assert all("bad.py" in line["place"] for line in _blocked(inline))


def test_in_a_process_each_harms_its_own_message_and_the_worker_lives_on(process: Scanned) -> None:
    before = process.told.workers
    assert _children(process) == 1  # the one that was up for the plan is gone
    wrong = ["Raises", "Exits", "Nonsense", "NoMessage", "LongReason", "LargeMessage", "Recurses", "TouchesJournal", "Dies"]
    for kind in wrong:
        assert process.send(f"bad-{kind}", kind) == 554, kind
        assert process.send(f"good-{kind}") == 250, kind
    assert process.send("bad-threads", "LeaksThreads") == 250
    assert sorted(_arrived(process, len(wrong) + 1)) == sorted([*(f"good-{kind}" for kind in wrong), "bad-threads"])
    counters = _counters(process)
    assert (counters["timeouts"], counters["errors"], counters["blocked"]) == (0, len(wrong) - 1, 0)
    assert list(ask(process.server.site, "status")["workers"]) == list(before)
    assert {line["plugin"] for line in process.lines("hook.failed")} == {"bad"}
    assert "exit status 9" in process.logged("hook.child_died")["how"]
    assert _children(process) == 1
    running = _running(process)
    assert process.server.stop() == 0 and not [pid for pid in running if not gone(pid)]
    assert not _blocked(process) and not process.lines("threads.growing")


def test_a_worker_that_an_inline_hook_makes_swell_is_named_and_replaced_and_nobody_is_refused(made: Path, tmp_path: Path) -> None:
    for server in serving(made, tmp_path, POLICY, own=", mib: 30", more="limits: {memory: 240}\n"):
        [before] = server.told.workers
        fed = 0
        while not server.lines("memory.growing") and fed < 20:
            fed += 1
            assert server.send(f"fed-{fed}", "Grows") == 250
            _a_second(server, "memory.growing")
        grown = server.logged("memory.growing")
        assert grown["plugin"] == "bad" and "bad.py:" in grown["place"] and grown["mib"] >= 16
        while not server.lines("memory.full") and fed < 40:
            fed += 1
            assert server.send(f"fed-{fed}", "Grows") in (250, 421)
            _a_second(server, "memory.full")
        full = server.logged("memory.full")
        assert full["limit"] == 240 and full["mib"] >= 240
        server.logged("worker.started", 2)
        after = f"after-{fed}"
        while list(ask(server.server.site, "status")["workers"]) == [before]:
            assert server.send(after, to="bob@example.test") in (250, 421)  # the old one says when to come again, and nothing worse
        await_change(server.server.site, partial(gone, before))
        assert not server.lines("worker.died")[1:]  # it drained
        assert len(_arrived(server, fed)) >= fed - 1


def test_a_hook_that_silences_its_worker_costs_that_message_only(made: Path, tmp_path: Path) -> None:
    """Inline: it is named while it blocks, the worker is replaced, and again for the same message after the replay, until that has cost
    three: then it lies in Bad Mail, and others' mail is delivered. The ten seconds of silence pass by a clock turned by hand."""
    site = scanned.site_with(made, tmp_path, "  bad: {plugin: bad, hooks: {on_error: reject}}")

    async def main() -> None:
        ready: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        clock, supervisor = HandClock(), Supervisor(site, on_ready=ready.set_result)
        supervisor.keeper.clock = clock
        serving = asyncio.create_task(supervisor.run())
        endpoints = (await ready)["endpoints"]
        sending = asyncio.create_task(asyncio.to_thread(_send, str(endpoints["smtp"]), "bad-blocks", "Blocks"))  # type: ignore[index]
        for times in range(1, 4):
            await asyncio.to_thread(await_change, site, partial(_was_blocked, site, times))
            life = supervisor.keeper.lives[0]
            await clock.advance(SILENT + 2)  # by hand, and only now: a worker's signs of life come by the machine's clock
            await asyncio.wait_for(life.process.wait(), 30)
            await until(lambda: clock.sleepers == 2, "the rest before the next start")
            await clock.advance(1.0)
        assert await sending in (0, 250)
        await asyncio.to_thread(await_change, site, partial(_lies_in_bad_mail, site, b"bad-blocks"))
        await asyncio.wait_for(supervisor.keeper.lives[0].ready.wait(), 30)
        assert await asyncio.to_thread(_send, str(endpoints["smtp"]), "good", "") == 250  # type: ignore[index]
        supervisor.stop()
        assert await serving == 0

    asyncio.run(main())
    text = _logged(site)
    assert "Blocks.misbehave" in text and text.count(BLOCKED) == 3
    assert text.count('"event":"worker.silent"') == 3 and "its process died 3 times holding it" in text


def _was_blocked(site: Path, times: int) -> bool:
    return _logged(site).count(BLOCKED) == times


def _lies_in_bad_mail(site: Path, mark: bytes) -> bool:
    return any(mark in path.read_bytes() for path in (site / "Bad Mail" / "Messages").glob("*.MAI"))


def _logged(site: Path) -> str:
    return "".join(path.read_text() for path in (site / "Logging").glob("*.log"))


def _send(endpoint: str, mark: str, kind: str) -> int:
    host, _, port = endpoint.rpartition(":")
    mail = letter(mark)
    if kind:
        mail["X-Bad"] = kind
    return scanned.said_to((host, int(port)), mail)


def _arrived(server: Scanned, number: int) -> list[str]:
    """The marks of all messages in the mailbox, once there are so many."""
    texts: list[bytes] = []

    def there() -> bool:
        texts[:] = server.fetch(LOGIN)
        return len(texts) >= number

    await_change(server.server.site / "Postoffices", there)
    return [text.partition(b"Subject: about ")[2].split()[0].decode() for text in texts]


def _running(server: Scanned) -> list[int]:
    return list(descendants(server.server.supervisor))


def _children(server: Scanned) -> int:
    """How many children of isolated plugins run below this server."""
    texts = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _running(server)]
    return sum(b"postroom_isolation.child" in text for text in texts)


def _blocked(server: Scanned) -> list[dict[str, Any]]:
    """What the log says of this plugin's blocking the loop."""
    return [line for line in server.lines("loop.blocked") if line["plugin"] == "bad"]


def _counters(server: Scanned) -> dict[str, int]:
    [bad] = [one for one in ask(server.server.site, "plugin.list")["plugins"] if one["name"] == "bad"]
    counters: dict[str, int] = bad["hooks"]["mta_pickup"]
    return counters


def _a_second(server: Scanned, event: str) -> None:
    """Growth is looked at once a second: until it is told of, or the time of a look has passed."""
    try:
        await_change(server.server.site, lambda: bool(server.lines(event)), patience=1.1)
    except AssertionError:
        pass
