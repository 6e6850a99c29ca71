"""Command lines of SMTP: octets in, a frozen command out, or the reply that says what is wrong with them.

RFC 5321 section 4.1.2 strictly, with RFC 6531 where the sender said SMTPUTF8; the one leniency is blanks after `FROM:` and `TO:`,
which many clients send. Every expression is linear in the line. Nothing here acts, waits or remembers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import TypeVar

from postroom.address import InternalAddress, smtp
from postroom.envelope import Recipient
from postroom.outcome import Reply
from postroom_net.sasl import MAXIMUM
from postroom_smtp import replies
from postroom_smtp.replies import BAD_HELLO, BAD_PATH, BAD_SENDER_PATH, BAD_SYNTAX, NOT_ASCII, UNKNOWN_PARAMETER

LINE = 2048  # octets of a command line; RFC 5321 section 4.5.3.1.4 asks for 512
PARAMETERS = 1024  # octets more for MAIL and RCPT: RFC 3461 section 5.4, RFC 4954 section 3, RFC 6531 section 3.4
AUTH_LINE = MAXIMUM + 64  # octets of a line with a SASL response (RFC 4954 section 4)
SHORT = 128  # octets of a line, or of a packet, that is remembered with what it says
PATH = 320  # 64 of local part, 255 of domain, the at sign; RFC 5321 section 4.5.3.1 names the first two
LOCAL = 64  # octets of a local part (RFC 5321 section 4.5.3.1.1)
REWRITTEN = (
    255  # and of one that SRS has made, which holds another address and an hour's proof: forwarders send them, and bounces come to them
)


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO, or HELO where not extended."""

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL. No sender is the null reverse-path."""

    sender: InternalAddress | None
    size: int = 0  # RFC 1870; zero when not said
    body: str = "7BIT"  # RFC 6152, RFC 3030
    utf8: bool = False  # RFC 6531
    ret: str = ""  # RFC 3461 section 4.3
    envid: str = ""  # RFC 3461 section 4.4, decoded
    auth: str = ""  # RFC 4954 section 5, decoded; we vouch for nobody, so it is read and passed on to nobody
    hold_for: int = 0  # RFC 4865: seconds; zero when not said
    hold_until: float = 0.0  # RFC 4865: unix seconds; zero when not said


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT. An address without an at sign is the bare postmaster of RFC 5321 section 4.1.1.3."""

    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Data:
    """DATA."""


@dataclass(frozen=True, slots=True)
class Bdat:
    """BDAT: a chunk of this many octets follows its line (RFC 3030 section 2)."""

    size: int
    last: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """RSET."""


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP."""


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT."""


@dataclass(frozen=True, slots=True)
class Verify:
    """VRFY."""


@dataclass(frozen=True, slots=True)
class Help:
    """HELP."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS (RFC 3207)."""


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH (RFC 4954). The initial response as it stood on the line; None without one."""

    mechanism: str
    initial: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Etrn:
    """ETRN (RFC 1985): try now what waits for this node."""

    node: str


@dataclass(frozen=True, slots=True)
class NotOffered:
    """A command that we know and do not implement: EXPN, TURN and kin."""


@dataclass(frozen=True, slots=True)
class ChunkSizeUnknown:
    """A BDAT whose size cannot be read, so that nothing behind it can be trusted to be a command."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A line that is refused whatever the state."""

    reply: bytes


Command = (
    Rcpt | Mail | Hello | Data | Bdat | Quit | Reset | Noop | Verify | Help | StartTls | Auth | Etrn | NotOffered | ChunkSizeUnknown | Wrong
)

# ---------------------------------------------------------------- RFC 5321 section 4.1.2, section 4.1.3; RFC 6531 section 3.3

_ATEXT = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\xff]"
_DOT_STRING = rb"%(a)s+(?:\.%(a)s+)*" % {b"a": _ATEXT}
_QUOTED = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*"'
_LABEL = rb"[A-Za-z0-9\x80-\xff][A-Za-z0-9\-\x80-\xff]*"  # U-labels are measured as A-labels, by `_domain`
_DOMAIN = rb"(?:%(l)s(?:\.%(l)s)*)" % {b"l": _LABEL}
_LITERAL = rb"\[[0-9A-Fa-f:.IPvip]{2,50}\]"
_ROUTE = rb"(?:@%(d)s(?:,@%(d)s)*:)?" % {b"d": _DOMAIN}

