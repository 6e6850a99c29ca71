"""Transfer events: what a scanner or filter is asked at pickup and at delivery, and what it may answer.

Overview section 4.1.2. The first final verdict wins; a Replace feeds the next hook. Verdicts are values, never exceptions. `by` is the
instance that gave a verdict: the dispatcher fills it in, a plugin leaves it empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from postroom.envelope import Envelope
from postroom.message import Message


class Stage(Enum):
    """When an event fires."""

    PICKUP = "pickup"  # the MTA took a message from a connector; asked once, the result is stored
    DELIVERY = "delivery"  # the MTA hands a message to a connector; asked per hop


@dataclass(frozen=True, slots=True)
class TransferEvent:
    """What a hook sees: plain values and a message to read."""

    stage: Stage
    envelope: Envelope
    message: Message
    source: str  # acronym of the connector it came from
    target: str = ""  # acronym of the connector it goes to; empty at pickup


@dataclass(frozen=True, slots=True)
class Pass:
    """No objection."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Go on with this message in place of the old one."""

    message: Message


@dataclass(frozen=True, slots=True)
class Defer:
    """Ask again later."""

    why: str
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse it: 554 where the peer still waits, otherwise a notice to a trusted sender or Bad Mail."""

    why: str
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Keep it aside for the operator; the sender hears nothing."""

    why: str
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Discard:
    """Drop it without a word."""

    why: str
    by: str = field(default="", compare=False)


Verdict = Pass | Replace | Defer | Reject | Quarantine | Discard
PASS = Pass()
