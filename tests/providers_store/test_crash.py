"""The process dies at every call on its way: before it, or with half of it done. What is opened next is whole, and nothing promised is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroom.mailstore import SEEN, Upload
from postroom_store import compaction
from postroom_testing.faults import Died, FaultDisk
from tests.providers_store.house import House, letter, run, turns

pytestmark = pytest.mark.long


@dataclass
class Scene:
    """What a deed is done to: four letters in Inbox and one expunged, two in Other, one in a folder that was deleted."""

    house: House
    disk: FaultDisk
    before: dict[str, list[tuple[int, bytes, int]]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The scene, made once."""
    house = House(tmp_path_factory.mktemp("scene"))

    async def main() -> None:
        for number in range(1, 6):
            await house.deliver(letter(number))
        box = await house.store.mailbox("example", "alice")
        await box.create("Other/Inner")
        for number in (6, 7):
            await house.deliver(letter(number), folder="Other")
        await (await house.folder()).expunge([5])
        await house.deliver(letter(10), folder="Doomed")
        await box.delete("Doomed")

    run(main())
    house.close()
    return house


def _again(source: str, target: str) -> None:
    """Message files are never changed in place: one more name does."""
    os.link(source, target) if source.endswith(".MAI") else shutil.copyfile(source, target)


async def scene(built: House, root: Path) -> Scene:
    shutil.copytree(built.root, root, copy_function=_again)
    disk = FaultDisk()
    house = House(root, disk=disk, journal=built.journal.after_crash(disk))
    before = await inventory(house)  # the folders are open, as in a process that runs for some time
    disk.calls.clear()
    return Scene(house, disk, before)


async def deliver(house: House) -> None:
    await house.deliver(letter(8))


async def deliver_again(house: House) -> None:
    await house.deliver(letter(8), letter(8).id, again=True)
    await house.deliver(letter(1), again=True)


async def deliver_to_a_new_mailbox(house: House) -> None:
    await house.deliver(letter(8), "new", folder="New/Folder")


async def append(house: House) -> None:
    await (await house.folder()).append(letter(9))


async def append_slowly(house: House) -> None:
    house.journal.is_slow = True
    await append(house)


async def append_large(house: House) -> None:
    await (await house.folder()).append(letter(9, size=300_000))


async def append_all(house: House) -> None:
    await (await house.folder()).append_all([Upload(letter(9), SEEN), Upload(letter(13, size=300_000)), Upload(letter(12))])


async def replace(house: House) -> None:
    await (await house.folder()).replace(2, Upload(letter(9), SEEN), await house.folder())


async def replace_large(house: House) -> None:
    await (await house.folder()).replace(2, Upload(letter(9, size=300_000), SEEN), await house.folder())


async def replace_elsewhere(house: House) -> None:
    await (await house.folder()).replace(2, Upload(letter(9), SEEN), await house.folder("Other"))


async def replace_elsewhere_large(house: House) -> None:
    await (await house.folder()).replace(2, Upload(letter(9, size=300_000), SEEN), await house.folder("Other"))


async def flag(house: House) -> None:
    await (await house.folder()).change_flags([1, 3], add=SEEN)


async def expunge(house: House) -> None:
    await (await house.folder()).expunge([1, 3])


async def copy(house: House) -> None:
    await (await house.folder()).copy([1, 2], await house.folder("Other"))


async def move(house: House) -> None:
    await (await house.folder()).move([1, 2], await house.folder("Other"))


async def compact(house: House) -> None:
    compaction.compact((await house.folder()).apart())


async def create(house: House) -> None:
    await (await house.store.mailbox("example", "alice")).create("A/B")


async def delete(house: House) -> None:
    await (await house.store.mailbox("example", "alice")).delete("Other/Inner")


async def delete_parent(house: House) -> None:
    await (await house.store.mailbox("example", "alice")).delete("Other")


async def rename(house: House) -> None:
    await (await house.store.mailbox("example", "alice")).rename("Other", "Another")


async def subscribe(house: House) -> None:
    await (await house.store.mailbox("example", "alice")).subscribe("Other")


async def tend(house: House) -> None:
    house.journal.segments.clear()
    await house.store.tend()


REPLACEMENTS = (replace, replace_large, replace_elsewhere, replace_elsewhere_large)
DEEDS: list[Callable[[House], Awaitable[None]]] = [
    deliver,
    deliver_again,
    deliver_to_a_new_mailbox,
    append,
    append_slowly,
    append_large,
    append_all,
    *REPLACEMENTS,
    flag,
    expunge,
    copy,
    move,
    compact,
    create,
    delete,
    delete_parent,
    rename,
    subscribe,
    tend,
]


async def inventory(house: House) -> dict[str, list[tuple[int, bytes, int]]]:
    """UID, octets and flags of every message of every folder."""
    found = {}
    for name in await (await house.store.mailbox("example", "alice")).folders():
        folder = await house.folder(name)
        view = folder.view()
        found[name] = [(uid, await folder.read(uid), view.flags[row]) for row, uid in enumerate(view.uids)]
        assert view.status.messages == len(view.uids) and view.status.octets == sum(len(octets) for _, octets, _ in found[name])
    return found


def letters(found: dict[str, list[tuple[int, bytes, int]]]) -> set[bytes]:
    return {octets for messages in found.values() for _, octets, _ in messages}