_MAILBOX = re.compile(rb"(%s|%s)@(?:(%s)|(%s))" % (_DOT_STRING, _QUOTED, _DOMAIN, _LITERAL))
_REVERSE_PATH = re.compile(rb" +FROM: *<(?:%s(%s))?>(?: +(.*))?" % (_ROUTE, _MAILBOX.pattern), re.IGNORECASE)
_FORWARD_PATH = re.compile(rb" +TO: *<(?:%s(%s)|(Postmaster))>(?: +(.*))?" % (_ROUTE, _MAILBOX.pattern), re.IGNORECASE)

_LDH = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_ASCII_DOMAIN = re.compile(rf"(?=.{{1,255}}\Z){_LDH}(?:\.{_LDH})*")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.|\Z)){4}(?<!\.)")
_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]+)*")
_SRS = re.compile(rb"SRS[01][=+-]", re.IGNORECASE)
_QUOTED_PAIR = re.compile(r"\\(.)")
_HELLO_NAME = re.compile(rb"[A-Za-z0-9._\-]{1,255}|\[[0-9A-Fa-f:.IPvip]{2,50}\]")


def _local(text: str) -> str:
    """The local part in its shortest form: a quoted string that needs no quotes loses them, one that does keeps the fewest escapes."""
    if not text.startswith('"'):
        return text
    plain = _QUOTED_PAIR.sub(r"\1", text[1:-1])
    if _PLAIN_LOCAL.fullmatch(plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _domain(text: str) -> str | None:
    """A domain as DNS knows it (U-labels as A-labels, RFC 6531 section 3.2), or None where it is none."""
    if not text.isascii():
        import idna  # only mail to such domains pays for its tables

        try:
            text = idna.encode(text, uts46=True).decode()
        except idna.IDNAError:
            return None
    return text if _ASCII_DOMAIN.fullmatch(text) else None


def _literal(text: str) -> str | None:
    """An address literal, checked (RFC 5321 section 4.1.3); only the two registered forms exist."""
    inside = text[1:-1]
    if inside[:5].upper() == "IPV6:":
        try:
            return f"[IPv6:{IPv6Address(inside[5:]).compressed}]"
        except AddressValueError:
            return None
    return text if _IPV4.fullmatch(inside) else None


def _mailbox(whole: bytes, local: bytes, domain: bytes | None, literal: bytes | None) -> str | None:
    """The mailbox a path names, in canonical spelling, or None. UnicodeDecodeError where it is not UTF-8."""
    if len(whole) > PATH:
        return None
    where = _domain(domain.decode()) if domain is not None else _literal((literal or b"").decode())
    if where is None or len(local) > (REWRITTEN if _SRS.match(local) else LOCAL):
        return None
    found = f"{_local(local.decode())}@{where}"
    return found if found.isprintable() else None  # beyond ASCII there are more control characters and line ends


def mailbox(text: bytes) -> str | None:
    """A mailbox alone, without angle brackets, in canonical spelling; None where it is none."""
    found = _MAILBOX.fullmatch(text)
    try:
        return _mailbox(text, found[1], found[2], found[3]) if found else None
    except UnicodeDecodeError:
        return None


# ---------------------------------------------------------------- parameters: RFC 5321 section 4.1.2, esmtp-param

_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]+))?")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")  # RFC 3461 section 4
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT = re.compile(r"(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+")  # RFC 6533 section 3
_UNICHAR = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*\-/?^_`{|}~.]{1,64}")
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.IGNORECASE)  # RFC 3339 section 5.6


def xtext(text: str) -> str | None:
    """What an xtext stands for (RFC 3461 section 4), or None where it is none or hides an octet that is not printable ASCII."""
    if not _XTEXT.fullmatch(text):
        return None
    plain = _HEXCHAR.sub(lambda found: chr(int(found[1], 16)), text)
    return plain if plain.isascii() and plain.isprintable() else None  # an encoded CR or LF would end up in notices


def _unitext(text: str) -> str | None:
    """An address in the form utf-8-addr-unitext or utf-8-addr-xtext (RFC 6533 section 3)."""
    if not _UNITEXT.fullmatch(text):
        return None
    try:
        plain = _UNICHAR.sub(lambda found: chr(int(found[1], 16)), text)
        plain.encode()
    except (ValueError, OverflowError):  # beyond Unicode, or half a surrogate pair
        return None
    return plain if plain.isprintable() else None


def _size(mail: Mail, value: str) -> Mail | None:
    return replace(mail, size=int(value)) if value.isascii() and value.isdigit() and len(value) <= 20 else None  # RFC 1870 section 3


def _body(mail: Mail, value: str) -> Mail | None:
    return replace(mail, body=value.upper()) if value.upper() in ("7BIT", "8BITMIME", "BINARYMIME") else None


def _utf8(mail: Mail, value: str) -> Mail | None:
    return None if value else replace(mail, utf8=True)


def _ret(mail: Mail, value: str) -> Mail | None:
    return replace(mail, ret=value.upper()) if value.upper() in ("FULL", "HDRS") else None


def _envid(mail: Mail, value: str) -> Mail | None:
    plain = xtext(value) if len(value) <= 100 else None  # RFC 3461 section 4.4
    return replace(mail, envid=plain) if plain else None


def _auth(mail: Mail, value: str) -> Mail | None:
    plain = xtext(value) if len(value) <= 500 else None  # RFC 4954 section 3
    return replace(mail, auth=plain) if plain else None


def _hold_for(mail: Mail, value: str) -> Mail | None:
    good = value.isascii() and value.isdigit() and len(value) <= 9 and int(value) and not mail.hold_until  # RFC 4865 section 4
    return replace(mail, hold_for=int(value)) if good else None


def _hold_until(mail: Mail, value: str) -> Mail | None:
    if mail.hold_for or not _DATE_TIME.fullmatch(value):
        return None
    try:
        return replace(mail, hold_until=datetime.fromisoformat(value.upper().replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):  # the 31st of February
        return None


def _notify(rcpt: Rcpt, value: str) -> Rcpt | None:
    words = value.upper().split(",")
    wishes = frozenset(words)
    good = words == ["NEVER"] or (wishes <= _NOTIFY and len(wishes) == len(words))  # RFC 3461 section 4.1
    return Rcpt(replace(rcpt.recipient, notify=wishes)) if good else None


def _orcpt(rcpt: Rcpt, value: str) -> Rcpt | None:
    kind, _, text = value.partition(";")
    address = _unitext(text) if kind.lower() == "utf-8" else xtext(text)
    good = address and _ATOM.fullmatch(kind) and len(value) <= 500  # RFC 3461 section 4.2
    return Rcpt(replace(rcpt.recipient, original=f"{kind};{address}")) if good else None


C = TypeVar("C", Mail, Rcpt)
_MAIL: Mapping[str, Callable[[Mail, str], Mail | None]] = {
    "SIZE": _size, "BODY": _body, "SMTPUTF8": _utf8, "RET": _ret, "ENVID": _envid, "AUTH": _auth,
    "HOLDFOR": _hold_for, "HOLDUNTIL": _hold_until,
}  # fmt: skip
_RCPT: Mapping[str, Callable[[Rcpt, str], Rcpt | None]] = {"NOTIFY": _notify, "ORCPT": _orcpt}


def _with_parameters(command: C, text: bytes, known: Mapping[str, Callable[[C, str], C | None]]) -> C | Reply:
    """The command with the parameters behind its path. Each at most once; no value changes its case: ENVID and ORCPT keep theirs."""
    seen: set[str] = set()
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        if found is None:
            return BAD_SYNTAX
        name = found[1].decode().upper()
        if name not in known:
            return Reply(UNKNOWN_PARAMETER.code, UNKNOWN_PARAMETER.enhanced, f"Parameter {name[:40]} not recognized")
        wider = known[name](command, (found[2] or b"").decode()) if name not in seen else None
        if wider is None:
            return Reply(BAD_SYNTAX.code, BAD_SYNTAX.enhanced, f"Bad value of parameter {name}")
        command = wider
        seen.add(name)
    return command


# ---------------------------------------------------------------- commands


def _mail(line: bytes) -> Mail | Reply:
    found = _REVERSE_PATH.fullmatch(line, 4)
    if found is None:
        return BAD_SENDER_PATH
    whole, local, domain, literal, tail = found.groups()
    sender = _mailbox(whole, local, domain, literal) if whole is not None else ""
    if sender is None:
        return BAD_SENDER_PATH
    mail = Mail(smtp(sender) if sender else None)
    if tail is None:
        return mail if line.isascii() else NOT_ASCII
    wider = _with_parameters(mail, tail, _MAIL)
    return wider if isinstance(wider, Reply) or wider.utf8 or line.isascii() else NOT_ASCII


def _rcpt(line: bytes, utf8: bool) -> Rcpt | Reply:
    found = _FORWARD_PATH.fullmatch(line, 4)
    if found is None:
        return BAD_PATH
    whole, local, domain, literal, postmaster, tail = found.groups()
    recipient = _mailbox(whole, local, domain, literal) if whole is not None else postmaster.decode()
    if recipient is None:
        return BAD_PATH
    if not utf8 and not line.isascii():
        return NOT_ASCII
    rcpt = Rcpt(Recipient(smtp(recipient)))
    return rcpt if tail is None else _with_parameters(rcpt, tail, _RCPT)


def _bdat(line: bytes) -> Command:
    words = line[4:].split()
    if not words or len(words) > 2 or not words[0].isdigit() or len(words[0]) > 15:
        return ChunkSizeUnknown()
    if len(words) == 2 and words[1].upper() != b"LAST":
        return ChunkSizeUnknown()
    return Bdat(int(words[0]), len(words) == 2)


def _hello(line: bytes) -> Hello | Reply:
    name = line[5:].strip(b" ")
    return Hello(name.decode(), line[:4].upper() == b"EHLO") if _HELLO_NAME.fullmatch(name) else BAD_HELLO


def _authenticate(line: bytes) -> Auth | Reply:
    found = _AUTH.fullmatch(line, 4)
    return BAD_SYNTAX if found is None else Auth(found[1].decode().upper(), found[2])


def _etrn(line: bytes) -> Etrn | Reply:
    found = _NODE.fullmatch(line, 4)
    return BAD_SYNTAX if found is None else Etrn(found[1].decode())


_AUTH = re.compile(rb" +([A-Za-z0-9_-]{1,20})(?: +([!-~]+))? *")  # what is no base64 is for SASL to refuse
_NODE = re.compile(rb" +([@#]?(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?|\[[0-9A-Fa-f:.IPvip]{2,50}\])) *")  # RFC 1985 section 5.3
_BARE: dict[bytes, Command] = {b"DATA": Data(), b"RSET": Reset(), b"QUIT": Quit(), b"STARTTLS": StartTls()}
_WORDY: dict[bytes, Command] = {
    b"NOOP": Noop(), b"VRFY": Verify(), b"HELP": Help(), b"EXPN": NotOffered(),
    b"TURN": NotOffered(), b"ATRN": NotOffered(), b"SEND": NotOffered(), b"SOML": NotOffered(), b"SAML": NotOffered(),
}  # fmt: skip
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def parse(line: bytes, utf8: bool = False) -> Command:
    """One command line without its CRLF. `utf8`: whether the transaction under way was opened with SMTPUTF8.

    Commands are values, and most lines come again and again, so short ones are remembered: 4,096 of them, half a megabyte."""
    return _remembered(line, utf8) if len(line) <= SHORT else parse_unseen(line, utf8)


def _alone(packet: bytes, utf8: bool) -> Command | None:
    """The command of a packet that is one line and nothing else, None for any other and for BDAT, which its chunk follows.

    Most peers wait for each answer, so most packets are such, and one look into a memory spares them the search for line ends. Whoever
    calls sees to it that packets are short."""
    is_alone = packet.endswith(b"\r\n") and packet.count(b"\n") == 1 and packet[:4].upper() != b"BDAT"
    return parse_unseen(packet[:-2], utf8) if is_alone else None


def parse_unseen(line: bytes, utf8: bool = False) -> Command:
    """As `parse`, and nothing is remembered: for lines that may hold a password."""
    verb = line[:4].upper()
    try:
        if _CONTROL.search(line):
            return Wrong(replies.FOUL_OCTETS)
        if verb == b"RCPT":
            command: Command | Reply = _rcpt(line, utf8)
        elif verb == b"MAIL":
            command = _mail(line)
        else:
            command = _other(line)
    except UnicodeDecodeError:
        return Wrong(replies.FOUL_OCTETS)
    return Wrong(replies.wire(command)) if isinstance(command, Reply) else command


_remembered = lru_cache(maxsize=4096)(parse_unseen)
alone = lru_cache(maxsize=4096)(_alone)


def _other(line: bytes) -> Command | Reply:
    if not line.isascii():
        return Wrong(replies.FOUL_OCTETS)
    word = line.partition(b" ")[0].upper()
    if word == b"AUTH":
        return _authenticate(line)
    if len(line) > LINE:
        return Wrong(replies.LINE_TOO_LONG)
    if word in (b"EHLO", b"HELO"):
        return _hello(line)
    if word in _BARE:
        return _BARE[word] if line.rstrip(b" ").upper() == word else BAD_SYNTAX
    if word == b"BDAT":
        return _bdat(line)
    if word == b"ETRN":
        return _etrn(line)
    return _WORDY.get(word) or Wrong(replies.UNKNOWN_COMMAND)
