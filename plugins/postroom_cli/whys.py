"""`postroom why`: the road of a message, step by step, with the row that decided each; nothing is sent, stored or asked over the network.

The decisions are the server's own: the router's and the connectors'. A connector that has `foresee` says what it would answer; of the others
the last step is that they would get the message. Groups and redirects are followed as the MTA follows them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import typer

from postroom.address import InternalAddress, smtp
from postroom.addressmap import Resolution
from postroom.connectors import Connector
from postroom.envelope import Envelope, Recipient
from postroom.message import FileMessage, Message
from postroom.mta import DEEPEST
from postroom.outcome import Delivered, Expanded, Outcome, Reply
from postroom.records import Record
from postroom_cli.names import Wrong
from postroom_cli.opened import opened
from postroom_cli.output import SAID_NO, answer
from postroom_run.assembly import Assembled

NOBODY = "0" * 32  # the id of a message that does not exist


class Foreseen(Protocol):
    """An outcome, and the rows that decide it."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def by(self) -> Sequence[Record]: ...


@runtime_checkable
class Foresees(Protocol):
    """A connector that can say what it would do."""

    async def foresee(self, envelope: Envelope, message: Message | None) -> Sequence[Foreseen]: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the road. `ends`: the message arrives there (True), is refused (False), or goes on (None)."""

    depth: int
    what: str
    rows: tuple[str, ...] = ()
    ends: bool | None = None


def run(root: Path, sender: str, recipient: str, message: Path | None, *, as_program: bool) -> None:
    """Tell the road; exit code 1 where nobody would get the message."""
    text = FileMessage(NOBODY, message, message.stat().st_size) if message else None
    steps = asyncio.run(_look(root, address(sender), required(recipient), text))
    arrives = any(step.ends for step in steps)
    lines = [f"{'  ' * step.depth}{step.what}" + "".join(f"\n{'  ' * step.depth}    by {row}" for row in step.rows) for step in steps]
    plain = [{"depth": step.depth, "what": step.what, "rows": list(step.rows), "ends": step.ends} for step in steps]
    answer({"arrives": arrives, "steps": plain}, lines, as_program=as_program)
    if not arrives:
        raise typer.Exit(SAID_NO)


def address(text: str) -> InternalAddress | None:
    """An envelope address as it is typed; none for the null sender of notices."""
    text = text.strip()
    if text in ("", "<>"):
        return None
    if text.startswith("["):
        return InternalAddress.parse(text)
    local, at, domain = text.removeprefix("<").removesuffix(">").rpartition("@")
    if not at or not local or not domain:
        raise Wrong(f"{text!r} is no address; write it like alice@example.com, or [SF:POSTOFFICE/NAME]")
    return smtp(f"{local}@{domain}")


def required(text: str) -> InternalAddress:
    found = address(text)
    if found is None:
        raise Wrong("a recipient cannot be empty")
    return found


async def _look(root: Path, sender: InternalAddress | None, recipient: InternalAddress, message: Message | None) -> list[Step]:
    envelope = Envelope(NOBODY, NOBODY, "SMTP", sender, (Recipient(recipient),), 0.0)
    async with opened(root) as parts:
        return _first(parts, envelope) + [step async for step in road(parts, envelope, message)]


def _first(parts: Assembled, envelope: Envelope) -> list[Step]:
    """What happens before the address map is asked."""
    said = [Step(0, f"from {envelope.sender or 'the null sender, as notices are'} to {envelope.recipients[0].address}")]
    for hook, when in (("mta_pickup", "pickup"), ("mta_delivery", "each delivery")):
        if names := parts.host.order(hook):
            said.append(Step(0, f"asked at {when}: {', '.join(names)}; what they would say is not asked here"))
    return said


async def road(parts: Assembled, envelope: Envelope, message: Message | None, depth: int = 0) -> AsyncIterator[Step]:
    """The steps of an envelope with one recipient or several."""
    for recipient in envelope.recipients:
        found = parts.site.router.resolve(recipient.address)
        yield _resolved(found, depth)
        for destination in found.to:
            part = replace(envelope, recipients=(replace(recipient, address=destination),))
            sent_on = bool(envelope.expanded) or parts.site.router.is_ours(recipient.address.domain)
            async for step in _handed_over(parts, part, destination, message, depth + 1, sent_on=sent_on):
                yield step


def _resolved(found: Resolution, depth: int) -> Step:
    rows = tuple(map(_told, found.by))
    if not found.to:
        return Step(depth, f"{found.address} cannot be resolved: {found.why}", rows, ends=False)
    if found.to == (found.address,) and not found.by:
        return Step(depth, f"{found.address}" + (f" ({found.why})" if found.why else ""))
    return Step(depth, f"{found.address} leads to {' and '.join(map(str, found.to))}" + (f" ({found.why})" if found.why else ""), rows)


async def _handed_over(
    parts: Assembled, part: Envelope, destination: InternalAddress, message: Message | None, depth: int, *, sent_on: bool
) -> AsyncIterator[Step]:
    """`sent_on`: an address of ours leads there, so nobody is asked whether the sender may."""
    connector = parts.connectors.get(destination.connector)
    if connector is None:
        yield Step(depth, f"no connector {destination.connector} is loaded", ends=False)
    elif isinstance(connector, Foresees):
        for foreseen in await connector.foresee(part, message):
            async for step in _foreseen(parts, part, foreseen, message, depth):
                yield step
    elif (reply := connector.refuses(destination)) and connector.is_local:
        yield Step(depth, f"the connector {destination.connector} refuses {destination}: {reply}", ends=False)
    else:
        yield _leaves(parts, part, connector, destination, None if sent_on else reply, depth)


def _leaves(parts: Assembled, part: Envelope, connector: Connector, destination: InternalAddress, reply: Reply | None, depth: int) -> Step:
    """To another house. What a connector refuses there it refuses to strangers; a sender of ours is taken for one who has logged in."""
    hop = connector.hop(destination)
    gets = f"the connector {destination.connector} gets it" + (f", next hop {hop}" if hop else "")
    if reply is None:
        return Step(depth, gets, ends=True)
    router, sender = parts.site.router, part.sender
    if sender is None:
        return Step(depth, f"{gets}, as a notice of this site; others hear: {reply}", ends=True)
    is_ours = router.is_ours(sender.domain) and bool(router.resolve(sender).to)
    who = f"from {sender} once logged in" if is_ours else "from who has logged in or may relay"
    return Step(depth, f"{gets}, {who}; others hear: {reply}", ends=is_ours)


async def _foreseen(parts: Assembled, part: Envelope, foreseen: Foreseen, message: Message | None, depth: int) -> AsyncIterator[Step]:
    rows, outcome = tuple(map(_told, foreseen.by)), foreseen.outcome
    if isinstance(outcome, Delivered):
        yield Step(depth, f"delivered: {outcome.where}", rows, ends=True)
    elif not isinstance(outcome, Expanded):
        yield Step(depth, f"refused: {outcome.reply}", rows, ends=False)
    elif len(part.expanded) >= DEEPEST:
        yield Step(depth, f"refused: groups or redirects lead through more than {DEEPEST} steps", rows, ends=False)
    else:
        kept = " and a copy is kept" if outcome.kept else ""
        yield Step(
            depth, f"{outcome.recipient.address} stands for {_others(len(outcome.into))}{kept}", rows, ends=True if outcome.kept else None
        )
        inner = replace(part, recipients=outcome.into, expanded=(*part.expanded, outcome.recipient.address))
        async for step in road(parts, inner, message, depth + 1):
            yield step


def _others(count: int) -> str:
    return "another address" if count == 1 else f"{count} others"


def _told(row: Record) -> str:
    """A row for people: where it stands and what it says."""
    values = [str(getattr(row, name)) for name in row.__dataclass_fields__ if name not in ("origin", "extra", "password")]
    return f"{row.origin or type(row).__name__}: {' | '.join(values)}"
