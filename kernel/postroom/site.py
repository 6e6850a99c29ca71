"""All that a plugin is handed. Nothing is global: what is not reachable from here, a plugin does not get.

`Ground` comes first, when there are no providers yet; `Site` adds what stands on them. A provider cannot ask for a provider,
because the type has none.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from postroom.address import InternalAddress
from postroom.clock import Clock
from postroom.connectors import Agent, Endpoint
from postroom.envelope import Envelope
from postroom.errors import PostroomError
from postroom.mailstore import MailStore
from postroom.message import Message
from postroom.outcome import Reply
from postroom.providers import Providers
from postroom.transfer import TransferEvent, Verdict
from postroom_disk.disk import Disk

if TYPE_CHECKING:
    from postroom.addressmap import Router
    from postroom.journal import Journal
    from postroom.settings import Settings
    from postroom.spool import Spool
    from postroom_net.login import Login
    from postroom_net.resolver import Resolver
    from postroom_net.tls import TlsContexts
    from postroom_ops.metrics import Metrics


class Log(Protocol):
    """Structured lines: an event's name and its facts. Never a password, never a body."""

    def debug(self, event: str, **facts: object) -> None: ...
    def info(self, event: str, **facts: object) -> None: ...
    def warning(self, event: str, **facts: object) -> None: ...
    def error(self, event: str, **facts: object) -> None: ...
    def bind(self, **facts: object) -> Log:
        """The same log with these facts in every line."""


class Bus(Protocol):
    """Hints between the workers of a site. A hint may be lost or doubled; who gets one looks for himself."""

    def send(self, topic: str, payload: bytes = b"", *, here: bool = False) -> None:
        """Tell all other workers, and `here` the listeners in this one too; never waits."""

    def listen(self, topic: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        """Call `told` in the event loop for every hint on this topic from another worker; the answer ends it."""


class Control(Protocol):
    """Where the command line asks a running site."""

    def serve(self, request: str, handler: Callable[..., dict[str, Any] | Awaitable[dict[str, Any]]]) -> None:
        """Answer this request from now on. A PostroomError that the handler raises is the answer's `error`."""


class HookFailed(PostroomError):
    """A hook failed, and its policy does not let the matter pass: `verdict` is what the operator wants said instead."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(getattr(verdict, "why", ""))


class Asking(Protocol):
    """How a plugin asks hooks, those of its own `hookspecs` above all. Deadlines and failure policy are the host's."""

    async def __call__(self, hook: str, **arguments: object) -> Any:
        """The first answer that is not None, or None. HookFailed where a hook failed and its policy is not `pass`."""

    async def transfer(self, hook: str, event: TransferEvent) -> tuple[Verdict, TransferEvent]:
        """Asked in order until a final verdict; each Replace is in the event that comes back."""

    def has(self, hook: str) -> bool:
        """Whether anyone would be asked; costs a dictionary look-up."""


class Intake(Protocol):
    """Where connectors put what they took in. The MTA is behind it."""

    async def accept(self, envelope: Envelope, message: Message) -> Verdict:
        """Take responsibility: durable when this returns, and the pickup verdict where hooks are loaded (else PASS, at once).

        Whatever else it returns, the message is taken and the caller says 250. A Reject returned here has not been answered to the sender: the caller says 554 and nothing more happens. After `reply_within`
        seconds it returns PASS and the verdict is acted on later. SpoolError: nothing was kept, answer 452 or 451; a file at `big` is then
        the caller's to remove, in every other case the spool's."""

    def verify(self, address: InternalAddress) -> Reply | None:
        """How a recipient would be refused by the route a message to it would take, else None. From memory, never waits."""

    def overloaded(self) -> bool:
        """Whether delivery lags behind acceptance so far that a listener should stop reading for a while; `relieved` tells when not."""

    async def relieved(self) -> None: ...

    def big(self, message_id: str, source: str) -> Path:
        """Where a message larger than SMALL is to be streamed before it is accepted as a FileMessage, synced by `accept`."""


@dataclass(frozen=True)
class Ground:
    """What there is before providers are."""

    root: Path  # the site's folder
    settings: Settings
    clock: Clock
    disk: Disk
    journal: Journal
    metrics: Metrics
    log: Log
    bus: Bus
    worker: int = 0  # the journal slot this worker holds
    state: dict[str, Any] = field(default_factory=dict)  # a plugin's own, by its instance name; survives nothing
    name: str = ""  # the instance this was handed to, as the operator calls it


@dataclass(frozen=True)
class Site(Ground):
    """Everything: what connectors, services and hooks work with."""

    providers: Providers = field(kw_only=True)
    store: MailStore = field(kw_only=True)
    spool: Spool = field(kw_only=True)
    intake: Intake = field(kw_only=True)
    router: Router = field(kw_only=True)
    login: Login = field(kw_only=True)
    tls: TlsContexts = field(kw_only=True)
    resolver: Resolver = field(kw_only=True)
    ask: Asking = field(kw_only=True)
    control: Control = field(kw_only=True)  # where requests of the command line to a running site are answered
    sockets: Mapping[str, Sequence[socket.socket]] = field(
        kw_only=True, default_factory=dict
    )  # by endpoint label; bound, not yet listening
    ready: Callable[[Agent], None] = field(kw_only=True, default=lambda agent: None)

    def socket_for(self, endpoint: Endpoint) -> Sequence[socket.socket]:
        """The bound sockets of an endpoint."""
        return self.sockets.get(endpoint.label, ())
