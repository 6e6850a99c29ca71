"""Random life of a mailbox beside a model of it: reopened, killed and cut from power in between, it is what the model says."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from postroom.journal import Record
from postroom.mailstore import DELETED, FLAGGED, SEEN
from postroom.message import MemoryMessage
from postroom_store import compaction
from postroom_testing.faults import PowerDisk
from tests.providers_store.house import House, letter, run

SETTLED = 2


@dataclass
class Kept:
    """A message as the model knows it."""

    data: bytes
    flags: int
    uid: int
    certain: bool = True  # its UID is promised


@dataclass
class Box:
    """A folder as the model knows it."""

    uidvalidity: int
    messages: dict[int, Kept] = field(default_factory=dict)  # by the number of the letter, or of the copy
    highest: int = 0


class Life:
    """A house, its model, and what can happen to both."""

    def __init__(self, house: House, chance: random.Random) -> None:
        self.house, self.chance = house, chance
        self.boxes: dict[str, Box] = {}
        self.accepted: dict[str, tuple[MemoryMessage, Box, int]] = {}
        self.number = 0
        self.cut = False  # since then, names that were removed may be back

    async def begin(self) -> None:
        for name in ("Inbox", "Work", "Work/Old"):
            folder = (
                await self.house.folder() if name == "Inbox" else await (await self.house.store.mailbox("example", "alice")).create(name)
            )
            self.boxes[name] = Box((await self.house.folder(name)).view().status.uidvalidity)
            del folder

    async def step(self) -> None:
        deed = self.chance.choices(
            [self.deliver, self.append, self.flag, self.expunge, self.copy, self.move, self.compact, self.rename, self.delete, self.tend],
            [30, 8, 20, 10, 8, 8, 3, 3, 2, 1],
        )[0]
        await deed()

    def _folder(self) -> str:
        return self.chance.choice(sorted(self.boxes))

    def _some(self, box: Box) -> list[int]:
        return [number for number in box.messages if self.chance.random() < 0.4]

    async def deliver(self) -> None:
        name = self._folder()
        self.number += 1
        message = letter(self.number, size=self.chance.choice([0, 0, 9000]))
        (placed,) = await self.house.deliver(message, folder=name)
        self.house.journal.waiting.append(Record(SETTLED, bytes.fromhex(message.id), 0))
        self.accepted[message.id] = (message, self.boxes[name], self.number)
        self._keep(name, self.number, message.data, 0, placed.uid, certain=False)

    def _keep(self, name: str, number: int, data: bytes, flags: int, uid: int, *, certain: bool = True) -> None:
        box = self.boxes[name]
        assert uid > box.highest, "UIDs only grow"
        box.highest = uid
        box.messages[number] = Kept(data, flags, uid, certain)
        if certain:
            self._all_certain()

    def _all_certain(self) -> None:
        """Something durable followed the notes of all deliveries so far."""
        for box in self.boxes.values():
            for kept in box.messages.values():
                kept.certain = True

    async def append(self) -> None:
        name = self._folder()
        self.number += 1
        message = letter(self.number)
        placed = await (await self.house.folder(name)).append(message, flags=SEEN)
        self._keep(name, self.number, message.data, SEEN, placed.uid)

    async def flag(self) -> None:
        name = self._folder()
        box = self.boxes[name]
        numbers = self._some(box)
        add, remove = self.chance.choice([(SEEN, 0), (0, SEEN), (FLAGGED | DELETED, 0), (0, FLAGGED)])
        answer = await (await self.house.folder(name)).change_flags([box.messages[n].uid for n in numbers], add=add, remove=remove)
        if answer.changed:
            self._all_certain()
        for number in numbers:
            box.messages[number].flags = box.messages[number].flags & ~remove | add

    async def expunge(self) -> None:
        name = self._folder()
        box = self.boxes[name]
        numbers = self._some(box)
        gone = await (await self.house.folder(name)).expunge(box.messages[n].uid for n in numbers)
        assert sorted(gone) == sorted(box.messages[n].uid for n in numbers)
        if gone:
            self._all_certain()
        for number in numbers:
            del box.messages[number]

    async def copy(self) -> None:
        await self._carry(moving=False)

    async def move(self) -> None:
        await self._carry(moving=True)

    async def _carry(self, moving: bool) -> None:
        name, other = self._folder(), self._folder()
        if name == other:
            return
        box, target = self.boxes[name], await self.house.folder(other)
        numbers = sorted(self._some(box), key=lambda number: box.messages[number].uid)
        source = await self.house.folder(name)
        uids = [box.messages[n].uid for n in numbers]
        pairs = await (source.move(uids, target) if moving else source.copy(uids, target))
        assert [old for old, _ in pairs] == uids
        for number, (_, new) in zip(numbers, pairs, strict=True):
            kept = box.messages[number]
            if moving:
                del box.messages[number]
            self.number += 1
            self._keep(other, self.number, kept.data, kept.flags, new)

    async def compact(self) -> None:
        compaction.compact((await self.house.folder(self._folder())).apart())

    async def rename(self) -> None:
        name = self._folder()
        if name == "Inbox":
            return
        new = f"Folder {self.number}.{self.chance.random()}"
        await (await self.house.store.mailbox("example", "alice")).rename(name, new)
        self.boxes = {new + old[len(name) :] if old == name or old.startswith(name + "/") else old: box for old, box in self.boxes.items()}

    async def delete(self) -> None:
        name = self._folder()
        if name != "Inbox" and len(self.boxes) > 2:
            await (await self.house.store.mailbox("example", "alice")).delete(name)
            del self.boxes[name]

    async def tend(self) -> None:
        await self.house.store.tend()

    # What must hold.

    async def compare(self) -> None:
        for name, box in self.boxes.items():
            folder = await self.house.folder(name)
            view = folder.view()
            assert view.status.uidvalidity == box.uidvalidity
            found = {view.uids[row]: row for row in range(len(view))}
            assert sorted(found) == sorted(kept.uid for kept in box.messages.values()), name
            for kept in box.messages.values():
                assert await folder.read(kept.uid) == kept.data
                assert view.flags[found[kept.uid]] == kept.flags
                assert view.envelope(found[kept.uid])
            assert view.status.messages == len(view) == len(box.messages)
            assert view.status.unseen == sum(1 for kept in box.messages.values() if not kept.flags & SEEN)
            assert view.status.octets == sum(len(kept.data) for kept in box.messages.values())
            assert view.status.uidnext > box.highest
        used = (await (await self.house.store.mailbox("example", "alice")).quota()).used
        assert used == sum(len(kept.data) for box in self.boxes.values() for kept in box.messages.values())
        said = await self.house.store.check("example", "alice")
        assert [line for line in said if not self.cut or ("left behind" not in line and "is empty" not in line)] == []

    def reopen(self, house: House) -> None:
        house.journal.accepted = {message.id: message for message, _, _ in self.accepted.values()}
        self.house = house

    async def come_again(self) -> None:
        """The kernel's recovery: what is not known to be settled is delivered again."""
        settled = {record.payload.hex().upper() for record in self.house.journal.durable if record.kind == SETTLED}
        for message, home, number in self.accepted.values():
            if message.id in settled:
                continue
            target = next((name for name, box in self.boxes.items() if box is home), "Inbox")
            (placed,) = await self.house.deliver(message, again=True, folder=target)
            box = self.boxes[target]
            if placed.doubled:
                continue
            kept = box.messages[number]
            assert not kept.certain, "what was noted durably keeps its UID"
            assert placed.uid > box.highest
            kept.uid = box.highest = placed.uid


