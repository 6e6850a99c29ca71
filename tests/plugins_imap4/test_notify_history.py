"""A client that said NOTIFY once and asks for nothing more believes in the end what is so: folders, subscriptions, counters, annotations, and every
message of the selected folder with its flags. Others act by chance, in its worker and in another one; it now and then acts itself."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroom.errors import FolderExists, NoSuchFolder, StoreError
from postroom.mailstore import DELETED, FLAGGED, SEEN, Mailbox
from postroom.message import MemoryMessage, new_id
from tests.plugins_imap4.house import Served, letter, serving
from tests.plugins_imap4.memory import Believer
from tests.plugins_imap4.test_notify_workers import on_bus

NAMES = ("A", "B", "A/b", "A/c", "B/d", "B/d/e")
EVENTS = "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange"
STATUS = re.compile(rb'\* STATUS "(.*)" \((.*)\)\r\n')
LIST = re.compile(rb'\* LIST \((.*)\) "/" "([^"]*)"(?: \("OLDNAME" \("(.*)"\)\))?\r\n')
METADATA = re.compile(rb'\* METADATA "(.*)" (.*)\r\n')


@dataclass
class Counters:
    """What the client believes of a folder; None is what it was never told."""

    messages: int = 0
    uidnext: int = 1
    unseen: int = 0


class Listener(Believer):
    """Believes what it is told."""

    async def begin(self) -> Listener:
        self.folders = dict.fromkeys(("Inbox",), Counters())
        self.subscribed: set[str] = set()
        self.stale: set[tuple[str, str]] = set()  # annotations that changed
        await self.start()
        await self.select("INBOX")
        assert (
            await self.say(f"NOTIFY SET STATUS (selected (MessageNew (FLAGS) MessageExpunge FlagChange)) (personal ({EVENTS}))")
        ).startswith(b"OK")
        return self

    def believe(self, line: bytes) -> None:
        if found := STATUS.fullmatch(line):
            self._counted(_name(found[1]), found[2].decode().split())
        elif found := LIST.fullmatch(line):
            self._listed(found[1].decode().split(), _name(found[2]), _name(found[3] or b""))
        elif found := METADATA.fullmatch(line):
            self.stale |= {(_name(found[1]), entry.decode()) for entry in found[2].split()}
        else:
            super().believe(line)

    def _counted(self, name: str, words: list[str]) -> None:
        told = dict(zip(words[::2], map(int, words[1::2])))
        known = self.folders.setdefault(name, Counters())
        known.messages = told.get("MESSAGES", known.messages)
        known.uidnext = told.get("UIDNEXT", known.uidnext)
        known.unseen = told.get("UNSEEN", known.unseen)

    def _listed(self, attributes: list[str], name: str, old: str) -> None:
        if old:
            moved = {one: counters for one, counters in self.folders.items() if f"{one}/".startswith(f"{old}/")}
            self.folders = {one: counters for one, counters in self.folders.items() if one not in moved}
            self.folders |= {name + one[len(old) :]: counters for one, counters in moved.items()}
        if "\\NonExistent" in attributes:
            self.folders.pop(name, None)
        else:
            self.folders.setdefault(name, Counters())
        self.subscribed -= {name}
        self.subscribed |= {name} if "\\Subscribed" in attributes else set()

    async def appends(self, chance: random.Random) -> None:
        """It counts its own messages itself."""
        name = chance.choice(sorted(self.folders))
        text = letter()
        said = await self.say(b'APPEND "%b" {%d+}\r\n%b' % (name.encode(), len(text), text))
        uid = int(said[: said.index(b"]")].split()[-1]) if said.startswith(b"OK") else 0
        if uid and name != "Inbox":
            known = self.folders[name]
            known.messages, known.uidnext, known.unseen = known.messages + 1, uid + 1, known.unseen + 1
        for message in self.messages if uid and name == "Inbox" else ():
            if message.uid is None:
                message.uid, message.flags = uid, frozenset()

    async def creates(self, chance: random.Random) -> None:
        name = chance.choice(NAMES)
        if (await self.say(f"CREATE {name}")).startswith(b"OK"):
            levels = name.split("/")
            for depth in range(1, len(levels) + 1):
                self.folders.setdefault("/".join(levels[:depth]), Counters())

    async def renames(self, chance: random.Random) -> None:
        old, new = chance.choice(NAMES), chance.choice(NAMES)
        if (await self.say(f"RENAME {old} {new}")).startswith(b"OK"):
            self._listed(["\\Subscribed"] if new in self.subscribed else [], new, old)
            levels = new.split("/")
            for depth in range(1, len(levels)):
                self.folders.setdefault("/".join(levels[:depth]), Counters())

    async def acts(self, chance: random.Random) -> None:
        await chance.choice([self.appends, self.appends, self.creates, self.renames])(chance)


def _name(shown: bytes) -> str:
    name = shown.decode()
    return "Inbox" if name.casefold() == "inbox" else name


# Others


async def deliver(box: Mailbox, chance: random.Random) -> None:
    folder = await box.folder(chance.choice(["Inbox", "Inbox", *await box.folders()]))
    await folder.append(MemoryMessage(new_id(), letter()), flags=chance.choice([0, SEEN]))


async def mark(box: Mailbox, chance: random.Random) -> None:
    folder = await box.folder(chance.choice(["Inbox", *await box.folders()]))
    if uids := folder.view().uids:
        some = chance.sample(list(uids), min(len(uids), 3))
        await folder.change_flags(some, add=chance.choice([SEEN, FLAGGED]), remove=chance.choice([0, DELETED]))


async def unmark(box: Mailbox, chance: random.Random) -> None:
    folder = await box.folder(chance.choice(await box.folders()))
    await folder.change_flags(folder.view().uids[:2], remove=SEEN)


async def expunge(box: Mailbox, chance: random.Random) -> None:
    folder = await box.folder(chance.choice(["Inbox", *await box.folders()]))
    if uids := folder.view().uids:
        await folder.expunge([chance.choice(list(uids))])


async def create(box: Mailbox, chance: random.Random) -> None:
    await box.create(chance.choice(NAMES))


async def delete(box: Mailbox, chance: random.Random) -> None:
    await box.delete(chance.choice(NAMES))


async def rename(box: Mailbox, chance: random.Random) -> None:
    await box.rename(chance.choice(NAMES), chance.choice(NAMES))


async def subscribe(box: Mailbox, chance: random.Random) -> None:
    await box.subscribe(chance.choice(NAMES), chance.random() < 0.5)


async def annotate(box: Mailbox, chance: random.Random) -> None:
    await box.annotate(chance.choice(await box.folders()), {"/private/comment": str(chance.random()).encode()})


DEEDS: tuple[Callable[[Mailbox, random.Random], Awaitable[None]], ...] = (
    deliver, deliver, deliver, mark, mark, unmark, expunge, create, create, delete, rename, subscribe, annotate,
)  # fmt: skip


async def settle(client: Listener) -> None:
    """Until nothing is under way any more; what was said is believed."""
    quiet = 0
    while quiet < 30:
        await asyncio.sleep(0)
        busy = client.connection._task is not None or client.connection._dirty
        quiet = 0 if busy else quiet + 1
        for line in client.idle_lines():
            client.believe(line)


async def play(at: Served, boxes: list[Mailbox], chance: random.Random, turns: int, *, acts: bool) -> None:
    client = await Listener(at.service).begin()
    for turn in range(turns):
        try:
            await chance.choice(DEEDS)(chance.choice(boxes), chance)
        except (FolderExists, NoSuchFolder, StoreError):
            pass
        if acts and chance.random() < 0.2:
            await settle(client)
            await client.acts(chance)
        elif turn % 7 == 0:
            await settle(client)
    await settle(client)
    await check(client, boxes[0])
    await client.leave()


async def check(client: Listener, box: Mailbox) -> None:
    folders = {}
    for name in await box.folders():
        status = (await box.folder(name)).view().status
        folders[name] = Counters(status.messages, status.uidnext, status.unseen)
    client.folders["Inbox"] = folders["Inbox"]  # it is selected: told message by message
    assert client.folders == folders
    assert client.subscribed == set(await box.subscriptions())
    view = (await box.folder("Inbox")).view()
    so = [(uid, frozenset(mark for bit, mark in MARKS if flags & bit)) for uid, flags in zip(view.uids, view.flags)]
    assert [(message.uid, message.flags) for message in client.messages] == so
    for name in folders:
        if "/private/comment" in await box.attributes(name):
            assert [entry for folder, entry in client.stale], name


MARKS = ((SEEN, b"\\Seen"), (FLAGGED, b"\\Flagged"), (DELETED, b"\\Deleted"))


def seeds(count: int) -> list[object]:
    """The first two in any run, the others in the long one."""
    return [pytest.param(seed, marks=[pytest.mark.long] if seed > 1 else []) for seed in range(count)]


@pytest.mark.parametrize("seed", seeds(6))
@pytest.mark.parametrize("acts", [False, True])
def test_who_only_listens_believes_what_is_so(tmp_path: Path, seed: int, acts: bool) -> None:
    async def main() -> None:
        async with serving(tmp_path) as at:
            await play(at, [await at.box()], random.Random(f"{seed} {acts}"), 60, acts=acts)

    asyncio.run(main())


@pytest.mark.parametrize("seed", seeds(4))
def test_who_only_listens_to_another_worker_too(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        async with serving(tmp_path) as at, serving(tmp_path, worker=1) as other:
            with on_bus(at), on_bus(other):
                await play(at, [await at.box(), await other.box()], random.Random(f"two {seed}"), 60, acts=True)

    asyncio.run(main())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
def test_long_histories(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        async with serving(tmp_path) as at, serving(tmp_path, worker=1) as other:
            with on_bus(at), on_bus(other):
                await play(at, [await at.box(), await other.box()], random.Random(f"long {seed}"), 300, acts=seed % 2 == 0)

    asyncio.run(main())
