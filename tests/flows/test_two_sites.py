"""Two real sites on loopback with a name server of their own: what one refuses comes back as a report, what is forwarded leaves under a name that
finds back, and what goes in a circle ends in a mailbox, once."""

from __future__ import annotations

import asyncio
import email
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from postroom.address import smtp
from postroom.clock import SystemClock
from postroom.envelope import Envelope, Peer, Recipient
from postroom.mailstore import INBOX
from postroom.message import MemoryMessage, new_id
from postroom.records import AddressMapRecord, DomainRecord, MailboxRecord, PostofficeRecord
from postroom_run.assembly import Assembled
from postroom_testing.ground import Lines, site_in
from tests.nameserver import NameServer

YAML = """server: mail.{domain}
dns: {{servers: [127.0.0.1], port: {dns}}}
plugins:
  tab: {{watch: false}}
  store: {{}}
  postoffice: {{srs: {{domain: {domain}}}}}
  smtp: {{listen: [{{port: 0, host: 127.0.0.1}}], outbound: {{port: {port}}}}}
"""
TEXT = b"From: ann@a.test\r\nSubject: hello\r\n\r\nThe body.\r\n"


@dataclass
class House:
    """One site that runs."""

    parts: Assembled
    domain: str

    async def send(self, to: str, *, ret: str = "", envid: str = "", notify: frozenset[str] = frozenset()) -> None:
        """From ann, who has logged in here."""
        name, ann = new_id(), f"ann@{self.domain}"
        recipients = (Recipient(smtp(to), f"rfc822;{to}", notify),)
        peer, now = Peer(user=ann, trusted=True), self.parts.site.clock.now()
        sent = Envelope(name, name, "SF", smtp(ann), recipients, now, peer, ret=ret, envid=envid)
        await self.parts.site.intake.accept(sent, MemoryMessage(name, TEXT))

    async def inbox(self, name: str = "ann") -> list[bytes]:
        folder = await (await self.parts.site.store.mailbox("po", name)).folder(INBOX)
        return [await folder.read(uid) for uid in folder.view().uids]

    async def arrived(self, name: str = "ann") -> bytes:
        """The one message of a mailbox, once it is there."""
        news = asyncio.Event()
        done = (await (await self.parts.site.store.mailbox("po", name)).folder(INBOX)).follow(news.set)
        try:
            while not (found := await self.inbox(name)):
                await news.wait()
                news.clear()
        finally:
            done()
        (only,) = found
        return only

    async def people(self, **redirects: str) -> None:
        """Mailboxes by name, with what they are redirected to; their addresses are of this domain."""
        providers = self.parts.site.providers
        for name, to in redirects.items():
            row = MailboxRecord(postoffice="po", mailbox=name, redirect_status=1 if to else 0, redirect_address=to and f"[SMTP:{to}]")
            await providers.postoffice.mailboxes.put(row)
            await providers.address_map.rows.put(AddressMapRecord(source=f"[SMTP:{name}@{self.domain}]", destination=f"[SF:po/{name}]"))


@asynccontextmanager
async def house(folder: Path, domain: str, sock: socket.socket, dns: int, port: int) -> AsyncIterator[House]:
    """The site of a domain, on this socket; its outbound agent goes to `port`."""
    folder.mkdir()
    yaml, ready = YAML.format(domain=domain, dns=dns, port=port), asyncio.Queue[object]()
    for again in (False, True):  # a site reads its secret when it starts
        async with AsyncExitStack() as stack:
            sockets = {"smtp": [sock]} if again else {}
            parts = await stack.enter_async_context(
                site_in(folder, yaml, clock=SystemClock(), log=Lines(), sockets=sockets, ready=ready.put_nowait)
            )
            if not again:
                await parts.site.providers.postoffice.postoffices.put(PostofficeRecord(name="po"))
                await parts.site.providers.smtp.domains.put(DomainRecord(domain=domain, account="po"))
                await parts.host.site_created(parts.site, domain)
                await parts.site.providers.address_map.rows.put(AddressMapRecord(source="[SMTP:*]", destination="[SMTP:*]"))
                continue
            running = [asyncio.create_task(agent.run()) for _, agent in parts.agents]
            try:
                await ready.get()
                made = House(parts, domain)
                await made.people(ann="")
                yield made
                await parts.mta.drain()
            finally:
                await asyncio.gather(*(agent.drain() for _, agent in parts.agents))
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)