@pytest.mark.parametrize("seed", range(8))
def test_a_mailbox_that_is_reopened_now_and_then_is_what_its_model_says(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        chance = random.Random(seed)
        life = Life(House(tmp_path), chance)
        await life.begin()
        for step in range(60):
            await life.step()
            if step % 15 == 14:
                await life.compare()
                life.reopen(life.house.again())
        await life.compare()
        life.house.close()

    run(main())


@pytest.mark.parametrize("seed", range(16))
def test_a_power_cut_takes_nothing_back_that_was_promised(tmp_path: Path, seed: int) -> None:  # case 2
    async def main() -> None:
        chance = random.Random(seed)
        root = tmp_path / "0"
        root.mkdir()
        life = Life(House(root, disk=PowerDisk(root)), chance)
        await life.begin()
        for cut in range(1, 4):
            for _ in range(chance.randrange(1, 12)):
                await life.step()
            to = tmp_path / str(cut)
            disk = life.house.disk
            assert isinstance(disk, PowerDisk)
            life.house.close()
            disk.cut(to, seed * 10 + cut if chance.random() < 0.8 else None)
            life.reopen(life.house.again(power_lost=True, root=to, disk=PowerDisk(to)))
            life.cut = True
            await life.come_again()
            for box in life.boxes.values():
                for kept in box.messages.values():
                    kept.certain = False
            await life.compare()
            if chance.random() < 0.5:
                await life.house.store.check("example", "alice", repair=True)
                await life.compare()
        life.house.close()

    run(main())
