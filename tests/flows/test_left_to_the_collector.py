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
Client = smtplib.SMTP | poplib.POP3 | imaplib.IMAP4
Way = Callable[[str, int, ssl.SSLContext], None]
TO: dict[str, Callable[[int, ssl.SSLContext], Client]] = {
    "smtp": lambda port, trust: smtplib.SMTP("localhost", port),
    "smtps": lambda port, trust: smtplib.SMTP_SSL("localhost", port, context=trust),
    "pop3": lambda port, trust: poplib.POP3("localhost", port),
    "pop3s": lambda port, trust: poplib.POP3_SSL("localhost", port, context=trust),
    "imap": lambda port, trust: imaplib.IMAP4("localhost", port),
    "imaps": lambda port, trust: imaplib.IMAP4_SSL("localhost", port, ssl_context=trust),
}


def _used(client: Client) -> Client:
    match client:
        case smtplib.SMTP():
            client.sendmail("ann@example.com", [LOGIN], letter())
            client.docmd("MAIL", "FROM:<ann@example.com>")
        case poplib.POP3():
            client.user(LOGIN)
            client.pass_(PASSWORD)
            assert client.retr(1)[0].startswith(b"+OK")
            client.dele(1)
        case _:
            client.login(LOGIN, PASSWORD)
            client.select()
            assert client.fetch("1:*", "(FLAGS ENVELOPE)")[0] == client.store("1", "+FLAGS", "\\Seen")[0] == "OK"
            client.append("INBOX", "", "", letter())
    return client


def _left(client: Client) -> None:
    client.logout() if isinstance(client, imaplib.IMAP4) else client.quit()


def politely(label: str, port: int, trust: ssl.SSLContext) -> None:
    _left(_used(TO[label](port, trust)))


def with_tls_begun(label: str, port: int, trust: ssl.SSLContext) -> None:
    match client := TO[label](port, trust):
        case smtplib.SMTP():
            client.starttls(context=trust)
        case poplib.POP3():
            client.stls(trust)
        case _:
            client.starttls(trust)
    _left(_used(client))


def cut_off(label: str, port: int, trust: ssl.SSLContext) -> None:
    client = _used(TO[label](port, trust))
    client.shutdown() if isinstance(client, imaplib.IMAP4) else client.close()


def cut_off_in_idle(label: str, port: int, trust: ssl.SSLContext) -> None:
    _cut_off_after(b"x IDLE\r\n", b"+", port)


def cut_off_while_it_watches(label: str, port: int, trust: ssl.SSLContext) -> None:
    _cut_off_after(b"x NOTIFY SET (SELECTED (MessageNew MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))\r\n", b"x OK", port)


def _cut_off_after(command: bytes, answer: bytes, port: int) -> None:
    client = imaplib.IMAP4("localhost", port)
    _used(client)
    client.send(command)
    assert client.readline().startswith(answer)
    client.shutdown()


def turned_away(label: str, port: int, trust: ssl.SSLContext) -> None:
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(6)]
    greetings = [sock.recv(100) for sock in socks]
    assert sum(b"too many connections" in greeting for greeting in greetings) == 2
    for sock in socks:
        sock.close()


def handshake_refused(label: str, port: int, trust: ssl.SSLContext) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while sock.recv(100):
            pass


SESSIONS: list[tuple[str, Way]] = [
    *((label, way) for label in ("smtp", "pop3", "imap") for way in (politely, with_tls_begun, cut_off)),
    *((label, way) for label in ("smtps", "pop3s", "imaps") for way in (politely, cut_off, handshake_refused)),
    *(("imap", way) for way in (cut_off_in_idle, cut_off_while_it_watches)),
    *((label, turned_away) for label in ("pop3", "imap")),
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


@pytest.mark.parametrize(("label", "way"), SESSIONS)
def test_a_session_that_had_ended_stayed_with_all_it_held_until_the_collector_came(tmp_path: Path, label: str, way: Way) -> None:
    async def main() -> None:
        trust = certificates(tmp_path)
        sockets = {one: [socket.create_server(("127.0.0.1", 0))] for one in TO}
        port, listening = sockets[label][0].getsockname()[1], list[Agent]()
        async with site_in(tmp_path, YAML, clock=SystemClock(), sockets=sockets, listening=listening) as parts:
            await furnish(parts.site)
            providers = parts.site.providers
            await providers.smtp.domains.put(DomainRecord(domain=PO, account=PO))
            await providers.address_map.rows.put(AddressMapRecord(source=f"[SMTP:{LOGIN}]", destination=f"[SF:{PO}/bob]", account=PO))
            for _ in range(3):
                await parts.site.store.deliver(MemoryMessage(new_id(), letter()), [Target(PO, "bob")], arrived=1.6e9)
            running = [asyncio.create_task(agent.run()) for _, agent in parts.agents]
            await until(lambda: len(listening) == len(TO) // 2)
            await asyncio.to_thread(way, label, port, trust)  # for what is made once
            with _without_collector():
                before = _ours()  # with what may still be going of that session: so two are counted
                for _ in range(2):
                    await asyncio.to_thread(way, label, port, trust)
                with suppress(AssertionError):
                    await until(lambda: not _ours() - before, patience=5)
                assert not _ours() - before
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    uvloop.run(main())
