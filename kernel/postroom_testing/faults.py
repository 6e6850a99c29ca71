"""A disk that fails, tears or dies at a chosen call, and one that forgets what was never synced.

`FaultDisk` passes every call on until its turn comes. After a death each further call dies too, so whatever clean-up code runs in
the dying process changes nothing: what is on disk is what a `kill -9` would leave.

`PowerDisk` also keeps book of what is durable: the octets of a file since its last sync (for a per-write sync, those octets only), and
each name since its folder's last sync. `cut` rebuilds the folder as a power cut would leave it. What was not synced may be there or
not, each file, page and name on its own, as a seed says; only a rename is one piece. That is harsher than any real file system, on purpose.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postroom_disk.disk import Disk

PAGE = 4096
CHANGES = (
    "open",
    "write",
    "pwrite",
    "pwritev",
    "pwritev_sync",
    "ftruncate",
    "allocate",
    "fsync",
    "fdatasync",
    "syncfs",
    "link",
    "rename",
    "replace",
    "unlink",
    "mkdir",
    "rmdir",
    "utime",
    "chmod",
    "fchmod",
)
WRITES = ("write", "pwrite", "pwritev", "pwritev_sync")


class Died(BaseException):
    """The process is dead from here on."""


class FaultDisk(Disk):
    """The real disk, with one fault at the `at`-th call that changes something (counted from 1).

    `how`: "die" before the call, "tear" (a write does half, then death; else death after the call), "full" or "broken" (an OSError, once),
    "full from there" (every write and creation from there on, until `heal`). "skip sync" makes every sync a lie, to test the tests."""

    def __init__(self, at: int = 0, how: str = "die", *, died: Callable[[], object] = lambda: None) -> None:
        self.at, self.how, self._died = at, how, died
        self.calls: list[str] = []
        self.dead = False
        self.opened: set[int] = set()
        self._lock = threading.RLock()

    def heal(self) -> None:
        self.at = 0

    def bury(self) -> None:
        """Close what the dead process had open, as the operating system does: its locks fall."""
        for fd in self.opened:
            try:
                os.close(fd)
            except OSError:
                pass
        self.opened.clear()

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        with self._lock:
            if self.dead:
                raise Died(name)
            changes = name != "open" or bool(args[1] & (os.O_CREAT | os.O_TRUNC))
            if changes:
                self.calls.append(name)
            turn = changes and len(self.calls) == self.at
            if turn and self.how in ("die", "tear"):
                self._die(name, args)
            if turn and self.how == "broken":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if self._is_full(name, turn):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self._pass_on(name, args)

    def _is_full(self, name: str, turn: bool) -> bool:
        grows = name in (*WRITES, "allocate", "open", "mkdir", "link")
        after = self.how == "full from there" and 0 < self.at <= len(self.calls)
        return grows and ((turn and self.how == "full") or after)

    def _die(self, name: str, args: tuple[Any, ...]) -> None:
        try:
            if self.how == "tear":
                self._tear(name, args)
        except OSError:
            pass  # a call that fails by itself, such as the making of a folder that is there, is followed by death as well
        self.dead = True
        self._died()
        raise Died(name)

    def _tear(self, name: str, args: tuple[Any, ...]) -> None:
        if name in ("write", "pwrite"):
            self._pass_on(name, (args[0], args[1][: len(args[1]) // 2], *args[2:]))
        elif name in ("pwritev", "pwritev_sync"):
            whole = b"".join(args[1])
            self._pass_on("pwritev", (args[0], [whole[: len(whole) // 2]], args[2]))
        else:
            self._pass_on(name, args)

    def _pass_on(self, name: str, args: tuple[Any, ...]) -> Any:
        result = getattr(Disk, name)(*args)
        if name == "open":
            self.opened.add(result)
        return result

    def close(self, fd: int) -> None:
        """Closing changes nothing on disk, so a dead process may do it."""
        with self._lock:
            if fd in self.opened:
                self.opened.discard(fd)
                os.close(fd)


def _forward(name: str) -> Callable[..., Any]:
    def call(self: FaultDisk, *args: Any) -> Any:
        return self._call(name, args)

    call.__name__ = name
    return call


for _name in CHANGES:
    setattr(FaultDisk, _name, _forward(_name))


@dataclass(eq=False)
class _Node:
    """A file or folder, whatever its name and inode number at the moment."""

    folder: bool
    durable: bytearray = field(default_factory=bytearray)
    last: bytes = b""  # the octets when its last name was removed


@dataclass
class _Change:
    """A change of names; durable once a sync covered it."""

    folders: tuple[_Node, ...]
    apply: Callable[[dict[_Node, dict[str, _Node]]], None]
    durable: bool = False


class PowerDisk(FaultDisk):
    """A FaultDisk below `root` that knows what a power cut would leave. All that is there at the start is durable."""

    def __init__(self, root: Path, at: int = 0, how: str = "die", *, lie: str = "", died: Callable[[], object] = lambda: None) -> None:
        super().__init__(at, how, died=died)
        self.root, self.lie = root, lie  # `lie`: the name of a sync that does nothing
        self._nodes: dict[int, _Node] = {}
        self._changes: list[_Change] = []
        self._base: dict[_Node, dict[str, _Node]] = {}
        self._top = self._adopt(root)

    def _adopt(self, path: Path) -> _Node:
        if path.is_dir():
            node = _Node(True)
            self._base[node] = {entry.name: self._adopt(entry) for entry in path.iterdir() if not entry.is_socket()}
        else:
            node = self._nodes.get(path.stat().st_ino) or _Node(False, bytearray(path.read_bytes()))
        self._nodes[path.stat().st_ino] = node
        return node

    def _pass_on(self, name: str, args: tuple[Any, ...]) -> Any:
        if name == self.lie:
            return len(b"".join(args[1])) if name == "pwritev_sync" and super()._pass_on("pwritev", args) else None
        if name in ("unlink", "rename", "replace", "rmdir"):
            self._remember(Path(args[-1] if name != "unlink" else args[0]))
        existed = name != "open" or Path(args[0]).exists()
        result = super()._pass_on(name, args)
        note = getattr(self, f"_after_{name}", None)
        if note is not None:
            note(args, result) if name != "open" else note(args, existed)
        return result

    def _remember(self, path: Path) -> None:
        if path.is_file() and path.stat().st_nlink == 1:
            self._nodes[path.stat().st_ino].last = path.read_bytes()

    def _inside(self, path: str | Path) -> bool:
        return Path(path).is_relative_to(self.root)

    def _folder(self, path: str | Path) -> _Node:
        return self._nodes[Path(path).parent.stat().st_ino]

    def _change(self, folders: Sequence[_Node], apply: Callable[[dict[_Node, dict[str, _Node]]], None]) -> None:
        self._changes.append(_Change(tuple(folders), apply))

    def _name(self, path: str | Path, node: _Node) -> None:
        folder, name = self._folder(path), Path(path).name
        self._change([folder], lambda tree: tree[folder].__setitem__(name, node))

    # What each call means for the book.

    def _after_open(self, args: tuple[Any, ...], existed: bool) -> None:
        if not existed and self._inside(args[0]):
            node = _Node(False)
            self._nodes[Path(args[0]).stat().st_ino] = node
            self._name(args[0], node)

    def _after_mkdir(self, args: tuple[Any, ...], result: object) -> None:
        if self._inside(args[0]):
            node = _Node(True)
            self._nodes[Path(args[0]).stat().st_ino] = node
            folder, name = self._folder(args[0]), Path(args[0]).name

            def apply(tree: dict[_Node, dict[str, _Node]]) -> None:
                tree[folder][name] = node
                tree.setdefault(node, {})

            self._change([folder], apply)

    def _after_link(self, args: tuple[Any, ...], result: object) -> None:
        self._name(args[1], self._nodes[Path(args[1]).stat().st_ino])

    def _after_unlink(self, args: tuple[Any, ...], result: object) -> None:
        folder, name = self._folder(args[0]), Path(args[0]).name

        def apply(tree: dict[_Node, dict[str, _Node]]) -> None:
            tree[folder].pop(name, None)

        self._change([folder], apply)

    _after_rmdir = _after_unlink

    def _after_rename(self, args: tuple[Any, ...], result: object) -> None:
        source, old = self._folder(args[0]), Path(args[0]).name
        target, new = self._folder(args[1]), Path(args[1]).name

        def apply(tree: dict[_Node, dict[str, _Node]]) -> None:
            if old in tree.get(source, {}) and target in tree:
                tree[target][new] = tree[source].pop(old)

        self._change([source, target], apply)

    _after_replace = _after_rename

    def _after_fsync(self, args: tuple[Any, ...], result: object) -> None:
        node = self._nodes.get(os.fstat(args[0]).st_ino)
        if node is None:
            return
        if node.folder:
            for change in self._changes:
                change.durable |= node in change.folders
        else:
            node.durable[:] = _octets(args[0])

    _after_fdatasync = _after_fsync

    def _after_pwritev_sync(self, args: tuple[Any, ...], written: int) -> None:
        node, offset = self._nodes[os.fstat(args[0]).st_ino], args[2]
        first, last = offset // PAGE * PAGE, -(-(offset + written) // PAGE) * PAGE  # whole pages are written back
        octets = _octets(args[0])[first:last]
        if len(node.durable) < first + len(octets):
            node.durable.extend(bytes(first + len(octets) - len(node.durable)))
        node.durable[first : first + len(octets)] = octets

    def _after_syncfs(self, args: tuple[Any, ...], result: object) -> None:
        for change in self._changes:
            change.durable = True
        for path in self.root.rglob("*"):
            if path.is_file() and (node := self._nodes.get(path.stat().st_ino)):
                node.durable[:] = path.read_bytes()

    def cut(self, to: Path, seed: int | None = None) -> None:
        """Write into `to` what the power cut leaves; with a seed, a random choice of what was not synced is there too."""
        chance = random.Random(seed)
        tree = {node: dict(entries) for node, entries in self._base.items()}
        for change in self._changes:
            if change.durable or (seed is not None and chance.random() < 0.5):
                try:
                    change.apply(tree)
                except KeyError:  # in a folder that is not there
                    pass
        now = {id(node): path for path in self.root.rglob("*") if path.is_file() and (node := self._nodes.get(path.stat().st_ino))}
        shutil.rmtree(to, ignore_errors=True)
        self._write(self._top, to, tree, chance if seed is not None else None, now)

    def _write(
        self, node: _Node, path: Path, tree: dict[_Node, dict[str, _Node]], chance: random.Random | None, now: dict[int, Path]
    ) -> None:
        if node.folder:
            path.mkdir(parents=True)
            for name, child in tree.get(node, {}).items():
                self._write(child, path / name, tree, chance, now)
            return
        durable = bytes(node.durable)
        current = now[id(node)].read_bytes() if id(node) in now else node.last
        path.write_bytes(durable if chance is None else _mixed(durable, current, chance))


def _octets(fd: int) -> bytes:
    with open(f"/proc/self/fd/{fd}", "rb") as file:  # noqa: PTH123 (a descriptor that may be write-only)
        return file.read()


def _mixed(durable: bytes, current: bytes, chance: random.Random) -> bytes:
    """Of each page the old octets or the new; the old length or the new."""
    if chance.random() < 0.3:
        return durable
    if chance.random() < 0.3:
        return current
    size = chance.choice([len(durable), len(current)])
    pages = []
    for at in range(0, size, PAGE):
        source = durable if chance.random() < 0.5 else current
        pages.append(source[at : min(at + PAGE, size)].ljust(min(PAGE, size - at), b"\0"))
    return b"".join(pages)
