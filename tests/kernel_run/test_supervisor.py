"""The running server as processes: a real supervisor, two real workers and a third party's service."""

import asyncio
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroom.errors import ConfigError
from postroom_ops.keeper import SILENT
from postroom_run.control import Refused, ask
from postroom_run.supervisor import Supervisor
from postroom_testing.clock import HandClock
from tests.demo import await_change
from tests.kernel_run import echo

pytestmark = pytest.mark.long


@dataclass
class Served:
    """A site that is served."""

    root: Path
    env: dict[str, str]
    process: subprocess.Popen[str]
    told: dict[str, object]

    def say(self, line: str) -> tuple[int, str]:
        """Who answered, and what; zero when the peer hung up."""
        host, port = str(self.told["endpoints"]["echo"]).split(":")  # type: ignore[index]
        with socket.create_connection((host, int(port)), timeout=30) as peer, peer.makefile("rw") as lines:
            lines.write(line + "\n")
            lines.flush()
            pid, _, said = lines.readline().partition(" ")
            return int(pid or 0), said.rstrip()

    def workers(self) -> list[int]:
        return list(ask(self.root, "status")["workers"])

    def until_new(self, old: list[int]) -> int:
        """Talk until a worker answers that was not there; those who wait for one are not refused meanwhile."""
        return next(pid for pid, _ in (self.say("hello") for _ in range(10_000)) if pid not in old)


@contextmanager
def until_gone(pids: list[int]) -> Iterator[None]:
    """At the end of the block, wait until these have ended: a worker that drains may still take a peer or two."""
    watched = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        assert all(select.select([one], [], [], 30)[0] for one in watched)
    finally:
        for one in watched:
            os.close(one)


def start(root: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "postroom_run", str(root)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def log_of(root: Path) -> str:
    return "".join(path.read_text() for path in (root / "Logging").glob("*.log"))


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Bytecode is kept beside pytest's own folders, whatever the environment says: these tests start two dozen processes."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept.setdefault("PYTHONPYCACHEPREFIX", str(tmp_path_factory.getbasetemp().parent / "bytecode"))
    return {**kept, "PYTHONPATH": str(echo.install(tmp_path_factory.mktemp("lib")))}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Iterator[Served]:
    root = echo.site(tmp_path_factory.mktemp("served") / "site", "workers: 2\n")
    process = start(root, env)
    assert process.stdout is not None and process.stderr is not None
    told = json.loads(process.stdout.readline())
    yield Served(root, env, process, told)
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, ""), complained
    assert not (root / "run" / "control.sock").exists()


def test_the_ready_line_says_who_serves_where(served: Served) -> None:
    assert set(served.told) == {"ready", "site", "workers", "endpoints"} and served.told["site"] == str(served.root)
    assert len(served.workers()) == 2
    pid, said = served.say("hello")
    assert said == "hello" and pid in served.workers()


def test_a_second_start_on_the_same_site_is_refused(served: Served) -> None:
    second = start(served.root, served.env)
    said, complained = second.communicate(timeout=30)
    assert second.returncode == 1 and said == ""
    told = f"{served.root} is already served by process {served.process.pid}. Stop that one first, or tell it to reload\n"
    assert complained == told


def test_a_worker_that_dies_is_replaced_on_the_same_socket(served: Served) -> None:
    before = served.workers()
    assert served.say("die") == (0, "")
    served.until_new(before)
    assert ask(served.root, "health")["problems"] in ([], ["1 of 2 workers do not answer"])


def test_an_agent_that_fails_is_started_again_on_its_socket(served: Served) -> None:
    pid, _ = served.say("fail")
    assert pid in served.workers()
    assert next(pid == found for found, _ in (served.say("hello") for _ in range(10_000)) if found == pid)


def test_features_case_48_a_plugin_that_blocks_is_named(served: Served) -> None:
    served.say("block")
    log = served.root / "Logging"
    for _ in range(10_000):  # the line is written within a fifth of a second
        ask(served.root, "status")
        told = [json.loads(line) for path in log.iterdir() for line in path.read_text().splitlines()]
        if blocked := [line for line in told if line["event"] == "loop.blocked" and line["plugin"] == "echo"]:
            break
    assert "postroom_echo.py" in blocked[0]["place"] and blocked[0]["place"].endswith("Echo.talk")
    assert 'postroom_loop_blocked_total{plugin="echo"}' in ask(served.root, "metrics")["text"]


