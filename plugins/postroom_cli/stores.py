"""`postroom store`: the mailboxes on disk, looked at and set right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from postroom_cli import options
from postroom_cli.output import SAID_NO, answer, complain

if TYPE_CHECKING:
    from pathlib import Path

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Mailboxes = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME@DOMAIN]...", help="These mailboxes; all unless said.", show_default=False)
]


@app.command()
def check(mailboxes: Mailboxes = None, site: options.Site = None, json: options.Json = False) -> None:
    """Compare messages with the folders' logs; changes nothing. What a running site delivers meanwhile may be told as missing."""
    _run(options.folder(site), mailboxes or [], json, repair=False)


@app.command()
def rebuild(mailboxes: Mailboxes = None, site: options.Site = None, json: options.Json = False) -> None:
    """Set right what `check` finds. The site must be stopped."""
    _run(options.folder(site), mailboxes or [], json, repair=True)


def _run(root: Path, wanted: list[str], as_program: bool, *, repair: bool) -> None:
    import asyncio

    from postroom_cli.storing import look

    found = asyncio.run(look(root, wanted, repair=repair, watched=not as_program))
    problems = {name: list(said) for name, said in found.items() if said}
    lines = [f"{name}: {sentence}" for name, said in problems.items() for sentence in said]
    answer(
        {"ok": not problems, "mailboxes": len(found), "problems": problems},
        lines or [f"{len(found)} mailboxes, nothing to complain about."],
        as_program=as_program,
    )
    if problems and not repair:
        complain("postroom: set this right with: postroom stop, then postroom store rebuild")
        raise typer.Exit(SAID_NO)
