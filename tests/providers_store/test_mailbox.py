from __future__ import annotations

from pathlib import Path

import pytest

from postroom.errors import FolderExists, NoSuchFolder, StoreError
from tests.providers_store.house import House, files_in, letter, run


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_inbox_is_there_from_the_first_moment_and_first_in_order(house: House) -> None:
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        assert list(await box.folders()) == ["Inbox"]
        for name in ("Zoo", "archive/2026", "Archive/2025", "Inbox/Bills"):
            await box.create(name)
        assert list(await box.folders()) == ["Inbox", "Inbox/Bills", "archive", "archive/2025", "archive/2026", "Zoo"]
        assert (await box.folder("INBOX")).name == "Inbox"
        assert await box.folder("ARCHIVE/2026") is await box.folder("archive/2026")

    run(main())
    house.close()


def test_what_is_there_is_not_made_again_and_what_is_not_cannot_be_opened(house: House) -> None:
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        await box.create("Work")
        for name in ("Work", "WORK"):
            with pytest.raises(FolderExists):
                await box.create(name)
        for refused in (box.folder("Play"), box.delete("Play"), box.rename("Play", "Toys")):
            with pytest.raises(NoSuchFolder):
                await refused
        with pytest.raises(StoreError):
            await box.delete("inbox")
        with pytest.raises(StoreError):
            await box.create("a//b")
        with pytest.raises(FolderExists):
            await box.rename("Work", "Work")

    run(main())
    house.close()


def test_a_deleted_folder_leaves_its_children_and_never_its_numbers(house: House) -> None:
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        parent = await box.create("A")
        child = await box.create("A/B")
        await house.deliver(letter(1), folder="A")
        await house.deliver(letter(2), folder="A/B")
        old = parent.view().status
        await box.delete("A")
        assert list(await box.folders()) == ["Inbox", "A/B"]
        assert len(child.view()) == 1
        with pytest.raises(NoSuchFolder):
            parent.view()
        with pytest.raises(NoSuchFolder):
            await box.folder("A")
        new = (await box.create("a")).view().status
        assert (new.messages, new.uidnext) == (0, 1)
        assert new.uidvalidity > old.uidvalidity and new.object_id != old.object_id
        await box.delete("A")
        await box.delete("A/B")
        assert list(await box.folders()) == ["Inbox"]
        assert [path.name for path in Path(box.path).iterdir() if path.is_dir()] == ["Inbox"] or not any(
            path.is_dir() for path in Path(box.path).iterdir()
        )

    run(main())
    house.close()


def test_a_clock_set_back_gives_no_old_uidvalidity(house: House) -> None:  # case 11
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        seen = set()
        for step in (0, -86400, +86400, -3600):
            house.clock.set(house.clock.now() + step)
            seen.add((await box.create("Folder")).view().status.uidvalidity)
            await box.delete("Folder")
        assert len(seen) == 4

    run(main())
    house.close()


def test_a_renamed_folder_keeps_all_but_its_name(house: House) -> None:
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        folder, child = await box.create("A"), await box.create("A/B/C")
        await house.deliver(letter(1), folder="A/B/C")
        before = child.view().status
        await box.rename("a", "X/Y")
        assert list(await box.folders()) == ["Inbox", "X", "X/Y", "X/Y/B", "X/Y/B/C"]
        assert (folder.name, child.name) == ("X/Y", "X/Y/B/C")
        after = child.view().status
        assert (after.name, after.object_id, after.uidvalidity, after.uidnext) == ("X/Y/B/C", before.object_id, before.uidvalidity, 2)
        assert await child.read(1) == letter(1).data
        await house.deliver(letter(2), folder="X/Y/B/C")
        assert list(child.view().uids) == [1, 2]
        await box.rename("X/Y", "x/y")
        assert "X/y/B/C" in await box.folders()
        with pytest.raises(StoreError):
            await box.rename("X", "X/Z")
        with pytest.raises(FolderExists):
            await box.rename("X/Y/B", "X/y")

    run(main())
    house.close()


