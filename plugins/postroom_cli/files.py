"""Files that commands write into a site."""

from __future__ import annotations

from pathlib import Path

from postroom_disk.disk import Disk, refused


def write(root: Path, name: str, text: str | bytes, *, mode: int = 0o600) -> None:
    """A file of the site, whole or not at all, its folder made where missing. DiskError."""
    disk, path = Disk(), root / name
    try:
        disk.make_folders(path.parent)
        disk.write_aside(path, text.encode() if isinstance(text, str) else text, mode=mode)
    except OSError as error:
        raise refused(error, f"writing {path}") from error
