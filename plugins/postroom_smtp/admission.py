"""The part of a conversation in which people log in, and what they may then say: AUTH from its command to its verdict (RFC 4954), whose
address a sender and an author is (RFC 6409 section 6.1), how long a message may be held (RFC 4865). Acts on nothing: what takes time is a `Prove`.
"""

from __future__ import annotations

from itertools import islice

from postroom.address import smtp
from postroom.envelope import Peer
from postroom_net.authentication import Authentication, Verdict
from postroom_net.login import Principal, Refused
from postroom_net.sasl import Binding, Challenge, Fault, Step
from postroom_smtp import header, replies
from postroom_smtp.grammar import Auth, Mail
from postroom_smtp.header import Letterhead
from postroom_smtp.wants import House, Prove

_AUTHORS = 100  # addresses in From; each is looked up, and nobody has so many
_REFUSED = {"bad": replies.LOGIN_FAILED, "disabled": replies.LOGIN_DISABLED, "unavailable": replies.LOGINS_UNAVAILABLE}
_FAULTS = {
    Fault.CANCELLED: replies.LOGIN_CANCELLED,
    Fault.TOO_LONG: replies.LOGIN_TOO_LONG,
    Fault.MALFORMED: replies.LOGIN_UNREADABLE,
    Fault.NOT_PROVEN: replies.LOGIN_FAILED,
    Fault.NOT_ALLOWED: replies.LOGIN_FOR_ANOTHER,
}


class Admission:
    """One peer's. Each step answers with the reply to say, or with what has to be carried out first."""

    __slots__ = ("_binding", "_failures", "_house", "_trial", "who")

    def __init__(self, house: House, binding: Binding | None = None) -> None:
        self._house, self._binding = house, binding
        self._trial: Authentication | None = None
        self._failures = 0
        self.who: Principal | None = None

    def secured(self, binding: Binding | None) -> None:
        """TLS is on: what was said before is forgotten (RFC 3207 section 4.2)."""
        self._binding, self._trial, self.who = binding, None, None

    @property
    def is_under_way(self) -> bool:
        """Whether the next line is a response."""
        return self._trial is not None

    @property
    def is_hopeless(self) -> bool:
        """Whether this peer has guessed often enough."""
        return self._failures >= self._house.settings.auth.failures

    def _is_sealed(self, peer: Peer) -> bool:
        return bool(peer.tls) or self._house.settings.auth.without_tls

    def mechanisms(self, peer: Peer) -> tuple[str, ...]:
        """What EHLO tells of: nothing in the clear, and nothing to whom has logged in."""
        if self.who is not None or not self._is_sealed(peer):
            return ()
        return self._house.authenticator.mechanisms.names(secure=True, binding=self._binding is not None)

    def begin(self, command: Auth, peer: Peer) -> bytes | Prove:
        """RFC 4954 section 4."""
        if self.who is not None:
            return replies.LOGIN_ALREADY
        if not self._is_sealed(peer):
            return replies.TLS_FOR_LOGIN
        trial = self._house.authenticator.begin(command.mechanism, peer.ip, secure=True, binding=self._binding)
        return replies.NO_SUCH_MECHANISM if trial is None else self._say(trial, trial.exchange.begin(command.initial))

    def respond(self, line: bytes) -> bytes | Prove:
        """The client's answer to the last challenge."""
        trial, self._trial = self._trial, None
        return replies.LOGIN_UNREADABLE if trial is None else self._say(trial, trial.exchange.answer(line))

    def overrun(self) -> bytes:
        """A response beyond every limit."""
        self._trial = None
        self._failures += 1
        return replies.LOGIN_TOO_LONG

    def _say(self, trial: Authentication, step: Step) -> bytes | Prove:
        if not isinstance(step, Challenge):
            return Prove(trial, step)
        self._trial = trial
        return replies.challenge(step.line)

    def judged(self, prove: Prove, verdict: Verdict) -> bytes | Prove:
        """What came of a `Prove`."""
        if isinstance(verdict, Challenge):
            return self._say(prove.trial, verdict)
        if isinstance(verdict, Principal):
            self.who = verdict
            return replies.LOGGED_IN
        self._failures += verdict is not Fault.CANCELLED
        return _refusal(verdict)

    # What they may say.

    def objects(self, mail: Mail) -> bytes | None:
        """The reply to a MAIL that is not theirs to say; None from whom has not logged in."""
        who, sender, house = self.who, mail.sender, self._house
        if who is None:
            return None
        if sender is not None and house.settings.own_sender and not house.owns(who, sender):
            return replies.not_theirs(sender.detail, who.username)
        most = house.settings.hold_days * 86400
        if not most and (mail.hold_for or mail.hold_until):
            return replies.HOLD_NOT_OFFERED
        return replies.HOLD_TOO_LONG if max(mail.hold_for, mail.hold_until - house.now()) > most else None

    def letterhead(self, mail: Mail, message_id: str) -> Letterhead | None:
        """What puts in front of their message what its header lacks."""
        if self.who is None:
            return None
        house = self._house
        sender = mail.sender.detail if mail.sender else ""
        most, judge = house.limits.header, self._judge_head
        return Letterhead(sender=sender, message_id=message_id, server=house.server, now=house.now(), most=most, judge=judge)

    def _judge_head(self, head: bytes) -> bytes | None:
        """The reply to a header that says somebody else of this site has written it."""
        who, house = self.who, self._house
        if who is None or not house.settings.own_from:
            return None
        authors = list(islice(header.authors(head), _AUTHORS + 1))
        if len(authors) > _AUTHORS:
            return replies.TOO_MANY_AUTHORS
        return next((replies.not_theirs(one, who.username) for one in authors if house.poses(who, smtp(one))), None)


def _refusal(verdict: Refused | Fault) -> bytes:
    """Why nobody is logged in. A wrong password and an unknown login hear the same."""
    if isinstance(verdict, Refused):
        return replies.refused_for(verdict.wait) if verdict.reason == "throttled" else _REFUSED[verdict.reason]
    return _FAULTS[verdict]
