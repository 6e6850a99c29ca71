"""What the commands print: tables for people, one JSON document for programs, sentences on stderr when something is wrong.

Only answers go to stdout. Tables fit 80 columns and lose their colours where nobody looks (a pipe, NO_COLOR).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import typer

SAID_NO, WRONG_USAGE = 1, 2
Cell = object


def as_json(value: object) -> None:
    """One line on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def say(*lines: str) -> None:
    """Sentences on stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def complain(*lines: str) -> None:
    """Sentences on stderr."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def refuse(what: str) -> NoReturn:
    """The command says no: exit code 1."""
    complain(f"postroom: {what}")
    raise typer.Exit(SAID_NO)


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str) -> None:
    """Rows under their headings; `empty` is said where there are none. A column whose heading ends in "#" holds numbers."""
    texts = [[_text(cell) for cell in row] for row in rows]
    if not texts:
        say(empty)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(column.rstrip("#"), justify="right" if column.endswith("#") else "left", overflow="fold", no_wrap=False)
    for row in texts:
        drawn.add_row(*map(_plain, row))
    console.print(drawn)


def facts(pairs: Mapping[str, Cell]) -> None:
    """Names and values under each other; a list has a line for each."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        for index, one in enumerate(values or ["-"]):
            say(f"{name if not index else '':<{width}}  {_text(one)}")


def answer(value: object, lines: Sequence[str], *, as_program: bool) -> None:
    """The same answer for a program or for people."""
    as_json(value) if as_program else say(*lines)


def _text(cell: Cell) -> str:
    if cell is None or cell == "":
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return printable(str(cell))


def printable(text: str) -> str:
    """Without control characters: what strangers wrote must not drive the operator's terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _plain(text: str) -> str:
    """Square brackets are addresses here, never markup."""
    return text.replace("[", r"\[")
