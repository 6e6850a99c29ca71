from __future__ import annotations

from pathlib import Path

import pytest

from postroom.errors import DiskError, NoSuchFolder, StoreError
from tests.providers_store.house import House, letter, run


def test_attributes_are_kept_by_folder_and_by_mailbox_and_outlive_the_process(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def write() -> None:
        box = await house.store.mailbox("example", "alice")
        await box.create("Sent")
        assert dict(await box.attributes("Sent")) == dict(await box.attributes("")) == {}
        await box.annotate("Sent", {"/private/specialuse": b"\\Sent", "/private/comment": b"caf\xc3\xa9 \xff\0"})
        await box.annotate("", {"/shared/comment": b"all of it"})
        await box.annotate("Inbox", {"/private/comment": b"mine"})

    run(write())
    house.close()
    house = House(tmp_path)

    async def read() -> None:
        box = await house.store.mailbox("example", "alice")
        assert dict(await box.attributes("SENT")) == {"/private/specialuse": b"\\Sent", "/private/comment": b"caf\xc3\xa9 \xff\0"}
        assert dict(await box.attributes("")) == {"/shared/comment": b"all of it"}
        assert await box.all_attributes() == {name: await box.attributes(name) for name in ("", "Inbox", "Sent")}
        await box.annotate("Sent", {"/private/comment": None, "/private/other": None})
        assert dict(await box.attributes("Sent")) == {"/private/specialuse": b"\\Sent"}

    run(read())
    house.close()


def test_attributes_go_where_their_folder_goes(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        for name in ("A", "A/B"):
            await box.create(name)
            await box.annotate(name, {"/private/comment": name.encode()})
        await box.rename("A", "Z")
        assert (await box.attributes("Z/B"))["/private/comment"] == b"A/B"
        await box.delete("Z")
        assert list(await box.folders()) == ["Inbox", "Z/B"]
        await box.create("Z")
        assert dict(await box.attributes("Z")) == {}, "a new folder of an old name has none of its attributes"
        with pytest.raises(NoSuchFolder):
            await box.annotate("A", {"/private/comment": b"x"})
        with pytest.raises(NoSuchFolder):
            await box.attributes("A")

    run(main())
    house.close()


def test_attributes_have_a_limit_and_a_damaged_file_is_not_written_over(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        with pytest.raises(StoreError, match="1048576 octets"):
            await box.annotate("", {"/private/comment": bytes(1 << 20)})
        assert dict(await box.attributes("")) == {}
        await house.deliver(letter(1))
        inbox = await box.folder("Inbox")
        file = Path(inbox.path(1)).with_name(".attributes")
        file.write_bytes(b"{half")
        with pytest.raises(DiskError, match="damaged"):
            await box.attributes("Inbox")
        with pytest.raises(DiskError, match="damaged"):
            await box.annotate("Inbox", {"/private/comment": b"x"})
        assert file.read_bytes() == b"{half"
        assert list(await house.store.check("example", "alice")) == []

    run(main())
    house.close()
