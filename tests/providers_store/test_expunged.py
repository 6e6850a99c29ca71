from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom.mailstore import ANSWERED, DELETED, EXPUNGED, FLAGGED, SEEN, Upload
from postroom_store import compaction
from postroom_store.folder import LocalFolder
from postroom_store.tending import Round
from tests.providers_store.house import House, files_in, letter, run

DAY = 86400.0


def house_in(root: Path, days: float = 7) -> House:
    house = House(root)
    house.means.keep_expunged = days * DAY
    return house


async def listed(house: House) -> list[dict[str, object]]:
    box = await house.store.mailbox("example", "alice")
    return [json.loads(line) for line in (await box.expunged()).splitlines()]


async def bring_back(house: House, *ids: str) -> None:
    box = await house.store.mailbox("example", "alice")
    await box.annotate("", {EXPUNGED: " ".join(ids or ("all",)).encode()})


def test_what_was_expunged_is_listed_and_comes_back_with_its_octets_flags_and_date(tmp_path: Path) -> None:
    house = house_in(tmp_path)

    async def main() -> None:
        inbox = await house.folder()
        for number in (1, 2, 3):
            await house.deliver(letter(number))
        arrived = inbox.view().message(0).arrived
        await inbox.change_flags([1], add=SEEN | FLAGGED | DELETED)
        await inbox.change_flags([3], add=ANSWERED | await inbox.keyword("work"))
        await house.clock.advance(5000)
        await inbox.expunge([1, 3])
        assert not Path(inbox.file(letter(1).id)).exists()
        told = await listed(house)
        assert {(one["id"], one["folder"], one["subject"], one["octets"]) for one in told} == {
            (letter(number).id, "Inbox", f"Letter {number}", letter(number).size) for number in (1, 3)
        }
        await bring_back(house, letter(1).id)
        view = inbox.view()
        assert list(view.uids) == [2, 4], "a UID is never used again"
        assert (view.flags[1], view.message(1).arrived) == (SEEN | FLAGGED, float(int(arrived)))
        assert await inbox.read(4) == letter(1).data
        await bring_back(house)
        assert (list(inbox.view().uids), inbox.view().flags[2], await listed(house)) == ([2, 4, 5], ANSWERED, [])
        assert list(await house.store.check("example", "alice")) == []
        await bring_back(house)
        assert list(inbox.view().uids) == [2, 4, 5]

    run(main())
    house.close()


def test_a_moved_message_is_not_expunged_and_a_deleted_folder_comes_back_with_its_mail(tmp_path: Path) -> None:
    house = house_in(tmp_path)

    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        parent = await box.create("Work")
        await box.create("Work/Old")
        await house.deliver(letter(1))
        await house.deliver(letter(2), folder="Work")
        await house.deliver(letter(3), folder="Work/Old")
        inbox = await house.folder()
        await inbox.move([1], parent)
        assert await listed(house) == []
        await box.delete("Work")
        await box.delete("Work/Old")
        assert list(await box.folders()) == ["Inbox"]
        await bring_back(house)
        assert list(await box.folders()) == ["Inbox", "Work", "Work/Old"]
        work, old = await house.folder("Work"), await house.folder("Work/Old")
        assert {await work.read(uid) for uid in work.view().uids} == {letter(1).data, letter(2).data}
        assert [await old.read(uid) for uid in old.view().uids] == [letter(3).data]

    run(main())
    house.close()


def test_what_is_kept_goes_when_its_time_is_over_and_with_its_mailbox(tmp_path: Path) -> None:
    house = house_in(tmp_path, days=1)

    async def main() -> None:
        inbox = await house.folder()
        await house.deliver(letter(1))
        await house.deliver(letter(2))
        await inbox.expunge([1])
        await house.clock.advance(DAY / 2)
        await inbox.expunge([2])
        Round().go_on(house.means)
        assert len(await listed(house)) == 2
        await house.clock.advance(DAY / 2 + 3600)
        Round().go_on(house.means)
        assert [one["id"] for one in await listed(house)] == [letter(2).id]
        await house.store.remove("example", "alice")
        assert list(Path(house.means.names.mailbox("example", "alice")).glob(".exp*")) == []
        assert await listed(house) == []

    run(main())
    house.close()


