"""Two real sites on loopback, each with its own domain and TLS, and a loopback name server: mail in both directions, and what is refused comes
back as a report."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroom.address import smtp
from postroom.clock import SystemClock
from postroom.envelope import Envelope, Peer, Recipient
from postroom.mailstore import INBOX
from postroom.message import SMALL, MemoryMessage, new_id
from postroom.records import AddressMapRecord, DomainRecord, MailboxRecord, PostofficeRecord
from postroom_run.assembly import Assembled
from postroom_testing.ground import Lines, site_in
from tests.nameserver import NameServer
from tests.plugins_smtp.outbound.sealed import AUTHORITY, LOOPS


@dataclass
class House:
    """One site that runs."""

    parts: Assembled
    log: Lines
    domain: str

    async def send(self, to: str, text: bytes, sender: str = "") -> None:
        """As a service of this house would: from ann, who has logged in."""
        name = new_id()
        sent = Envelope(
            name,
            name,
            "SF",
            smtp(sender or f"ann@{self.domain}"),
            (Recipient(smtp(to)),),
            self.parts.site.clock.now(),
            Peer(user=f"ann@{self.domain}", trusted=True),
        )
        await self.parts.site.intake.accept(sent, MemoryMessage(name, text))

    async def inbox(self, count: int) -> list[bytes]:
        """Ann's messages, once there are so many."""
        async with asyncio.timeout(15):
            while True:
                folder = await (await self.parts.site.store.mailbox("po", "ann")).folder(INBOX)
                view = folder.view()
                if len(view) >= count:
                    return [await folder.read(uid) for uid in view.uids]
                await asyncio.sleep(0.01)


def bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@asynccontextmanager
async def house(folder: Path, domain: str, sock: socket.socket, dns: int, port: int, more: str = "") -> AsyncIterator[House]:
    """The site of a domain, on this socket; its outbound agent goes to `port`."""
    folder.mkdir()
    AUTHORITY.issue_cert(f"mail.{domain}").private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    AUTHORITY.cert_pem.write_to_path(folder / "ca.pem")
    yaml = f"""server: mail.{domain}
dns: {{servers: [127.0.0.1], port: {dns}}}
tls: {{certificate: own.pem, key: own.pem}}
plugins:
  tab: {{watch: false}}
  store: {{}}
  postoffice: {{}}
  smtp: {{listen: [{{port: 0, host: 127.0.0.1}}], outbound: {{port: {port}, ca: "{folder / "ca.pem"}"{more}}}}}
"""
    log, running = Lines(), []
    ready: asyncio.Queue[object] = asyncio.Queue()
    async with site_in(folder, yaml, clock=SystemClock(), log=log, sockets={"smtp": [sock]}, ready=ready.put_nowait) as parts:
        providers = parts.site.providers
        await providers.postoffice.postoffices.put(PostofficeRecord(name="po"))
        await providers.postoffice.mailboxes.put(MailboxRecord(postoffice="po", mailbox="ann"))
        await providers.smtp.domains.put(DomainRecord(domain=domain, account="po"))
        await providers.address_map.rows.put(
            AddressMapRecord(source=f"[SMTP:ann@{domain}]", destination="[SF:po/ann]"),
            AddressMapRecord(source="[SMTP:*]", destination="[SMTP:*]"),
        )
        try:
            running = [asyncio.create_task(agent.run()) for _, agent in parts.agents]
            await ready.get()
            yield House(parts, log, domain)
            await parts.mta.drain()
        finally:
            await asyncio.gather(*(agent.drain() for _, agent in parts.agents))
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def two(tmp_path: Path, more: str = "") -> AsyncIterator[tuple[House, House]]:
    a, b = bound(), bound()
    ports = [sock.getsockname()[1] for sock in (a, b)]
    records = {f"MX {name}.test": f"10 mail.{name}.test." for name in "ab"} | {f"A mail.{name}.test": "127.0.0.1" for name in "ab"}
    async with (
        asyncio.timeout(20),
        NameServer(records) as dns,
        house(tmp_path / "a", "a.test", a, dns.port, ports[1], more) as one,
        house(tmp_path / "b", "b.test", b, dns.port, ports[0], more) as other,
    ):
        yield one, other


