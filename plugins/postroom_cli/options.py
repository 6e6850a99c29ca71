"""Options that many commands share, and how the site's folder is found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ENVIRONMENT = "POSTROOM_SITE"
FILE = "postroom.yaml"

Site = Annotated[
    Path | None,
    typer.Option(
        "--site", metavar="DIR", envvar=ENVIRONMENT, show_envvar=False, help="The site's folder (or POSTROOM_SITE; else the current one)."
    ),
]
Folder = Annotated[
    Path | None,
    typer.Argument(metavar="[DIR]", help="The site's folder (or --site, POSTROOM_SITE; else the current one).", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def folder(*given: Path | None) -> Path:
    """The first of these that is given, else the current folder where it is a site; wrong usage where none is."""
    for path in given:
        if path is not None:
            return path.absolute()
    here = Path.cwd()
    if (here / FILE).exists():
        return here
    raise typer.BadParameter(
        f"which site? Give --site DIR, set {ENVIRONMENT}, or go into the site's folder; a new one is made by: postroom init DIR --domain D"
    )
