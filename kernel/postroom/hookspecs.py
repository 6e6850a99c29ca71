"""The hooks the kernel asks. One line each says who is asked and what the answer means; docs/plugin-guide.md has the rest.

pluggy registers, orders and checks signatures; `postroom.host` calls, because pluggy knows no await, no deadline and no
failure policy. The order of the plugins in the YAML file is the order in which they are asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from postroom.connectors import Connector, Service
from postroom.envelope import Envelope
from postroom.mailstore import MailStore
from postroom.outcome import Outcome
from postroom.providers import Providers, ProviderSet
from postroom.transfer import TransferEvent, Verdict

if TYPE_CHECKING:
    from postroom.site import Ground, Site

hookspec = pluggy.HookspecMarker("postroom")
hookimpl = pluggy.HookimplMarker("postroom")

ASGIApp = Callable[..., Awaitable[None]]


class Hooks(Protocol):
    """Specifications; a misspelt hook or argument stops the start."""

    @hookspec
    def providers(self, ground: Ground) -> ProviderSet:
        """All: the roles this plugin can fill; the settings choose one per role."""

    @hookspec(firstresult=True)
    def mail_store(self, ground: Ground, providers: Providers) -> MailStore:
        """First answer: the mailbox repository."""

    @hookspec
    def connectors(self, site: Site) -> Iterable[Connector]:
        """All: ways in and out."""

    @hookspec
    def services(self, site: Site) -> Iterable[Service]:
        """All: what lets people at their mail."""

    @hookspec
    def http_mounts(self, site: Site) -> Mapping[str, ASGIApp]:
        """All: prefix to ASGI app, below the one HTTP listener."""

    @hookspec
    def commands(self, cli: Any) -> None:
        """All: what the plugin adds to the command line (a typer.Typer)."""

    @hookspec
    async def mta_pickup(self, event: TransferEvent) -> Verdict:
        """In order until final: a message was taken from a connector."""

    @hookspec
    async def mta_delivery(self, event: TransferEvent) -> Verdict:
        """In order until final: a message is about to go to a connector."""

    @hookspec
    def mta_settled(self, envelope: Envelope, outcomes: Sequence[Outcome]) -> None:
        """All, after the fact: for logs and counters. Cannot object, cannot delay."""

    @hookspec
    async def site_created(self, site: Site, domain: str) -> None:
        """All: `init` or `demo` wrote a site; make keys, folders and rows. Safe to be asked again."""

    @hookspec
    def health(self, site: Site) -> Iterable[str]:
        """All: what is wrong now, a sentence each."""

    @hookspec
    def check(self, site: Site) -> Iterable[str]:
        """All: what `postroom check` should complain about, a sentence each with its remedy."""