@pytest.mark.parametrize("loop", LOOPS)
def test_mail_goes_both_ways_sealed_and_verified(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path, ", tls: verify") as (one, other):
            await one.send("ann@b.test", b"Subject: there\r\n\r\n.hello\r\n")
            await other.send("ann@a.test", b"Subject: back\r\n\r\nhello\r\n")
            (there,), (back,) = await other.inbox(1), await one.inbox(1)
            assert there.endswith(b"Subject: there\r\n\r\n.hello\r\n") and back.endswith(b"Subject: back\r\n\r\nhello\r\n")
            assert there.count(b"Return-Path:") == 1 and b"Return-Path: <ann@a.test>\r\n" in there
            assert b"Received: from mail.a.test ([127.0.0.1])" in there and b"TLSv1.3" in there
            await one.parts.mta.drain()  # the message is there before we have logged it
            sent = next(facts for _, event, facts in one.log.told if event == "smtp.sent")
            assert sent["verified"] == "name" and sent["host"] == "mail.b.test" and sent["to"] == "b.test"

    LOOPS[loop](main())


def test_a_large_message_and_many_small_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as (one, other):
            large = b"Subject: large\r\n\r\n" + b".0123456789\r\n" * (SMALL // 6)
            for n in range(15):  # no more than may be under way to one hop: the caretaker is not here
                await one.send("ann@b.test", b"Subject: %d\r\n\r\nx\r\n" % n)
            await one.send("ann@b.test", large)
            found = await other.inbox(16)
            assert len(found) == 16 and sum(text.endswith(large) for text in found) == 1
            assert sum(b"Subject: 7\r\n" in text for text in found) == 1
            await one.parts.mta.drain()
            kept = [facts["kept"] for _, event, facts in one.log.told if event == "smtp.sent"]
            assert sum(map(bool, kept)) >= 3

    asyncio.run(main())


def test_what_is_refused_comes_back_as_a_report(tmp_path: Path) -> None:
    async def main() -> None:
        async with two(tmp_path) as (one, _):
            await one.send("nobody@b.test", b"Subject: lost\r\n\r\nx\r\n")
            await one.send("ann@gone.test", b"Subject: lost too\r\n\r\nx\r\n")
            reports = await one.inbox(2)
            texts = b"".join(reports)
            assert texts.count(b"Content-Type: multipart/report") == 2 and texts.count(b"Return-Path: <>\r\n") == 2
            assert b"Status: 5.1.1" in texts and b"Status: 5.1.2" in texts
            assert b"Remote-MTA: dns; mail.b.test" in texts and b"Diagnostic-Code: smtp; 550 5.1.1 No such recipient here" in texts

    asyncio.run(main())


def test_a_server_that_is_away_gets_its_mail_when_it_is_back(tmp_path: Path) -> None:
    """The first attempt rests in the queue with its reason; the caretaker's claim brings it there, once."""

    async def main() -> None:
        sock = bound()
        port = sock.getsockname()[1]  # bound, not listening: refused
        records = {"MX b.test": "10 mail.b.test.", "A mail.b.test": "127.0.0.1"}
        async with asyncio.timeout(20), NameServer(records) as dns:
            a = bound()
            async with house(tmp_path / "a", "a.test", a, dns.port, port) as one:
                await one.send("ann@b.test", b"Subject: later\r\n\r\nx\r\n")
                queue = one.parts.site.spool["SMTP"].outgoing
                while not (items := list(queue.items())):
                    await asyncio.sleep(0.01)
                ((item, due),) = items
                waiting = queue.look(item)
                assert waiting is not None and waiting.hop == "b.test" and waiting.attempt.count == 1
                assert "451 4.4.1 mail.b.test [127.0.0.1]" in waiting.attempt.error and due > one.parts.site.clock.now()
                async with house(tmp_path / "b", "b.test", sock, dns.port, a.getsockname()[1]) as other:
                    agent = one.parts.connectors["SMTP"].outbound  # type: ignore[attr-defined]
                    assert await agent.try_now("b.test") == 1
                    agent.pool.lane("127.0.0.1", port).down_until = 0.0  # the pause after a failure is over
                    claim = one.parts.site.spool.claim(queue, item)
                    assert claim is not None
                    one.parts.mta.take(claim)
                    (found,) = await other.inbox(1)
                    assert found.endswith(b"Subject: later\r\n\r\nx\r\n")
                    await one.parts.mta.drain()
                    assert not list(queue.items())

    asyncio.run(main())
