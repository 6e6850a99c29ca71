"""What these parts ask of the house they work in. The kernel's clock, disk and logs are such."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Time; the kernel's `postroom.clock.Clock`."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class Files(Protocol):
    """Changes of a disk; the kernel's `postroom_disk.disk.Disk`. OSError when the disk refuses."""

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int: ...
    def close(self, fd: int) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def write_all(self, fd: int, data: bytes) -> None: ...
    def make_folders(self, folder: Path) -> None: ...


class Log(Protocol):
    """Structured lines; the kernel's `postroom.site.Log`."""

    def info(self, event: str, **facts: object) -> None: ...
    def error(self, event: str, **facts: object) -> None: ...


def near(folder: int, name: str) -> str:
    """The address of a unix socket in an open folder: a path of any length fits into the 108 octets of sun_path that way."""
    return f"/proc/self/fd/{folder}/{name}"
