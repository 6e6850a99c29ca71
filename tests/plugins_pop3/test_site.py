"""POP3 over the real store and the real TAB provider, in a site as the host assembles it."""

from __future__ import annotations

import asyncio
import poplib
import socket
from pathlib import Path

import pytest

from postroom.clock import SystemClock
from postroom.errors import NoSuchMessage, StoreError
from postroom.mailstore import INBOX, Target
from postroom.message import MemoryMessage, new_id
from postroom.records import AuthRecord, MailboxRecord, PostofficeRecord
from postroom.site import Site
from postroom_pop3.maildrop import Locks, Maildrop
from postroom_pop3.service import Pop3Service
from postroom_testing.ground import site_in

YAML = """
server: mail.example.test
plugins:
  tab: {}
  store: {}
  pop3: {plaintext: true, listen: [{port: 0, host: 127.0.0.1}]}
"""
TEXT = b"From: a@example.com\r\nSubject: %d\r\n\r\n.one\r\ntwo\r\n"


async def furnish(site: Site, count: int) -> None:
    """bob@po with that many messages."""
    await site.providers.postoffice.postoffices.put(PostofficeRecord(name="po"))
    await site.providers.postoffice.mailboxes.put(MailboxRecord(postoffice="po", mailbox="bob"))
    await site.providers.authentication.logins.put(AuthRecord(username="bob@po", password="secret", account="po"))
    for n in range(count):
        (placed,) = await site.store.deliver(MemoryMessage(new_id(), TEXT % n), [Target("po", "bob")], arrived=site.clock.now())
        assert not isinstance(placed, Exception), placed


def first_visit(port: int) -> list[bytes]:
    """Fetch all, delete the first two; the unique ids of what stays."""
    client = poplib.POP3("127.0.0.1", port)
    client.user("bob@po")
    client.pass_("secret")
    count, octets = client.stat()
    texts = [b"\r\n".join(client.retr(n)[1]) + b"\r\n" for n in range(1, count + 1)]
    assert texts == [TEXT % n for n in range(5)] and octets == sum(map(len, texts))
    assert client.list()[1] == [b"%d %d" % (n + 1, len(text)) for n, text in enumerate(texts)]
    assert client.top(3, 1)[1][-1] == b".one"
    ids = client.uidl()[1]
    client.dele(1)
    client.dele(2)
    client.quit()
    return [line.split()[1] for line in ids[2:]]


def second_visit(port: int) -> list[bytes]:
    client = poplib.POP3("127.0.0.1", port)
    client.user("bob@po")
    client.pass_("secret")
    ids = [line.split()[1] for line in client.uidl()[1]]
    client.close()
    return ids


def test_a_mailbox_is_fetched_emptied_and_keeps_its_ids(tmp_path: Path) -> None:
    async def main() -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        async with site_in(tmp_path, YAML, clock=SystemClock(), sockets={"pop3": [bound]}) as parts:
            site = parts.site
            await furnish(site, 5)
            service = next(agent for _, agent in parts.agents if isinstance(agent, Pop3Service))
            running = asyncio.create_task(service.run())
            port = bound.getsockname()[1]
            left = await asyncio.to_thread(first_visit, port)
            assert await asyncio.to_thread(second_visit, port) == left
            inbox = await (await site.store.mailbox("po", "bob")).folder(INBOX)
            assert len(inbox.view()) == 3
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            while service.house.open:
                service.house.empty.clear()
                await service.house.empty.wait()

    asyncio.run(main())


def test_a_mailbox_that_is_made_anew_under_a_session_loses_nothing_to_it(tmp_path: Path) -> None:
    """Deleted and added again for somebody else: the old session read the new owner's mail, and removed it when it ended."""

    async def main() -> None:
        async with site_in(tmp_path, YAML, clock=SystemClock()) as parts:
            site = parts.site
            await furnish(site, 2)
            locks = Locks(site.root / "run" / "locks", site.disk)
            drop = await Maildrop.open(site.store, locks, "po", "bob")
            assert drop is not None
            drop.delete(1)
            await site.store.remove("po", "bob")
            with pytest.raises(NoSuchMessage):
                drop.peek(2, 1 << 20)
            await furnish(site, 2)
            with pytest.raises(NoSuchMessage):
                await drop.read(2)
            with pytest.raises(NoSuchMessage):
                drop.peek(2, 1 << 20)
            with pytest.raises(StoreError):
                await drop.commit(mark_read=True)
            drop.release()
            inbox = await (await site.store.mailbox("po", "bob")).folder(INBOX)
            assert len(inbox.view()) == 2

    asyncio.run(main())
