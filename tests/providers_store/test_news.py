"""Who is told of a change, and of which: followers of one folder, and of all of a mailbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom.errors import NoSuchFolder
from tests.providers_store.house import House, letter, logs_open, run


def told_of(folder: Path, deed: Callable[[House], object], name: str = "alice") -> list[str]:
    """What a watcher of that mailbox hears while alice's is changed: each name once, in order."""

    async def main() -> list[str]:
        house, heard = House(folder), list[str]()
        await house.store.open()
        box = await house.store.mailbox("example", "alice")
        for one in ("Work", "Work/deep"):
            await box.create(one)
        await asyncio.sleep(0)
        end = (await house.store.mailbox("example", name)).follow(heard.append)
        await deed(house)  # type: ignore[misc]
        await asyncio.sleep(0)
        before = list(heard)
        end()
        await box.create("Later")
        await asyncio.sleep(0)
        assert heard == before, "the end is the end"
        house.close()
        return list(dict.fromkeys(heard))

    return run(main())


async def box_of(house: House):  # type: ignore[no-untyped-def]
    return await house.store.mailbox("example", "alice")


async def _deliver(house: House) -> None:
    await house.deliver(letter(), folder="Work")


async def _make_by_delivery(house: House) -> None:
    await house.deliver(letter(), folder="New")


async def _create(house: House) -> None:
    await (await box_of(house)).create("New")


async def _rename(house: House) -> None:
    await (await box_of(house)).rename("Work", "Play")


async def _delete(house: House) -> None:
    await (await box_of(house)).delete("Work/deep")


async def _subscribe(house: House) -> None:
    await (await box_of(house)).subscribe("Work")


async def _annotate(house: House) -> None:
    await (await box_of(house)).annotate("Work", {"/private/a": b"1"})


async def _annotate_mailbox(house: House) -> None:
    await (await box_of(house)).annotate("", {"/private/a": b"1"})


@pytest.mark.parametrize(
    ("deed", "names"),
    [
        (_deliver, ["work"]),
        (_make_by_delivery, ["", "new"]),
        (_create, [""]),
        (_rename, ["work", "play", ""]),
        (_delete, ["work/deep", ""]),
        (_subscribe, [""]),
        (_annotate, ["work", ""]),
        (_annotate_mailbox, [""]),
    ],
)
def test_a_mailbox_is_watched_as_a_whole(tmp_path: Path, deed: Callable[[House], object], names: list[str]) -> None:
    assert [name for name in told_of(tmp_path, deed) if name or "" in names] == names
    assert told_of(tmp_path / "other", deed, "bob") == []


def test_who_follows_one_folder_hears_of_the_tree_too(tmp_path: Path) -> None:
    """It may bear another name now: whoever idled in a folder whose parent was renamed heard nothing any more."""

    async def main() -> None:
        house, heard = House(tmp_path), list[str]()
        await house.store.open()
        box = await house.store.mailbox("example", "alice")
        for name in ("A", "A/b", "C"):
            await box.create(name)
        await asyncio.sleep(0)
        ends = [(await house.folder(name)).follow(lambda name=name: heard.append(name)) for name in ("A/b", "C")]  # type: ignore[misc]
        await box.rename("A", "B")
        await asyncio.sleep(0)
        assert set(heard) == {"A/b", "C"}
        for end in ends:
            end()
        house.close()

    run(main())


def test_a_folder_is_found_by_its_object_id_whatever_its_name(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        beside = house.beside()
        box, other = await house.store.mailbox("example", "alice"), await beside.store.mailbox("example", "alice")
        await box.create("A/b")
        object_id = (await box.folder("A/b")).view().status.object_id
        assert (await box.folder("A/b", object_id=object_id)).name == "A/b"
        await other.rename("A", "Z")
        await other.create("A/b")
        assert (await box.folder("A/b", object_id=object_id)).name == "Z/b"
        await other.delete("Z/b")
        with pytest.raises(NoSuchFolder):
            await box.folder("A/b", object_id=object_id)
        house.close()
        beside.close()

    run(main())


class Joined:
    """Workers' bus: what one says all hear."""

    def __init__(self) -> None:
        self.told: list[Callable[[bytes], None]] = []

    def send(self, topic: str, payload: bytes = b"", *, here: bool = False) -> None:
        for told in self.told:
            told(payload)

    def listen(self, topic: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        self.told.append(told)
        return lambda: self.told.remove(told)


@pytest.mark.parametrize("how", ["compacted", "deleted", "mailbox removed"])
def test_a_log_that_another_worker_removed_kept_its_room_on_the_disk_until_its_folder_was_used(tmp_path: Path, how: str) -> None:
    async def main() -> None:
        house = House(tmp_path, bus=Joined())
        other = house.beside()
        for one in (house, other):
            await one.store.open()
        box = await box_of(house)
        folder = await box.create("Work")
        for number in range(300):
            await folder.append(letter(number))
        await folder.expunge(range(1, 299))
        await house.means.errands.done()
        folder.view().envelope(0)
        await house.deliver(letter(0))
        log, inbox = (f"Postoffices/example/MAILROOT/alice/{name}/log" for name in ("Work", "Inbox"))
        assert logs_open(tmp_path) == [inbox, log, log]
        if how == "compacted":
            await other.store.tend()
        elif how == "deleted":
            await (await box_of(other)).delete("Work")
        else:
            await other.store.remove("example", "alice")
        assert not [name for name in logs_open(tmp_path) if "deleted" in name]
        assert (inbox in logs_open(tmp_path)) == (how != "mailbox removed"), "what lies where it lay stays open"
        if how == "compacted":
            assert b'"Letter 299"' in folder.view().envelope(1)
        for one in (house, other):
            await one.store.close()

    run(main())
