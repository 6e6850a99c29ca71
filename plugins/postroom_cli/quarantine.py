"""`postroom quarantine`: messages that a hook set aside. A running site is asked; of a stopped one the files are read and moved.

Nothing that a stranger wrote reaches the terminal with its control characters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from postroom_cli import options
from postroom_cli.output import answer, as_json, complain, facts, printable, refuse, say, table
from postroom_cli.rows import shown

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Items = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="As `quarantine list` shows them; the first letters do.", show_default=False),
]
By = Annotated[str, typer.Option("--by", metavar="PLUGIN", help="All that this plugin holds.")]
Older = Annotated[float | None, typer.Option("--older", min=0, metavar="DAYS", help="All held for longer than this.", show_default=False)]


@app.command("list")
def list_(by: By = "", older: Older = None, site: options.Site = None, json: options.Json = False) -> None:
    """All messages that are held, who holds them and why."""
    from postroom.clock import SystemClock
    from postroom_cli.names import age

    items = _listed(options.folder(site), by, older)
    if json:
        as_json(items)
        return
    now = SystemClock().now()
    lines = [(row["id"][:8], age(now - row["held"]), row["by"], shown(row["sender"]), _who(row), row["why"]) for row in items]
    table(("id", "age#", "held by", "from", "to", "why"), lines, empty="Nothing is in quarantine.")


@app.command()
def show(
    item: Annotated[str, typer.Argument(metavar="ID", help="As `quarantine list` shows it; the first letters do.")],
    message: Annotated[bool, typer.Option("--message", help="Print the message, as it is, and nothing else.")] = False,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """One message: who sent it, who was to get it, who holds it and why; and its header."""
    from datetime import UTC, datetime

    row = _ask(options.folder(site), "show", id=item)
    if message:
        _print_octets(Path(row["path"]))
    elif json:
        as_json(row)
    else:
        header = row.pop("header")
        facts({**row, "held": datetime.fromtimestamp(row["held"], UTC).isoformat(" ", "seconds")})
        say("", *(printable(line.expandtabs()) for line in header.splitlines()))


@app.command()
def release(
    items: Items = None,
    by: By = "",
    older: Older = None,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="ADDRESS", help="To this recipient in place of its own.")] = None,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Let messages go on. Whoever held one is not asked again; every other hook is."""
    root = options.folder(site)
    _each(root, "release", _chosen(root, items, by, older), json, "is released", **({"to": to} if to else {}))


@app.command()
def delete(
    items: Items = None,
    by: By = "",
    older: Older = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Delete messages for good; nobody is told."""
    root = options.folder(site)
    chosen = _chosen(root, items, by, older)
    if chosen and not yes and not typer.confirm(f"Delete {len(chosen)} for good?", err=True):
        refuse("nothing was deleted")
    _each(root, "delete", chosen, json, "is deleted")


def _each(root: Path, request: str, names: list[str], as_program: bool, done: str, **arguments: Any) -> None:
    """One after the other; what cannot be done is told, and the rest is done all the same."""
    from postroom.errors import PostroomError

    finished, failed = [], []
    for name in names:
        try:
            _ask(root, request, id=name, **arguments)
        except PostroomError as error:
            failed.append({"id": name, "error": str(error)})
            complain(f"postroom: {error}")
        else:
            finished.append(name)
    lines = [f"{name} {done}" for name in finished] or ["Nothing was chosen."] * (not failed)
    answer({"done": finished, "failed": failed}, lines, as_program=as_program)
    if failed:
        raise typer.Exit(1)


def _chosen(root: Path, items: list[str] | None, by: str, older: float | None) -> list[str]:
    if items:
        return list(dict.fromkeys(items))
    if not by and older is None:
        raise typer.BadParameter("which? Name messages, or say --by PLUGIN or --older DAYS")
    return [row["id"] for row in _listed(root, by, older)]


def _listed(root: Path, by: str, older: float | None) -> list[dict[str, Any]]:
    from postroom.clock import SystemClock

    before = SystemClock().now() - older * 86400 if older is not None else None
    said = _ask(root, "list")
    if said.get("more"):
        complain(f"postroom: these are the {len(said['items'])} that are held longest; there are more")
    return [row for row in said["items"] if (not by or row["by"] == by) and (before is None or row["held"] < before)]


def _ask(root: Path, request: str, **arguments: Any) -> dict[str, Any]:
    from postroom_cli.running import ask_anyhow

    return ask_anyhow(root, f"quarantine.{request}", **arguments)


def _print_octets(path: Path) -> None:
    """For a program or a file: as it is. On a terminal control characters would drive it, so there they are shown as marks."""
    import sys

    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if sys.stdout.isatty():
                say(*map(printable, block.decode("utf-8", "replace").splitlines()))
            else:
                sys.stdout.buffer.write(block)
    sys.stdout.flush()


def _who(row: dict[str, Any]) -> str:
    first, *others = map(shown, row["recipients"] or ["-"])
    return f"{first} +{len(others)}" if others else str(first)
