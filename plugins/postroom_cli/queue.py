"""`postroom queue`: messages that wait. A running site is asked; a stopped one is read from disk, journals included.

Listing never writes. What changes an item on a stopped site replays the journals first, as a server does at its start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from postroom_cli import options
from postroom_cli.output import answer, as_json, complain, facts, printable, refuse, say, table
from postroom_cli.rows import shown

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Item = Annotated[str, typer.Argument(metavar="ID", help="As `queue list` shows it; the first letters do where no other item has them.")]
Domain = Annotated[str, typer.Option(help="Only what goes to this domain.", show_default=False)]
Sender = Annotated[str, typer.Option(help="Only what is from this address or domain; <> for notices.", show_default=False)]


@app.command("list")
def list_(
    domain: Domain = "",
    sender: Sender = "",
    held: Annotated[bool, typer.Option("--held", help="Only what is held.")] = False,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """The messages that wait, when they are tried next, and what the last attempt met."""
    from postroom.clock import SystemClock
    from postroom_cli.names import age

    said = _listed(options.folder(site), domain, sender, held)
    if json:
        as_json(said["items"])
        return
    if said.get("stopped") and said["items"]:
        complain("postroom: the site is not running; this is what lies on its disk")
    now = SystemClock().now()
    lines = [
        (row["id"][:12], row["queue"], age(now - row["arrived"]), row["attempts"], _next(row, now), shown(row["sender"]), _who(row))
        for row in said["items"]
    ]
    table(("id", "queue", "age#", "tries#", "next#", "from", "to"), lines, empty="Nothing waits.")
    met = [f"  {row['id'][:12]}  {printable(str(row['error']))[:200]}" for row in said["items"] if row.get("error")]
    if met:
        say("", "What the last attempt met:", *met)
    if said["count"] > len(said["items"]):
        say(f"... and {said['count'] - len(said['items'])} more")


@app.command()
def show(item: Item, site: options.Site = None, json: options.Json = False) -> None:
    """One message: who sent it, who is to get it, what the last attempt met."""
    from datetime import UTC, datetime

    root = options.folder(site)
    row = _ask(root, "show", id=_full(root, item))
    if json:
        as_json(row)
        return
    answers = row.pop("answers", [])
    if len(set(answers)) > 1:
        row["recipients"] = [f"{who}: {answer}" for who, answer in zip(row["recipients"], answers)]
    times = {name: datetime.fromtimestamp(row[name], UTC).isoformat(" ", "seconds") for name in ("arrived", "due") if row.get(name)}
    facts({**row, **times, "due": "held" if row.get("held") else times.get("due", "now")})


@app.command()
def retry(
    item: Annotated[str, typer.Argument(metavar="[ID]", help="One message; all that are not held unless said.", show_default=False)] = "",
    domain: Domain = "",
    sender: Sender = "",
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Try now what would be tried later."""
    root = options.folder(site)
    if item and (domain or sender):
        raise typer.BadParameter("name a message, or say which ones; not both")
    said = _ask(root, "retry", **({"id": _full(root, item)} if item else _said(domain=domain, sender=sender)))
    answer(said, [f"{said['count']:d} to be tried now"], as_program=json)


@app.command()
def hold(item: Item, site: options.Site = None, json: options.Json = False) -> None:
    """Keep a message where it is until it is released."""
    _change("hold", item, site, json, "held")


@app.command()
def release(item: Item, site: options.Site = None, json: options.Json = False) -> None:
    """Let a message go on that was held."""
    _change("release", item, site, json, "released")


@app.command()
def delete(item: Item, site: options.Site = None, json: options.Json = False) -> None:
    """Delete a message that waits; nobody is told."""
    _change("delete", item, site, json, "deleted")


def _change(request: str, item: str, site: Path | None, as_program: bool, done: str) -> None:
    root = options.folder(site)
    full = _full(root, item)
    said = _ask(root, request, id=full)
    answer({"id": full, **said}, [f"{full} is {done}"], as_program=as_program)


def _listed(root: Path, domain: str, sender: str, held: bool) -> dict[str, Any]:
    """What was asked for; what lies in the journals of a stopped site is chosen here."""
    from postroom_run.requests import is_wanted

    wanted = _said(domain=domain, sender=sender, held=held)
    said = _ask(root, "list", **wanted)
    if wanted and said.get("stopped"):
        rows = [row for row in said["items"] if is_wanted({"hop": "", **row}, **wanted)]
        return {**said, "items": rows, "count": said["count"] - len(said["items"]) + len(rows)}
    return said


def _said(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value}


def _ask(root: Path, request: str, **arguments: Any) -> dict[str, Any]:
    """The running site's answer, or the disk's."""
    from postroom_cli.running import ask_anyhow

    return ask_anyhow(root, f"queue.{request}", **arguments)


def _full(root: Path, item: str) -> str:
    """The whole id that these first letters mean."""
    wanted = item.upper()
    if len(wanted) == 32:
        return wanted
    found = {row["id"] for row in _ask(root, "list")["items"] if row["id"].startswith(wanted)}
    if len(found) != 1:
        refuse(f"{item} means {'no message' if not found else f'{len(found)} messages'}; see: postroom queue list")
    return str(found.pop())


def _next(row: dict[str, Any], now: float) -> str:
    from postroom_cli.names import age

    return "held" if row["held"] else age(row["due"] - now) if row["due"] > now else "now"


def _who(row: dict[str, Any]) -> str:
    first, *others = map(shown, row["recipients"] or ["-"])
    return f"{first} +{len(others)}" if others else str(first)
