"""A POP3 session as a state machine: lines in, replies out (RFC 1939). Pure: it asks a maildrop, and whoever drives it acts.

`line` answers with the bytes of a reply, or with an action for the driver, who hands its result back: `accepted`, `refused`, `in_use`
and their kin return what is to be said. The states are the tables of commands at the end: AUTHORIZATION, TRANSACTION. UPDATE is the
action `Commit`; a session that ends in any other way removes nothing (RFC 1939 section 6).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from postroom_net.lines import TOO_LONG
from postroom_net.login import Refused
from postroom_net.sasl import Binding, Challenge, Credentials, Exchange, Fault, Mechanisms, Step
from postroom_pop3 import grammar
from postroom_pop3.grammar import Mistake
from postroom_pop3.maildrop import Maildrop


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """Action: verify, then `accepted` or `refused`."""

    login: str
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prove:
    """Action: the same with a digest; `check` is given the clear text, None where there is none."""

    login: str
    check: Callable[[str | None], bool]


@dataclass(frozen=True, slots=True)
class Try:
    """Action: carry this step of a SASL exchange out, then `challenged`, `accepted`, `refused` or `failed`."""

    exchange: Exchange
    step: Step


@dataclass(frozen=True, slots=True)
class StartTls:
    """Action: drop what was received behind the command, say `reply`, begin TLS, then `secured`."""

    reply: bytes = b"+OK begin TLS\r\n"


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Action: send the message."""

    number: int


@dataclass(frozen=True, slots=True)
class Top:
    """Action: send its header and this many lines of its body."""

    number: int
    lines: int


@dataclass(frozen=True, slots=True)
class Bulk:
    """Action: send these pieces; they make one multi-line reply."""

    pieces: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Commit:
    """Action: the UPDATE state; then `committed`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Action: say this and hang up."""

    reply: bytes


Action = CheckPassword | Prove | Try | StartTls | Retrieve | Top | Bulk | Commit | Close
Said = bytes | Action

SMALL: Final = 1000  # messages up to which a listing is one piece


@dataclass(frozen=True, slots=True)
class Offers:
    """What a connection is offered, besides what every one is. `secure` comes from TLS, or from an operator who does not mind."""

    host: str
    mechanisms: Mechanisms
    stls: bool = False
    apop: bool = False
    bad_commands: int = 20
    failed_logins: int = 5


