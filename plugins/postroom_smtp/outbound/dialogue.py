"""One conversation with a server, from its greeting to QUIT, without a socket: octets in, octets out, and whose move it is.

Where the server pipelines, a small message leaves in one write with its envelope, and each reply is laid at the command it answers. An
outcome is said per recipient. What was not answered for good when the conversation breaks is to be tried again; where the whole message
was sent by then the server may have it already, and may get it twice: `may_have_it` says so, for no protocol can tell (RFC 1047).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum

from postroom.outcome import Reply
from postroom_smtp.outbound.auth import Credentials, Exchange, exchange
from postroom_smtp.outbound.octets import Stuffer, stuffed
from postroom_smtp.outbound.reply import Answer, Offers, ReplyError, ReplyReader, explained, offers

NOTHING = Offers()


class Move(Enum):
    """Whose move it is."""

    PEER = "peer"  # replies are owed to us
    UPGRADE = "upgrade"  # ours: the handshake, then `secured`
    READY = "ready"  # ours: a letter, a command, or QUIT
    BODY = "body"  # ours: `body` with the next block
    OVER = "over"  # nobody's: hang up


class Stage(Enum):
    """How far it came; why it ended follows from it."""

    GREETING = "greeting"
    HELLO = "hello"
    TLS = "tls"
    LOGIN = "login"
    MAIL = "mail"


class Wait(Enum):
    """What we wait for: each has a time of its own (RFC 5321 section 4.5.3.2)."""

    GREETING = "greeting"
    COMMAND = "command"
    DATA = "data"
    BLOCK = "block"
    FINAL = "final"


Handler = Callable[[Answer, int], None]


class Dialogue:
    """One connection's worth of talk. `tls`: None where it is not to be asked for, False where it may be had, True where it must."""

    __slots__ = (
        "_accepted", "_attempts", "_early", "_exchange", "_expects", "_helo", "_later", "_login", "_reader", "_said", "_stuffer", "_tls",
        "_unclean", "_whole", "ends", "fault", "letters", "loops", "may_have_it", "move", "offers", "out", "results", "sealed", "stage",
    )  # fmt: skip

    def __init__(self, helo: str, *, tls: bool | None = False, login: Credentials | None = None, sealed: str = "") -> None:
        self._helo, self._tls, self._login = helo, tls, login
        self.sealed = sealed  # protocol and cipher; empty in the clear
        self.out: list[bytes] = []
        self.move = Move.PEER
        self.stage = Stage.GREETING
        self.offers = NOTHING
        self.fault: Reply | None = None  # why it is over; None while it is not, and after a QUIT
        self.loops = False  # the server calls itself by our name
        self.letters = 0  # transactions begun
        self.results: list[Answer | Reply | None] = []  # of the transaction, by recipient
        self.may_have_it = False
        self.ends = False  # the server said 421, or QUIT was said
        self._reader = ReplyReader()
        self._expects: deque[tuple[Handler, int, Wait]] = deque([(self._greeted, 0, Wait.GREETING)])
        self._later: deque[bytes] = deque()
        self._exchange: Exchange | None = None
        self._attempts = 0
        self._unclean = False  # the server may think that a transaction is under way
        self._early: Answer | None = None
        self._said: Answer | None = None
        self._stuffer = Stuffer()
        self._whole: bytes | None = None
        self._accepted = 0

    # ------------------------------------------------------------ what comes

    def receive(self, data: bytes) -> bool:
        """Take in octets of the server, after all of `out` was sent; whether a reply was complete. Never raises for what they say."""
        if self.move is Move.OVER:
            return False
        answers, nonsense = self._read(data)
        for answer in answers:
            if not self.is_over:
                self._hear(answer)
        if nonsense is not None:
            self.break_off(Reply(451, "4.5.0", f"The server does not speak SMTP: {nonsense}"))
        return bool(answers) or nonsense is not None

    def _read(self, data: bytes) -> tuple[Sequence[Answer], ReplyError | None]:
        """What was answered, and what stood behind it that is no answer: a word on the message counts, whatever follows."""
        try:
            return self._reader.read(data, len(self._expects)), None
        except ReplyError as nonsense:
            return nonsense.before, nonsense

    def _hear(self, answer: Answer) -> None:
        if answer.code == 421:  # RFC 5321 section 3.8: at any time
            self.ends, self.may_have_it = True, False
            return self.break_off(explained(answer))
        if not self._expects:
            return self._unasked(answer)
        if self.out:  # what it would answer is still here: it is of something else, and so may be all that follow
            return self.break_off(Reply(451, "4.5.0", f"The server answered before it was asked: {explained(answer)}"))
        handler, index, _ = self._expects.popleft()
        handler(answer, index)
        if self._later:
            self.out.append(self._later.popleft())
        return None

    def _unasked(self, answer: Answer) -> None:
        """A reply to nothing. While the message is on its way it is the server's last word on it; else we are out of step. A refusal that comes
        with a good answer to the message is the last word too, for that answer may have been to something else."""
        if self.move is Move.BODY and answer.code >= 400:
            self._settle(answer)
            return self.break_off(explained(answer))
        if self.move is Move.READY and answer.code >= 400:
            self.may_have_it = True  # so nobody else gets it now
            self.results = [answer if isinstance(result, Answer) and result.is_good else result for result in self.results]
        return self.break_off(Reply(451, "4.5.0", f"The server answered what was not asked: {explained(answer)}"))

    def break_off(self, why: Reply) -> None:
        """It is over: every recipient without an answer gets this reason."""
        if self.move is Move.OVER:
            return
        self.fault, self.move = why, Move.OVER
        self.results = [why if result is None or result is ACCEPTED else result for result in self.results]
        self._expects.clear()
        self._later.clear()
        self.out.clear()  # a message that did not leave yet must not leave now

    def lost(self, why: str) -> None:
        """The connection broke."""
        if self.ends or self.move is Move.OVER:
            return self.break_off(Reply(421, "4.4.2", why))
        late = "; the message was sent and may have arrived, so it may arrive twice" if self.may_have_it else ""
        return self.break_off(Reply(421, "4.4.2", why + late))

    @property
    def is_over(self) -> bool:
        return self.move is Move.OVER

    @property
    def waits_for(self) -> Wait:
        """What the deadline is for."""
        return self._expects[0][2] if self._expects else Wait.BLOCK if self.move is Move.BODY else Wait.COMMAND

    def has_nothing_of(self, before: int) -> bool:
        """Whether it is over and the server answered nothing since so many letters: the connection had ended before the one after them."""
        began = self.letters - before
        return self.is_over and (began == 0 or (began == 1 and self._said is None))

    # ------------------------------------------------------------ what is said

    def _say(self, command: bytes, handler: Handler, index: int = 0, wait: Wait = Wait.COMMAND) -> None:
        self._expects.append((handler, index, wait))
        if self.offers.pipelining or len(self._expects) == 1:
            self.out.append(command)
        else:
            self._later.append(command)
        self.move = Move.PEER

    def _greeted(self, answer: Answer, index: int) -> None:
        if answer.code != 220:
            return self._turned_away(answer)
        return self._hello()

    def _hello(self) -> None:
        self.stage, self.offers = Stage.HELLO, NOTHING
        self._say(b"EHLO %s\r\n" % self._helo.encode(), self._welcomed)

    def _welcomed(self, answer: Answer, index: int) -> None:
        if 500 <= answer.code < 600 and not self.sealed:  # RFC 5321 section 3.2
            return self._say(b"HELO %s\r\n" % self._helo.encode(), self._welcomed_plainly)
        if not answer.is_good:
            return self._turned_away(answer)
        self.offers = offers(answer.lines)
        return self._known()

    def _welcomed_plainly(self, answer: Answer, index: int) -> None:
        if not answer.is_good:
            return self._turned_away(answer)
        self.offers = offers(answer.lines[:1])
        return self._known()

    def _turned_away(self, answer: Answer) -> None:
        """No further. A reply of success in the wrong place explains nothing."""
        self.break_off(explained(answer) if answer.code >= 400 else _out_of_step(answer))

    def _known(self) -> None:
        """The server has said who it is and what it can do. Our own name counts where TLS must come first once TLS is there: before that
        anybody may say it, and the mail would be returned for good."""
        if self.offers.name.lower() == self._helo.lower() and (self.sealed or not self._tls):  # RFC 5321 section 6.3
            self.loops = True
            return self.break_off(Reply(554, "5.4.6", "The server has our own name: the mail would come back to us"))
        if self.sealed or self._tls is None:
            return self._enter()
        if self.offers.starttls:
            self.stage = Stage.TLS
            return self._say(b"STARTTLS\r\n", self._may_upgrade)
        return self._without_tls(Reply(454, "4.7.4", "TLS is required, and the server does not offer it"))

    def _may_upgrade(self, answer: Answer, index: int) -> None:
        if answer.code != 220:
            return self._without_tls(explained(answer))
        if not self._reader.is_empty:  # octets sent in the clear must never be taken for the sealed server's
            return self.break_off(Reply(451, "4.7.5", "The server spoke between STARTTLS and the handshake"))
        self.move = Move.UPGRADE
        return None

    def _without_tls(self, why: Reply) -> None:
        if self._tls:
            self.stage = Stage.TLS
            return self.break_off(why)
        return self._enter()

    def secured(self, cipher: str) -> None:
        """The handshake is done; all that was said before is forgotten (RFC 3207 section 4.2)."""
        if self.is_over:  # by octets in the clear that came before the handshake began
            return None
        if not self._reader.is_empty:
            return self.break_off(Reply(451, "4.7.5", "The server spoke between STARTTLS and the handshake"))
        self.sealed = cipher
        return self._hello()

    def _enter(self) -> None:
        """Log in where we must; then letters may come."""
        if self._login is None:
            self._ready()
            return None
        self.stage = Stage.LOGIN
        self._exchange = exchange(self.offers.mechanisms, self._login, sealed=bool(self.sealed))
        if self._exchange is None:
            return self.break_off(Reply(454, "4.7.0", "The server offers no way to log in that we may use"))
        return self._say(self._exchange.command + b"\r\n", self._challenged)

    def _challenged(self, answer: Answer, index: int) -> None:
        assert self._exchange is not None
        if answer.code == 334:
            line = self._exchange.answer(self._attempts, answer.lines[0])
            self._attempts += 1
            if line is None:
                return self._say(b"*\r\n", self._cancelled)
            return self._say(line + b"\r\n", self._challenged)
        if answer.code != 235:
            return self._turned_away(answer)
        return self._ready()

    def _cancelled(self, answer: Answer, index: int) -> None:
        """RFC 4954 section 4: 501 is due; a server that goes on asking is not followed."""
        self._turned_away(answer)

    def _ready(self) -> None:
        self.stage, self.move = Stage.MAIL, Move.READY

    # ------------------------------------------------------------ a transaction

    def begin(self, mail: bytes, rcpts: Sequence[bytes], whole: bytes | None) -> None:
        """Say the envelope. `whole` is the message where it is small enough to leave with it; else `body` is asked for."""
        assert self.move is Move.READY
        self.results, self._accepted, self._whole = [None] * len(rcpts), 0, whole
        self._said, self._early, self.may_have_it = None, None, False
        self._stuffer = Stuffer()
        self.letters += 1
        if self._unclean:
            self._say(b"RSET\r\n", self._reset)
        self._say(mail, self._sender_answered)
        for index, rcpt in enumerate(rcpts):
            self._say(rcpt, self._recipient_answered, index)
        if not self.offers.chunking:
            self._say(b"DATA\r\n", self._data_answered, 0, Wait.DATA)
        elif whole is not None:
            self.may_have_it = self.offers.pipelining
            self._say(b"BDAT %d LAST\r\n%b" % (len(whole), whole), self._final_answered, 0, Wait.FINAL)

    def _reset(self, answer: Answer, index: int) -> None:
        self._unclean = not answer.is_good

    def _sender_answered(self, answer: Answer, index: int) -> None:
        if self._unclean and not answer.is_good:  # it has not forgotten the transaction before: that is no matter of this one
            return self.break_off(Reply(451, "4.5.0", f"The server did not take RSET, and then said: {explained(answer)}"))
        self._said = answer
        if answer.is_good:
            self._unclean = True
            return None
        self.results = [answer] * len(self.results)
        return self._nobody_left()

    def _recipient_answered(self, answer: Answer, index: int) -> None:
        if self.results[index] is None:
            good = answer.is_good
            self._accepted += good
            self.results[index] = ACCEPTED if good else answer
        if index == len(self.results) - 1:
            self._envelope_answered()

    def _envelope_answered(self) -> None:
        """The last recipient has its answer."""
        if not self._accepted:
            return self._nobody_left()
        if not self._expects:  # chunks of a large message are next
            self.move = Move.BODY
        elif not self.offers.pipelining and self.offers.chunking:
            self.may_have_it = True  # the one chunk leaves now
        return None

    def _nobody_left(self) -> None:
        """Where nothing was sent ahead there is nothing more to say; else the replies come all the same."""
        if not self.offers.pipelining:
            self._later.clear()
            self._expects.clear()
        if not self._expects:
            self.move = Move.READY

    def _data_answered(self, answer: Answer, index: int) -> None:
        if answer.code >= 400:
            self._settle(answer)
            self.move = Move.READY
        elif answer.code != 354:
            self.break_off(_out_of_step(answer))
        elif not self._accepted:  # RFC 2920 section 3.1: it waits for a message that has nobody to go to
            self._say(b".\r\n", self._end_answered)
        elif self._whole is None:
            self.move = Move.BODY
        else:
            self.may_have_it = True
            self._say(stuffed(self._whole), self._final_answered, 0, Wait.FINAL)

    def body(self, block: bytes, *, last: bool) -> None:
        """The next block of a large message. It must not split a CRLF."""
        assert self.move is Move.BODY
        if self.offers.chunking:
            self.may_have_it = last
            self._say(b"BDAT %d%b\r\n%b" % (len(block), b" LAST" if last else b"", block), *self._after_chunk(last))
            if self.offers.pipelining and not last:
                self.move = Move.BODY
        elif last:
            self.may_have_it = True
            self._say(self._stuffer.stuffed(block) + b".\r\n", self._final_answered, 0, Wait.FINAL)
        else:
            self.out.append(self._stuffer.stuffed(block))

    def _after_chunk(self, last: bool) -> tuple[Handler, int, Wait]:
        return (self._final_answered, 0, Wait.FINAL) if last else (self._chunk_answered, 0, Wait.BLOCK)

    def _chunk_answered(self, answer: Answer, index: int) -> None:
        if answer.is_good:
            if not self._expects and self._early is None:
                self.move = Move.BODY
        elif self._early is None:
            self._early, self.move = answer, Move.PEER
        if self._early is not None and not self._expects:  # RFC 3030 section 2: RSET is next
            self._settle(self._early)
            self.move = Move.READY

    def _final_answered(self, answer: Answer, index: int) -> None:
        self.may_have_it = False
        self._unclean = not answer.is_good  # RFC 3030 section 2: after a chunk that failed, who knows
        if 200 <= answer.code < 300 or answer.code >= 400:
            self._settle(self._early or answer)
            self.move = Move.READY
        else:
            self.may_have_it = True  # who knows what that means
            self.break_off(_out_of_step(answer))

    def _end_answered(self, answer: Answer, index: int) -> None:
        self._unclean, self.move = False, Move.READY

    def _settle(self, answer: Answer | Reply) -> None:
        """The server's word on the message, for all whom it had accepted."""
        self.results = [answer if result is ACCEPTED else result for result in self.results]

    # ------------------------------------------------------------ the rest

    def ask(self, command: bytes) -> None:
        """Any one command, such as ETRN; its answer is the one result."""
        assert self.move is Move.READY
        self.results = [None]
        self._say(command, self._asked)

    def _asked(self, answer: Answer, index: int) -> None:
        self.results, self.move = [answer], Move.READY

    def quit(self) -> None:
        """Take our leave; the move is OVER when the server has answered, or hung up."""
        if self.move is Move.READY:
            self.ends = True
            self._say(b"QUIT\r\n", self._parted)

    def _parted(self, answer: Answer, index: int) -> None:
        self.move = Move.OVER


ACCEPTED = Answer(250, (b"accepted",))  # a mark, compared by identity: the recipient waits for the word on the message


def _out_of_step(answer: Answer) -> Reply:
    return Reply(451, "4.5.0", f"The server is out of step: {explained(answer)}")
