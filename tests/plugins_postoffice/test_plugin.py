"""The plugin on a site with real TAB files: what `init` makes of a domain, and that it is safe to be asked again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroom.address import mailbox
from postroom_cli.opened import opened

YAML = "server: mail.example.test\nplugins: {tab: {}, postoffice: {when_full: bounce}}\nproviders: {default: tab}\n"


def test_a_new_site_has_its_post_office_and_postmaster(tmp_path: Path) -> None:
    (tmp_path / "postroom.yaml").write_text(YAML)

    async def create() -> None:
        async with opened(tmp_path) as parts:
            for _ in range(2):
                await parts.host.site_created(parts.site, "example.test")
            assert parts.connectors["SF"].refuses(mailbox("Example.Test", "POSTMASTER")) is None
            assert parts.host.check(parts.site) == []

    asyncio.run(create())
    tables = {path.name: path.read_text().splitlines() for path in tmp_path.glob("Config/**/*.TAB")}
    assert tables == {"POSTOFFICE.TAB": ["example.test\t1\texample.test"], "MAILBOX.TAB": ["postmaster\t1\t-1\t0\t"]}