def test_a_reload_brings_new_workers_to_the_same_sockets(served: Served) -> None:
    before = served.workers()
    with until_gone(before):
        told = ask(served.root, "reload")
        assert told["endpoints"] == served.told["endpoints"] and not set(before) & set(told["workers"])
        assert served.until_new(before) in told["workers"]


def test_a_reload_changes_the_number_of_workers_and_refuses_nobody(served: Served) -> None:
    path = served.root / "postroom.yaml"
    for workers in (3, 1, 2):  # as many as there were at the start, in the end
        before = served.workers()
        path.write_text(re.sub(r"workers: \d", f"workers: {workers}", path.read_text()))
        with until_gone(before):
            told = ask(served.root, "reload")
            assert len(told["workers"]) == len(served.workers()) == workers
            served.until_new(before)
        assert {served.say("hello")[0] for _ in range(20)} <= set(told["workers"])
        assert ask(served.root, "health")["problems"] == []


def test_a_reload_of_wrong_settings_changes_nothing(served: Served) -> None:
    path, before = served.root / "postroom.yaml", served.workers()
    good = path.read_text()
    path.write_text(good.replace("echo: {}", "echo: {prot: 1}"))
    try:
        with pytest.raises(Refused, match=r"postroom.yaml:4: plugins.echo.prot: no such setting. Did you mean port\?"):
            ask(served.root, "reload")
    finally:
        path.write_text(good)
    assert served.workers() == before and served.say("hello")[1] == "hello"


def test_a_hangup_signal_is_a_reload(served: Served) -> None:
    before = served.workers()
    with until_gone(before):
        served.process.send_signal(signal.SIGHUP)
        served.until_new(before)
    after = served.workers()
    assert len(after) == 2 and not set(before) & set(after) and served.say("hello")[0] in after


def test_a_hangup_signal_with_wrong_settings_is_logged_and_changes_nothing(served: Served) -> None:
    path = served.root / "postroom.yaml"
    good = path.read_text()
    path.write_text(good.replace("echo: {}", "echo: {prot: 1}"))
    try:
        before = served.workers()
        served.process.send_signal(signal.SIGHUP)
        await_change(served.root, lambda: "reload.refused" in log_of(served.root))
    finally:
        path.write_text(good)
    assert served.workers() == before


def test_health_gathers_what_plugins_say(served: Served) -> None:
    (served.root / "hoarse").touch()
    try:
        told = ask(served.root, "health")
    finally:
        (served.root / "hoarse").unlink()
    assert not told["ok"] and "echo: the echo is hoarse" in told["problems"]


def test_plugins_and_queues_are_told_of(served: Served) -> None:
    assert [one["name"] for one in ask(served.root, "plugin.list")["plugins"]] == ["tab", "echo"]
    assert ask(served.root, "plugin.order", hook="health")["plugins"] == ["tab", "echo"]
    assert ask(served.root, "queue.list") == {"items": [], "count": 0}
    with pytest.raises(Refused, match="nothing named ABC waits in a queue"):
        ask(served.root, "queue.show", id="ABC")
    with pytest.raises(Refused, match=r"no such request: queue\.sing"):
        ask(served.root, "queue.sing")


def test_settings_that_cannot_be_used_are_told_and_nothing_starts(env: dict[str, str], tmp_path: Path) -> None:
    root = echo.site(tmp_path / "site", echo="{prot: 1}")
    process = start(root, env)
    said, complained = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, "")
    assert complained == f"{root}/postroom.yaml:4: plugins.echo.prot: no such setting. Did you mean port?\n"


def test_a_port_that_is_taken_is_told(env: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(echo.site(tmp_path / "site", "workers: 1\n", echo=f"{{port: {port}}}"), env)
        said, complained = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, "")
    assert complained == f"echo cannot listen on 127.0.0.1:{port}: Address already in use. Choose another port or address\n"


