"""A running site, asked over its control socket: its health, its counters, a reload, a stop; and what a stopped one can answer too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from postroom.errors import PostroomError
from postroom_cli.output import SAID_NO, answer, as_json, say
from postroom_run.control import Json, NotRunning, ask


class Stopped(PostroomError):
    """The site is not served now; the text says how to start it."""


def ask_running(root: Path, request: str) -> Json:
    """Ask the running site. Stopped where nobody serves it; the refusal's own text where it says no."""
    try:
        return ask(root, request)
    except NotRunning:
        raise Stopped(f"{root} is not running; start it with: postroom serve {root}") from None


def ask_anyhow(root: Path, request: str, **arguments: Any) -> Json:
    """Ask the running site, or the disk of a stopped one."""
    try:
        return ask(root, request, **arguments)
    except NotRunning:
        from postroom_cli import resting
    return resting.ask(root, request, **arguments)


def health(root: Path, *, as_program: bool) -> None:
    said = ask_running(root, "health")
    problems = said["problems"]
    answer(said, problems or ["All is well."], as_program=as_program)
    if problems:
        raise typer.Exit(SAID_NO)


def metrics(root: Path, *, as_program: bool) -> None:
    said = ask_running(root, "metrics")
    as_json(said) if as_program else say(said["text"].rstrip("\n"))


def reload(root: Path, *, as_program: bool) -> None:
    said = ask_running(root, "reload")
    pids = ", ".join(map(str, said["workers"]))
    answer(said, [f"New workers serve {root}: {pids}. The old ones finish what they do."], as_program=as_program)


def stop(root: Path, *, as_program: bool) -> None:
    said = ask_running(root, "stop")
    answer(said, [f"{root} takes no new connections and stops when what is under way has ended."], as_program=as_program)