def test_many_are_taken_away_behind_the_answer_and_whoever_asks_for_them_waits(tmp_path: Path) -> None:
    house = house_in(tmp_path)

    async def main() -> None:
        inbox = await house.folder()
        await inbox.append_all([Upload(letter(number), SEEN) for number in range(1, 251)])
        await inbox.expunge(range(1, 250))
        assert len(list(Path(inbox.directory).glob("*.MAI"))) == 250, "one record is all that was waited for"
        assert [one["id"] for one in await listed(house)] == sorted(letter(number).id for number in range(1, 250))
        assert [path.name[:32] for path in Path(inbox.directory).glob("*.MAI")] == [letter(250).id]
        await bring_back(house)
        assert (len(inbox.view()), set(inbox.view().flags)) == (250, {SEEN})
        await inbox.expunge(inbox.view().uids)
        await house.store.close()
        assert list(Path(inbox.directory).glob("*.MAI")) == []

    run(main())
    house.close()


def test_a_file_whose_message_comes_in_again_while_many_are_taken_away_stays(tmp_path: Path) -> None:
    """Moved to and fro: the file was there still, under the same name."""
    house = house_in(tmp_path)

    async def main() -> None:
        inbox = await house.folder()
        other = await (await house.store.mailbox("example", "alice")).create("Other")
        await inbox.append_all([Upload(letter(number)) for number in range(1, 251)])
        await inbox.move(range(1, 251), other)
        await other.move([1, 250], inbox)
        await house.means.errands.done()
        assert [await inbox.read(uid) for uid in inbox.view().uids] == [letter(1).data, letter(250).data]
        assert (len(files_in(inbox)), len(other.view()), len(await listed(house))) == (2, 248, 0)
        assert list(await house.store.check("example", "alice")) == []

    run(main())
    house.close()


@pytest.mark.parametrize("how", ["round", "compaction", "deletion"])
def test_what_a_crash_left_of_many_expunged_messages_is_taken_up_later(tmp_path: Path, how: str) -> None:
    house = house_in(tmp_path)

    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        folder = await box.create("Work")
        assert isinstance(folder, LocalFolder)
        await folder.append_all([Upload(letter(number), SEEN) for number in range(1, 301)])
        folder.means.errands.begin = lambda mailbox, work: work.close()  # type: ignore[method-assign]
        await folder.expunge(range(1, 300))
        assert len(files_in(folder)) == 300
        if how == "deletion":
            await box.delete("Work")
        elif how == "compaction":
            compaction.compact(folder.apart())
        else:
            Round().go_on(house.means)
        assert len(await listed(house)) == (300 if how == "deletion" else 299)
        if how != "deletion":
            assert files_in(folder) == [letter(300).id] and await house.store.check("example", "alice") == []

    run(main())
    house.close()


def test_nothing_is_kept_where_the_operator_says_so(tmp_path: Path) -> None:
    house = house_in(tmp_path, days=0)

    async def main() -> None:
        inbox = await house.folder()
        await house.deliver(letter(1))
        await inbox.expunge([1])
        assert await listed(house) == []
        assert list(tmp_path.rglob("*.MAI")) == []

    run(main())
    house.close()


@pytest.mark.parametrize("refused", ["make_folders", "open", "rename"])
def test_a_full_disk_keeps_nothing_and_an_expunge_still_makes_room(tmp_path: Path, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house = house_in(tmp_path)
    usual: Callable[..., object] = getattr(house.disk, refused)

    def refuse(path: object, *args: object, **more: object) -> object:
        if ".expunged" in f"{path} {args}":
            raise OSError(errno.ENOSPC, "No space left on device")
        return usual(path, *args, **more)

    async def main() -> None:
        inbox = await house.folder()
        await house.deliver(letter(1))
        monkeypatch.setattr(house.disk, refused, refuse)
        assert list(await inbox.expunge([1])) == [1]
        assert (await listed(house), list(tmp_path.rglob("*.MAI"))) == ([], [])

    run(main())
    house.close()


def test_a_message_brought_back_before_a_crash_is_not_brought_back_twice(tmp_path: Path) -> None:
    """Killed between the message's return and the end of the kept file."""
    house = house_in(tmp_path)

    async def first() -> None:
        inbox = await house.folder()
        await house.deliver(letter(1))
        await inbox.expunge([1])
        (kept,) = tmp_path.rglob("*.MAI")
        octets = kept.read_bytes()
        await bring_back(house)
        assert not kept.exists()
        kept.write_bytes(octets)  # as if the process had died before

    run(first())
    house = house.again()
    house.means.keep_expunged = 7 * DAY

    async def second() -> None:
        inbox = await house.folder()
        await bring_back(house)
        assert ([await inbox.read(uid) for uid in inbox.view().uids], await listed(house)) == ([letter(1).data], [])

    run(second())
    house.close()
