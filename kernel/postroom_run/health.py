"""What is wrong with this worker now, in sentences an operator can act upon. No sentence: all is well."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from postroom_run.assembly import Assembled

_LEAST = 100 << 20  # octets that must be free
_LEAST_FILES = 1000


@dataclass(frozen=True, slots=True)
class Health:
    """The sentences; `ok` when there is none."""

    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def look(parts: Assembled) -> Health:
    """Ask everyone. Never raises for what a plugin does wrong."""
    site = parts.site
    problems = [*disk_problems(site.root)]
    if site.journal.failure:
        problems.append(f"the journal cannot be written: {site.journal.failure}; no mail is accepted until it can")
    problems += [str(problem) for problem in site.router.map.problems] if "address_map" in _families(parts) else []
    for name, offer in parts.offers.items():
        problems += [f"{name}: {problem}" for problem in offer.problems()]
    return Health(tuple(dict.fromkeys([*problems, *parts.host.health(site)])))


def _families(parts: Assembled) -> set[str]:
    return {family for offer in parts.offers.values() for family in offer.families}


def disk_problems(root: Path) -> list[str]:
    """Whether the site's file system is nearly full."""
    try:
        room = os.statvfs(root)
    except OSError as error:
        return [f"the site's folder cannot be reached: {error.strerror}"]
    problems = []
    if (free := room.f_bavail * room.f_frsize) < _LEAST:
        problems.append(f"the disk is nearly full: {free >> 20} MiB are free; make room, mail is refused with 452 meanwhile")
    if room.f_files and room.f_favail < _LEAST_FILES:
        problems.append(f"the file system has only {room.f_favail} inodes left; remove files, mail is refused with 452 meanwhile")
    return problems
