"""What is wrong with this worker now, in sentences an operator can act upon. No sentence: all is well."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from postroom.address import Mask
from postroom_run.assembly import Assembled

_LEAST = 100 << 20  # octets that must be free
_LEAST_FILES = 1000
_LEAST_DESCRIPTORS = 100
_ROWS = 50_000  # of the address map that are looked at: more would hold up the loop


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
    problems = [*disk_problems(site.root), *descriptor_problems()]
    if site.journal.failure:
        problems.append(f"the journal cannot be written: {site.journal.failure}; no mail is accepted until it can")
    problems += gone(parts)
    problems += [str(problem) for problem in site.router.map.problems] if "address_map" in _families(parts) else []
    for name, offer in parts.offers.items():
        problems += [f"{name}: {problem}" for problem in offer.problems()]
    return Health(tuple(dict.fromkeys([*problems, *parts.host.health(site)])))


def _families(parts: Assembled) -> set[str]:
    return {family for offer in parts.offers.values() for family in offer.families}


def gone(parts: Assembled) -> list[str]:
    """What something here counts on and no loaded plugin is there for."""
    waiting = {queue.acronym for queue in parts.site.spool.queues() if next(queue.items(), None) is not None} - set(parts.connectors)
    routed = _routed(parts) - set(parts.connectors)
    return [
        *(
            []
            if parts.has_store or not _stores(parts)
            else ["no mail store is loaded, so nothing reaches a mailbox; load one, such as store"]
        ),
        *(
            f"the address map sends mail to {one}, and no connector {one} is loaded; load the plugin that brings it"
            for one in sorted(routed)
        ),
        *(f"mail waits in Queues/{one}, and no connector {one} is loaded; load the plugin that brings it" for one in sorted(waiting)),
    ]


def _stores(parts: Assembled) -> bool:
    """Whether a connector is loaded that delivers to this machine's disk."""
    return any(connector.is_local for connector in parts.connectors.values())


def _routed(parts: Assembled) -> set[str]:
    """The connectors that rows of the address map lead to."""
    if "address_map" not in _families(parts):
        return set()
    map = parts.site.router.map
    rules = chain(map.masks, chain.from_iterable(map.exact.values()))
    ends = (rule.to for rule in islice(rules, _ROWS) if rule.to.connector.upper() != "SMTP" or not map.is_ours(_domain(rule.to)))
    return {end.connector.upper() for end in ends}


def _domain(end: Mask) -> str:
    """Where an address of ours stands on the right, it is looked up again: no connector sees it."""
    return end.pattern.rpartition("@")[2]


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


def descriptor_problems() -> list[str]:
    """Whether this process can hardly open another file or connection. Nothing where the system does not tell."""
    with suppress(OSError):
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most != resource.RLIM_INFINITY and len(os.listdir("/proc/self/fd")) > most - _LEAST_DESCRIPTORS:
            why = f"this worker has used up nearly all of the {most} files it may have open, so new connections are closed"
            return [f"{why}; raise the limit (LimitNOFILE of the service, or ulimit -n) or lower `connections`"]
    return []