def test_when_the_supervisor_is_killed_its_workers_go_and_the_next_start_succeeds(env: dict[str, str], tmp_path: Path) -> None:
    root = echo.site(tmp_path / "site", "workers: 1\n")
    first = start(root, env)
    assert first.stdout is not None
    told = json.loads(first.stdout.readline())
    worker = os.pidfd_open(told["workers"][0])
    first.kill()
    second = start(root, env)
    assert second.stdout is not None
    again = json.loads(second.stdout.readline())
    assert select.select([worker], [], [], 30)[0]  # it ended
    os.close(worker)
    assert again["workers"] != told["workers"]
    second.send_signal(signal.SIGINT)  # as Ctrl-C is
    assert second.communicate(timeout=30)[0] == "" and second.returncode == 0
    first.communicate(timeout=30)


def test_a_second_sigterm_kills_who_will_not_drain(env: dict[str, str], tmp_path: Path) -> None:
    root = echo.site(tmp_path / "site", "workers: 1\nlimits: {drain: 3600}\n")
    (root / "stuck").touch()
    process = start(root, env)
    assert process.stdout is not None
    [worker] = json.loads(process.stdout.readline())["workers"]
    process.send_signal(signal.SIGTERM)
    await_change(root, lambda: "worker.draining" in log_of(root))
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "" and process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_features_case_48_a_worker_that_hangs_is_replaced(env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real workers under a supervisor whose clock is turned by hand: the ten seconds of silence take no time."""
    for name in ("PYTHONPATH", "PYTHONPYCACHEPREFIX"):
        monkeypatch.setenv(name, env[name])
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    root = echo.site(tmp_path / "site", "workers: 1\n")

    async def main() -> None:
        ready: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        clock, supervisor = HandClock(), Supervisor(root, on_ready=ready.set_result)
        supervisor.keeper.clock = clock
        serving = asyncio.create_task(supervisor.run())
        served = Served(root, env, None, await ready)  # type: ignore[arg-type]
        keeper = supervisor.keeper
        hung = keeper.lives[0]
        await clock.advance(SILENT - 1)
        assert (await asyncio.to_thread(served.say, "hang"))[1] == "hang"
        waiting = asyncio.create_task(asyncio.to_thread(served.say, "hello"))  # nobody is refused meanwhile
        while hung.process.returncode is None:
            await clock.advance(SILENT + 1)  # again, where its last sign of life came in between
        assert await hung.process.wait() == -signal.SIGKILL
        while keeper.lives[0] is hung:
            await clock.advance(1)
        assert (await waiting)[0] == keeper.lives[0].process.pid
        supervisor.stop()
        assert await serving == 0

    asyncio.run(main())
    assert "worker.silent" in log_of(root)


def test_an_account_that_may_not_run_us_is_told_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter in root's own folder and `user:` in the settings ended in a traceback."""
    (tmp_path / "postroom.yaml").write_text("server: mail.example.test\n")

    async def refused(*arguments: object, **rights: object) -> None:
        raise PermissionError(13, "Permission denied", "/secret/python3")

    monkeypatch.setattr("postroom_run.supervisor.spawn", refused)
    with pytest.raises(ConfigError, match=r"may not run /secret/python3\. Install postroom where"):
        asyncio.run(Supervisor(tmp_path)._prepare())


def test_two_reloads_at_once_happen_one_after_the_other(tmp_path: Path) -> None:
    """The second took the place of the first one's spare process, which nobody ended."""
    (tmp_path / "postroom.yaml").write_text("server: mail.example.test\n")

    async def main() -> None:
        supervisor = Supervisor(tmp_path, workers=1)
        under_way = 0

        async def prepare() -> None:
            nonlocal under_way
            under_way += 1
            await asyncio.sleep(0)

        async def renew(within: float, places: int = 0) -> bool:
            nonlocal under_way
            assert under_way == 1
            await asyncio.sleep(0)
            under_way -= 1
            return True

        supervisor._prepare = prepare  # type: ignore[method-assign,assignment]
        supervisor.keeper.renew = renew  # type: ignore[method-assign]
        await asyncio.gather(supervisor.reload(), supervisor.reload())

    asyncio.run(main())
