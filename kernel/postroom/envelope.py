"""Who sent a message, who is to get it, and how the attempts went: all that travels beside the bytes.

An Envelope never changes; a new attempt is a new Envelope. DSN wishes are those of RFC 3461, REQUIRETLS is RFC 8689.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from postroom.address import InternalAddress

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Recipient:
    """One addressee and what the sender wants to hear of it."""

    address: InternalAddress
    original: str = ""  # RFC 3461 section 4.2: ORCPT as "type;address", decoded from xtext; empty when not given
    notify: frozenset[str] = frozenset()  # RFC 3461 section 4.1: of NEVER, SUCCESS, FAILURE, DELAY; empty means FAILURE


@dataclass(frozen=True, slots=True)
class Attempt:
    """How far delivery has come."""

    count: int = 0  # attempts made
    due: float = 0.0  # unix seconds of the next attempt; zero means now
    told: int = 0  # delay notices sent
    error: str = ""  # the last reply or error, for people
    crashes: int = 0  # how often a process died while it held this message; at the third, Bad Mail


FIRST = Attempt()


@dataclass(frozen=True, slots=True)
class Peer:
    """Where the message came from, as far as a connector knows."""

    ip: str = ""
    helo: str = ""
    user: str = ""  # the authenticated login, empty without one
    account: str = ""  # the post office that owns the traffic
    tls: str = ""  # protocol and cipher, empty in the clear
    trusted: bool = False  # authenticated or aligned: a notice may be sent to its sender


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything but the bytes. `id` names the item in its queue, `message` the message; they are the same until the MTA splits."""

    id: str
    message: str
    source: str  # acronym of the connector it came in by
    sender: InternalAddress | None  # none for notices: the null sender of RFC 5321 section 4.5.5
    recipients: tuple[Recipient, ...]
    arrived: float  # unix seconds
    peer: Peer = Peer()
    attempt: Attempt = FIRST
    priority: str = "Normal"
    hop: str = ""  # next hop of an outgoing item, as its connector names it
    body: str = "7BIT"  # RFC 6152, RFC 3030: 7BIT, 8BITMIME or BINARYMIME
    utf8: bool = False  # RFC 6531
    ret: str = ""  # RFC 3461 section 4.3: FULL or HDRS
    envid: str = ""  # RFC 3461 section 4.4
    require_tls: bool = False
    subject: str = ""  # for queue listings only
    expanded: tuple[InternalAddress, ...] = ()  # groups and lists this envelope came through, for loop guards
    settled: frozenset[InternalAddress] = frozenset()  # destinations that have it already; never delivered to again
    holder: str = ""  # the item whose claim holds it while it is carried in memory; itself where empty
    skip: frozenset[str] = frozenset()  # names of hooks not to be asked again: a release from quarantine
    extra: Mapping[str, str] = field(default_factory=lambda: NOTHING)  # keys of the command file that we do not know; kept

    def part(self, item: str, recipients: tuple[Recipient, ...], hop: str) -> Envelope:
        """The same for some recipients of one hop, as an item of its own. What `replace` does, at a tenth of its cost: every message
        is parted, and a frozen class takes 0.2 µs to set a field of."""
        part: Any = _Draft()
        part.message, part.source, part.sender, part.arrived, part.peer = self.message, self.source, self.sender, self.arrived, self.peer
        part.attempt, part.priority, part.body, part.utf8, part.ret = self.attempt, self.priority, self.body, self.utf8, self.ret
        part.envid, part.require_tls, part.subject, part.expanded = self.envid, self.require_tls, self.subject, self.expanded
        part.settled, part.skip, part.extra = self.settled, self.skip, self.extra
        part.id, part.recipients, part.hop, part.holder = item, recipients, hop, self.holder or self.id
        part.__class__ = Envelope  # the same slots, frozen from here on
        made: Envelope = part
        return made

    @property
    def may_be_known(self) -> bool:
        """Whether a destination may have it already: replayed, tried before, expanded from a group, or a notice. Then all places are searched."""
        return bool(self.attempt.count or self.attempt.crashes or self.expanded or self.settled) or self.sender is None


class _Draft:
    """An envelope that is being written."""

    __slots__ = Envelope.__slots__
