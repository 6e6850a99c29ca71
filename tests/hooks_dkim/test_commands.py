"""`postroom dkim` as an operator meets it, through the command line's own entry, on a site of its own with a name server of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom_cli import main as cli
from postroom_dkim.keys import Key
from postroom_dkim.plugin import DkimPlugin
from postroom_testing.ground import as_installed
from tests.hooks_dkim.house import publish
from tests.nameserver import NameServer

pytestmark = pytest.mark.long

YAML = "server: mail.example.test\nplugins: {{tab: {{watch: false}}, dkim: {{rsa_bits: 1024}}}}\ndns: {{servers: [127.0.0.1], port: {port}, timeout: 2}}\n"


@pytest.fixture
def dns() -> Iterator[NameServer]:
    """A name server in a thread, because a command has a loop of its own."""
    server = NameServer()
    ready = threading.Event()
    loop, done = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    yield server
    loop.call_soon_threadsafe(done.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def site(tmp_path: Path, dns: NameServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "postroom.yaml").write_text(YAML.format(port=dns.port))
    monkeypatch.setenv("POSTROOM_SITE", str(tmp_path))
    with as_installed({"dkim": DkimPlugin}):
        yield tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    ended = cli.run(["dkim", *arguments])
    told = capsys.readouterr()
    assert ended == code, told.err or told.out
    return told.out + told.err


def records(text: str) -> dict[str, str]:
    """Zone lines as DNS would answer them."""
    lines = [line.split(". IN TXT ") for line in text.splitlines() if " IN TXT " in line]
    return {name: "".join(value.split('"')[1::2]) for name, value in lines}


def test_from_the_first_keys_to_the_second(site: Path, dns: NameServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No keys yet" in said(capsys, "list")
    first = records(said(capsys, "add", "Example.TEST"))
    assert len(first) == 2 and all(name.endswith("._domainkey.example.test") for name in first)
    assert "has keys already" in said(capsys, "add", "example.test", code=1)
    assert "not in DNS" in said(capsys, "show", "--dns", code=1)
    publish(dns, first)
    assert ", in DNS" in said(capsys, "show", "example.test", "--dns")
    second = records(said(capsys, "rotate"))
    assert len(second) == 2 and not set(second) & set(first)
    assert "DNS does not have" in said(capsys, "activate", code=1)
    publish(dns, second)
    assert "is signed by" in said(capsys, "activate")
    assert "no keys wait" in said(capsys, "activate", code=1)
    listed = said(capsys, "list")
    assert listed.count("retired") == 2 and listed.count("active") == 2
    assert len(records(said(capsys, "show"))) == 4


def test_json_for_programs(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made,) = json.loads(said(capsys, "add", "example.test", "--json"))
    assert [one["type"] for one in made["records"]] == ["TXT", "TXT"] and made["domain"] == "example.test"
    assert {one["kind"] for one in json.loads(said(capsys, "list", "--json"))} == {"rsa", "ed25519"}
    shown = json.loads(said(capsys, "show", "--dns", "--json", code=1))
    assert [one["published"] for one in shown] == [False, False]
    assert len(json.loads(said(capsys, "rotate", "--json"))) == 1
    assert json.loads(said(capsys, "activate", "--now", "--json"))[0]["domain"] == "example.test"


def test_a_key_is_brought_along(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = Key.make("rsa", 2048)
    file = tmp_path / "mine.pem"
    file.write_bytes(key.pem())
    text = said(capsys, "add", "example.test", "--selector", "mail", "--key", str(file))
    assert records(text) == {"mail._domainkey.example.test": key.record()}
    assert all(len(part) <= 255 for part in text.split('"')[1::2]) and text.count('"') == 4
    assert "belong together" in said(capsys, "add", "x.test", "--selector", "mail", code=2)
    assert "no selector" in said(capsys, "add", "x.test", "--selector", "../x", "--key", str(file), code=2)


def test_a_lost_key_is_replaced(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "add", "example.test")
    next((site / "dkim/example.test").glob("*.rsa.pem")).unlink()
    assert "dkim rotate example.test" in said(capsys, "show") and len(records(said(capsys, "rotate"))) == 2
    said(capsys, "activate", "--now")
    assert len(records(said(capsys, "show"))) == 2


def test_no_private_key_is_printed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = "".join(said(capsys, *words) for words in (["add", "example.test"], ["rotate"], ["list"], ["show"], ["show", "--json"]))
    for pem in (site / "dkim/example.test").glob("*.pem"):
        assert not any(line in printed for line in pem.read_text().splitlines() if len(line) > 20)


@pytest.mark.parametrize(
    "words", [["add", "../etc"], ["show", "x.test"], ["rotate", "x.test"], ["rotate"], ["activate", "x.test"], ["add", "ü..x"]]
)
def test_what_cannot_be_is_said_in_a_sentence(words: list[str], site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, *words, code=1)
    assert text.startswith("postroom: ") and "Traceback" not in text and not list(site.glob("dkim/*/*"))


def test_the_commands_are_those_of_the_site_that_is_named(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such command" in said(capsys, "list", "--site", str(tmp_path / "other"), code=2)
    assert "No keys yet" in said(capsys, "list", "--site", str(site))


def test_a_name_server_that_cannot_tell(site: Path, dns: NameServer, capsys: pytest.CaptureFixture[str]) -> None:
    dns.failing |= set(records(said(capsys, "add", "example.test")))
    assert "DNS cannot be asked now" in said(capsys, "show", "--dns", code=1)
