"""What lies in a mailbox stays there, once and as it is, whatever a replay, a second attempt, another worker or an index makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom.mailstore import SEEN, Target
from postroom.message import FileMessage, MemoryMessage
from tests.providers_store.house import House, letter, run


def changed(message: MemoryMessage, mark: bytes) -> MemoryMessage:
    """The message as a filter leaves it: another text under the same id (mta.py), and at each attempt perhaps another one."""
    return MemoryMessage(message.id, b"X-Score: " + mark + b"\r\n" + message.data)


def in_file(message: MemoryMessage, folder: Path) -> FileMessage:
    path = folder / f"{message.id}.waiting"
    path.write_bytes(message.data)
    return FileMessage(message.id, path, message.size)


@pytest.mark.parametrize("second", [b"12345", b"1"])
@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_message_that_a_filter_changes_at_each_attempt_is_delivered_once(tmp_path: Path, second: bytes, where: str) -> None:
    """What was delivered was taken for a torn file, ended wherever its owner had put it, and delivered once more, unread."""

    async def main() -> None:
        house = House(tmp_path)
        (first,) = await house.deliver(changed(letter(1), b"123"))
        await (await house.folder()).change_flags([first.uid], add=SEEN)
        box = await house.store.mailbox("example", "alice")
        await (await house.folder()).move([first.uid], await box.create("Read"))
        house = house.again()
        other = changed(letter(1), second)
        (placed,) = await house.store.deliver(
            other if where == "memory" else in_file(other, tmp_path), [Target("example", "alice")], arrived=0.0, again=True
        )
        assert not isinstance(placed, Exception)
        assert placed.doubled
        read = await house.folder("Read")
        assert len(read.view()) == 1
        assert read.view().flags[0] == SEEN
        assert await read.read(read.view().uids[0]) == changed(letter(1), b"123").data
        assert not len((await house.folder()).view())
        house.close()

    run(main())
