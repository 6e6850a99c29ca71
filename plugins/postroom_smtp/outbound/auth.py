"""Logging in at a smart host: PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), from the client's side. Pure.

A password goes out only where nobody can listen, or where the operator said `tls: none` for that host and so takes the risk. It never
gets into a log: the values here do not print it.
"""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are at a smart host."""

    user: str
    password: str = field(repr=False)
    in_clear: bool = False  # the operator lets the password travel without TLS


@dataclass(frozen=True, slots=True)
class Exchange:
    """One way to log in: what stands behind AUTH, and the answer to each challenge in turn."""

    command: bytes
    answers: tuple[Callable[[bytes], bytes], ...] = field(default=(), repr=False)

    def answer(self, number: int, challenge: bytes) -> bytes | None:
        """The line that answers the challenge as it came, in base64; None where none is due, or it cannot be read."""
        if number >= len(self.answers):
            return None
        try:
            return _base64(self.answers[number](binascii.a2b_base64(challenge, strict_mode=True)))
        except (binascii.Error, ValueError):
            return None


def exchange(mechanisms: Collection[str], who: Credentials, *, sealed: bool) -> Exchange | None:
    """The best of what the server offers, or None where nothing fits."""
    user, password = who.user.encode(), who.password.encode()
    may_show = sealed or who.in_clear
    if "PLAIN" in mechanisms and may_show:
        return Exchange(b"AUTH PLAIN " + _base64(b"\0%s\0%s" % (user, password)))
    if "LOGIN" in mechanisms and may_show:
        return Exchange(b"AUTH LOGIN", (lambda challenge: user, lambda challenge: password))
    if "CRAM-MD5" in mechanisms:
        return Exchange(b"AUTH CRAM-MD5", (lambda challenge: b"%s %s" % (user, hmac.digest(password, challenge, "md5").hex().encode()),))
    return None


def _base64(octets: bytes) -> bytes:
    return binascii.b2a_base64(octets, newline=False)
