"""CPU time and memory of a running server, all its processes together.

An accounting group of the kernel (cgroup v1 cpuacct or cgroup v2) keeps the time of processes that have ended. Where none can be
made (not root, read-only) the process tree is read from /proc instead, in ticks of 10 ms, and a child that nobody waited for is
missed; `Group.how` says which, and every report repeats it. Work of kernel threads (journal, write-back) is charged to nobody.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

CPUACCT = Path("/sys/fs/cgroup/cpuacct")
UNIFIED = Path("/sys/fs/cgroup")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of processor time."""

    user: float = 0.0
    system: float = 0.0

    @property
    def total(self) -> float:
        return self.user + self.system

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user + other.user, self.system + other.system)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user - other.user, self.system - other.system)


@dataclass(frozen=True, slots=True)
class Memory:
    """KiB of all processes: RSS counts a shared page once per process, PSS once in all."""

    processes: int = 0
    rss: int = 0
    pss: int = 0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.processes + other.processes, self.rss + other.rss, self.pss + other.pss)


class Group:
    """The processes of one server, from `start` on. `close` ends those that are left."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.rest = b""  # what was left in its pipe when it ended
        self.folder = _accounting_group(f"postroom-bench-{os.getpid()}-{name}")
        self.how = "accounting group" if self.folder else "process tree"

    def start(self, command: Sequence[str | Path], log: Path, *, piped: bool = False) -> subprocess.Popen[bytes]:
        """Run a command in this group, in a session of its own; what it says goes to the log, stdout to a pipe where asked."""
        enter = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs")] if self.folder else []
        with log.open("ab") as err:
            self.process = subprocess.Popen(
                [*enter, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else err,
                stderr=err,
                start_new_session=True,
            )
        return self.process

    def pids(self) -> list[int]:
        """Those alive now."""
        if self.folder:
            return [int(word) for word in (self.folder / "cgroup.procs").read_text().split()]
        return descendants(self.process.pid) if self.process else []

    def cpu(self) -> Cpu:
        """All used so far."""
        if not self.folder:
            return sum((_tree_cpu(pid) for pid in self.pids()), Cpu())
        if (self.folder / "cpu.stat").exists():
            stat = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
            return Cpu(int(stat["user_usec"]) / 1e6, int(stat["system_usec"]) / 1e6)
        total, user, system = (int((self.folder / f"cpuacct.usage{part}").read_text()) / 1e9 for part in ("", "_user", "_sys"))
        share = user / ((user + system) or 1)  # the sum is exact, its parts are sampled
        return Cpu(total * share, total * (1 - share))

    def memory(self) -> Memory:
        return sum((_memory(pid) for pid in self.pids()), Memory())

    def close(self, *, patience: float = 10.0) -> None:
        """End what still runs, politely first. Safe to call twice."""
        self._signal([self.process.pid] if self.process else [], signal.SIGTERM)
        if not waited(lambda: not self._alive(), patience):
            self.kill()
            waited(lambda: not self._alive(), patience)
        if self.process:
            self.process.wait()
            if self.process.stdout:
                self.rest = self.process.stdout.read()
                self.process.stdout.close()
        if self.folder:
            waited(self._removed, patience)
        self.process = self.folder = None

    def kill(self) -> None:
        """`kill -9` of every process, at once."""
        self._signal(self.pids(), signal.SIGKILL)
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _alive(self) -> bool:
        if self.process:
            self.process.poll()  # a zombie of ours would stay a member
        return bool(self.pids()) and (self.folder is not None or (self.process is not None and self.process.returncode is None))

    def _signal(self, pids: Iterable[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _removed(self) -> bool:
        try:
            if self.folder:
                self.folder.rmdir()
        except OSError:  # the kernel has not let go of its last process yet
            return False
        return True


class Peak:
    """The highest PSS of some groups inside a `with` block, looked at fifty times a second."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.pss = 0
        self._groups = groups
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.pss = max(self.pss, sum(group.memory().pss for group in self._groups))
            if self._over.wait(0.02):
                return


def cpu(groups: Iterable[Group]) -> Cpu:
    return sum((group.cpu() for group in groups), Cpu())


def memory(groups: Iterable[Group]) -> Memory:
    return sum((group.memory() for group in groups), Memory())


def quiet(groups: Sequence[Group], *, at_most: float = 3.0) -> None:
    """Wait until the groups stop working, so that what they put off is charged to the run that caused it."""
    end = time.monotonic() + at_most
    before = cpu(groups).total
    while time.monotonic() < end:
        time.sleep(0.1)
        now = cpu(groups).total
        if now - before < 0.002:
            return
        before = now


def waited(until: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true within the time."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def descendants(root: int) -> list[int]:
    """A process and all below it, parents first."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def _accounting_group(name: str) -> Path | None:
    top = CPUACCT if CPUACCT.is_dir() else UNIFIED
    if not (top / "cgroup.procs").exists():
        return None
    try:
        (top / name).mkdir()
    except OSError:
        return None
    return top / name


def _tree_cpu(pid: int) -> Cpu:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return Cpu()
    user, system, waited_user, waited_system = (int(field) / TICK for field in fields[11:15])
    return Cpu(user + waited_user, system + waited_system)


def _memory(pid: int) -> Memory:
    try:
        rows = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    except OSError:
        return Memory()
    sizes = {row[0]: int(row[1]) for row in rows}
    return Memory(1, sizes.get("Rss:", 0), sizes.get("Pss:", 0))