def test_another_worker_notices_a_rename_and_a_deletion(house: House) -> None:
    beside = house.beside()

    async def main() -> None:
        box, theirs = await house.store.mailbox("example", "alice"), await beside.store.mailbox("example", "alice")
        await box.create("A")
        open_there = await theirs.folder("A")
        await beside.deliver(letter(1), folder="A")
        assert len(open_there.view()) == 1
        await box.rename("A", "B")
        with pytest.raises(NoSuchFolder):
            open_there.view()
        with pytest.raises(NoSuchFolder):
            await theirs.folder("A")
        assert len((await theirs.folder("B")).view()) == 1
        await beside.deliver(letter(2), folder="A")
        assert list(await box.folders()) == ["Inbox", "A", "B"], "a rule may still deliver to the old name: it is made anew"
        await box.delete("B")
        await beside.deliver(letter(3), folder="B")
        assert list((await box.folder("B")).view().uids) == [1]

    run(main())
    house.close()
    beside.close()


def test_renaming_inbox_moves_its_messages(house: House) -> None:
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        await house.deliver(letter(1))
        await box.create("Inbox/Sub")
        await box.rename("INBOX", "Old Mail")
        assert list(await box.folders()) == ["Inbox", "Inbox/Sub", "Old Mail"]
        inbox, old = await house.folder(), await house.folder("Old Mail")
        assert len(inbox.view()) == 0 and await old.read(1) == letter(1).data
        with pytest.raises(StoreError):
            await box.rename("Old Mail", "inbox")

    run(main())
    house.close()


def test_subscriptions_are_names_and_outlive_folders(house: House) -> None:
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        for name in ("Zoo", "Archive", "zoo", "not/there"):
            await box.subscribe(name)
        await box.subscribe("ARCHIVE", on=False)
        again = await house.again().store.mailbox("EXAMPLE", "ALICE")
        assert list(await again.subscriptions()) == ["not/there", "zoo"]

    run(main())
    house.close()


def test_a_new_mailbox_of_an_old_name_starts_empty(house: House) -> None:  # case 12
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        await house.deliver(letter(1))
        await house.deliver(letter(2), folder="Sub/Sub")
        await box.subscribe("Sub")
        inbox = await house.folder()
        old = inbox.view().status
        await house.store.remove("example", "alice")
        await house.store.remove("example", "alice")
        with pytest.raises(NoSuchFolder):
            inbox.view()
        assert [path.name for path in Path(box.path).iterdir()] == ["forgotten"]
        again = await house.store.mailbox("example", "Alice")
        assert list(await again.folders()) == ["Inbox"] and list(await again.subscriptions()) == []
        new = (await house.folder()).view().status
        assert new.messages == 0 and new.uidvalidity > old.uidvalidity
        await house.deliver(letter(3))
        assert files_in(await house.folder()) == [letter(3).id]

    run(main())
    house.close()


def test_a_tree_made_by_others_is_read_as_it_is(house: House) -> None:
    async def main() -> None:
        root = house.root / "Postoffices" / "Example" / "MAILROOT" / "Alice"
        for folder, numbers in (("Inbox", [1, 2]), ("Sent Items/2026", [3])):
            (root / folder).mkdir(parents=True)
            for number in numbers:
                path = root / folder / f"{letter(number).id}.MAI"
                path.write_bytes(letter(number).data)
                import os

                os.utime(path, (1000 * number, 1000 * number))
        (root / "Inbox" / "_index.xml").write_text("<BASEELEMENT/>")
        box = await house.store.mailbox("example", "alice")
        assert list(await box.folders()) == ["Inbox", "Sent Items", "Sent Items/2026"]
        await house.deliver(letter(4))
        inbox = await house.folder()
        view = inbox.view()
        assert [view.message(row).id for row in range(3)] == [letter(number).id for number in (1, 2, 4)]
        assert view.message(0).arrived == 1000.0
        assert len((await house.folder("Sent Items/2026")).view()) == 1

    run(main())
    house.close()
