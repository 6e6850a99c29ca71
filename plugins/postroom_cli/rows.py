"""How the row commands open a site, and how rows are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from postroom_cli.options import folder
from postroom_cli.output import answer

if TYPE_CHECKING:
    from postroom.providers import Providers
    from postroom.records import Record
    from postroom_run.assembly import Assembled

T = TypeVar("T")


def on_rows(site: Path | None, work: Callable[[Providers], Awaitable[T]]) -> T:
    """Open the site's providers for the length of this work."""
    return on_site(site, lambda parts: work(parts.site.providers))


def on_site(site: Path | None, work: Callable[[Assembled], Awaitable[T]]) -> T:
    """The same with all parts of the site, none of which runs."""
    import asyncio

    from postroom_cli.opened import opened

    async def run() -> T:
        async with opened(folder(site)) as parts:
            return await work(parts)

    return asyncio.run(run())


def origin(record: Record, site: Path | None) -> str:
    """Where a row stands, short where it stands below the site."""
    if record.origin is None:
        return ""
    return str(record.origin).removeprefix(f"{folder(site)}/")


def told(verb: str, done: Sequence[str], *, as_program: bool, **facts: object) -> None:
    """What a change did: a sentence each, or one JSON object."""
    answer({verb: list(done), **facts}, [f"{verb}: {each}" for each in done], as_program=as_program)


STATUS = {0: "disabled", 1: "enabled"}


def shown(address: str) -> str:
    """A bracket address as people write it: SMTP bare, anything else as it stands."""
    return address.removeprefix("[SMTP:").removesuffix("]") if address.upper().startswith("[SMTP:") else address
