"""The trace lines that every message gets on its way in (RFC 5321 section 4.4).

They are written when the message begins, because a large one streams to disk behind them. Return-Path comes first, so that
whoever relays the message on can cut it off again: only final delivery may show it.
"""

from __future__ import annotations

import time
from functools import lru_cache

from postroom.envelope import Peer

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=8)
def date(seconds: int) -> str:
    """Unix seconds as RFC 5322 section 3.3 writes a date, in UTC."""
    t = time.gmtime(seconds)
    return f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"


@lru_cache
def protocol(extended: bool, tls: bool, authenticated: bool, utf8: bool) -> str:
    """What stands behind `with` (RFC 3848; RFC 6531 section 4.3)."""
    name = "UTF8SMTP" if utf8 else "ESMTP" if extended else "SMTP"
    return name if name == "SMTP" else name + "S" * tls + "A" * authenticated


def lines(*, server: str, peer: Peer, sender: str, recipient: str, message_id: str, now: float, how: str, hidden: bool = False) -> bytes:
    """Return-Path and Received. `recipient` is empty where there are several: nobody learns of the others by it. `hidden`: nor of where
    the client is, which is for who submits from home; what it called itself would tell as much."""
    if hidden:
        peer = Peer(ip="127.0.0.1", helo="hidden.invalid", tls=peer.tls)
    literal = f"[IPv6:{peer.ip}]" if ":" in peer.ip else f"[{peer.ip}]"
    cipher = f"\r\n\t({peer.tls})" if peer.tls else ""
    wanted = f"\r\n\tfor <{recipient}>" if recipient else ""
    return (
        f"Return-Path: <{sender}>\r\n"
        f"Received: from {peer.helo} ({literal}){cipher}\r\n"
        f"\tby {server} (postroom) with {how} id {message_id}{wanted};\r\n"
        f"\t{date(int(now))}\r\n"
    ).encode()
