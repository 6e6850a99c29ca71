"""Case 53: each plugin taken out of the demo's settings in turn: the rest works, and health, or the refusal to start, names what is gone."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from postroom.envelope import Attempt
from postroom.errors import ConfigError
from postroom.message import MemoryMessage
from postroom.transfer import PASS
from postroom_run.assembly import Assembled
from postroom_run.health import look
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines, asleep_in, site_in
from postroom_testing.mail import envelope, letter
from tests.due import due_items
from tests.flows.scanned import template

FULL = ["tab", "store", "postoffice", "smtp", "pop3", "imap4"]
MAIL, READING = {"smtp", "submission", "submissions"}, {"pop3", "pop3s", "imap", "imaps"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("made"))


def without(made: Path, folder: Path, name: str, *, default: bool = True) -> tuple[Path, str]:
    """A copy of the site, and its settings without this plugin."""
    shutil.copytree(made, folder)
    text = (folder / "postroom.yaml").read_text()
    less, taken = re.subn(rf"(?m)^  {name}: .*\n", "", text)
    assert taken == 1
    return folder, less if default else re.sub(r"(?m)^providers: .*\n", "", less)


def run(made: Path, tmp_path: Path, name: str) -> tuple[list[str], list[str], str, list[str]]:
    """What health says before and after a message, which agents there are, and what became of the message."""
    folder, yaml = without(made, tmp_path / "site", name)

    async def main() -> tuple[list[str], list[str], str, list[str]]:
        log = Lines()
        async with site_in(folder, yaml, clock=HandClock(), log=log) as parts:
            before = list(look(parts).problems)
            message = letter()
            assert await parts.mta.accept(envelope(message, "alice@example.test"), message) == PASS
            await parts.mta.drain()
            agents = [endpoint.label for _, agent in parts.agents for endpoint in agent.endpoints]
            return before, agents, _fate(parts, folder), list(look(parts).problems)

    return asyncio.run(main())


def _fate(parts: Assembled, folder: Path) -> str:
    """Where the letter is; it is somewhere."""
    places = {
        "mailbox": folder / "Postoffices",
        "Bad Mail": folder / "Bad Mail",
    }
    found = [name for name, place in places.items() if any(b"How are you?" in path.read_bytes() for path in place.rglob("*.MAI"))]
    found += ["queue" for queue in parts.site.spool.queues() for _ in queue.items()]  # pairs: the octets of one that is done go later
    assert len(found) == 1, found
    return found[0]


def test_the_site_is_the_whole_demo(made: Path, tmp_path: Path) -> None:
    """A plugin that the demo has and this file does not know is not tested."""
    parts = asleep_in(shutil.copytree(made, tmp_path / "site"), (made / "postroom.yaml").read_text())
    assert sorted(parts.host.plugins) == sorted(FULL)
    parts.site.login.close()
    asyncio.run(parts.site.resolver.close())
    parts.host.close()


@pytest.mark.parametrize(("name", "gone"), [("pop3", {"pop3", "pop3s"}), ("imap4", {"imap", "imaps"})])
def test_case_53_without_a_way_to_read_it_mail_is_taken_and_stored(made: Path, tmp_path: Path, name: str, gone: set[str]) -> None:
    before, endpoints, fate, after = run(made, tmp_path, name)
    assert set(endpoints) == MAIL | READING - gone and fate == "mailbox"
    assert (before, after) == ([], [])  # nothing here counts on it: its listeners are gone, as `postroom status` shows


def test_case_53_without_smtp_mail_is_read_and_what_waits_for_smtp_is_told(made: Path, tmp_path: Path) -> None:
    before, endpoints, fate, _ = run(made, tmp_path, "smtp")
    told = "the address map sends mail to SMTP, and no connector SMTP is loaded; load the plugin that brings it"
    assert set(endpoints) == READING and fate == "mailbox" and before == [told]
    folder, yaml = without(made, tmp_path / "again", "smtp")

    async def main() -> list[str]:
        async with site_in(folder, yaml, clock=HandClock(), log=Lines()) as parts:
            waits = letter(name="waits")
            out = envelope(waits, "zoe@example.net")
            parts.site.spool.rest(parts.site.spool["SMTP"].outgoing, out, MemoryMessage(out.id, waits.data))
            return list(look(parts).problems)

    assert asyncio.run(main()) == [told, "mail waits in Queues/SMTP, and no connector SMTP is loaded; load the plugin that brings it"]


def test_case_53_without_the_postoffice_nobody_is_promised_delivery(made: Path, tmp_path: Path) -> None:
    before, endpoints, fate, _ = run(made, tmp_path, "postoffice")
    assert set(endpoints) == MAIL | READING and fate == "Bad Mail"  # RCPT is refused; what was in already comes back to its sender
    assert before == ["the address map sends mail to SF, and no connector SF is loaded; load the plugin that brings it"]


def test_case_53_without_the_store_mail_waits(made: Path, tmp_path: Path) -> None:
    before, endpoints, fate, _ = run(made, tmp_path, "store")
    assert set(endpoints) == MAIL | READING and fate == "queue"
    assert before == ["no mail store is loaded, so nothing reaches a mailbox; load one, such as store"]


@pytest.mark.long
def test_case_53_mail_that_waited_for_the_store_is_delivered_once_it_is_back(made: Path, tmp_path: Path) -> None:
    run(made, tmp_path, "store")
    site = tmp_path / "site"

    async def main() -> str:
        async with site_in(site, (made / "postroom.yaml").read_text(), clock=(clock := HandClock()), log=Lines()) as parts:
            await clock.advance(7 * 86400)
            for queue, item in list(due_items(parts.site.spool, clock.now())):
                claim = parts.site.spool.claim(queue, item)
                assert claim is not None and claim.envelope.attempt != Attempt()
                parts.mta.take(claim)
            await parts.mta.drain()
            return _fate(parts, site)

    assert asyncio.run(main()) == "mailbox"


def test_case_53_without_its_providers_the_site_does_not_start_and_says_why(made: Path, tmp_path: Path) -> None:
    folder, yaml = without(made, tmp_path / "site", "tab")
    with pytest.raises(ConfigError, match=r":\d+: providers.default: no plugin tab is loaded"):
        asleep_in(folder, yaml)


@pytest.mark.parametrize("name", FULL)
def test_case_53_a_plugin_that_is_not_installed_is_named_with_its_line(name: str, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "site")
    text = (made / "postroom.yaml").read_text().replace(f"\n  {name}: {{", f"\n  {name}: {{plugin: {name}x, ").replace("x, }", "x}")
    with pytest.raises(ConfigError, match=rf":\d+: plugins.{name}: no plugin {name}x is installed. Did you mean {name}\?"):
        asleep_in(tmp_path / "site", text)
