"""What a session held goes when the session ends, not when Python's collector of cycles comes by: a view keeps its folder's columns, and may keep
a descriptor of its log."""

from __future__ import annotations

import asyncio
import gc
import imaplib
import poplib
import smtplib
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from postroom.clock import SystemClock
from postroom.connectors import Agent
from postroom.mailstore import Target
from postroom.message import MemoryMessage, new_id
from postroom.records import AddressMapRecord, DomainRecord
from postroom_testing.ground import site_in
from postroom_testing.waiting import until
from tests.plugins_imap4.house import LOGIN, PASSWORD, PO, certificates, furnish, letter

OURS = ("postroom_smtp.", "postroom_pop3.", "postroom_imap4.", "postroom_net.", "postroom_store.view.")
LABELS = ("smtp", "smtps", "pop3", "pop3s", "imap", "imaps")
YAML = """
server: mail.test
tls: {certificate: c.pem, key: k.pem}
plugins:
  tab: {}
  store: {}
  postoffice: {}
  smtp: {listen: [{port: 0, host: 127.0.0.1}, {port: 0, host: 127.0.0.1, tls: implicit}]}
  pop3: {plaintext: loopback, connections_per_ip: 4, exempt: [], listen: [{port: 0, host: 127.0.0.1}, {port: 0, host: 127.0.0.1, tls: implicit}]}
  imap4: {plaintext: loopback, connections_per_ip: 4, exempt: [], listen: [{port: 0, host: 127.0.0.1}, {port: 0, host: 127.0.0.1, tls: implicit}]}
"""
Session = Callable[[int, ssl.SSLContext], None]


def _sent(client: smtplib.SMTP) -> None:
    client.sendmail("ann@example.com", [LOGIN], letter())


def _fetched(client: poplib.POP3) -> None:
    client.user(LOGIN)
    client.pass_(PASSWORD)
    assert client.retr(1)[0].startswith(b"+OK")


def _looked_at(client: imaplib.IMAP4) -> None:
    client.login(LOGIN, PASSWORD)
    client.select()
    assert client.fetch("1:*", "(FLAGS ENVELOPE)")[0] == client.store("1", "+FLAGS", "\\Seen")[0] == "OK"


def smtp(port: int, trust: ssl.SSLContext) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        _sent(client)


def smtps(port: int, trust: ssl.SSLContext) -> None:
    with smtplib.SMTP_SSL("localhost", port, context=trust) as client:
        _sent(client)


def smtp_starttls(port: int, trust: ssl.SSLContext) -> None:
    with smtplib.SMTP("localhost", port) as client:
        client.starttls(context=trust)
        _sent(client)


def smtp_cut(port: int, trust: ssl.SSLContext) -> None:
    client = smtplib.SMTP("127.0.0.1", port)
    client.ehlo()
    client.docmd("MAIL", "FROM:<ann@example.com>")
    client.close()


def pop3(port: int, trust: ssl.SSLContext) -> None:
    client = poplib.POP3("127.0.0.1", port)
    _fetched(client)
    client.quit()


def pop3s(port: int, trust: ssl.SSLContext) -> None:
    client = poplib.POP3_SSL("localhost", port, context=trust)
    _fetched(client)
    client.quit()


def pop3_stls(port: int, trust: ssl.SSLContext) -> None:
    client = poplib.POP3("localhost", port)
    client.stls(trust)
    _fetched(client)
    client.quit()


def pop3_cut(port: int, trust: ssl.SSLContext) -> None:
    client = poplib.POP3("127.0.0.1", port)
    _fetched(client)
    client.dele(1)
    client.close()


def imap(port: int, trust: ssl.SSLContext) -> None:
    client = imaplib.IMAP4("127.0.0.1", port)
    _looked_at(client)
    client.append("INBOX", "", "", letter())
    client.logout()


def imaps(port: int, trust: ssl.SSLContext) -> None:
    client = imaplib.IMAP4_SSL("localhost", port, ssl_context=trust)
    _looked_at(client)
    client.logout()


def imap_starttls(port: int, trust: ssl.SSLContext) -> None:
    client = imaplib.IMAP4("localhost", port)
    client.starttls(trust)
    _looked_at(client)
    client.logout()


def imap_cut(port: int, trust: ssl.SSLContext) -> None:
    client = imaplib.IMAP4("127.0.0.1", port)
    _looked_at(client)
    client.shutdown()


def imap_idles(port: int, trust: ssl.SSLContext) -> None:
    client = imaplib.IMAP4("127.0.0.1", port)
    _looked_at(client)
    client.send(b"x IDLE\r\n")
    assert client.readline().startswith(b"+")
    client.shutdown()


def imap_watches(port: int, trust: ssl.SSLContext) -> None:
    client = imaplib.IMAP4("127.0.0.1", port)
    _looked_at(client)
    client.send(b"x NOTIFY SET (SELECTED (MessageNew MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))\r\n")
    assert client.readline().startswith(b"x OK")
    client.shutdown()


def turned_away(port: int, trust: ssl.SSLContext) -> None:
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(6)]
    greetings = [sock.recv(100) for sock in socks]
    assert sum(b"too many connections" in greeting for greeting in greetings) == 2
    for sock in socks:
        sock.close()


def handshake_refused(port: int, trust: ssl.SSLContext) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while sock.recv(100):
            pass


SESSIONS: list[tuple[str, Session]] = [
    *(("smtp", one) for one in (smtp, smtp_starttls, smtp_cut)),
    *(("pop3", one) for one in (pop3, pop3_stls, pop3_cut, turned_away)),
    *(("imap", one) for one in (imap, imap_starttls, imap_cut, imap_idles, imap_watches, turned_away)),
    *(("smtps", one) for one in (smtps, handshake_refused)),
    *(("pop3s", one) for one in (pop3s, handshake_refused)),
    *(("imaps", one) for one in (imaps, handshake_refused)),
]


def _ours() -> Counter[str]:
    """How many objects of each of our classes there are, whether anybody can reach them or not."""
    names = (f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    return Counter(name for name in names if name.startswith(OURS))


@contextmanager
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(("label", "session"), SESSIONS)
def test_a_session_that_had_ended_stayed_with_all_it_held_until_the_collector_came(tmp_path: Path, label: str, session: Session) -> None:
    async def main() -> None:
        trust = certificates(tmp_path)
        sockets = {one: [socket.create_server(("127.0.0.1", 0))] for one in LABELS}
        port, listening = sockets[label][0].getsockname()[1], list[Agent]()
        async with site_in(tmp_path, YAML, clock=SystemClock(), sockets=sockets, listening=listening) as parts:
            await furnish(parts.site)
            providers = parts.site.providers
            await providers.smtp.domains.put(DomainRecord(domain=PO, account=PO))
            await providers.address_map.rows.put(AddressMapRecord(source=f"[SMTP:{LOGIN}]", destination=f"[SF:{PO}/bob]", account=PO))
            for _ in range(3):
                await parts.site.store.deliver(MemoryMessage(new_id(), letter()), [Target(PO, "bob")], arrived=1.6e9)
            running = [asyncio.create_task(agent.run()) for _, agent in parts.agents]
            await until(lambda: len(listening) == len(LABELS) // 2)
            await asyncio.to_thread(session, port, trust)  # for what is made once
            with _without_collector():
                before = _ours()  # with what may still be going of that session: so two are counted
                for _ in range(2):
                    await asyncio.to_thread(session, port, trust)
                with suppress(AssertionError):
                    await until(lambda: not _ours() - before, patience=5)
                assert not _ours() - before
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    uvloop.run(main())
