"""A message that an isolated hook replaced, all the way into a mailbox: linked where it is large, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from postroom.errors import ConfigError
from postroom.message import FileMessage
from postroom.transfer import PASS
from postroom_testing.ground import Lines, asleep_in, site_in
from postroom_testing.mail import envelope, huge, letter
from tests.flows.scanned import template
from tests.kernel_isolation.bad import Files, OffersRcpt, Replaces
from tests.kernel_isolation.world import BAD

YAML = """
server: mail.example.test
plugins: {tab: {}, store: {}, postoffice: {}, marks: {hooks: {isolation: process}}}
"""


def test_large_and_small_replacements_are_delivered_and_leave_nothing(tmp_path: Path) -> None:
    site = template(tmp_path)

    async def main() -> None:
        async with site_in(site, YAML, plugins={"marks": Replaces}) as parts:
            large = huge(tmp_path / "made", 1 << 20)
            path = parts.mta.big(large.id, "SMTP")
            path.write_bytes(large.path.read_bytes())
            for message in (FileMessage(large.id, path, large.size), letter(BAD)):
                assert await parts.mta.accept(envelope(message, "alice@example.test", "bob@example.test"), message) == PASS
                await parts.mta.drain()
            for mailbox in ("alice", "bob"):
                folder = site / "Postoffices/example.test/MAILROOT" / mailbox / "Inbox"
                stored = {path.read_bytes() for path in folder.glob("*.MAI")}
                assert any(text.endswith(b"X-Sent: yes\r\nX-Seen: yes\r\n" + BAD) for text in stored)
                assert any(text.endswith(b"X-Sent: yes\r\n" + large.path.read_bytes()) for text in stored) and len(stored) == 2
            gc.collect()
            assert list((site / "run" / "replaced").rglob("*.MAI")) == []

    asyncio.run(main())


def test_a_transfer_event_of_another_plugin_is_asked_in_a_process(tmp_path: Path) -> None:
    site = template(tmp_path)
    lines = Lines()

    async def main() -> None:
        async with site_in(site, YAML, plugins={"marks": Files}, log=lines) as parts:
            message = letter()
            await parts.mta.accept(envelope(message, "alice@example.test"), message)
            await parts.mta.drain()

    asyncio.run(main())
    [settled] = [facts for _, event, facts in lines.told if event == "mta.settled"][:1]
    assert "example.test/alice/Inbox" in str(settled["outcomes"])


def test_a_hook_of_another_plugin_that_is_no_transfer_event_is_refused(tmp_path: Path) -> None:
    yaml = YAML.replace("postoffice: {}", "postoffice: {}, smtp: {listen: [{port: 0}]}")
    with pytest.raises(ConfigError, match=r":3: plugins.marks.hooks.isolation: its hook smtp_rcpt is no transfer event"):
        asleep_in(tmp_path, yaml, plugins={"marks": OffersRcpt})
