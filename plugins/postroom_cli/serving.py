"""`postroom serve`: a site in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from pathlib import Path

from postroom_cli.output import as_json, say
from postroom_run.control import Json
from postroom_run.supervisor import serve


def run(root: Path, *, as_program: bool) -> None:
    """Serve; what goes wrong before the ready line is an error of the command."""
    serve(root, on_ready=lambda told: _tell(told, as_program=as_program))


def _tell(told: Json, *, as_program: bool) -> None:
    if as_program:
        as_json(told)
        return
    count = len(told["workers"])
    say(f"{told['site']} is served by {count} worker{'s' if count != 1 else ''}:")
    say(*(f"  {label:<12} {where}" for label, where in told["endpoints"].items()))