class Session:
    """One client's."""

    __slots__ = ("_bad", "_binding", "_exchange", "_failed", "_login", "_stamp", "maildrop", "offers", "secure", "tls")

    def __init__(self, offers: Offers, *, tls: bool = False, secure: bool = False, binding: Binding | None = None) -> None:
        self.offers, self._binding = offers, binding
        self.tls, self.secure = tls, secure or tls
        self.maildrop: Maildrop | None = None
        self._bad = self._failed = 0
        self._login = ""
        self._exchange: Exchange | None = None
        self._stamp = f"<{secrets.token_hex(12)}@{offers.host}>".encode("ascii", "replace") if offers.apop else b""

    def greeting(self) -> bytes:
        """The first line. With a stamp in it, a client may use APOP (RFC 1939 section 7)."""
        stamp = b" " + self._stamp if self._stamp else b""
        return b"+OK %b POP3 ready%b\r\n" % (self.offers.host.encode("ascii", "replace"), stamp)

    def line(self, line: bytes) -> Said:
        """The client's next line, without its end."""
        try:
            if self._exchange is not None:
                return self._step(self._exchange.answer(line) if line is not TOO_LONG else Fault.TOO_LONG)
            if line is TOO_LONG:
                raise Mistake("the line is too long")
            command = grammar.parse(line)
            table = AUTHORIZATION if self.maildrop is None else TRANSACTION
            handler = table.get(command.name)
            if handler is None:
                raise Mistake("not now" if command.name in KNOWN else "no such command")
            return handler(self, command.argument)
        except Mistake as mistake:
            return self._mistake(str(mistake))

    def _mistake(self, why: str) -> Said:
        self._bad += 1
        reply = b"-ERR %b\r\n" % why.encode()
        return Close(b"-ERR too many mistakes\r\n") if self._bad >= self.offers.bad_commands else reply

    # AUTHORIZATION (RFC 1939 section 4)

    def _user(self, argument: bytes) -> Said:
        self._need_secrecy()
        self._login = grammar.name(argument)
        return b"+OK now the password\r\n"  # the same whether or not there is such a login

    def _pass(self, argument: bytes) -> Said:
        self._need_secrecy()
        if not self._login:
            raise Mistake("USER comes first")
        return CheckPassword(self._login, argument)  # blanks belong to the password (RFC 1939 section 7)

    def _apop(self, argument: bytes) -> Said:
        if not self._stamp:
            raise Mistake("APOP is not offered")
        login, digest = grammar.name_and_digest(argument)

        def check(secret: str | None) -> bool:
            expected = hashlib.md5(self._stamp + (secret or "").encode(), usedforsecurity=False).hexdigest().encode()
            return hmac.compare_digest(expected, digest)

        return Prove(login, check)

    def _auth(self, argument: bytes) -> Said:
        if not argument.strip(b" "):  # not in RFC 5034; what clients of RFC 1734's time ask to learn the mechanisms
            names = self._mechanisms
            return b"+OK\r\n%b.\r\n" % b"".join(b"%b\r\n" % name.encode() for name in names)
        name, initial = grammar.mechanism_and_initial(argument)
        exchange = self.offers.mechanisms.exchange(name, secure=self.secure, binding=self._binding)
        if exchange is None:
            raise Mistake("this mechanism is not offered here")
        self._exchange = exchange
        return self._step(exchange.begin(initial))

    @property
    def _mechanisms(self) -> Sequence[str]:
        return self.offers.mechanisms.names(secure=self.secure, binding=self._binding is not None)

    def _step(self, step: Step) -> Said:
        """What a SASL step means here (RFC 5034 section 4)."""
        if isinstance(step, Challenge):
            return b"+ %b\r\n" % step.line
        exchange, self._exchange = self._exchange, None
        if isinstance(step, Credentials):
            if not step.acts_for_itself:
                raise Mistake("acting for somebody else is not offered")
            password = step.password if isinstance(step.password, bytes) else step.password.encode()
            return CheckPassword(step.login, password)
        if exchange is not None and (not isinstance(step, Fault) or step is Fault.NOT_PROVEN):
            return Try(exchange, step)
        if step is Fault.CANCELLED:
            return b"-ERR cancelled\r\n"
        raise Mistake("the answer is too long" if step is Fault.TOO_LONG else "the answer cannot be read")

    def challenged(self, exchange: Exchange, challenge: Challenge) -> bytes:
        """The exchange goes on."""
        self._exchange = exchange
        return b"+ %b\r\n" % challenge.line

    def failed(self, fault: Fault) -> Said:
        """The exchange ended before a login was tried."""
        return self._mistake("acting for somebody else is not offered" if fault is Fault.NOT_ALLOWED else "the answer cannot be read")

    def _need_secrecy(self) -> None:
        if not self.secure:
            raise Mistake(
                "passwords are accepted over TLS only: say STLS first" if self.offers.stls else "passwords need TLS, which is off"
            )

    def accepted(self, maildrop: Maildrop) -> bytes:
        """The login is right and the maildrop is ours: TRANSACTION begins."""
        self.maildrop = maildrop
        messages, octets = maildrop.stat()
        return b"+OK %d messages (%d octets)\r\n" % (messages, octets)

    def refused(self, refused: Refused) -> Said:
        """The login is wrong, or cannot be told (RFC 3206 names the codes)."""
        if refused.reason == "throttled":
            return self._login_failed(b"[SYS/TEMP] too many wrong passwords; try again in %d seconds" % (int(refused.wait) + 1))
        return self._login_failed(_REFUSALS[refused.reason])

    def in_use(self) -> Said:
        """Another session holds the lock (RFC 2449 section 8.1.1)."""
        return self._login_failed(b"[IN-USE] the mailbox is open in another POP3 session")

    def no_mailbox(self) -> Said:
        """The login has no mailbox here, or a disabled one."""
        return self._login_failed(b"[SYS/PERM] this login has no mailbox here; ask the administrator")

    def out_of_order(self) -> Said:
        """The mailbox cannot be opened now."""
        return self._login_failed(b"[SYS/TEMP] the mailbox cannot be opened now; try again later")

    def _login_failed(self, why: bytes) -> Said:
        self._login = ""
        self._failed += 1
        reply = b"-ERR %b\r\n" % why
        return Close(reply) if self._failed >= self.offers.failed_logins else reply

    def _stls(self, argument: bytes) -> Said:
        grammar.nothing(argument)
        if self.tls:
            raise Mistake("TLS is on already")
        if not self.offers.stls:
            raise Mistake("TLS is not offered")
        return StartTls()

    def injected(self) -> Close:
        """Commands stood behind STLS in the clear: they are not obeyed, and nobody who sends them is served."""
        return Close(b"-ERR nothing may follow STLS before TLS has begun\r\n")

    def secured(self, binding: Binding | None = None) -> None:
        """TLS has begun: everything said before it is forgotten (RFC 2595 section 4)."""
        self.tls = self.secure = True
        self._binding = binding
        self._login, self._exchange = "", None

    def _utf8(self, argument: bytes) -> Said:
        grammar.nothing(argument)
        return b"+OK UTF-8 it is\r\n"  # RFC 6856 section 2.1: messages are sent as they are in either mode

    # TRANSACTION (RFC 1939 section 5)

    @property
    def _drop(self) -> Maildrop:
        assert self.maildrop is not None, "the table of TRANSACTION is used with a maildrop only"
        return self.maildrop

    def _number(self, number: int) -> int:
        if not self._drop.has(number):
            raise Mistake("no such message")
        return number

    def _stat(self, argument: bytes) -> Said:
        grammar.nothing(argument)
        return b"+OK %d %d\r\n" % self._drop.stat()

    def _list(self, argument: bytes) -> Said:
        if argument:
            number = self._number(grammar.number(argument))
            return b"+OK %d %d\r\n" % (number, self._drop.octets[number - 1])
        return self._listing(b"+OK %d messages (%d octets)\r\n" % self._drop.stat(), self._drop.scan_listing())

    def _uidl(self, argument: bytes) -> Said:
        if argument:
            number = self._number(grammar.number(argument))
            return b"+OK %d %b\r\n" % (number, self._drop.unique_id(number))
        return self._listing(b"+OK\r\n", self._drop.unique_id_listing())

    def _listing(self, first: bytes, pieces: Iterator[bytes]) -> Said:
        if len(self._drop) <= SMALL:
            return first + b"".join(pieces) + b".\r\n"
        return Bulk(_framed(first, pieces))

    def _retr(self, argument: bytes) -> Said:
        return Retrieve(self._number(grammar.number(argument)))

    def _top(self, argument: bytes) -> Said:
        number, lines = grammar.number_and_lines(argument)
        return Top(self._number(number), lines)

    def _dele(self, argument: bytes) -> Said:
        self._drop.delete(self._number(grammar.number(argument)))
        return b"+OK marked\r\n"

    def _rset(self, argument: bytes) -> Said:
        grammar.nothing(argument)
        self._drop.reset()
        return b"+OK %d messages (%d octets)\r\n" % self._drop.stat()

    def _noop(self, argument: bytes) -> Said:
        grammar.nothing(argument)
        return b"+OK\r\n"

    def gone(self) -> bytes:
        """A message was removed by other means while the maildrop was open."""
        return b"-ERR this message was removed meanwhile\r\n"

    def unreadable(self) -> bytes:
        """The disk refused to give a message."""
        return b"-ERR [SYS/TEMP] this message cannot be read now; try again later\r\n"

    def committed(self, ok: bool) -> Close:
        """UPDATE is over."""
        return Close(b"+OK bye\r\n" if ok else b"-ERR [SYS/TEMP] some deleted messages were not removed\r\n")

    # Any state

    def _quit(self, argument: bytes) -> Said:
        grammar.nothing(argument)
        return Close(b"+OK bye\r\n") if self.maildrop is None else Commit()

    def _capa(self, argument: bytes) -> Said:
        """RFC 2449 section 5."""
        grammar.nothing(argument)
        return b"+OK\r\n%b.\r\n" % b"".join(b"%b\r\n" % capability for capability in self._capabilities())

    def _capabilities(self) -> Iterator[bytes]:
        """What is true on this connection in this state. USER and SASL are announced in both states alike (RFC 2449 section 6)."""
        yield from (b"TOP", b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE", b"PIPELINING", b"EXPIRE NEVER", b"UTF8 USER")
        if self.secure:
            yield b"USER"
        if mechanisms := self._mechanisms:
            yield b"SASL " + " ".join(mechanisms).encode()
        if self.offers.stls and not self.tls and self.maildrop is None:
            yield b"STLS"  # RFC 2595 section 4: in AUTHORIZATION only
        yield b"IMPLEMENTATION postroom"


def _framed(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces
    yield b".\r\n"


_REFUSALS: Final = {
    "bad": b"[AUTH] login failed",
    "disabled": b"[SYS/PERM] this login is disabled; ask the administrator",
    "unavailable": b"[SYS/TEMP] logins cannot be checked now; try again later",
}

Handler = Callable[[Session, bytes], Said]
_ANY: Final[dict[bytes, Handler]] = {b"QUIT": Session._quit, b"CAPA": Session._capa}
AUTHORIZATION: Final[dict[bytes, Handler]] = _ANY | {
    b"USER": Session._user,
    b"PASS": Session._pass,
    b"APOP": Session._apop,
    b"AUTH": Session._auth,
    b"STLS": Session._stls,
    b"UTF8": Session._utf8,
}
TRANSACTION: Final[dict[bytes, Handler]] = _ANY | {
    b"STAT": Session._stat,
    b"LIST": Session._list,
    b"UIDL": Session._uidl,
    b"RETR": Session._retr,
    b"TOP": Session._top,
    b"DELE": Session._dele,
    b"RSET": Session._rset,
    b"NOOP": Session._noop,
}
KNOWN: Final = frozenset(AUTHORIZATION) | frozenset(TRANSACTION)
