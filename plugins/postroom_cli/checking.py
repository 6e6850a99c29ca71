"""`postroom check`: all that is wrong with a site and with what DNS says of it, at once, each with its remedy. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer

from postroom.address import InternalAddress, Mask
from postroom.errors import ConfigError, PostroomError
from postroom.records import AddressMapRecord
from postroom.settings import ConfigErrors
from postroom_cli.dns import DnsRecord
from postroom_cli.dnscheck import Examined, examine
from postroom_cli.opened import opened
from postroom_cli.output import SAID_NO, answer, printable
from postroom_run.assembly import Assembled
from postroom_run.health import disk_problems

REMOTE = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "lustre",
        "afs",
        "gfs2",
        "ocfs2",
    }
)
MOUNTS = Path("/proc/self/mounts")
SOON = 7 * 86_400.0  # seconds before its end when a certificate ought to have been renewed


def run(root: Path, *, as_program: bool, with_dns: bool = True) -> None:
    """Look at everything; exit code 1 where anything is wrong. What would be good to have in DNS is told and is no wrong."""
    problems, missing = asyncio.run(_look(root, with_dns))
    told: dict[str, object] = {"ok": not problems, "problems": problems}
    if missing:
        told["publish"] = [{"name": record.name, "type": record.kind, "value": record.value, "why": record.why} for record in missing]
    answer(told, [*(problems or [f"{root}: nothing to complain about."]), *_to_publish(missing)], as_program=as_program)
    if problems:
        raise typer.Exit(SAID_NO)


def _to_publish(missing: Sequence[DnsRecord]) -> Iterator[str]:
    """What DNS has nothing of yet."""
    if missing:
        yield from ("", "Not in DNS yet:")
    for record in missing:
        yield from (f"  {record}", f"      {record.why}")


async def _look(root: Path, with_dns: bool) -> tuple[list[str], Sequence[DnsRecord]]:
    found = list(_folder(root))
    examined = Examined()
    try:
        async with opened(root) as parts:
            found += [*_certificates(parts.site.tls.expiry(), parts.site.clock.now()), *_rows(parts), *parts.host.check(parts.site)]
            if with_dns:
                examined = await examine(parts)
    except ConfigErrors as errors:
        found += map(str, errors.errors)
    except PostroomError as error:
        found.append(str(error))
    return list(dict.fromkeys((*found, *map(printable, examined.problems)))), examined.missing


def _folder(root: Path) -> Iterator[str]:
    """Where the site lies. Locks, links and renames are promised by local file systems only."""
    if not root.is_dir():
        return
    yield from disk_problems(root)
    kind = file_system(root.resolve(), MOUNTS.read_text("utf-8", "replace") if MOUNTS.exists() else "")
    if kind in REMOTE:
        yield (
            f"{root} lies on a network file system ({kind}), where locks and links do not hold what a site needs. "
            "Move it to a local disk; several machines share mail by the cluster profile"
        )


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that a path lies on, from the text of /proc/self/mounts; pure."""
    best, kind = Path(), ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].encode().decode("unicode_escape"))
        if path.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, fields[2]
    return kind


def _certificates(expiry: Mapping[str, float], now: float) -> Iterator[str]:
    """Those that are over, or soon will be; by the host name they are for, the server's own without one. Pure."""
    for name, until in sorted(expiry.items()):
        which, day = f"the certificate for {name}" if name else "the server's certificate", datetime.fromtimestamp(until, UTC).date()
        if until <= now:
            yield f"{which} expired on {day}: clients and careful servers turn away. Put a new one in its place; it is taken up without a restart"
        elif until <= now + SOON:
            yield f"{which} expires on {day}. Renew it; the new file is taken up without a restart"


def _rows(parts: Assembled) -> Iterator[str]:
    """Rows nobody can read, and rows that lead nowhere."""
    for name, offer in parts.offers.items():
        yield from (f"{name}: {problem}" for problem in offer.problems())
    try:
        plan = parts.site.router.map
    except ConfigError as error:
        yield str(error)
        return
    yield from map(str, plan.problems)
    for rule in (rule for rules in (*plan.exact.values(), plan.masks) for rule in rules):
        yield from _leads(parts, rule.row, rule.to)
    for domain in plan.domains.values():
        if not any(
            source.connector == "SMTP" and source.detail.casefold() == f"postmaster@{domain.domain}".casefold() for source in plan.exact
        ):
            yield f"{domain.origin or domain.domain}: nobody is postmaster@{domain.domain}. Say who: postroom address add postmaster@{domain.domain} NAME@{domain.domain}"


def _leads(parts: Assembled, row: AddressMapRecord, to: Mask) -> Iterator[str]:
    """Whether a row of the address map leads somewhere."""
    connector = parts.connectors.get(to.connector)
    if connector is None:
        yield f"{row.origin or row.source}: it leads to the connector {to.connector}, which is not loaded. Load its plugin, or delete the row"
    elif connector.is_local and to.is_exact and (reply := connector.refuses(InternalAddress(to.connector, to.pattern))):
        yield f"{row.origin or row.source}: it leads to {to}, which is refused ({reply}). Create it, or delete the row"
