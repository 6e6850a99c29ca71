"""Several people of one post office on one site, and somebody of another one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from postroom.mailstore import Target
from postroom.message import MemoryMessage, new_id
from postroom.records import AuthRecord, GroupRecord, MailboxRecord, MemberRecord, PostofficeRecord
from postroom_imap4.service import Imap4Service
from tests.plugins_imap4.house import PASSWORD, PO, Client, Served, letter, serving
from tests.plugins_imap4.memory import Believer

PEOPLE = ("ann", "bob", "zoe", "board")
BOARD = "plaintext: loopback, public: [{mailbox: board@po.test, name: Board, rights: lrs}, {mailbox: board@else.test, name: Away}]"
Test = Callable[[Served], Awaitable[None]]


@dataclass
class Together(Served):
    """Whoever connects is hung up on at the end."""

    clients: list[Client] = field(default_factory=list)

    async def connect(self, label: str = "imap") -> Client:
        self.clients.append(await super().connect(label))
        return self.clients[-1]


async def people(at: Served) -> None:
    """ann, bob (who is there), zoe and board; eve of another post office; ann and zoe are $staff."""
    provider = at.site.providers
    await provider.postoffice.postoffices.put(PostofficeRecord("else.test", 1, "else.test"))
    await provider.postoffice.mailboxes.put(
        *(MailboxRecord(PO, name) for name in PEOPLE if name != "bob"), MailboxRecord("else.test", "eve")
    )
    await provider.authentication.logins.put(
        *(AuthRecord(f"{name}@{PO}", 1, PASSWORD, PO, "USER") for name in PEOPLE if name != "bob"),
        AuthRecord("eve@else.test", 1, PASSWORD, "else.test", "USER"),
    )
    await provider.postoffice.groups.put(GroupRecord(PO, f"[SF:{PO}/staff]", "staff"))
    await provider.postoffice.members.put(MemberRecord(PO, "staff", f"[SF:{PO}/ann]"), MemberRecord(PO, "staff", f"[SF:{PO}/zoe]"))


async def login(at: Served, name: str, folder: str = "") -> Client:
    client = await at.connect()
    await client.ok(f"LOGIN {name if '@' in name else f'{name}@{PO}'} {PASSWORD}")
    if folder:
        await client.ok(f'SELECT "{folder}"')
    return client


class ShownOut(Exception):
    """The server said BYE."""


class Somebody(Believer):
    """A client without sockets, which believes what it is told and checks it."""

    def believe(self, line: bytes) -> None:
        if line.startswith(b"* OK [CLOSED]"):
            self.messages, self.expunged = [], []
        if line.startswith(b"* BYE"):
            raise ShownOut
        super().believe(line)

    async def log_in(self, name: str) -> Somebody:
        assert (await self.line()).startswith(b"* OK")
        assert (await self.say(f"LOGIN {name}@{PO} {PASSWORD}")).startswith(b"OK")
        return self

    def hang_up(self) -> None:
        self.connection.connection_lost(None)


async def somebody(service: Imap4Service, name: str) -> Somebody:
    return await Somebody(service).log_in(name)


async def delivered(at: Served, name: str, count: int = 1) -> None:
    for number in range(count):
        message = MemoryMessage(new_id(), letter(f"to {name} {number}"))
        (placed,) = await at.site.store.deliver(message, [Target(PO, name)], arrived=1.6e9)
        assert not isinstance(placed, Exception), placed


def shared(folder: Path, test: Test, more: str = "plaintext: loopback") -> None:
    async def main() -> None:
        async with serving(folder, more) as at:
            together = Together(at.site, at.service, at.ports, at.trust, at.log, at.running)
            try:
                await people(together)
                await test(together)
            finally:
                for client in together.clients:
                    await client.close()

    asyncio.run(main())
