"""Every bundled plugin keeps the contracts of its roles, here or in the folder of its own tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import ClassVar

import pytest

from postroom.address import InternalAddress
from postroom.mailstore import INBOX
from postroom.records import AuthRecord, MailboxRecord, PostofficeRecord
from postroom.site import Site
from postroom_clamav.plugin import ClamavPlugin
from postroom_cli.verification import ROLES, roles_of
from postroom_command.plugin import CommandPlugin
from postroom_pop3.plugin import Pop3Plugin
from postroom_postoffice.plugin import PostofficePlugin
from postroom_smtp.plugin import SmtpPlugin
from postroom_store.plugin import StorePlugin
from postroom_testing.connectors import ConnectorContract
from postroom_testing.plugin import Alive
from postroom_testing.reporting import contract_of
from postroom_testing.services import ServiceContract
from postroom_testing.stores import MailStoreContract
from postroom_testing.transfer import TransferEventContract
from tests.hooks_clamav.clamd import fake_clamd
from tests.kit.test_toys import CASES

pytestmark = pytest.mark.long

PO = "example.test"


class TestPop3(ServiceContract):
    plugin = Pop3Plugin
    settings: ClassVar = {"listen": [{"port": 0, "host": "127.0.0.1"}], "plaintext": "loopback"}

    async def furnish(self, site: Site) -> None:
        await site.providers.postoffice.postoffices.put(PostofficeRecord(PO, 1, PO))
        await site.providers.postoffice.mailboxes.put(MailboxRecord(PO, "bob", 1, -1))
        await site.providers.authentication.logins.put(AuthRecord(f"bob@{PO}", 1, "secret", PO, "USER"))

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for say, answer in ((b"", b"+OK"), (b"USER bob@example.test\r\n", b"+OK"), (b"STAT\r\n", b"-ERR"), (b"QUIT\r\n", b"+OK")):
            writer.write(say)
            said = await reader.readline()
            assert said.startswith(answer), f"{say!r} was answered {said!r}"
        assert await reader.read() == b""


class TestPostoffice(ConnectorContract):
    plugin = PostofficePlugin
    points = 8  # the calls are the store's
    good = (f"[SF:{PO}/bob]", f"[SF:{PO}/ann]")
    bad = (f"[SF:{PO}/nobody]",)

    async def furnish(self, site: Site) -> None:
        await site.providers.postoffice.postoffices.put(PostofficeRecord(PO, 1, PO))
        await site.providers.postoffice.mailboxes.put(*(MailboxRecord(PO, name, 1, -1) for name in ("bob", "ann")))

    async def arrived(self, alive: Alive, address: InternalAddress) -> Sequence[bytes]:
        inbox = await (await alive.site.store.mailbox(PO, address.detail.partition("/")[2])).folder(INBOX)
        return [await inbox.read(uid) for uid in inbox.view().uids]


class TestSmtp(ConnectorContract):
    """In this release nothing goes out by it: there is no good address."""

    plugin = SmtpPlugin
    settings: ClassVar = {"listen": [{"port": 0, "host": "127.0.0.1"}]}
    bad = ("[SMTP:user@elsewhere.test]",)


class TestStore(MailStoreContract):
    plugin = StorePlugin
    points = 3  # tests/providers_store/test_crash.py tries every call


class TestCommand(TransferEventContract):
    """A program of the old contract, at every stage; it looks at the message that it is handed on its standard input."""

    plugin = CommandPlugin
    cases = CASES

    @asynccontextmanager
    async def world(self, place: Path) -> AsyncIterator[Mapping[str, object]]:
        place.mkdir(parents=True, exist_ok=True)
        program = place / "program"
        program.write_text("#!/bin/sh\nif grep -q eicar; then echo it has the word; exit 99; fi\n")
        program.chmod(0o755)
        asked = {stage: [str(program)] for stage in ("pickup", "delivery", "mailbox")}
        yield {**asked, "files": False, "arguments": [], "stdin": True, "verdicts": {0: "pass", 99: "reject"}}


class TestClamavPool(ServiceContract):
    """What runs beside the scanner's hooks. The hooks are proven in tests/hooks_clamav/test_contract.py."""

    plugin = ClamavPlugin

    @asynccontextmanager
    async def world(self, place: Path) -> AsyncIterator[Mapping[str, object]]:
        place.mkdir(parents=True, exist_ok=True)
        async with fake_clamd(place / "clamd.ctl") as clamd:
            yield {"socket": str(clamd.path), "connect_timeout": 0.1}


ELSEWHERE = {
    ("tab", "provider"): "tests.providers_tab.test_contract",
    ("clamav", "transfer event"): "tests.hooks_clamav.test_contract",
    ("imap4", "service"): "tests.plugins_imap4.test_contract",
}


@pytest.mark.parametrize("point", sorted(entry_points(group="postroom.plugins")), ids=lambda point: point.name)
def test_every_role_of_a_bundled_plugin_has_its_suite(point: EntryPoint) -> None:
    contracts = {role.name: role.contract for role in ROLES}
    for role in roles_of(point):
        module = import_module(ELSEWHERE.get((point.name, role), __name__))
        suites = [one for one in vars(module).values() if isinstance(one, type) and contract_of(one) == contracts[role]]
        own = [one for one in suites if getattr(one, "plugin", None) in (None, point.load())]
        assert own, f"{point.name} is a {role}, and {module.__name__} has no {contracts[role]} of it"
