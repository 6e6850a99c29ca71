"""A third party's plugin made by `postroom plugin new` is installed beside a running site, named in its YAML file, and acts after a reload.

Nobody is refused meanwhile: a client that keeps sending, a connection a message, gets each of them taken, before, during and after. A worker that
drains may say 421 to a session that is idle just then; whoever hears that comes again at once and is served.
"""

from __future__ import annotations

import json
import os
import poplib
import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from bench.ours import said
from postroom_run.control import Refused, ask
from tests.demo import PATIENCE, Demo, await_change, letter
from tests.template.rendering import install, rendered

pytestmark = pytest.mark.long

ALICE = "alice@example.test"
RELOADS = 2  # workers that drain in a reload, each once


@dataclass(frozen=True)
class Site:
    """A demo that is served, and a folder of the module path in which its later processes find what is installed."""

    demo: Demo
    lib: Path
    projects: Path

    @property
    def root(self) -> Path:
        return self.demo.server.site

    def enable(self, name: str, kind: str, table: str, **sections: str) -> dict[str, str]:
        """Make, install, name in the settings, reload; the endpoints from then on."""
        install(rendered(self.projects, name, kind), self.lib)
        settings = self.root / "postroom.yaml"
        text = settings.read_text().replace("\nplugins:\n", f"\nplugins:\n  {name}: {table}\n", 1)
        settings.write_text(text + "".join(f"{key}: {value}\n" for key, value in sections.items()))
        endpoints = json.loads(said("plugin", "reload", "--site", self.root, "--json"))["endpoints"]
        assert isinstance(endpoints, dict)
        return endpoints

    def listed(self, name: str) -> dict[str, object]:
        """What `plugin list` says of it."""
        return next(each for each in json.loads(said("plugin", "list", "--site", self.root, "--json")) if each["name"] == name)

    def send(self, mark: str, *, to: str = ALICE, subject: str = "") -> int:
        """One message by a connection of its own; the code of the reply to it."""
        mail = letter(mark, to=to)
        if subject:
            mail.replace_header("Subject", subject)
        client = self.demo.smtp()
        try:
            return _sent(client, mail, to)
        finally:
            client.close()


def _sent(client: smtplib.SMTP, mail: EmailMessage, to: str) -> int:
    """One message by this connection. Hung up on before MAIL was taken counts as 421; after that nobody may hang up."""
    try:
        client.ehlo_or_helo_if_needed()
        code, _ = client.mail(str(mail["From"]))
    except smtplib.SMTPServerDisconnected:
        return 421
    except smtplib.SMTPHeloError as refused:
        code = refused.smtp_code
    if code != 250:
        return code
    client.rcpt(to)
    return client.data(mail.as_bytes(policy=SMTP))[0]


@dataclass
class Sending:
    """A client that sends one message after the other, and what came of it."""

    site: Site
    codes: list[int] = field(default_factory=list)
    again: int = 0  # times it was told to come again
    errors: list[BaseException] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    some: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.over.is_set():
            try:
                code = self.site.send(f"meanwhile-{len(self.codes)}", to="bob@example.test")
                while code == 421:
                    self.again += 1
                    code = self.site.send(f"meanwhile-{len(self.codes)}", to="bob@example.test")
                self.codes.append(code)
            except BaseException as error:
                self.errors.append(error)
            self.some.set()


