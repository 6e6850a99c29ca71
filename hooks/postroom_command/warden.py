"""Runs a worker's programs one after the other, and sees to it that nothing of them is left. A script on the standard library alone.

A warden is a small process without threads, so what must happen between fork and exec (limits, account, session) is safe there and
takes hold before the program's first instruction. It reaps all that descends from its program, also what left the session or was
orphaned. It ends all of it when the program has ended, when the worker says so (the deadline passed) and when the worker died; only
then it tells the end. Not covered: what became another user than the warden may signal (set-user-ID programs, where the server is
not root), what somebody else was asked to start (cron, systemd), and the children of a program that kills its own warden.

The line is a socket of datagrams. `r` with two descriptors (the order, as JSON in a memory file; the program's standard input) runs a
program, `k` ends it. The answer is `e`: the memory file now holds JSON with `code` (negative: the signal), `out` and `err`
(Latin-1), or with `failure` where the program could not be started.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import time
from typing import Any, NoReturn

KEPT = 32 * 1024  # octets kept of the end of each output; what came before is read and dropped, so nothing blocks the program
_AT_ONCE = 64 * 1024
_READS_AT_END = 64  # of an output once the program has ended: what it left behind may go on writing
_SUBREAPER, _DEATH_SIGNAL = 36, 1  # prctl(2)
_STANDARD = [number for number in signal.valid_signals() if number < 32 and number not in (signal.SIGKILL, signal.SIGSTOP)]
_DOOMED = 500  # oom_score_adj: where memory runs out, a program goes before a server
_LIMITS = {
    "cpu": (resource.RLIMIT_CPU, 1),
    "memory": (resource.RLIMIT_AS, 1 << 20),
    "open_files": (resource.RLIMIT_NOFILE, 1),
    "file_size": (resource.RLIMIT_FSIZE, 1 << 20),
}
_prctl = ctypes.CDLL(None, use_errno=True).prctl
Order = dict[str, Any]


def main() -> None:
    """Run programs until the worker hangs up."""
    line = socket.socket(fileno=0)
    close_above(2)  # sockets that the worker was handed are not closed at exec
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for bound in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        _, hard = resource.getrlimit(bound)
        resource.setrlimit(bound, (hard, hard))  # the soft bound of a worker's own memory is not its programs'
    _prctl(_SUBREAPER, 1, 0, 0, 0)
    gc.freeze()
    try:
        while (asked := socket.recv_fds(line, 1, 2))[0]:
            if asked[0] == b"r" and len(asked[1]) == 2:
                serve(line, *asked[1])
    except ConnectionError:
        pass


def serve(line: socket.socket, order: int, stdin: int) -> None:
    """One program, and its end told."""
    told = json.dumps(run(json.loads(os.pread(order, os.fstat(order).st_size, 0)), line, stdin)).encode()
    os.ftruncate(order, 0)
    os.pwrite(order, told, 0)
    os.close(order)
    line.send(b"e")


def run(order: Order, line: socket.socket, stdin: int) -> dict[str, object]:
    """Start the program, wait for its end or for the worker's word, and end what is left."""
    (out, to_out), (err, to_err), (failed, to_failed) = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        become(order, stdin, to_out, to_err, to_failed)
    for descriptor in (stdin, to_out, to_err, to_failed):
        os.close(descriptor)
    kept = {out: b"", err: b""}
    ended = os.pidfd_open(pid)
    try:
        failure = os.read(failed, 4096)  # its end is the start of the program
        wait(ended, line, kept)
    finally:
        code = end_all(pid)
    for output in kept:
        rest(output, kept)
    for descriptor in (out, err, failed, ended):
        os.close(descriptor)
    if failure:
        return {"failure": failure.decode(errors="replace")}
    return {"code": code, "out": kept[out].decode("latin-1"), "err": kept[err].decode("latin-1")}


def wait(ended: int, line: socket.socket, kept: dict[int, bytes]) -> None:
    """Read what the program says until it has ended or the worker says `k` or hangs up."""
    poll = select.poll()
    for descriptor in (ended, line.fileno(), *kept):
        poll.register(descriptor, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready == ended:
                return
            if ready == line.fileno():
                line.recv(1)
                return
            if not take(ready, kept):
                poll.unregister(ready)


def rest(output: int, kept: dict[int, bytes]) -> None:
    """What the program had said before it ended."""
    os.set_blocking(output, False)
    for _ in range(_READS_AT_END):
        if not take(output, kept):
            return


def take(output: int, kept: dict[int, bytes]) -> bool:
    """One read of an output, of which the end is kept; False when there is nothing more."""
    try:
        data = os.read(output, _AT_ONCE)
    except BlockingIOError:
        return False
    kept[output] = (kept[output] + data)[-KEPT:]
    return bool(data)


def become(order: Order, stdin: int, out: int, err: int, failed: int) -> NoReturn:
    """The program, in place of this process: session, limits, account, then its first instruction."""
    doing = "starting"
    try:
        warden = os.getppid()
        os.setsid()
        for number in _STANDARD:
            signal.signal(number, signal.SIG_DFL)  # what Python ignores, or a shell that put the server into the background
        for source, target in ((stdin, 0), (out, 1), (err, 2)):
            os.dup2(source, target)
        _write("/proc/self/oom_score_adj", str(_DOOMED))
        os.chdir(order["folder"])  # before the account changes: it may be a folder only root can reach
        if account := order["account"]:
            doing = "changing to the account of"
            os.setgroups(account["groups"])
            os.setresgid(account["gid"], account["gid"], account["gid"])
            os.setresuid(account["uid"], account["uid"], account["uid"])
        _prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != warden:
            os._exit(70)
        os.dup2(failed, 3, inheritable=False)
        failed = 3
        close_above(3)
        doing = "setting the limits of"
        for name, (limit, unit) in _LIMITS.items():
            if most := order["limits"].get(name, 0) * unit:
                resource.setrlimit(limit, (most, most + 1) if name == "cpu" else (most, most))
        doing = "starting"
        os.execve(order["argv"][0], order["argv"], order["environment"])
    except BaseException as error:
        os.write(failed, f"{doing} {order['argv'][0]}: {error}"[:1000].encode(errors="replace"))
    finally:
        os._exit(70)


def close_above(last: int) -> None:
    """Close every descriptor above this one."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > last:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that listed them


def end_all(pid: int) -> int:
    """Kill the program's group and everything else that descends from it; how the program itself ended. Returns when all are reaped.

    What may not be signalled (it became another user) is left to itself once nothing else is there."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    code = 0
    while True:
        try:
            gone, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if gone == pid:
            code = os.waitstatus_to_exitcode(status)
        elif not gone:
            if not any([_killed(child) for child in children()]):
                return code
            time.sleep(0.001)


def children() -> list[int]:
    """This process's children, as they are now."""
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:  # noqa: PTH123
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # a kernel without that file
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(name) == os.getpid()]


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:  # noqa: PTH123
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _killed(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)
    except OSError:
        pass


if __name__ == "__main__":
    main()
    os._exit(0)
