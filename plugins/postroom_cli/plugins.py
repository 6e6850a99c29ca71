"""`postroom plugin`: what is loaded, what it did, in which order it is asked; and plugins of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from postroom_cli import options, verifying
from postroom_cli.output import as_json, say, table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(site: options.Site = None, json: options.Json = False) -> None:
    """The plugins of a site with their hooks; of a running one also what their hooks did."""
    said = _ask(options.folder(site), "plugin.list")
    if json:
        as_json(said["plugins"])
        return
    from postroom_cli import standing

    table(standing.COLUMNS, standing.lines(said["plugins"]), empty="No plugins are named in the site's file.")
    if not said.get("workers"):
        say("", "The site is not running, so nothing is counted.")
    elif said["workers"] > 1:
        say("", f"Counted by {said['workers']} workers together, since each was started.")


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


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits, underscores: as it will stand under `plugins:`.")],
    kind: Annotated[str, typer.Option("--kind", "-k", metavar="KIND", help="transfer-event, connector, service or provider.")],
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="Where the folder postroom-NAME is made.")] = Path(),
    author: Annotated[str, typer.Option(metavar="NAME", help="Who writes it, for the project file and the licence.")] = "",
    license: Annotated[str, typer.Option(metavar="ID", help="Apache-2.0, MIT, BSD-3-Clause or none.")] = "Apache-2.0",
    force: Annotated[bool, typer.Option("--force", help="Write over a project that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Make a project for a plugin of your own: working code, tests, types, a README."""
    from postroom_cli import newplugin

    newplugin.run(name, kind, into, author=author, license=license, force=force, as_program=json)


@app.command()
def update(
    project: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project's folder.", show_default=False)] = Path(),
    json: options.Json = False,
) -> None:
    """Merge this release's template into a project that `plugin new` made."""
    from postroom_cli import newplugin

    newplugin.update(project.absolute(), as_program=json)


app.command()(verifying.verify)


def _ask(root: Path, request: str, **arguments: Any) -> dict[str, Any]:
    """The running site's answer; a stopped one is loaded for it."""
    from postroom_cli.running import ask_anyhow

    return ask_anyhow(root, request, **arguments)