@contextmanager
def sending(site: Site) -> Iterator[Sending]:
    """Sends from before the block until after it."""
    one = Sending(site)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        assert one.some.wait(PATIENCE)
        yield one
        one.some.clear()
        assert one.some.wait(PATIENCE)
    finally:
        one.over.set()
        thread.join(PATIENCE)
    assert one.errors == []
    assert set(one.codes) == {250} and one.again <= RELOADS


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two workers, and each test enables a plugin of its own."""
    place = tmp_path_factory.mktemp("enable")
    (place / "lib").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # some forty processes start here
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.getbasetemp().parent / "bytecode"))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(place / "lib"), os.environ.get("PYTHONPATH", "")])))
        demo = Demo(place / "site", workers=2).start()
        try:
            yield Site(demo, place / "lib", place / "projects")
        finally:
            demo.close()


def test_a_scanner_vetoes_a_message(site: Site) -> None:
    assert site.send("before", subject="You WON the lottery") == 250
    with sending(site):
        site.enable("my_scan", "transfer-event", '{patterns: ["*you won*"]}')
    assert site.send("unwanted", subject="You WON the lottery") == 554
    assert site.send("encoded", subject="=?utf-8?q?you_w=6Fn?= again") == 554
    assert site.send("wanted", subject="See you tomorrow") == 250
    assert b"wanted@" in site.demo.arrived(ALICE, "<wanted@example.org>")
    assert not [text for text in site.demo.fetch(ALICE) if b"<unwanted@" in text]
    listed = site.listed("my_scan")
    assert isinstance(listed["hooks"], dict) and listed["hooks"]["mta_pickup"]["calls"] >= 3


def test_a_connector_takes_what_an_address_leads_to(site: Site) -> None:
    with sending(site):
        site.enable("my_drop", "connector", "{boxes: [orders]}")
    said("address", "add", "orders@example.test", "[MYDROP:orders]", "--site", site.root)
    box = site.root / "MyDrop" / "orders" / "new"
    sent = [site.send(f"order-{number}", to="orders@example.test") for number in range(3)]
    assert sent == [250] * 3
    box.mkdir(parents=True, exist_ok=True)
    await_change(box, lambda: len(list(box.iterdir())) == 3)
    texts = b"".join(path.read_bytes() for path in box.iterdir())
    assert all(f"<order-{number}@example.org>".encode() in texts for number in range(3))


def test_a_service_listens_on_an_endpoint_of_its_own(site: Site) -> None:
    with sending(site):
        endpoints = site.enable("my_count", "service", "{port: 0}")
    count = len(site.demo.fetch(ALICE))
    for _ in range(4):  # two workers share the port
        assert talk(endpoints["my_count"], f"LOGIN {ALICE} {site.demo.password(ALICE)}", "COUNT")[-1].startswith(f"+OK {count} ")
    assert talk(endpoints["my_count"], f"LOGIN {ALICE} wrong") == ["-ERR wrong login or password"]


def test_a_provider_has_the_logins_from_then_on(site: Site) -> None:
    password = site.demo.password(ALICE)
    (site.root / "people.jsonl").write_text(json.dumps({"username": ALICE, "password": password}) + "\n")
    (site.root / "people.jsonl").chmod(0o600)
    settings = site.root / "postroom.yaml"
    settings.write_text(settings.read_text().replace("\nproviders:", "\n# providers:", 1))
    with sending(site):
        site.enable("my_logins", "provider", "{file: people.jsonl}", providers="{default: tab, authentication: my_logins}")
    assert logins_of(site) == "+OK"
    (site.root / "people.jsonl").write_text(json.dumps({"username": ALICE, "password": password, "status": 0}) + "\n")
    await_change(site.root, lambda: logins_of(site) == "-ERR")
    (site.root / "people.jsonl").write_text(json.dumps({"username": ALICE, "password": password}) + "\n")
    await_change(site.root, lambda: {logins_of(site) for _ in range(6)} == {"+OK"})  # of both workers


def logins_of(site: Site) -> str:
    """What alice is told when she logs in."""
    client = poplib.POP3(*site.demo.told.endpoints["pop3"], timeout=PATIENCE)
    try:
        client.user(ALICE)
        return client.pass_(site.demo.password(ALICE)).decode().split()[0]
    except poplib.error_proto as refused:
        return str(refused.args[0].decode()).split()[0]
    finally:
        client.close()


def test_settings_that_cannot_be_used_leave_all_as_it_is(site: Site) -> None:
    settings = site.root / "postroom.yaml"
    text = settings.read_text()
    before = ask(site.root, "status")["workers"]
    for wrong in ("  my_scann: {}\n", "  tab-2: {plugin: no_such}\n"):
        settings.write_text(text.replace("\nplugins:\n", f"\nplugins:\n{wrong}", 1))
        with pytest.raises(Refused, match=r"postroom\.yaml:\d+"):
            ask(site.root, "reload")
    settings.write_text(text)
    assert ask(site.root, "status")["workers"] == before
    assert site.send("still") == 250


def talk(endpoint: str, *lines: str) -> list[str]:
    """The replies to these lines."""
    host, _, port = endpoint.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as peer, peer.makefile("rwb") as stream:
        assert stream.readline().startswith(b"+OK ")
        replies = []
        for line in lines:
            stream.write(line.encode() + b"\r\n")
            stream.flush()
            replies.append(stream.readline().decode().rstrip())
        return replies
