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
HELP = _fixed(214, "2.0.0", "HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS AUTH ETRN; see RFC 5321")
LOGGED_IN = _fixed(235, "2.7.0", "Welcome")  # RFC 4954 section 6

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
TOO_MANY_LOGINS = _fixed(421, "4.7.0", "Too many failed logins, try again later")
LOGINS_UNAVAILABLE = _fixed(454, "4.7.0", "Logins cannot be checked now, try again later")  # RFC 4954 section 6
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
TLS_FOR_LOGIN = _fixed(538, "5.7.11", "Encryption required for authentication: say STARTTLS first")  # RFC 4954 section 6
LOGIN_FIRST = _fixed(530, "5.7.0", "Authentication required")  # RFC 4954 section 6
LOGIN_FAILED = _fixed(535, "5.7.8", "Authentication failed")
LOGIN_DISABLED = _fixed(535, "5.7.13", "This login is disabled; ask the administrator")
LOGIN_ALREADY = _fixed(503, "5.5.1", "Already authenticated")
LOGIN_TOO_LATE = _fixed(503, "5.5.1", "AUTH is not permitted within a transaction")  # RFC 4954 section 4
LOGIN_CANCELLED = _fixed(501, "5.7.0", "Authentication cancelled")
LOGIN_UNREADABLE = _fixed(501, "5.5.2", "Cannot read this response")
LOGIN_TOO_LONG = _fixed(500, "5.5.6", "Authentication line is too long")
LOGIN_FOR_ANOTHER = _fixed(535, "5.7.8", "Acting for somebody else is not offered")
NO_SUCH_MECHANISM = _fixed(504, "5.5.4", "This mechanism is not offered here")
TLS_PIPELINED = _fixed(554, "5.5.1", "Nothing may follow STARTTLS before the handshake")
EARLY_TALKER = _fixed(554, "5.5.1", "You spoke before the greeting")
TOO_BIG = _fixed(552, "5.3.4", "Message too big")
HEADER_TOO_BIG = _fixed(552, "5.3.4", "Message header too big")
TOO_MANY_HOPS = _fixed(554, "5.4.6", "Too many Received fields, this looks like a loop")
BARE_LINE_END = _fixed(550, "5.6.11", "Bare CR or LF in message; lines end with CRLF")
BARE_LF_COMMAND = _fixed(500, "5.5.2", "Lines end with CRLF")
NOT_WELCOME = _fixed(554, "5.7.1", "Connection refused by the administrator of this server")
SENDER_BANNED = _fixed(550, "5.7.1", "The recipient's domain does not take mail from this sender")

TOO_MANY_AUTHORS = _fixed(554, "5.6.0", "Too many addresses in From")
HOLD_NOT_OFFERED = _fixed(555, "5.5.4", "Parameter not recognized: FUTURERELEASE is for submission")
HOLD_TOO_LONG = _fixed(501, "5.5.4", "That is longer than messages are held here")  # RFC 4865
# Who may send what to whom.
RELAYING_DENIED = Reply(550, "5.7.1", "Relaying denied")

# Refusals of the grammar, as values that `wire` makes octets of.
BAD_SYNTAX = Reply(501, "5.5.4", "Syntax error in parameters or arguments")
BAD_PATH = Reply(501, "5.1.3", "Not a mailbox: write <local-part@domain>")
BAD_SENDER_PATH = Reply(501, "5.1.7", "Not a mailbox: write <local-part@domain> or <>")
BAD_HELLO = Reply(501, "5.5.4", "Say who you are: EHLO your.host.name or EHLO [address]")
NOT_ASCII = Reply(553, "5.6.7", "Non-ASCII addresses need SMTPUTF8")  # RFC 6531 section 3.5
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognized")


def challenge(data: bytes) -> bytes:
    """A SASL challenge, in base64 already (RFC 4954 section 4)."""
    return b"334 " + data + b"\r\n"


def refused_for(seconds: float) -> bytes:
    """Nobody is heard there for a while, not even with the right password."""
    return wire(Reply(454, "4.7.0", f"Too many failed logins; try again in {int(seconds) + 1} seconds"))


def not_theirs(sender: str, login: str) -> bytes:
    """The reverse-path belongs to somebody else (RFC 6409 section 6.1)."""
    return wire(Reply(550, "5.7.1", f"{sender} is not an address of the login {login}"))


def too_fast(what: str, whose: str, seconds: float) -> bytes:
    """A rate limit, and when there is room again."""
    return wire(Reply(450, "4.7.1", f"Too many {what} from this {whose}; try again in {int(seconds) + 1} seconds"))


def trying(node: str, count: int) -> bytes:
    """RFC 1985 section 5.2."""
    if not count:
        return wire(Reply(251, "2.0.0", f"OK, no messages waiting for node {node}"))
    return wire(Reply(253, "2.0.0", f"OK, {count} pending messages for node {node} started"))


def cannot_try(node: str) -> bytes:
    return wire(Reply(458, "4.3.0", f"Unable to queue messages for node {node}"))


def may_not_try(node: str) -> bytes:
    return wire(Reply(459, "4.7.1", f"Node {node} not allowed: this is for peers that may relay"))


def queued(message_id: str) -> bytes:
    return b"250 2.0.0 Ok: queued as " + message_id.encode() + b"\r\n"


def chunk_ok(octets: int) -> bytes:
    """RFC 3030 section 2."""
    return b"250 2.0.0 %d octets received\r\n" % octets
