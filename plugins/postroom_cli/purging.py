"""A mailbox taken away: its rows first, so that no more mail is meant for it, and its mail where that is asked for.

A crash in between leaves mail without a row; the same command removes it then. On a stopped site what dead workers left is replayed
first, so that no journal brings back what was removed; on a served one the folders' locks keep the workers and us apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from postroom.errors import DiskError
from postroom_cli.awake import Served, awake
from postroom_cli.names import Address, size
from postroom_cli.opened import opened
from postroom_cli.provision import Place, Refused, delete_mailbox, place
from postroom_run.assembly import Assembled


@dataclass(frozen=True, slots=True)
class Gone:
    """What was deleted, a sentence each; what still names it; and the octets of mail that are left."""

    done: list[str]
    left: list[str]
    octets: int
    where: Path | None  # the directory of the mail that is left


async def delete(root: Path, address: Address, *, purge: bool) -> Gone:
    """Refused where there is neither such a mailbox nor, with `purge`, mail of one."""
    async with opened(root) as parts:
        where = await place(parts.site.providers, address)
        if purge and not parts.has_store:
            raise Refused("this site loads no mailbox store, so there is no mail to delete; leave --purge out")
        octets, directory = await _octets(parts, where), _directory(root, where)
        try:
            done, left = await delete_mailbox(parts.site.providers, address)
        except Refused:
            if not purge or directory is None:
                raise
            done, left = [], []
    if not purge:
        return Gone(done, left, octets, directory)
    await _purge(root, where)
    return Gone([*done, f"its mail, {size(octets)}"], left, 0, None)


async def _purge(root: Path, where: Place) -> None:
    try:
        try:
            async with awake(root) as parts:
                await parts.site.store.remove(where.postoffice, where.name)
        except Served:
            async with opened(root) as parts:
                await parts.site.store.remove(where.postoffice, where.name)
    except DiskError as error:
        raise Refused(f"the mail of {where.postoffice}/{where.name} could not be removed, {error}; try the same command again") from None


async def _octets(parts: Assembled, where: Place) -> int:
    if not parts.has_store:
        return 0
    return (await (await parts.site.store.mailbox(where.postoffice, where.name)).quota()).used


def _directory(root: Path, where: Place) -> Path | None:
    """`Postoffices/<post office>/MAILROOT/<mailbox>`, in whatever case it was made; None where no mail is in it."""
    below = _child(root / "Postoffices", where.postoffice)
    found = _child(below / "MAILROOT", where.name) if below is not None else None
    return found if found is not None and any(path.suffix.casefold() == ".mai" for path in found.rglob("*")) else None


def _child(parent: Path, name: str) -> Path | None:
    if not parent.is_dir():
        return None
    return next((path for path in sorted(parent.iterdir()) if path.name.casefold() == name.casefold() and path.is_dir()), None)
