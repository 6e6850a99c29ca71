"""A site as the connector sees it: rows, a store that answers as it is told, a hook that answers as it is told, a clock turned by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from postroom.addressmap import AddressMap
from postroom.envelope import Envelope
from postroom.mailstore import Placed, Target
from postroom.message import Message
from postroom.records import AddressMapRecord, DomainRecord
from postroom.site import Site
from postroom.transfer import PASS, Replace, TransferEvent, Verdict
from postroom_postoffice.connector import PostofficeConnector
from postroom_postoffice.settings import PostofficeSettings
from tests.plugins_postoffice.rows import Family


@dataclass
class Store:
    """Notes every call; answers Placed, or what `troubles` has for a mailbox."""

    troubles: dict[str, Exception] = field(default_factory=dict)
    calls: list[tuple[Message, list[Target], bool]] = field(default_factory=list)
    own: list[Message] = field(default_factory=list)  # of which the journal was said to have nothing

    async def deliver(
        self, message: Message, targets: Sequence[Target], *, arrived: float, again: bool, own: bool = False
    ) -> Sequence[Placed | Exception]:
        self.calls.append((message, list(targets), again))
        self.own += [message] if own else []
        return [self.troubles.get(target.mailbox) or Placed(target.folder, 1, 1) for target in targets]


@dataclass
class Hook:
    """Verdicts by mailbox."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    events: list[TransferEvent] = field(default_factory=list)

    def has(self, hook: str) -> bool:
        return bool(self.verdicts) and hook == "mailbox_delivery"

    async def transfer(self, hook: str, event: Any) -> tuple[Verdict, TransferEvent]:
        self.events.append(event)
        verdict = self.verdicts.get(event.mailbox, PASS)
        return (PASS, replace(event, message=verdict.message)) if isinstance(verdict, Replace) else (verdict, event)


class World:
    """The connector and what it stands on; example.test is ours."""

    def __init__(self, rows: Family, root: Path = Path("/nowhere"), map: Sequence[tuple[str, str]] = (), /, **settings: object) -> None:
        self.store, self.hook, self.seconds = Store(), Hook(), 100.0
        self.unix = 1_000_000.0
        self.logged: list[str] = []
        self.aside: list[tuple[Envelope, Message, str]] = []
        site = SimpleNamespace(
            providers=SimpleNamespace(postoffice=rows),
            store=self.store,
            ask=self.hook,
            clock=SimpleNamespace(monotonic=lambda: self.seconds, now=lambda: self.unix),
            root=root,
            settings=SimpleNamespace(server="mail.example.test"),
            router=AddressMap.of([AddressMapRecord(*row) for row in map], [DomainRecord("example.test")]),
            log=SimpleNamespace(error=lambda event, **facts: self.logged.append(event)),
            spool=SimpleNamespace(set_aside=self._set_aside),
        )
        self.site = cast(Site, site)
        self.connector = PostofficeConnector(PostofficeSettings.model_validate(settings), self.site)

    def _set_aside(self, shelf: str, envelope: Envelope, message: Message, why: str, by: str, at: str) -> None:
        assert shelf == "Quarantine" and at == "mailbox_delivery"
        self.aside.append((envelope, message, why))
