"""A delivery report as text: multipart/report (RFC 6522) with the fields of RFC 3464, from plain values; for internationalised mail in
the forms of RFC 6533.

Pure. Texts that came from outside lose their control characters and their excess here, so none of them makes a line of its own or one too
long to be sent. A report is never larger than `MOST`: whom it does not hold gets a report of its own (`owed`), an original that does not
fit is returned as its header, and a huge header is cut at a line's end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, Literal

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]  # RFC 3464 section 2.3.3
MOST: Final = 256 * 1024  # octets of a report
HEADER_MOST: Final = 64 * 1024  # octets of the original's header that are returned
_BLOCKS_MOST: Final = 160 * 1024  # octets that the recipients of one report come to
_LINE_MOST: Final = 900  # octets; RFC 5322 section 2.1.1 allows 998
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f]+")
_NO_LINE_END = re.compile(rb"\x00|\r(?!\n)|(?<!\r)\n")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_SUBJECT: Final = {
    "failed": "Undelivered mail returned to sender",
    "delayed": "Delivery is delayed",
    "delivered": "Delivery report",
    "relayed": "Delivery report",
    "expanded": "Delivery report",
}
_SAYS: Final = {
    "failed": "Your message could not be delivered to the recipients below. It will not be tried again.",
    "delayed": "Your message has not been delivered to the recipients below yet. Nothing needs to be done: it will be tried again.",
    "delivered": "Your message was delivered to the recipients below.",
    "relayed": "Your message was handed to the next server for the recipients below. That server does not report deliveries: "
    "you will hear of a failure only.",
    "expanded": "Your message was passed on to all that the recipients below stand for. You will hear of failures only.",
}


DONE: Final[Mapping[Action, tuple[int, str, str]]] = {  # code, status and text where no reply explains it
    "failed": (554, "5.0.0", "Failed"),
    "delayed": (451, "4.0.0", "Waits"),
    "delivered": (250, "2.0.0", "Delivered"),
    "relayed": (250, "2.0.0", "Handed to the next server"),
    "expanded": (250, "2.0.0", "Passed on"),
}
_ASKED: Final[Mapping[Action, str]] = {"failed": "FAILURE", "delayed": "DELAY"}  # RFC 3461 section 4.1; SUCCESS for all others


@dataclass(frozen=True, slots=True)
class Reported:
    """What happened to one recipient."""

    action: Action
    connector: str  # SMTP, or that of a system where addresses have another form
    address: str  # as that connector writes it
    original: str  # RFC 3461 section 4.2: type;address, empty when the sender gave none
    notify: frozenset[str]  # RFC 3461 section 4.1: what the sender wants to hear; empty when it did not say
    status: str  # RFC 3463
    reason: str  # for people
    last: str  # RFC 3464 section 2.3.6: the reply of the last attempt
    remote: str = ""  # RFC 3464 section 2.3.5: the server that gave it; empty where that was this one

    @property
    def kind(self) -> str:
        """RFC 3464 section 2.1.2: the type of the address."""
        return "rfc822" if self.connector == "SMTP" else f"x-postroom-{self.connector.lower()}"

    @property
    def shown(self) -> str:
        """The address as the sender knows it."""
        said = self.original.partition(";")[2]
        if "@" in said and " " not in said:  # any text may stand there
            return said
        return self.address if self.connector == "SMTP" else f"[{self.connector}:{self.address}]"

    @property
    def diagnostic(self) -> str:
        """What was said, without our word of who said it."""
        return self.last.replace(f"{self.remote} said: ", "", 1) if self.remote else self.last

    def is_owed(self, *, known: bool) -> bool:
        """Whether the sender is to hear of it: by its wishes, and as far as we know that it is the sender (features case 41)."""
        if self.action == "failed" and not known and self.status.startswith("5.7.") and self.status != "5.7.30":
            return False  # refused for what it is, as forged mail is; RFC 8689 section 5 has REQUIRETLS (5.7.30) told
        wish = _ASKED.get(self.action, "SUCCESS")
        asked = wish in self.notify if self.notify else wish != "SUCCESS"
        return asked and (known or wish == "FAILURE")


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """Everything a report says. `name` makes its Message-ID and boundary."""

    action: Action
    name: str
    host: str  # who reports
    to: str  # the original's sender
    message: str  # the original's id in our log
    arrived: float  # unix seconds
    now: float
    recipients: Sequence[Reported]
    original: bytes  # the original, or the start of it
    whole: bool = False  # `original` is all of it, and is to be returned
    utf8: bool = False  # the original is internationalised mail (RFC 6531): its sender reads UTF-8
    envid: str = ""  # RFC 3461 section 4.4
    until: float = 0.0  # when it is given up, unix seconds; zero where that is not said

    def compose(self) -> bytes:
        """The report as an RFC 5322 message."""
        boundary = f"=_{self.name}".encode()
        status = self._status()
        told = (
            _part("text/plain; charset=utf-8", self._text()),
            _part(f"message/{'' if status.isascii() else 'global-'}delivery-status", status),
        )
        parts = (*told, self._returned(MOST - sum(map(len, told)) - 4096))
        body = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
        return self._head(body.isascii()) + b"\r\n" + body + b"--%b--\r\n" % boundary

    def _head(self, is_ascii: bool) -> bytes:
        return _lines(
            "Return-Path: <>",
            f"From: Mail delivery <postmaster@{self.host}>",
            f"To: <{self.to}>",
            f"Subject: {_SUBJECT[self.action]}",
            f"Date: {formatdate(self.now)}",
            f"Message-ID: <{self.name}@{self.host}>",
            "Auto-Submitted: auto-replied",  # RFC 3834 section 5
            "MIME-Version: 1.0",
            f"Content-Transfer-Encoding: {'7bit' if is_ascii else '8bit'}",
            f'Content-Type: multipart/report; report-type=delivery-status; boundary="=_{self.name}"',
        )

    def _text(self) -> bytes:
        lines = [_SAYS[self.action], ""]
        for recipient in self.recipients:
            lines += [f"Recipient: {recipient.shown}", f"Reason: {recipient.reason}"]
        if self.until:
            lines += ["", f"It will be given up on {formatdate(self.until)}."]
        return _lines(*lines, "", f"Message: {self.message}")

    def _status(self) -> bytes:
        """RFC 3464 section 2: per-message fields, then a block of fields a recipient."""
        message = [f"Reporting-MTA: dns; {self.host}", f"Arrival-Date: {formatdate(self.arrived)}"]
        if self.envid:
            message.insert(0, f"Original-Envelope-Id: {self.envid}")
        return b"\r\n".join(_lines(*block) for block in (message, *map(self._block, self.recipients)))

    def _block(self, one: Reported) -> list[str]:
        is_tried = self.action in ("failed", "delayed")
        said = one.diagnostic if self.utf8 else _ascii(one.diagnostic)
        fields = (
            ("Original-Recipient", self._original(one.original)),
            ("Final-Recipient", _typed(one.kind, one.address, self.utf8)),
            ("Action", self.action),
            ("Status", one.status),
            ("Remote-MTA", f"dns; {_ascii(one.remote)}" if one.remote else ""),
            ("Diagnostic-Code", f"smtp; {said}" if is_tried or one.remote else ""),
            ("Last-Attempt-Date", formatdate(self.now) if is_tried else ""),
            ("Final-Log-ID", self.message),
            ("Will-Retry-Until", formatdate(self.until) if self.action == "delayed" and self.until else ""),
        )
        return [f"{name}: {value}" for name, value in fields if value]

    def _original(self, said: str) -> str:
        """As the sender said it, unless it is of the type utf-8 (RFC 6533 section 3)."""
        kind, _, address = said.partition(";")
        return _typed(kind, address, self.utf8) if not said.isascii() or kind.lower() == "utf-8" else said

    def _returned(self, room: int) -> bytes:
        """RFC 3461 section 4.3: the whole only of what failed, only where asked for; RFC 6522 section 4: else its header."""
        header = _header_of(self.original)
        is_plain = not self.utf8 or header.isascii()
        if self.whole and self.action == "failed" and len(self.original) <= room and not _NO_LINE_END.search(self.original):
            return _part("message/rfc822" if is_plain else "message/global", self.original)
        return _part("text/rfc822-headers" if is_plain else "message/global-headers", header + b"\r\n")


def owed(happened: Sequence[Reported], *, known: bool) -> Iterator[tuple[Action, Sequence[Reported]]]:
    """The reports that follow: each of one action, as many as their size asks for, each recipient once."""
    for action in DONE:
        once = {(one.connector, one.address): one for one in happened if one.action == action and one.is_owed(known=known)}
        for pack in _packed(list(once.values())):
            yield action, pack


def _packed(recipients: Sequence[Reported]) -> Iterator[Sequence[Reported]]:
    pack: list[Reported] = []
    size = 0
    for one in recipients:
        needs = 400 + sum(_size(text) for text in (one.original, one.address, one.shown, one.reason, one.last, one.remote))
        if pack and size + needs > _BLOCKS_MOST:
            yield pack
            pack, size = [], 0
        pack.append(one)
        size += needs
    if pack:
        yield pack


def _size(text: str) -> int:
    return min(len(text.encode("utf-8", "replace")) * 4, _LINE_MOST)


def _typed(kind: str, address: str, utf8: bool) -> str:
    """RFC 6533 section 3: an address beyond ASCII is of type utf-8, written as it is where UTF-8 is read, else in its 7-bit form."""
    if utf8 and kind.lower() == "utf-8":
        address = _EMBEDDED.sub(_character, address)
    if address.isascii():
        return f"{kind}; {address}"
    return f"utf-8; {address if utf8 else _embedded(address)}"


def _embedded(address: str) -> str:
    """utf-8-addr-xtext: what is not printable ASCII as its code point."""
    return "".join(one if "!" <= one <= "~" and one not in "+=\\" else f"\\x{{{ord(one):02X}}}" for one in address)


def _character(found: re.Match[str]) -> str:
    """What an embedded character stands for; one that no UTF-8 can carry stays as it is written."""
    point = int(found[1], 16)
    return found[0] if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF else chr(point)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _part(kind: str, content: bytes) -> bytes:
    how = "7bit" if content.isascii() else "8bit"
    return _lines(f"Content-Type: {kind}", f"Content-Transfer-Encoding: {how}") + b"\r\n" + content


def _header_of(original: bytes) -> bytes:
    """The original's header, cut at a line's end where it is huge; no octet of it that could be taken for a line's end."""
    header = _NO_LINE_END.sub(b" ", original[: HEADER_MOST + 4].partition(b"\r\n\r\n")[0])
    return header if len(header) <= HEADER_MOST else header[:HEADER_MOST].rpartition(b"\r\n")[0]


def _lines(*lines: str) -> bytes:
    """Lines with CRLF. No control character of a line survives, so no text from outside makes a line of its own; none is too long."""
    return b"".join(_cut(_UNSAFE.sub(b" ", line.encode("utf-8", "replace"))) + b"\r\n" for line in lines)


def _cut(line: bytes) -> bytes:
    return line if len(line) <= _LINE_MOST else line[:_LINE_MOST].decode("utf-8", "ignore").encode() + b" ..."
