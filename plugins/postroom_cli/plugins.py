"""`postroom plugin`: what is loaded, what it did, and in which order it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from postroom_cli import options
from postroom_cli.output import as_json, say, table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(site: options.Site = None, json: options.Json = False) -> None:
    """The plugins of a site with their hooks; of a running one also what their hooks did."""
    said = _ask(options.folder(site), "plugin.list")
    if json:
        as_json(said["plugins"])
        return
    lines = [
        (each["name"], each["plugin"] if each["plugin"] != each["name"] else "", each["mode"], hook, _counted(counters))
        for each in said["plugins"]
        for hook, counters in (each["hooks"] or {"": {}}).items()
    ]
    table(("name", "plugin", "mode", "hook", "calls"), lines, empty="No plugins are named in the site's file.")


@app.command()
def order(
    hook: Annotated[str, typer.Argument(metavar="HOOK", help="Such as mta_pickup.")], site: options.Site = None, json: options.Json = False
) -> None:
    """In which order plugins are asked a hook."""
    said = _ask(options.folder(site), "plugin.order", hook=hook)
    if json:
        as_json(said)
        return
    say(*(f"{place}. {name}" for place, name in enumerate(said["plugins"], 1)) if said["plugins"] else [f"Nobody answers {hook}."])


@app.command()
def reload(site: options.Site = None, json: options.Json = False) -> None:
    """Load the plugins and settings of a running site again; the same as `postroom reload`."""
    from postroom_cli import running

    running.reload(options.folder(site), as_program=json)


def _ask(root: Path, request: str, **arguments: Any) -> dict[str, Any]:
    """The running site's answer; a stopped one is loaded for it."""
    from postroom_cli.running import ask_anyhow

    return ask_anyhow(root, request, **arguments)


def _counted(counters: dict[str, Any]) -> str:
    """Calls, and what went wrong in them."""
    if not counters:
        return ""
    wrong = [f"{counters[name]} {name}" for name in ("errors", "timeouts") if counters.get(name)]
    return ", ".join([str(counters.get("calls", 0)), *wrong, *(["breaker open"] if counters.get("breaker") == "open" else [])])
