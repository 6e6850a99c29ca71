"""What we say: every reply of RFC 5321 section 4.2 that this server gives, with its enhanced code of RFC 3463.

Fixed replies are wire octets made once. `wire` turns any `Reply` (a hook's, the router's) into octets that are safe to send: one
reply whatever the text holds, no line over 512 octets.
"""

from __future__ import annotations

import re

from postroom.outcome import Reply

_LINE = 400  # octets of text a line, so that code, enhanced code and CRLF stay within RFC 5321 section 4.5.3.1.5
_MOST = 10  # lines
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_FOUL = re.compile(r"[^\x20-\x7e]+")


def wire(reply: Reply) -> bytes:
    """The reply as octets. Text outside printable ASCII becomes a blank or a question mark; a long text takes several lines."""
    code = reply.code if 200 <= reply.code <= 599 else 451
    enhanced = f"{reply.enhanced} " if _ENHANCED.fullmatch(reply.enhanced) else ""
    text = _FOUL.sub(lambda found: " " if found[0].isspace() else "?", reply.text).strip()
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)][:_MOST] or [""]
    last = len(lines) - 1
    return b"".join(f"{code}{' ' if at == last else '-'}{enhanced}{line}".rstrip().encode() + b"\r\n" for at, line in enumerate(lines))


def _fixed(code: int, enhanced: str, text: str) -> bytes:
    return wire(Reply(code, enhanced, text))


# What went well.
CLOSING = _fixed(221, "2.0.0", "Bye")
READY_FOR_TLS = _fixed(220, "2.0.0", "Ready to start TLS")
OK = _fixed(250, "2.0.0", "Ok")
SENDER_OK = _fixed(250, "2.1.0", "Sender ok")
RECIPIENT_OK = _fixed(250, "2.1.5", "Recipient ok")
WONT_VERIFY = _fixed(252, "2.5.2", "Cannot verify, but will take the message and try")  # RFC 5321 section 3.5.3
START_INPUT = b"354 End data with <CR><LF>.<CR><LF>\r\n"
HELP = _fixed(214, "2.0.0", "HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS; see RFC 5321")

# The world is wrong: try again.
SHUTTING_DOWN = _fixed(421, "4.3.2", "Service is shutting down, try again soon")
BROKEN = _fixed(421, "4.3.0", "Local error, open another connection")
TIMED_OUT = _fixed(421, "4.4.2", "Timed out waiting for you")
TOO_SLOW = _fixed(421, "4.4.2", "Too slow")
TOO_MANY_ERRORS = _fixed(421, "4.7.0", "Too many errors")
TOO_MANY_COMMANDS = _fixed(421, "4.7.0", "Too many commands without a message")
TOO_MANY_MESSAGES = _fixed(421, "4.7.0", "Too many messages on one connection, open another")
TOO_MANY_CONNECTIONS = _fixed(421, "4.7.0", "Too many connections, try again later")
SESSION_TOO_LONG = _fixed(421, "4.7.0", "Session took too long, open another connection")
OVERLOADED = _fixed(452, "4.3.1", "Too busy, try again later")
TOO_MANY_RECIPIENTS = _fixed(452, "4.5.3", "Too many recipients, send the rest in another message")
DISK_FULL = _fixed(452, "4.3.1", "Out of storage, try again later")
LOCAL_ERROR = _fixed(451, "4.3.0", "Local error, try again later")
TLS_UNAVAILABLE = _fixed(454, "4.7.0", "TLS is not available")  # RFC 3207 section 4

# The peer is wrong.
LINE_TOO_LONG = _fixed(500, "5.5.2", "Line too long")
FOUL_OCTETS = _fixed(500, "5.5.2", "Octet not allowed in a command")
UNKNOWN_COMMAND = _fixed(500, "5.5.1", "Command not recognized")
NOT_IMPLEMENTED = _fixed(502, "5.5.1", "Command not implemented")
HELLO_FIRST = _fixed(503, "5.5.1", "Say EHLO first")
MAIL_FIRST = _fixed(503, "5.5.1", "Say MAIL first")
RECIPIENT_FIRST = _fixed(503, "5.5.1", "Say RCPT first")
NESTED_MAIL = _fixed(503, "5.5.1", "A transaction is under way already")
IN_CHUNKS = _fixed(503, "5.5.1", "The message comes in BDAT chunks; only BDAT or RSET may follow")  # RFC 3030 section 2
CHUNK_OUT_OF_TURN = _fixed(503, "5.5.1", "BDAT out of turn; the chunk was discarded")
CHUNK_SIZE_UNKNOWN = _fixed(501, "5.5.4", "BDAT needs a size in octets; closing, because what follows cannot be told apart")
BINARY_NEEDS_BDAT = _fixed(503, "5.5.1", "BODY=BINARYMIME must be sent with BDAT")  # RFC 3030 section 3
NO_VALID_RECIPIENTS = _fixed(554, "5.5.1", "No valid recipients")
TLS_ALREADY = _fixed(503, "5.5.1", "TLS is on already")
TLS_FIRST = _fixed(530, "5.7.0", "Must issue a STARTTLS command first")  # RFC 3207 section 4
TLS_PIPELINED = _fixed(554, "5.5.1", "Nothing may follow STARTTLS before the handshake")
EARLY_TALKER = _fixed(554, "5.5.1", "You spoke before the greeting")
TOO_BIG = _fixed(552, "5.3.4", "Message too big")
HEADER_TOO_BIG = _fixed(552, "5.3.4", "Message header too big")
TOO_MANY_HOPS = _fixed(554, "5.4.6", "Too many Received fields, this looks like a loop")
BARE_LINE_END = _fixed(550, "5.6.11", "Bare CR or LF in message; lines end with CRLF")
BARE_LF_COMMAND = _fixed(500, "5.5.2", "Lines end with CRLF")
NOT_WELCOME = _fixed(554, "5.7.1", "Connection refused by the administrator of this server")
SENDER_BANNED = _fixed(550, "5.7.1", "The recipient's domain does not take mail from this sender")

# Refusals of the grammar, as values that `wire` makes octets of.
BAD_SYNTAX = Reply(501, "5.5.4", "Syntax error in parameters or arguments")
BAD_PATH = Reply(501, "5.1.3", "Not a mailbox: write <local-part@domain>")
BAD_SENDER_PATH = Reply(501, "5.1.7", "Not a mailbox: write <local-part@domain> or <>")
BAD_HELLO = Reply(501, "5.5.4", "Say who you are: EHLO your.host.name or EHLO [address]")
NOT_ASCII = Reply(553, "5.6.7", "Non-ASCII addresses need SMTPUTF8")  # RFC 6531 section 3.5
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognized")


def queued(message_id: str) -> bytes:
    return b"250 2.0.0 Ok: queued as " + message_id.encode() + b"\r\n"


def chunk_ok(octets: int) -> bytes:
    """RFC 3030 section 2."""
    return b"250 2.0.0 %d octets received\r\n" % octets
