"""The conversation of the inbound agent: octets of a peer in, replies and wishes out.

A session acts on nothing. What it says lies in `out`, to be sent as one write. What it cannot decide from memory it leaves as
`want`: the connection does it and calls `answer` (or `secured`), and until then no further command is looked at. All order
that RFC 5321 section 4.1.4, RFC 3030 and RFC 3207 ask for is kept here, and every limit that counts rather than times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from postroom.address import InternalAddress, smtp
from postroom.envelope import Peer, Recipient
from postroom.message import SMALL, new_id
from postroom_net.authentication import Verdict
from postroom_net.sasl import Binding
from postroom_smtp import header, replies, trace
from postroom_smtp.admission import Admission
from postroom_smtp.api import ConnectEvent, MailEvent, RcptEvent
from postroom_smtp.content import Content
from postroom_smtp.data import BareLines, ChunkReader, DotReader, has_bare_line_ends, normalize
from postroom_smtp.grammar import (
    AUTH_LINE,
    LINE,
    PARAMETERS,
    SHORT,
    Auth,
    Bdat,
    ChunkSizeUnknown,
    Command,
    Data,
    Etrn,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reset,
    StartTls,
    Verify,
    Wrong,
    alone,
    parse,
    parse_unseen,
)
from postroom_smtp.transaction import Transaction
from postroom_smtp.wants import Ask, Commit, House, Prove, Start, Want, Wish

_DRAIN = 16 << 20  # octets of a refused message that are read so that the peer hears why; beyond, the connection is cut


@lru_cache(maxsize=4096)
def known_peer(ip: str, helo: str, tls: str, trusted: bool, user: str = "", account: str = "") -> Peer:
    """Who speaks to us. Peers are values and most come again, so they are remembered."""
    return Peer(ip, helo, user, account, tls, trusted)


@dataclass(frozen=True, slots=True)
class Door:
    """What a listener is for."""

    label: str
    starttls: bool = False  # offered, until it is on
    sealed: bool = False  # no mail before TLS
    submission: bool = False  # no mail before a login
    login: bool = False  # AUTH is offered


class Session:
    """One connection's conversation."""

    __slots__ = (
        "_admission", "_at", "_bare", "_buffer", "_door", "_errors", "_extended", "_junk", "_longest", "_retired", "_short", "_skipping",
        "_starttls", "_then", "house", "messages", "out", "peer", "progress", "reader", "reading_since", "transaction", "want",
    )  # fmt: skip

    def __init__(self, house: House, peer: Peer, door: Door, binding: Binding | None = None) -> None:
        self.house, self.peer, self._door = house, peer, door
        self._starttls = door.starttls
        self._admission = Admission(house, binding) if door.login else None
        self._short = 0 if door.login else SHORT  # octets of a line that is remembered: none may hold a password
        self._longest = AUTH_LINE if door.login else LINE + PARAMETERS
        self._bare = BareLines.NORMALIZE if peer.trusted and house.bare is BareLines.REJECT else house.bare
        self._buffer, self._at = b"", 0
        self._extended = self._skipping = False
        self._errors = self._junk = 0
        self.reader: DotReader | ChunkReader | None = None
        self.reading_since = 0.0  # monotonic seconds at which the reader began
        self._retired: bytes | None = None
        self._then: Callable[[bytes | None], None] | None = None  # what an answer is for; a method of ours, so kept no longer than needed
        self.messages = 0
        self.progress = 0  # commands obeyed and pieces of messages read
        self.transaction: Transaction | None = None
        self.out: list[bytes] = []
        self.want: Want | None = None

    def greet(self) -> None:
        """Say the greeting, once nobody objects (RFC 5321 section 3.1). Any objection ends the connection."""
        if self.house.asks("smtp_connect"):
            self._ask(Ask("smtp_connect", ConnectEvent(self.peer, self._door.label)), self._greeted)
        else:
            self.out.append(self.house.banner)

    def _greeted(self, refusal: bytes | None) -> None:
        if refusal is None:
            self.out.append(self.house.banner)
        else:
            self.hang_up(refusal)

    # ------------------------------------------------------------ in

    def receive(self, data: bytes) -> None:
        """Octets of the peer. While something is wanted they only wait."""
        if self._buffer:
            data = self._buffer[self._at :] + data
        elif len(data) <= self._short and self.want is None and self.reader is None and self._retired is None:
            transaction = self.transaction
            command = alone(data, transaction is not None and transaction.mail.utf8)
            if command is not None:
                self.progress += 1
                return self._obey(command)
        self._buffer, self._at = data, 0
        if self.want is None:
            self._run()
        return None

    def answer(self, reply: bytes | None) -> None:
        """What became of the want: a reply to send in place of ours, or None; then go on with what has come meanwhile."""
        if self.want is Wish.HANGUP:  # the session was ended while somebody thought about the answer
            return
        self.want = None
        then, self._then = self._then, None
        (then or self._said)(reply)
        if self.want is None:
            self._run()

    def secured(self, cipher: str, binding: Binding | None = None) -> None:
        """TLS is on. RFC 3207 section 4.2: all that was said before is forgotten. What has come since was sealed: when TLS was wanted
        nothing was left to look at, and the connection read nothing more in the clear."""
        ip, login = self.peer.ip, self._door.login
        self.peer = known_peer(ip, "", cipher, self.house.is_privileged(ip) if login else self.peer.trusted)
        self._extended = self._starttls = False
        if self._admission is not None:
            self._admission.secured(binding)
            self._short = 0
        if self.want is Wish.UPGRADE:
            self.want = None
            self._run()

    @property
    def waiting(self) -> int:
        """Octets that nobody has looked at yet."""
        return len(self._buffer) - self._at

    @property
    def is_reading(self) -> bool:
        """Whether the octets that come belong to a message."""
        return self.reader is not None

    def _run(self) -> None:
        """Obey what has come, until it is used up or something is wanted."""
        if self._retired is not None and self.transaction is None and self.waiting:
            self.hang_up(self._retired)
        while self.want is None:
            if self.reader is not None:
                if not self._read():
                    return
            elif self._at == len(self._buffer):
                self._buffer, self._at = b"", 0
                return
            elif not self._obey_line():
                return

    def _obey_line(self) -> bool:
        buffer, at = self._buffer, self._at
        end = buffer.find(b"\n", at)
        if end < 0:
            if self.waiting > self._longest:
                self._skipping, self._at = True, len(buffer)
            return False
        has_cr = end > at and buffer[end - 1] == 13
        line = buffer[at : end - has_cr]
        self._at = end + 1
        if self._skipping or len(line) > self._longest:
            self._skipping = False
            is_response = self._admission is not None and self._admission.is_under_way
            self._say(self._admission.overrun() if self._admission is not None and is_response else replies.LINE_TOO_LONG)
        elif self._admission is not None and self._admission.is_under_way:
            self.progress += 1
            self._go_on_with(self._admission, self._admission.respond(line))
        elif not has_cr and self._bare is BareLines.REJECT:
            self._say(replies.BARE_LF_COMMAND)
        else:
            self.progress += 1
            transaction = self.transaction
            understood = parse if self._short else parse_unseen
            self._obey(understood(line, transaction is not None and transaction.mail.utf8))
        return True

    # ------------------------------------------------------------ out

    def _say(self, reply: bytes) -> None:
        """Send a reply; a peer that makes too many mistakes is told so instead (5yz only: 4yz is our own trouble)."""
        self.out.append(reply)
        if reply[0] == 53:  # "5"
            self._errors += 1
            if self._errors >= self.house.limits.errors:
                self.hang_up(replies.TOO_MANY_ERRORS)

    def _said(self, reply: bytes | None) -> None:
        if reply is not None:
            self._say(reply)
            if reply.startswith(b"421"):
                self.hang_up()

    def hang_up(self, reply: bytes | None = None) -> None:
        """Say this last thing, and no more is heard."""
        if reply is not None:
            self.out.append(reply)
        self.abandon()
        self.want = Wish.HANGUP

    def retire(self, reply: bytes, *, finish: bool) -> None:
        """End the session: now, or, where `finish`, after the transaction under way. A message that is coming in is always let in."""
        if self.is_reading or isinstance(self.want, Commit) or (finish and self.transaction is not None):
            self._retired = reply
        elif self.want is not Wish.HANGUP:
            self.hang_up(reply)

    def abandon(self) -> None:
        """Forget the transaction; what has been handed over with a Commit is not ours any more."""
        self.reader = None
        if self.transaction is not None and not isinstance(self.want, Commit):
            self.transaction.end()
        self.transaction = None

    def forget(self) -> None:
        """The peer is gone: nothing it sent counts any more, save a message that was handed over."""
        self._buffer, self._at = b"", 0
        self.abandon()
        if not isinstance(self.want, Commit):
            self._then = None

    # ------------------------------------------------------------ commands, RFC 5321 section 4.1.1

    def _obey(self, command: Command) -> None:
        if type(command) is Rcpt:  # the three of every message come first
            self._rcpt(command)
        elif type(command) is Mail:
            self._mail(command)
        elif type(command) is Data:
            self._data()
        else:
            self._obey_other(command)

    def _obey_other(self, command: Command) -> None:
        match command:
            case Quit():
                self.hang_up(replies.CLOSING)
            case Hello():
                self._hello(command)
            case Bdat():
                self._bdat(command)
            case Reset():
                self.abandon()
                self._idle(replies.OK)
            case Noop():
                self._idle(replies.OK)
            case Verify():
                self._idle(replies.WONT_VERIFY)
            case Help():
                self._idle(replies.HELP)
            case StartTls():
                self._start_tls()
            case Auth():
                self._authenticate(command)
            case Etrn(node):
                self._start_queue(node)
            case ChunkSizeUnknown():
                self.hang_up(replies.CHUNK_SIZE_UNKNOWN)
            case Wrong(reply):
                self._say(reply)
            case _:
                self._say(replies.NOT_IMPLEMENTED)

    def _idle(self, reply: bytes) -> None:
        """Commands that move no mail are counted between messages."""
        self._junk += 1
        if self._junk > self.house.limits.junk_commands:
            self.hang_up(replies.TOO_MANY_COMMANDS)
        else:
            self._say(reply)

    def _hello(self, command: Hello) -> None:
        self.abandon()  # RFC 5321 section 4.1.4
        peer, house = self.peer, self.house
        self.peer = known_peer(peer.ip, command.name, peer.tls, peer.trusted, peer.user, peer.account)
        self._extended = command.extended
        if not command.extended:
            return self._idle(f"250 {house.server}\r\n".encode())
        return self._idle(f"250-{house.server} greets {command.name} [{peer.ip}]\r\n".encode() + self._offers())

    def _offers(self) -> bytes:
        house, door, admission = self.house, self._door, self._admission
        if admission is None and not self.peer.trusted:
            return house.offers[self._starttls]
        names = admission.mechanisms(self.peer) if admission is not None else ()
        etrn = self.peer.trusted and house.may_relay(self.peer)
        return house.offers_to(starttls=self._starttls, mechanisms=names, holds=door.submission, etrn=etrn)

    def _start_tls(self) -> None:
        if not self._starttls:
            return self._say(replies.TLS_ALREADY if self.peer.tls else replies.NOT_IMPLEMENTED)
        if self.waiting:  # RFC 3207 section 4: whoever sent it may not be who finishes the handshake
            return self.hang_up(replies.TLS_PIPELINED)
        self.abandon()
        self._say(replies.READY_FOR_TLS)
        self.want = Wish.UPGRADE
        return None

    def _mail(self, command: Mail) -> None:
        limits = self.house.limits
        if not self.peer.helo:
            return self._say(replies.HELLO_FIRST)
        if self._door.sealed and not self.peer.tls:
            return self._say(replies.TLS_FIRST)
        if self._door.submission and not self.peer.user:
            return self._say(replies.LOGIN_FIRST)
        if self.transaction is not None:
            return self._say(replies.NESTED_MAIL if self.transaction.content is None else replies.IN_CHUNKS)
        if self.messages >= limits.messages:
            return self.hang_up(replies.TOO_MANY_MESSAGES)  # RFC 9422: MAILMAX
        if command.size > self.house.limits.message:
            return self._say(replies.TOO_BIG)  # RFC 1870 section 6.1
        is_plain = self._admission is None and not (command.hold_for or command.hold_until or self.house.rates.limits_strangers)
        if not is_plain and (refusal := self._objects(command)) is not None:
            return self._say(refusal)
        if self.house.is_overloaded():
            return self._ask(Wish.RELIEF, lambda reply: self._unless(reply, lambda: self._judge_sender(command)))
        return self._judge_sender(command)

    def _judge_sender(self, command: Mail) -> None:
        if not self.house.asks("smtp_mail"):
            return self._begin(command)
        event = MailEvent(self.peer, command.sender, command.size, command.body, command.utf8)
        return self._ask(Ask("smtp_mail", event), lambda reply: self._unless(reply, lambda: self._begin(command)))

    def _begin(self, command: Mail) -> None:
        due = max(command.hold_until, self.house.now() + command.hold_for) if command.hold_until or command.hold_for else 0.0
        self.transaction = Transaction(command, self.house.monotonic(), due)
        self.out.append(replies.SENDER_OK)

    def _objects(self, command: Mail) -> bytes | None:
        """What a sender is refused for before its transaction begins. The rates may bind strangers too."""
        house, admission = self.house, self._admission
        if (command.hold_for or command.hold_until) and not self._door.submission:
            return replies.HOLD_NOT_OFFERED
        if admission is not None and (objection := admission.objects(command)) is not None:
            return objection
        return house.rates.message(self.peer, house.monotonic()) if self.peer.user or house.rates.limits_strangers else None

    def _rcpt(self, command: Rcpt) -> None:
        transaction, limits = self.transaction, self.house.limits
        if transaction is None:
            return self._say(replies.MAIL_FIRST)
        if transaction.content is not None:
            return self._say(replies.IN_CHUNKS)
        if len(transaction.recipients) >= limits.recipients:
            transaction.refused += 1
            return self._said(replies.TOO_MANY_RECIPIENTS if transaction.refused <= limits.recipients else replies.TOO_MANY_ERRORS)
        recipient = command.recipient
        if "@" not in recipient.address.detail:
            recipient = replace(recipient, address=smtp(self.house.postmaster()))
        if recipient.address.key in transaction.recipients:
            return self._say(replies.RECIPIENT_OK)
        if (refusal := self._refuses(transaction, recipient.address)) is not None:
            return self._say(refusal)
        if not self.house.asks("smtp_rcpt"):
            return self._add(recipient)
        event = RcptEvent(self.peer, transaction.mail.sender, recipient, len(transaction.recipients))
        return self._ask(Ask("smtp_rcpt", event), lambda reply: self._unless(reply, lambda: self._add(recipient)))

    def _refuses(self, transaction: Transaction, address: InternalAddress) -> bytes | None:
        sender = transaction.mail.sender
        if sender is not None and self.house.is_banned(sender, address):
            return replies.SENDER_BANNED
        refusal = self.house.refuses(self.peer, address)
        if refusal is not None:
            return replies.wire(refusal)
        rates = self.house.rates
        return rates.recipient(self.peer, self.house.monotonic()) if self.peer.user or rates.limits_strangers else None

    def _add(self, recipient: Recipient) -> None:
        if self.transaction is not None:
            self.transaction.recipients[recipient.address.key] = recipient
            self.out.append(replies.RECIPIENT_OK)

    def _ask(self, want: Want, then: Callable[[bytes | None], None]) -> None:
        self.want, self._then = want, then

    def _unless(self, reply: bytes | None, otherwise: Callable[[], None]) -> None:
        if reply is None:
            otherwise()
        else:
            self._said(reply)

    # ------------------------------------------------------------ who it is, RFC 4954; and ETRN, RFC 1985

    def _authenticate(self, command: Auth) -> None:
        admission = self._admission
        if admission is None:
            return self._say(replies.NOT_IMPLEMENTED)
        if not self.peer.helo:
            return self._say(replies.HELLO_FIRST)
        if self.transaction is not None:
            return self._say(replies.LOGIN_TOO_LATE)
        return self._go_on_with(admission, admission.begin(command, self.peer))

    def _go_on_with(self, admission: Admission, said: bytes | Prove) -> None:
        if isinstance(said, Prove):
            self.want = said
            return
        self._say(said)
        if admission.is_hopeless and self.want is None:
            self.hang_up(replies.TOO_MANY_LOGINS)

    def judged(self, verdict: Verdict) -> None:
        """What came of a `Prove`; then go on with what has come meanwhile."""
        if not isinstance(self.want, Prove) or (admission := self._admission) is None:  # the session was ended meanwhile
            return
        prove, self.want = self.want, None
        said, peer = admission.judged(prove, verdict), self.peer
        if (who := admission.who) is not None:
            self.peer = known_peer(peer.ip, peer.helo, peer.tls, True, who.username, who.postoffice)
            self._short = SHORT  # from here on no line holds a password
            self._errors = self._junk = 0
        self._go_on_with(admission, said)
        if self.want is None:
            self._run()

    def _start_queue(self, node: str) -> None:
        if not self.house.may_relay(self.peer):
            return self._idle(replies.may_not_try(node))
        return self._ask(Start(node), self._idle_or)

    def _idle_or(self, reply: bytes | None) -> None:
        self._idle(reply or replies.OK)

    # ------------------------------------------------------------ the message

    def _missing(self) -> bytes | None:
        """What has to be said before a message may come."""
        if self.transaction is None:
            return replies.MAIL_FIRST
        if not self.transaction.recipients:
            return replies.NO_VALID_RECIPIENTS if self.transaction.refused else replies.RECIPIENT_FIRST
        return None

    def _data(self) -> None:
        transaction = self.transaction
        if (missing := self._missing()) is not None or transaction is None:
            return self._say(missing or replies.MAIL_FIRST)
        if transaction.content is not None:
            return self._say(replies.IN_CHUNKS)
        if transaction.mail.body == "BINARYMIME":
            return self._say(replies.BINARY_NEEDS_BDAT)
        self._open(transaction)
        self.reader, self.reading_since = DotReader(), self.house.monotonic()
        self.out.append(replies.START_INPUT)
        return None

    def _bdat(self, command: Bdat) -> None:
        """RFC 3030 section 2: the chunk follows at once, so it is read whatever the answer will be."""
        transaction = self.transaction
        missing = self._missing()
        if command.size > self.house.limits.message + _DRAIN:
            return self.hang_up(replies.TOO_BIG)
        if transaction is None:
            transaction = self.transaction = Transaction(Mail(None), self.house.monotonic())
            transaction.fault = replies.CHUNK_OUT_OF_TURN
        elif missing is not None:
            transaction.fault = missing
        elif transaction.content is None:
            self._open(transaction)
        self.reader, self.reading_since = ChunkReader(command.size, command.last, transaction.held), self.house.monotonic()
        return None

    def _open(self, transaction: Transaction) -> None:
        message_id, mail, recipients = new_id(), transaction.mail, transaction.recipients
        lines = trace.lines(
            server=self.house.server,
            peer=self.peer,
            sender=mail.sender.detail if mail.sender else "",
            recipient=next(iter(recipients.values())).address.detail if len(recipients) == 1 else "",
            message_id=message_id,
            now=self.house.now(),
            how=trace.protocol(self._extended, bool(self.peer.tls), bool(self.peer.user), mail.utf8),
            hidden=bool(self.peer.user) and self.house.settings.hide_client,
        )
        transaction.content = self.house.content(message_id, lines)
        if self._admission is not None:
            transaction.letterhead = self._admission.letterhead(mail, message_id)

    def _read(self) -> bool:
        """Give the reader what there is; whether there is more to look at."""
        reader, transaction = self.reader, self.transaction
        if reader is None or transaction is None:
            raise AssertionError("octets of a message without a transaction")
        self.progress += 1
        data = self._buffer[self._at :] if self._at else self._buffer
        self._buffer, self._at = b"", 0
        block = reader.read(data)
        if block:
            self._take(transaction, block)
        if not reader.done:
            return False
        if self.want is None:
            self._buffer, self.reader = reader.rest, None
            self._end(transaction, reader)
        return True

    def _take(self, transaction: Transaction, block: bytes) -> None:
        transaction.taken += len(block)
        content = transaction.content
        if transaction.fault is None and content is not None:
            if transaction.mail.body != "BINARYMIME" and has_bare_line_ends(block):
                block = self._mend(transaction, block)
            if transaction.letterhead is not None:
                block = transaction.letterhead.take(block)
                self._look_at_letterhead(transaction)
            if transaction.fault is None and not transaction.head_seen and content.size + len(block) > SMALL:
                self._look_at_head(transaction, (content.head() or b"") + block[: self.house.limits.header])
            if transaction.taken > self.house.limits.message:
                transaction.refuse(replies.TOO_BIG)
            if transaction.fault is None:
                return content.add(block)
        if transaction.taken > self.house.limits.message + _DRAIN:
            self.hang_up(transaction.fault)
        return None

    def _mend(self, transaction: Transaction, block: bytes) -> bytes:
        transaction.bare = True
        if self._bare is BareLines.REJECT:
            transaction.refuse(replies.BARE_LINE_END)
        return normalize(block)

    def _look_at_letterhead(self, transaction: Transaction) -> None:
        if transaction.letterhead is not None and transaction.letterhead.fault is not None:
            transaction.refuse(transaction.letterhead.fault)

    def _look_at_head(self, transaction: Transaction, head: bytes) -> None:
        transaction.head_seen = True
        limits = self.house.limits
        if (fault := header.fault(head, most=limits.header, hops=limits.hops + 1)) is not None:  # one more: our own Received
            transaction.refuse(fault)

    def _end(self, transaction: Transaction, reader: DotReader | ChunkReader) -> None:
        """The last octet of the message, or of one chunk, has come."""
        if isinstance(reader, ChunkReader):
            transaction.held = reader.held
            if not reader.last:
                return self._end_chunk(transaction, reader)
        content = transaction.content
        if transaction.fault is None and content is not None:
            if transaction.letterhead is not None:
                content.add(transaction.letterhead.end())
                self._look_at_letterhead(transaction)
            if transaction.fault is None and not transaction.head_seen:
                self._look_at_head(transaction, content.head() or b"")
            if transaction.fault is None:
                return self._ask(self._commit(transaction, content), self._settle)
        self.abandon()
        return self._say(transaction.fault or replies.LOCAL_ERROR)

    def _commit(self, transaction: Transaction, content: Content) -> Commit:
        return Commit(transaction.envelope(content, self.peer, self.house.now()), content, transaction.began, transaction.bare)

    def _end_chunk(self, transaction: Transaction, reader: ChunkReader) -> None:
        if transaction.fault is None:
            return self.out.append(replies.chunk_ok(reader.size))
        self._say(transaction.fault)
        if transaction.content is None:
            self.abandon()  # it never was a transaction
        else:
            transaction.fault = replies.CHUNK_OUT_OF_TURN  # RFC 3030 section 2: after a failure only RSET helps
        return None

    def _settle(self, reply: bytes | None) -> None:
        """The message was answered for; count it and be ready for the next."""
        self.transaction = None
        self.messages += 1
        if reply is not None and reply[0] == 50:  # "2"
            self._errors = self._junk = 0
        self._said(reply)
