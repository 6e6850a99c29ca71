"""A site in a folder with rows only, and the command line run in this process as a person runs it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postroom_cli import provision
from postroom_cli.main import run
from postroom_cli.names import Address
from postroom_cli.opened import opened

DOMAIN = "example.test"
YAML = "server: mail.example.test\nplugins: {tab: {}, postoffice: {}}\nproviders: {default: tab}\n"


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """`postroom ... --site SITE`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._monkeypatch = root, monkeypatch

    def __call__(self, *arguments: str, stdin: str = "") -> Said:
        out, err = io.StringIO(), io.StringIO()
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*arguments, "--site", str(self.root)])
        return Said(code, out.getvalue(), err.getvalue())

    def done(self, *arguments: str, stdin: str = "") -> Any:
        """The same, in JSON; must succeed."""
        said = self(*arguments, "--json", stdin=stdin)
        assert said.code == 0, said.err
        return said.json

    def table(self, name: str) -> list[list[str]]:
        """The rows of a TAB file."""
        return [line.split("\t") for line in (self.root / "Config" / name).read_text().splitlines()]


def with_people(shell: Shell) -> Shell:
    """example.test with alice, bob and the group sales."""

    async def fill() -> None:
        async with opened(shell.root) as parts:
            providers = parts.site.providers
            await provision.add_domain(providers, DOMAIN)
            await provision.add_mailbox(providers, Address("alice", DOMAIN), "alpha")
            await provision.add_mailbox(providers, Address("bob", DOMAIN), "beta", limit=2048)
            members = [await provision.member(providers, text) for text in ("alice@example.test", "bob@example.test", "rita@example.org")]
            await provision.add_group(providers, Address("sales", DOMAIN), members)

    asyncio.run(fill())
    return shell
