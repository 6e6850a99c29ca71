"""Looks at a message's header before it is taken: is it bounded, has it been around too long, who says to have written it. And what a submitted
one lacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from postroom_mime import addresses
from postroom_mime.addresses import Address
from postroom_smtp import grammar, replies, trace

_FIELDS = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)*+")  # RFC 5322 section 2.2, with section 4.5's blanks
_FIELD_BEGINS = re.compile(rb"[!-9;-~]++[ \t]*+:|[ \t]")


def fault(head: bytes, *, most: int, hops: int) -> bytes | None:
    """The reply that refuses this header, or None. `head` is the front of the message, more than `most` octets of it or all there is."""
    end = head.find(b"\r\n\r\n", 0, most)
    if end < 0:
        end = _end_without_empty_line(head)
        if end > most:
            return replies.HEADER_TOO_BIG
    received = (b"\n" + head[:end].lower()).count(b"\nreceived:")
    return replies.TOO_MANY_HOPS if received > hops else None  # RFC 5321 section 6.3


def _end_without_empty_line(head: bytes) -> int:
    """Where the header ends by a line that is none of its fields: some programs send text without any header."""
    found = _FIELDS.match(head)
    end = found.end() if found is not None else 0
    return len(head) if _FIELD_BEGINS.match(head, end) else end


_NEEDED = re.compile(rb"^(date|message-id|from)[ \t]*:", re.IGNORECASE | re.MULTILINE)


def missing(head: bytes, *, sender: str, message_id: str, server: str, now: float) -> bytes:
    """The fields that RFC 5322 section 3.6 demands and this header lacks, to be put in front of it (RFC 6409 section 8)."""
    there = {found.lower() for found in _NEEDED.findall(head)}
    fields = b""
    if b"date" not in there:
        fields += f"Date: {trace.date(int(now))}\r\n".encode()
    if b"from" not in there and sender:
        fields += f"From: {sender}\r\n".encode()
    if b"message-id" not in there:
        fields += f"Message-ID: <{message_id.lower()}@{server}>\r\n".encode()
    return fields if head.startswith(b"\r\n") or not head or _FIELD_BEGINS.match(head) else fields + b"\r\n"


_FROM = re.compile(rb"^from[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)


def authors(head: bytes) -> Iterator[str]:
    """All addresses of all From fields, as MAIL would name them. Whatever may end a line for some reader ends one here."""
    for found in _FROM.findall(head.replace(b"\r\n", b"\n").replace(b"\r", b"\n")):
        yield from map(_spelt, addresses.mailboxes(found.replace(b"\n", b"").strip()))


def _spelt(address: Address) -> str:
    """In the one spelling that SMTP's grammar has, where it has one."""
    local, host = address.mailbox or b"", address.host or b""
    quoted = b'"%b"' % local.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    known = grammar.mailbox(b"%b@%b" % (local, host)) or grammar.mailbox(b"%b@%b" % (quoted, host))
    return known or f"{local.decode('utf-8', 'replace')}@{host.decode('utf-8', 'replace')}"


class Letterhead:
    """Holds the front of a submitted message back until its header has ended, and puts what is missing before it. `judge` is shown the header,
    and what it answers is the `fault` for which the message is refused."""

    __slots__ = ("_front", "_is_over", "_judge", "_most", "_sender", "fault", "message_id", "now", "server")

    def __init__(
        self,
        *,
        sender: str,
        message_id: str,
        server: str,
        now: float,
        most: int,
        judge: Callable[[bytes], bytes | None] = lambda head: None,
    ) -> None:
        self._sender, self.message_id, self.server, self.now, self._most = sender, message_id, server, now, most
        self._front, self._is_over = bytearray(), False
        self._judge = judge
        self.fault: bytes | None = None

    def take(self, block: bytes) -> bytes:
        """The next octets of the message; those that are certain by now."""
        if self._is_over:
            return block
        front = self._front
        front += block
        end = 0 if front.startswith(b"\r\n") else front.find(b"\r\n\r\n", max(0, len(front) - len(block) - 3)) + 2
        return self._released(front[:end]) if end != 1 else self.end() if len(front) > self._most else b""

    def end(self) -> bytes:
        """What is left at the end of the message, or of patience with its header."""
        if self._is_over:
            return b""
        found = _FIELDS.match(self._front)
        return self._released(self._front[: found.end() if found is not None else 0] or self._front[:1000])

    def _released(self, head: bytearray) -> bytes:
        self._is_over = True
        self.fault = self._judge(bytes(head))
        front, self._front = bytes(self._front), bytearray()
        fields = missing(bytes(head), sender=self._sender, message_id=self.message_id, server=self.server, now=self.now)
        return fields + front
