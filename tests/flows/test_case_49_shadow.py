"""Case 49: with and without a shadow plugin the outcome is the same to the octet, whatever the plugin says of each message.

The corpus is generated, the clock stands still, and what is compared is every file of the site that a message leaves: mailboxes with their
indexes, queues, Bad Mail and Quarantine. 2,000 messages; 10,000 with the mark `soak`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.address import smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.message import SMALL, FileMessage, MemoryMessage, Message, derived_id
from postroom_run.assembly import Assembled
from postroom_run.listing import listing
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines, site_in
from tests.flows.scanned import template
from tests.kernel_isolation.bad import Objects

pytestmark = pytest.mark.long

YAML = """
server: mail.example.test
limits: {{in_flight: 10000}}
plugins:
  tab: {{}}
  store: {{}}
  postoffice: {{}}
{more}
"""
SHADOW = "  objects: {hooks: {mode: shadow}}"
ENFORCED = "  objects: {}"
PEOPLE = ["alice@example.test", "bob@example.test", "sales@example.test", "nobody@example.test", "ALICE@example.test"]
AT_ONCE = 20
LEFT = ("Postoffices", "Queues", "Bad Mail", "Quarantine")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose mailboxes have their folders: a folder's object id is random, and made once."""
    site = template(tmp_path_factory.mktemp("made"))

    async def main() -> None:
        async with site_in(site, YAML.format(more=""), clock=HandClock(), log=Lines()) as parts:
            id = derived_id("0" * 32, "first")
            first = Envelope(id, id, "SMTP", smtp("ann@example.com"), (Recipient(smtp("sales@example.test")),), 1.7e9)
            await parts.mta.accept(first, MemoryMessage(id, b"Subject: first\r\n\r\n"))
            await parts.mta.drain()

    asyncio.run(main())
    return site


def corpus(number: int) -> Iterator[tuple[Envelope, bytes]]:
    """So many messages, the same at every call: small and large, for one and for many, for nobody, with and without a sender."""
    chance = random.Random(49)
    for count in range(number):
        id = derived_id("0" * 32, "corpus", str(count))
        size = SMALL + 1000 if count % 500 == 7 else chance.choice((10, 500, 4000, 20_000))
        body = chance.randbytes(size).replace(b"\r", b"x").replace(b"\n", b"\r\n")
        data = b"From: ann@example.com\r\nSubject: number %d\r\nX-Chance: %d\r\n\r\n%s\r\n" % (count, chance.randrange(6), body)
        to = tuple(Recipient(smtp(one)) for one in dict.fromkeys(chance.choices(PEOPLE, k=chance.choice((1, 1, 1, 3)))))
        sender = smtp(f"ann{count}@example.com") if chance.random() < 0.9 else None
        yield Envelope(id, id, "SMTP", sender, to, 1.8e9 + count, Peer(ip="192.0.2.1", trusted=chance.random() < 0.5)), data


async def run(folder: Path, made: Path, more: str, number: int) -> tuple[dict[str, str], Any]:
    """What is left on disk by the corpus, as a hash a file, and what the plugins' list says."""
    shutil.copytree(made, folder)
    yaml = YAML.format(more=more)
    async with site_in(folder, yaml, clock=HandClock(), log=Lines(), plugins={"objects": Objects}) as parts:
        for count, (envelope, data) in enumerate(corpus(number)):
            await parts.mta.accept(envelope, _message(parts, envelope, data))
            await parts.mta.drain()
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)  # shadows run beside the road, and there is room for so many
        told = listing(parts.host)
        await _settled(parts)
    return {
        str(path.relative_to(folder)): _hash(path) for part in LEFT for path in sorted((folder / part).rglob("*")) if path.is_file()
    }, told


def _message(parts: Assembled, envelope: Envelope, data: bytes) -> Message:
    if len(data) <= SMALL:
        return MemoryMessage(envelope.id, data)
    path = parts.mta.big(envelope.id, envelope.source)
    path.write_bytes(data)
    return FileMessage(envelope.id, path, len(data))


async def _settled(parts: Assembled) -> None:
    """Until no shadow runs any more."""
    while tasks := [task for call in parts.host.ask.chains.get("mta_pickup", ()) for task in call.shadows]:
        await asyncio.wait(tasks)


def _hash(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes()).hexdigest()


def compare(made: Path, tmp_path: Path, number: int) -> None:
    async def main() -> None:
        without, _ = await run(tmp_path / "without", made, "", number)
        shadowed, listing = await run(tmp_path / "with", made, SHADOW, number)
        assert len(without) > number
        assert without == shadowed
        [counters] = [one["hooks"]["mta_pickup"] for one in listing if one["name"] == "objects"]
        assert counters["calls"] + counters["dropped"] >= number and counters["dropped"] == 0
        assert counters["shadowed"] > number / 2 and counters["errors"] > number / 20  # it did object, and fail
        small = min(number, 200)  # and the comparison sees a hook that does have a say
        without, _ = await run(tmp_path / "few without", made, "", small)
        enforced, _ = await run(tmp_path / "few enforced", made, ENFORCED, small)
        assert without != enforced

    asyncio.run(main())


def test_case_49_a_shadow_changes_nothing(made: Path, tmp_path: Path) -> None:
    compare(made, tmp_path, 500)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_case_49_a_shadow_changes_nothing_in_ten_thousand_messages(made: Path, tmp_path: Path) -> None:
    compare(made, tmp_path, 10_000)
