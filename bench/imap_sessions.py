"""What sessions cost beside their mailbox: logging in, waiting in IDLE, being told of new mail."""

from __future__ import annotations

import contextlib
import resource
import smtplib
import ssl
import statistics
import time

from bench import meter
from bench.imap_client import Session
from bench.meter import waited
from bench.server import HOST, Account, Server

LOGINS = 100
TOLD = 20
UNTOLD = 10.0  # seconds


def logins(server: Server, account: Account) -> dict[str, float]:
    """Connect, LOGIN with a password seen before, LOGOUT, one after the other."""
    _logged_in(server, account)
    meter.quiet(server.groups)
    used, start = meter.cpu(server.groups), time.perf_counter()
    for _ in range(LOGINS):
        _logged_in(server, account)
    wall = time.perf_counter() - start
    meter.quiet(server.groups)
    return {"CPU ms each": (meter.cpu(server.groups) - used).total / LOGINS * 1e3, "a second": LOGINS / wall}


def delivered(server: Server, account: Account, text: bytes) -> dict[str, float]:
    """Milliseconds from the reply to a message, by SMTP or LMTP, to the EXISTS of a session that waits in IDLE."""
    session = Session(server.ports["imap"]).login(account.login, account.password)
    session.do(b"SELECT INBOX")
    session.idle(UNTOLD)
    delays = []
    lmtp = server.ports.get("lmtp")
    with smtplib.LMTP(HOST, lmtp) if lmtp else smtplib.SMTP(HOST, server.ports["smtp"]) as client:
        for _ in range(TOLD):
            client.sendmail("rita@example.org", [account.address], text)
            start = time.perf_counter()
            try:
                while b"EXISTS" not in session.line():
                    pass
            except TimeoutError:  # nothing was said: told as the time we waited
                delays.append(UNTOLD * 1e3)
                break
            delays.append((time.perf_counter() - start) * 1e3)
    session.close()
    return {"median ms": statistics.median(delays), "worst ms": max(delays)}


def idling(server: Server, account: Account, count: int, *, tls: bool) -> dict[str, float]:
    """PSS of one more session in IDLE on one mailbox: the growth from half of them to all, as the first fit into memory left free."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    trust = _no_check() if tls else None
    with contextlib.ExitStack() as closed:
        _held(server, account, count // 2, trust, closed)
        before = _settled(server)
        _held(server, account, count - count // 2, trust, closed)
        after = _settled(server)
        start, used = time.perf_counter(), meter.cpu(server.groups)
        waited(lambda: False, 2)
        idle = (meter.cpu(server.groups) - used).total / (time.perf_counter() - start)
    meter.quiet(server.groups, at_most=30)
    each = count - count // 2
    return {
        "sessions": count,
        "PSS KiB each": (after.pss - before.pss) / each,
        "RSS KiB each": (after.rss - before.rss) / each,
        "PSS MiB in all": after.pss / 1024,
        "CPU ms/s while idle": idle * 1e3,
    }


def _logged_in(server: Server, account: Account) -> None:
    session = Session(server.ports["imap"]).login(account.login, account.password)
    session.do(b"LOGOUT")
    session.close()


def _held(server: Server, account: Account, count: int, trust: ssl.SSLContext | None, closed: contextlib.ExitStack) -> None:
    for _ in range(count):
        session = Session(server.ports["imaps" if trust else "imap"], trust=trust)
        closed.callback(session.close)
        session.login(account.login, account.password).do(b"SELECT INBOX")
        session.idle()


def _settled(server: Server) -> meter.Memory:
    meter.quiet(server.groups, at_most=30)
    return meter.memory(server.groups)


def _no_check() -> ssl.SSLContext:
    """The peer is our own child; its certificate is no question here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
