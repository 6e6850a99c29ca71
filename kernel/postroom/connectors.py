"""Connectors, agents and services: what a plugin gives the kernel to run.

A connector moves mail between the MTA and some other system; it sees claims and answers with outcomes, and knows
neither queues nor retries. An agent is a loop of a connector's own (a listener, a poller). A service lets people at their mail.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from postroom.address import InternalAddress
from postroom.envelope import Envelope
from postroom.message import Message
from postroom.outcome import Outcome, Reply


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A socket the supervisor binds before it drops rights. `label` is the key under which `demo --json` tells it."""

    label: str  # "smtp", "pop3s", ...; with the instance's own name in front for further instances
    host: str
    port: int  # 0: any free port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Agent(Protocol):
    """A loop the worker runs. Endpoints are told before it runs; their sockets come through `Site.sockets`."""

    @property
    def name(self) -> str: ...
    @property
    def endpoints(self) -> Sequence[Endpoint]: ...
    async def run(self) -> None:
        """Serve until cancelled. A listener has started to listen once `Site.ready(self)` was called."""

    async def drain(self) -> None:
        """Stop accepting, let what is under way end; the kernel cancels `run` after `drain_seconds`."""


Service = Agent


class Connector(Protocol):
    """One way in or out of the house, named by its acronym."""

    @property
    def acronym(self) -> str: ...

    @property
    def is_local(self) -> bool:
        """Whether `deliver` ends at this machine's disk: then the kernel delivers at once and never waits for a free slot."""

    def hop(self, address: InternalAddress) -> str:
        """The next hop of an address: recipients of one hop share an envelope. Empty where all share one."""

    def refuses(self, address: InternalAddress) -> Reply | None:
        """What it would say now to a recipient it cannot serve (unknown, disabled, full), else None. From memory, never waits."""

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        """One attempt: an outcome per recipient, in any order. Never raises for what a peer or disk did wrong: that is Deferred.
        Idempotent per (message, destination): after a crash the same envelope comes again."""

    def agents(self) -> Iterable[Agent]:
        """Its own loops, started by the worker."""
