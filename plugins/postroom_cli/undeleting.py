"""`postroom mailbox undelete`: expunged messages listed, and brought back into the folders they were in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from postroom_cli import options
from postroom_cli.output import answer, as_json, printable, refuse, table


def undelete(
    mailbox: Annotated[str, typer.Argument(metavar="NAME@DOMAIN")],
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="As --list shows them; the first letters do.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that can be brought back.")] = False,
    of: Annotated[str, typer.Option("--folder", metavar="NAME", help="Only what was in this folder.", show_default=False)] = "",
    within: Annotated[
        float | None, typer.Option("--within", min=0, metavar="HOURS", help="Only what was expunged in the last hours.", show_default=False)
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Show what can be brought back, and change nothing.")] = False,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Bring expunged messages back into their folders, as unexpunged mail with its flags and dates. They are kept for `store: keep_expunged` days."""
    from postroom_cli import names

    address, root = names.Address.parse(mailbox), options.folder(site)
    where = _place(site, address)
    rows = _fitting(_ask(root, "expunged", where)["messages"], of, within)
    if only_list:
        _show(rows, as_program=json)
        return
    if not (ids or every or of or within is not None):
        refuse("say which: ids as --list shows them, --folder, --within, or --all")
    chosen = [row["id"] for row in rows] if not ids else [_whole(one, rows) for one in ids]
    if not chosen:
        refuse("there is nothing to bring back; see: postroom mailbox undelete --list")
    done = _ask(root, "undelete", where, ids=chosen)
    answer(done, [f"{done['count']} {'message is' if done['count'] == 1 else 'messages are'} back"], as_program=json)


def _show(rows: list[dict[str, Any]], *, as_program: bool) -> None:
    if as_program:
        as_json(rows)
        return
    lines = [(row["id"][:8], row["expunged"], printable(row["folder"]), row["octets"], printable(row["subject"])) for row in rows]
    table(("id", "expunged", "folder", "octets#", "subject"), lines, empty="Nothing expunged is kept for this mailbox.")


def _fitting(rows: list[dict[str, Any]], of: str, within: float | None) -> list[dict[str, Any]]:
    from datetime import UTC, datetime

    from postroom.clock import SystemClock

    if of:
        rows = [row for row in rows if row["folder"].casefold() == of.casefold()]
    if within is not None:
        since = datetime.fromtimestamp(SystemClock().now() - (within + 1) * 3600, UTC)  # what is kept knows its hour only
        rows = [row for row in rows if datetime.fromisoformat(row["expunged"]) >= since]
    return rows


def _whole(short: str, rows: list[dict[str, Any]]) -> str:
    found = [row["id"] for row in rows if row["id"].startswith(short.upper())]
    if len(found) != 1:
        refuse(f"{short} is the id of {'no message that can be brought back' if not found else 'more than one message'}")
    return str(found[0])


def _place(site: Path | None, address: Any) -> dict[str, str]:
    from postroom_cli.provision import find_mailbox
    from postroom_cli.rows import on_rows

    where, _ = on_rows(site, lambda providers: find_mailbox(providers, address))
    return {"postoffice": where.postoffice, "mailbox": where.name}


def _ask(root: Path, request: str, where: dict[str, str], **arguments: Any) -> dict[str, Any]:
    from postroom_cli.running import ask_anyhow

    return ask_anyhow(root, f"mailbox.{request}", **where, **arguments)
