"""The segments of a journal as they lie on the disk: their format, what is in them, and the slots they belong to.

A record carries its segment's generation and a CRC, so reading ends where the last whole record of this use ends, and never goes on into what an
earlier use left behind. A slot belongs to whoever holds the lock in it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

from postroom_disk.disk import Disk, SpoolError

HEADER: Final = struct.Struct("<8sQI12x")  # magic, generation, CRC of both
_MAGIC: Final = b"postroo1"
RECORD: Final = struct.Struct("<HHII")  # mark, kind, length, CRC over generation, kind, length and payload
_MARK: Final = 0x5250
_STAMP: Final = struct.Struct("<QHI")


def record_head(generation: int, kind: int, parts: Sequence[bytes], length: int) -> bytes:
    """What stands before the parts of a record, which have so many octets together."""
    crc = crc32(_STAMP.pack(generation, kind, length))
    for part in parts:
        crc = crc32(part, crc)
    return RECORD.pack(_MARK, kind, length, crc)


def read_segment(path: Path) -> Iterator[tuple[int, bytes]]:
    """Kind and payload of each valid record of a segment, in order; ends at the first that is not of this use or is torn."""
    return _records(path.read_bytes())


def has_record(path: Path) -> bool:
    """Whether there is any."""
    with path.open("rb") as file:
        head = file.read(HEADER.size + RECORD.size)
        more = RECORD.unpack_from(head, HEADER.size)[2] if len(head) == HEADER.size + RECORD.size else 0
        return any(True for _ in _records(head + file.read(more)))


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    generation = _generation(data[: HEADER.size])
    offset = HEADER.size
    while generation and offset + RECORD.size <= len(data):
        mark, kind, length, crc = RECORD.unpack_from(data, offset)
        payload = data[offset + RECORD.size : offset + RECORD.size + length]
        if mark != _MARK or len(payload) != length or crc32(payload, crc32(_STAMP.pack(generation, kind, length))) != crc:
            return
        yield kind, payload
        offset += RECORD.size + length


def header(generation: int) -> bytes:
    """How a segment in use begins."""
    return HEADER.pack(_MAGIC, generation, crc32(_MAGIC + generation.to_bytes(8, "little")))


def _generation(header: bytes) -> int:
    """The generation a header names; zero for a free or torn one."""
    if len(header) < HEADER.size:
        return 0
    magic, generation, crc = HEADER.unpack(header)
    return generation if magic == _MAGIC and crc == crc32(_MAGIC + generation.to_bytes(8, "little")) else 0


def generations(folder: Path) -> list[tuple[Path, int]]:
    """The segments of a slot, each with its generation: zero where it is free."""
    found = []
    for path in sorted(folder.glob("*.seg")):
        with path.open("rb") as file:
            found.append((path, _generation(file.read(HEADER.size))))
    return found


def slots_in(folder: Path) -> list[int]:
    """The slots of a journal."""
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()) if folder.is_dir() else []


def try_lock(disk: Disk, folder: Path) -> int | None:
    """The descriptor that holds the slot's lock, or None when somebody else does."""
    disk.make_folders(folder)
    fd = disk.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except BlockingIOError:
        disk.close(fd)
        return None
    except BaseException:
        disk.close(fd)
        raise


def lock_a_slot(disk: Disk, folder: Path, slot: int | None) -> tuple[int, int]:
    """The descriptor that holds this slot's lock, or that of the first free one, and which that is. SpoolError, OSError."""
    for number in [slot] if slot is not None else range(4096):
        if (fd := try_lock(disk, folder / str(number))) is not None:
            return fd, number
    raise SpoolError(f"journal slot {slot} is held by another process")