def with_two(tmp_path: Path, work: Callable[[House, House], Coroutine[Any, Any, None]]) -> None:
    """Sites a.test and b.test, each the other's only neighbour."""

    async def main() -> None:
        socks = [socket.socket(), socket.socket()]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        ports = [sock.getsockname()[1] for sock in socks]
        records = {f"MX {name}.test": f"10 mail.{name}.test." for name in "ab"} | {f"A mail.{name}.test": "127.0.0.1" for name in "ab"}
        async with (
            asyncio.timeout(30),
            NameServer(records) as dns,
            house(tmp_path / "a", "a.test", socks[0], dns.port, ports[1]) as a,
            house(tmp_path / "b", "b.test", socks[1], dns.port, ports[0]) as b,
        ):
            await work(a, b)

    asyncio.run(main())


def blocks(text: bytes) -> list[Message]:
    """The delivery status of a report."""
    report = email.message_from_bytes(text)
    assert report.get_content_type() == "multipart/report" and report["Return-Path"] == "<>"
    (status,) = [part for part in report.walk() if part.get_content_type() == "message/delivery-status"]
    return [block for block in status.get_payload() if isinstance(block, Message)]


def test_a_refused_recipient_returns_as_a_report_to_the_senders_mailbox(tmp_path: Path) -> None:
    """RFC 3464, with what the other server said; the whole of it comes back because that was asked for."""

    async def work(a: House, b: House) -> None:
        await a.send("nobody@b.test", ret="FULL", envid="QQ314159")
        text = await a.arrived()
        message, block = blocks(text)
        assert message["Original-Envelope-Id"] == "QQ314159" and message["Reporting-MTA"] == "dns; mail.a.test"
        assert (block["Action"], block["Status"], block["Final-Recipient"]) == ("failed", "5.1.1", "rfc822; nobody@b.test")
        assert block["Original-Recipient"] == "rfc822;nobody@b.test" and block["Diagnostic-Code"].startswith("smtp; 550 5.1.1 ")
        assert b"Content-Type: message/rfc822" in text and b"The body." in text

    with_two(tmp_path, work)


def test_mail_that_is_forwarded_outside_has_a_sender_of_the_forwarders_domain_and_its_bounce_finds_back(tmp_path: Path) -> None:
    async def work(a: House, b: House) -> None:
        await b.people(away="bob@a.test", lost="nobody@a.test")
        await a.people(bob="")
        await a.send("away@b.test")
        text = await a.arrived("bob")
        first = text.partition(b"\r\n")[0]
        assert first.startswith(b"Return-Path: <SRS0=") and first.endswith(b"=a.test=ann@b.test>")
        await a.send("lost@b.test")
        report = await a.arrived("ann")
        message, block = blocks(report)
        assert message["Reporting-MTA"] == "dns; mail.b.test" and block["Final-Recipient"] == "rfc822; nobody@a.test"
        assert b"The body." not in report  # case 41: to b the sender is a stranger

    with_two(tmp_path, work)


def test_case_42_two_forwards_that_point_at_each_other_end_in_a_mailbox(tmp_path: Path) -> None:
    async def work(a: House, b: House) -> None:
        await a.people(ring="ring@b.test")
        await b.people(ring="ring@a.test")
        await a.send("ring@a.test")
        text = await b.arrived("ring")
        await a.parts.mta.drain()
        await b.parts.mta.drain()
        assert text.count(b"\r\nReceived:") + text.startswith(b"Received:") == 3  # b, a, b
        assert await a.inbox("ring") == [] and await a.inbox() == [] and len(await b.inbox("ring")) == 1

    with_two(tmp_path, work)