@pytest.mark.parametrize("how", ["die", "tear"])
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_a_death_at_any_call_leaves_a_house_that_opens_and_lacks_nothing(
    tmp_path: Path, built: House, deed: Callable[[House], Awaitable[None]], how: str
) -> None:  # case 1
    async def attempt(root: Path, at: int) -> list[str]:
        """The calls of the deed, which dies at one of them; at none where `at` is 0."""
        stage = await scene(built, root)
        before = stage.before
        stage.disk.at, stage.disk.how = at, how
        done = False
        try:
            await deed(stage.house)
            done = True
        except Died:
            stage.disk.bury()
        finally:
            stage.disk.at = 0
        assert done or at
        stage.house.close()
        house = stage.house.again()
        try:
            after = await inventory(house)
            check_promises(before, after, done, deed)
            await house.store.check("example", "alice", repair=True)
            again = await inventory(house)
            assert {name: [m for m in messages if m not in after.get(name, [])] for name, messages in again.items()} == {
                name: [] for name in again
            } or deed in (append, append_slowly, append_large, append_all, *REPLACEMENTS, copy, deliver_again, deliver), (
                "a file without a record is a message after a check"
            )
            assert letters(after) <= letters(again)
            assert await house.store.check("example", "alice") == []
            for number in range(1, 8):
                (placed,) = await house.deliver(letter(number), again=True)
                assert placed.doubled, f"letter {number} was delivered before"
            if deed in (deliver, deliver_again):
                await house.deliver(letter(8), again=True)
                held = [octets for messages in (await inventory(house)).values() for _, octets, _ in messages]
                assert held.count(letter(8).data) == (1 if deed is deliver else held.count(letter(8).data))
            (fresh,) = await house.deliver(letter(99))
            assert fresh.uid >= 6
        finally:
            house.close()
        return list(stage.disk.calls)

    def check_promises(
        before: dict[str, list[tuple[int, bytes, int]]],
        after: dict[str, list[tuple[int, bytes, int]]],
        done: bool,
        deed: Callable[[House], Awaitable[None]],
    ) -> None:
        if deed in (expunge, delete_parent):
            assert letters(after) <= letters(before)
            assert len(letters(after)) in (len(letters(before)), len(letters(before)) - 2)
        elif deed in REPLACEMENTS:
            (lost,) = (letters(before) - letters(after)) or (b"",)
            (new,) = (letters(after) - letters(before)) or (b"",)
            assert (lost, new) in {(b"", b""), (letter(2).data, letter(9).data), (letter(2).data, letter(9, size=300_000).data)}
            assert sum(map(len, after.values())) == sum(map(len, before.values()))
        else:
            assert letters(before) <= letters(after)
        if deed is append_all:
            assert len(after["Inbox"]) - len(before["Inbox"]) in ((3,) if done else (0, 3)), "all or none"
            assert [octets for _, octets, _ in after["Inbox"][4:]] in ([], [letter(9).data, letter(13, size=300_000).data, letter(12).data])
        if deed is copy:
            assert len(after["Other"]) - len(before["Other"]) in ((2,) if done else (0, 2)), "all or none"
        if deed in (
            deliver,
            deliver_again,
            append,
            append_slowly,
            append_large,
            append_all,
            copy,
            compact,
            create,
            subscribe,
            tend,
            delete,
            deliver_to_a_new_mailbox,
        ):
            for name, messages in before.items():
                assert messages == after.get(name, [])[: len(messages)], "nobody's UID or flag changed"
        if done and deed in (deliver, append, append_slowly, append_large):
            assert len(after["Inbox"]) == len(before["Inbox"]) + 1
        if done and deed is move:
            assert (len(after["Inbox"]), len(after["Other"])) == (2, 4)
        if done and deed is flag:
            assert [flags for _, _, flags in after["Inbox"]] == [SEEN, 0, SEEN, 0]

    async def main() -> None:
        calls = await attempt(tmp_path / "0", 0)
        assert 0 < len(calls) < 200, "the deed changes something, in a few steps"
        for at in turns(calls, how):
            await attempt(tmp_path / str(at), at)

    run(main())


@pytest.mark.parametrize("how", ["full", "broken"])
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_a_disk_that_refuses_at_any_call_leaves_a_house_that_goes_on(
    tmp_path: Path, built: House, deed: Callable[[House], Awaitable[None]], how: str
) -> None:  # case 5
    from postroom.errors import DiskError

    async def attempt(root: Path, at: int) -> bool:
        stage = await scene(built, root)
        before = stage.before
        stage.disk.at, stage.disk.how = at, how
        try:
            await deed(stage.house)
        except (DiskError, OSError):
            pass
        finished = at > len(stage.disk.calls)
        stage.disk.heal()
        after = await inventory(stage.house)
        if deed in REPLACEMENTS:
            assert letters(before) - letters(after) in (set(), {letter(2).data})
            assert sum(map(len, after.values())) == sum(map(len, before.values())), "both or neither"
        elif deed not in (expunge, delete_parent):
            assert letters(before) <= letters(after)
        if deed is append_all:
            assert len(after["Inbox"]) - len(before["Inbox"]) in (0, 3), "all or none"
        (fresh,) = await stage.house.deliver(letter(99))
        assert fresh.uid >= 6
        stage.house.close()
        house = stage.house.again()
        await house.store.check("example", "alice", repair=True)
        assert letters(after) <= letters(await inventory(house))
        assert await house.store.check("example", "alice") == []
        house.close()
        return finished

    async def main() -> None:
        for at in range(1 if how == "full" else 2, 200, 2):  # each call is refused one way or the other
            if await attempt(tmp_path / str(at), at):
                return
        raise AssertionError("a deed takes fewer calls")

    run(main())
