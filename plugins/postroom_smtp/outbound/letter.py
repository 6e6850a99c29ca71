"""One message as a peer is to be told of it: MAIL and RCPT with the parameters that this peer takes. Pure.

Nothing goes on the wire that was not read by the grammar of addresses first: a name with a CR, a bracket or a blank in it never becomes
a command. What a peer cannot take as it is comes back as the reply that says so, for the message or for a recipient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from postroom.address import InternalAddress
from postroom.envelope import Envelope, Recipient
from postroom.outcome import Reply
from postroom_smtp import grammar
from postroom_smtp.outbound.reply import Offers

_KIND = re.compile(r"[A-Za-z0-9-]{1,30}")  # RFC 3461 section 4.2, an atom; registered types have no other octets
_ORIGINAL = 500  # octets of the parameter, at most (RFC 3461 section 5.4)
_WISHES = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})  # RFC 3461 section 4.1
NO_MAILBOX = Reply(553, "5.1.3", "The recipient's address is not one that SMTP can carry")
NO_SENDER = Reply(553, "5.1.7", "The sender's address is not one that SMTP can carry")
NEEDS_UTF8 = Reply(553, "5.6.7", "The message needs SMTPUTF8, which the next server does not offer")  # RFC 6531 section 3.5
NEEDS_REQUIRETLS = Reply(550, "5.7.30", "The sender asked for REQUIRETLS, which the next server does not offer")  # RFC 8689 section 5
TOO_BIG = Reply(552, "5.3.4", "The message is larger than the next server takes")  # RFC 1870 section 6.1


@dataclass(frozen=True, slots=True)
class Letter:
    """What MAIL is to say, whoever the peer is."""

    sender: bytes  # a path without its brackets; empty for the null sender
    size: int  # octets
    body: str = "7BIT"  # what the octets are: 7BIT, 8BITMIME, BINARYMIME
    utf8: bool = False  # whether header or sender are not ASCII, so that SMTPUTF8 cannot be done without
    ret: str = ""
    envid: str = ""
    require_tls: bool = False


@lru_cache(maxsize=4096)
def path(detail: str) -> bytes | None:
    """A mailbox as it stands between angle brackets, or None where it is none."""
    known = grammar.mailbox(detail.encode("utf-8", "surrogatepass")) if len(detail) <= grammar.PATH else None
    return None if known is None or not known.isprintable() else known.encode()


def sender_path(sender: InternalAddress | None) -> bytes | None:
    """The reverse path; None where the address cannot be one."""
    return b"" if sender is None else path(sender.detail) if sender.connector == "SMTP" else None


def obstacle(letter: Letter, offers: Offers, *, sealed: bool) -> Reply | None:
    """Why this peer cannot take the message at all. Its 8-bit octets are none: they can be made 7-bit."""
    if letter.require_tls and not (sealed and offers.require_tls):
        return NEEDS_REQUIRETLS
    if letter.utf8 and not offers.utf8:
        return NEEDS_UTF8
    if offers.size and letter.size > offers.size:
        return Reply(TOO_BIG.code, TOO_BIG.enhanced, f"{TOO_BIG.text}: {letter.size} octets, it takes {offers.size}")
    return None


def mail(letter: Letter, offers: Offers, *, utf8: bool) -> bytes:
    """The MAIL command. `utf8`: this transaction needs SMTPUTF8."""
    words = [b"MAIL FROM:<%s>" % letter.sender]
    if offers.takes_size:
        words.append(b" SIZE=%d" % letter.size)
    if letter.body != "7BIT":
        words.append(b" BODY=" + letter.body.encode())
    if utf8:
        words.append(b" SMTPUTF8")
    if letter.require_tls:
        words.append(b" REQUIRETLS")
    if offers.dsn and letter.ret in ("FULL", "HDRS"):
        words.append(b" RET=" + letter.ret.encode())
    if offers.dsn and letter.envid:
        words.append(b" ENVID=" + xtext(letter.envid))
    words.append(b"\r\n")
    return b"".join(words)


def rcpt(where: bytes, recipient: Recipient, offers: Offers, *, utf8: bool) -> bytes:
    """The RCPT command, with what the sender wants to hear where the peer will see to it (RFC 3461 section 5.2.1)."""
    command = b"RCPT TO:<%s>" % where
    if offers.dsn and (wishes := recipient.notify & _WISHES):
        command += b" NOTIFY=" + ",".join(sorted(wishes)).encode()
    if offers.dsn and recipient.original:
        command += _orcpt(recipient.original, utf8)
    return command + b"\r\n"


def _orcpt(original: str, utf8: bool) -> bytes:
    """The parameter; nothing where what we have is none, for a program may have written the command file."""
    kind, _, address = original.partition(";")
    text = xtext(address) if address.isascii() and kind.lower() != "utf-8" else _unitext(address, utf8)
    made = b" ORCPT=%s;%s" % (kind.encode("ascii", "replace"), text)
    return made if _KIND.fullmatch(kind) and text and len(made) <= _ORIGINAL else b""


def xtext(text: str) -> bytes:
    """RFC 3461 section 4."""
    octets = text.encode("ascii", "replace")
    return b"".join(b"%c" % one if 33 <= one <= 126 and one not in b"+=" else b"+%02X" % one for one in octets)


def _unitext(text: str, utf8: bool) -> bytes:
    """RFC 6533 section 3: utf-8-addr-unitext where the transaction is of SMTPUTF8, else utf-8-addr-xtext."""
    plain = "".join(one if _is_qchar(one) or (utf8 and ord(one) > 127) else f"\\x{{{ord(one):02X}}}" for one in text)
    return plain.encode()


def _is_qchar(one: str) -> bool:
    return "!" <= one <= "~" and one not in "+=\\"


def needs_utf8(wheres: Sequence[bytes], letter: Letter) -> bool:
    """Whether a transaction with these recipients is one of SMTPUTF8."""
    return letter.utf8 or not all(where.isascii() for where in wheres)


def of_envelope(envelope: Envelope, size: int, body: str, *, header_is_ascii: bool) -> Letter | None:
    """The letter of an envelope; None where its sender cannot be written."""
    sender = sender_path(envelope.sender)
    if sender is None:
        return None
    utf8 = not sender.isascii() or (envelope.utf8 and not header_is_ascii)
    return Letter(sender, size, body, utf8, envelope.ret, envelope.envid, envelope.require_tls)
