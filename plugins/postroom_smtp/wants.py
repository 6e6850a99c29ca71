"""What a session asks of the house, at once and from memory, and what it wants done by the connection, which may take time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from postroom.address import InternalAddress
from postroom.envelope import Envelope, Peer
from postroom.outcome import Reply
from postroom_net.authentication import Authentication, Authenticator
from postroom_net.login import Principal
from postroom_net.sasl import Step
from postroom_smtp.api import ConnectEvent, MailEvent, RcptEvent
from postroom_smtp.content import Content
from postroom_smtp.data import BareLines
from postroom_smtp.rates import SendingRates
from postroom_smtp.settings import Limits, SmtpSettings


class House(Protocol):
    """What a session asks, always answered from memory."""

    @property
    def server(self) -> str: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def settings(self) -> SmtpSettings: ...
    @property
    def rates(self) -> SendingRates: ...
    @property
    def authenticator(self) -> Authenticator: ...
    @property
    def banner(self) -> bytes: ...
    @property
    def offers(self) -> Mapping[bool, bytes]:
        """The lines of an EHLO reply but the first, without and with STARTTLS."""

    @property
    def bare(self) -> BareLines: ...

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    def refuses(self, peer: Peer, address: InternalAddress) -> Reply | None: ...
    def may_relay(self, peer: Peer) -> bool: ...
    def owns(self, who: Principal, sender: InternalAddress) -> bool: ...
    def poses(self, who: Principal, author: InternalAddress) -> bool: ...
    def is_privileged(self, ip: str) -> bool: ...
    def offers_to(self, *, starttls: bool, mechanisms: tuple[str, ...], holds: bool, etrn: bool) -> bytes:
        """The lines of an EHLO reply but the first, for listeners where people log in and for peers that may relay."""

    def is_banned(self, sender: InternalAddress, recipient: InternalAddress) -> bool: ...
    def is_overloaded(self) -> bool: ...
    def asks(self, hook: str) -> bool: ...
    def postmaster(self) -> str: ...
    def content(self, message_id: str, trace_lines: bytes) -> Content: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this hook; answer with its reply or None."""

    hook: str
    event: ConnectEvent | MailEvent | RcptEvent


class Commit(NamedTuple):
    """Take responsibility for this message; answer with what the peer is to hear."""

    envelope: Envelope
    content: Content
    began: float  # monotonic seconds of its MAIL
    bare: bool = False  # a bare CR or LF was mended


class Prove(NamedTuple):
    """Carry this step of a login out; call `judged` with what came of it."""

    trial: Authentication
    step: Step


class Start(NamedTuple):
    """Try now what waits for this node (ETRN); answer with what the peer is to hear."""

    node: str


class Wish(Enum):
    """What needs nothing more than to be done."""

    RELIEF = "relief"  # wait until delivery has caught up, then answer None
    UPGRADE = "upgrade"  # start TLS, then call `secured`
    HANGUP = "hangup"  # close once all is sent


Want = Ask | Commit | Prove | Start | Wish
