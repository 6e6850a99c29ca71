"""The whole road: a letter goes in, is refused for a while, rests, is tried again, fails at last; each attempt is signed once, what rests is not,
and the notice that we write is signed too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from postroom import hookimpl
from postroom.address import InternalAddress
from postroom.connectors import Agent, Connector
from postroom.envelope import Envelope, Recipient
from postroom.message import Message
from postroom.outcome import Deferred, Delivered, Failed, Outcome, Reply
from postroom.records import AddressMapRecord, DomainRecord
from postroom.site import Ground, Site
from postroom_dkim.plugin import DkimPlugin
from postroom_run.assembly import Assembled
from postroom_testing.clock import HandClock
from postroom_testing.ground import site_in
from tests.hooks_dkim.house import HERE, NOW, TEXT, event, large, small, verdicts

YAML = "server: mail.example.test\nplugins: {tab: {watch: false}, world: {}, dkim: {rsa_bits: 1024}}\n"


class WorldSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class World:
    """An SMTP connector whose peers answer as they are told, and that keeps what it was given."""

    acronym, is_local = "SMTP", False

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[Envelope, bytes]] = []

    def hop(self, address: InternalAddress) -> str:
        return address.domain

    def refuses(self, address: InternalAddress) -> Reply | None:
        return None

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        self.got.append((envelope, await message.read()))
        code = self.answers.pop(0) if envelope.sender is not None else 250
        reply = Reply(code, f"{code // 100}.0.0", "as it was told")
        return [_outcome(one, reply) for one in envelope.recipients]

    def agents(self) -> Iterable[Agent]:
        return ()


def _outcome(recipient: Recipient, reply: Reply) -> Outcome:
    match reply.code // 100:
        case 2:
            return Delivered(recipient)
        case 4:
            return Deferred(recipient, reply)
        case _:
            return Failed(recipient, reply)


class WorldPlugin:
    Settings = WorldSettings

    def __init__(self, settings: WorldSettings, ground: Ground) -> None:
        self.world = World()

    @hookimpl
    def connectors(self, site: Site) -> Iterable[Connector]:
        return (self.world,)


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[tuple[Assembled, World]]:
    async with site_in(folder, YAML, clock=HandClock(NOW), plugins={"dkim": DkimPlugin, "world": WorldPlugin}) as parts:
        await parts.site.providers.smtp.domains.put(DomainRecord(domain="example.test", account="example.test"))
        await parts.site.providers.address_map.rows.put(AddressMapRecord(source="[SMTP:*@*]", destination="[SMTP:*]"))
        plugin = parts.host.plugins["world"]
        assert isinstance(plugin, WorldPlugin)
        yield parts, plugin.world


def zone(parts: Assembled) -> dict[str, str]:
    plugin = parts.host.plugins["dkim"]
    assert isinstance(plugin, DkimPlugin)
    shelf = plugin.signer.shelf
    return {record.name: record.value for one in shelf.sets("example.test") for record in shelf.records("example.test", one)}


async def try_again(parts: Assembled) -> None:
    """As the caretaker does when it is time."""
    queue = parts.site.spool["SMTP"].outgoing
    for item, _ in list(queue.items()):
        claim = parts.site.spool.claim(queue, item)
        assert claim is not None
        parts.mta.take(claim)
    await parts.mta.drain()


async def _travel(folder: Path, message: Message) -> None:
    async with house(folder) as (parts, world):
        world.answers = [451, 451, 550]
        asked = event(message).envelope
        sender = InternalAddress.parse("[SMTP:ann@elsewhere.test]")  # so that the notice goes out by SMTP too
        original = await message.read()
        await parts.site.intake.accept(replace(asked, sender=sender, peer=HERE), message)
        await parts.mta.drain()
        for _ in range(2):
            (resting,) = (folder / "Queues/SMTP/Outgoing/Messages").glob("*.MAI")
            assert resting.read_bytes() == original
            await try_again(parts)
        attempts = [text for envelope, text in world.got if envelope.sender is not None]
        notices = [text for envelope, text in world.got if envelope.sender is None]
        assert len(attempts) == 3 and notices
        for text in attempts:
            assert text.count(b"DKIM-Signature:") == 2 and text.endswith(original) and verdicts(text, zone(parts)) == [True, True]
        for text in notices:
            told = text.partition(b"\r\n")[2] if text.startswith(b"Return-Path") else text
            assert b"From: Mail delivery <postmaster@mail.example.test>" in told and verdicts(told, zone(parts)) == [True, True]
    assert not list((folder / "run/dkim/0").glob("*")), "no signed copy is left"


def test_a_letter(tmp_path: Path) -> None:
    asyncio.run(_travel(tmp_path, small()))


def test_a_large_letter(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "site").mkdir()
        message = large(tmp_path, TEXT)
        folder = tmp_path / "site/Queues/SMTP/Inbound/Messages"
        folder.mkdir(parents=True)
        message.path.rename(folder / f"{message.id}.MAI")
        await _travel(tmp_path / "site", replace(message, path=folder / f"{message.id}.MAI"))

    asyncio.run(main())
