"""Files edited by others: what is seen, when, and what stays in force when it cannot be."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from postroom.errors import ConfigError, DiskError, RecordError
from postroom.records import AddressMapRecord, AuthRecord, DomainRecord, MailboxRecord, MemberRecord
from postroom_disk.disk import Disk
from postroom_tab.providers import TabAuthentication, TabPostoffices, TabProviders, TabSmtp
from postroom_tab.tables import TabTable
from postroom_testing.clock import HandClock
from tests.providers_tab.desk import Remembered, opened

BOB = b"bob@x\t1\tsecret\tx\tUSER\t\r\n"
ANN = b"ann@x\t1\tsecret\tx\tUSER\t\r\n"


def logins(tab: TabProviders) -> TabTable[AuthRecord]:
    family = tab.families["authentication"]
    assert isinstance(family, TabAuthentication)
    return family.logins


def offices(tab: TabProviders) -> TabPostoffices:
    family = tab.families["postoffice"]
    assert isinstance(family, TabPostoffices)
    return family


def names(tab: TabProviders) -> list[str]:
    return [row.username for row in logins(tab).snapshot()]


def made_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.TAB"))


class Watched:
    """A table and a look at its next change."""

    def __init__(self, table: TabTable[Any]) -> None:
        self._told = asyncio.Event()
        table.watch(self._told.set)

    async def changed(self) -> None:
        await asyncio.wait_for(self._told.wait(), 10)
        self._told.clear()


def on_site(tmp_path: Path, body: Callable[[TabProviders, Path, HandClock], Awaitable[None]], **files: bytes) -> Remembered:
    """Run `body` on a provider set over these files, without watches and with a clock turned by hand."""
    folder, log, clock = tmp_path / "Config", Remembered(), HandClock()
    folder.mkdir()
    for name, data in files.items():
        (folder / f"{name}.TAB").write_bytes(data)

    async def main() -> None:
        async with opened(folder, clock=clock, log=log) as tab:
            await body(tab, folder, clock)

    asyncio.run(main())
    return log


async def polled(tab: TabProviders, clock: HandClock, told: Watched) -> None:
    await clock.advance(tab.settings.poll_seconds)
    await told.changed()


async def looked(tab: TabProviders) -> None:
    """A look now, as every hint leads to."""
    await tab._look(tab._tables.values())


def test_an_edit_is_seen_at_the_next_poll(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        told, version = Watched(logins(tab)), logins(tab).version
        (folder / "AUTH.TAB").write_bytes(BOB + ANN)
        await polled(tab, clock, told)
        assert names(tab) == ["bob@x", "ann@x"]
        assert logins(tab).version > version

    on_site(tmp_path, body, AUTH=BOB)


def test_a_file_that_was_only_touched_is_no_change(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        version, row = logins(tab).version, logins(tab).snapshot()[0]
        os.utime(folder / "AUTH.TAB", (1, 1))
        await looked(tab)
        assert logins(tab).version == version
        assert logins(tab).snapshot()[0] is row

    on_site(tmp_path, body, AUTH=BOB)


def test_a_panels_edit_made_meanwhile_is_kept_by_our_write(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        (folder / "AUTH.TAB").write_bytes(b"# by the panel\r\n" + ANN + BOB)
        await logins(tab).put(AuthRecord("cy@x"))
        assert names(tab) == ["ann@x", "bob@x", "cy@x"]
        assert (folder / "AUTH.TAB").read_bytes() == b"# by the panel\r\n" + ANN + BOB + b"cy@x\t1\t\t\tUSER\t\r\n"
        assert (folder / "AUTH.SAV").read_bytes() == b"# by the panel\r\n" + ANN + BOB

    on_site(tmp_path, body, AUTH=BOB)


@pytest.mark.parametrize(
    "away", [lambda path: path.unlink(), lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"# wait\n")]
)
def test_a_file_emptied_or_gone_for_a_moment_stays_in_force(tmp_path: Path, away: Callable[[Path], object]) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        away(folder / "AUTH.TAB")
        await looked(tab)
        assert names(tab) == ["bob@x"]
        with pytest.raises(DiskError, match="try again"):
            await logins(tab).put(AuthRecord("cy@x"))
        told = Watched(logins(tab))
        (folder / "AUTH.TAB").write_bytes(BOB + ANN)
        await clock.advance(tab.settings.settle_seconds)
        await told.changed()
        assert names(tab) == ["bob@x", "ann@x"]

    on_site(tmp_path, body, AUTH=BOB)


@pytest.mark.parametrize("away", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_file_emptied_or_gone_for_good_is_believed_after_a_while(tmp_path: Path, away: Callable[[Path], object]) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        told = Watched(logins(tab))
        away(folder / "AUTH.TAB")
        await looked(tab)
        await clock.advance(tab.settings.settle_seconds)
        await told.changed()
        assert names(tab) == []
        await logins(tab).put(AuthRecord("cy@x"))
        assert names(tab) == ["cy@x"]

    on_site(tmp_path, body, AUTH=BOB)


def test_another_workers_deletion_of_the_last_row_is_believed_at_once(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        async with opened(folder, clock=clock) as other:
            await logins(other).delete(AuthRecord("bob@x"))
        await looked(tab)
        assert names(tab) == []

    on_site(tmp_path, body, AUTH=BOB)


@pytest.mark.parametrize("junk", [b"\0" * 500, b"\xff\xfeb\0o\0b\0", b"bob@x\tyes\r\n", BOB + b"\0\0\0\0"])
def test_an_unreadable_file_leaves_the_last_good_rows_and_its_own_text(tmp_path: Path, junk: bytes) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        (folder / "AUTH.TAB").write_bytes(junk)
        await looked(tab)
        assert names(tab) == ["bob@x"]
        [problem] = tab.problems()
        assert "AUTH.TAB" in str(problem) and "last good rows are in force" in str(problem)
        assert problem.remedy and "secret" not in str(problem)
        with pytest.raises(DiskError, match="not written to"):
            await logins(tab).put(AuthRecord("cy@x"))
        assert (folder / "AUTH.TAB").read_bytes() == junk
        (folder / "AUTH.TAB").write_bytes(ANN)
        await looked(tab)
        assert (names(tab), list(tab.problems())) == (["ann@x"], [])

    log = on_site(tmp_path, body, AUTH=BOB)
    assert log.events() == ["tab_problem"]


def test_a_broken_line_is_told_once_and_kept(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        [problem] = tab.problems()
        assert problem.origin is not None
        assert (problem.origin.where, problem.origin.line, problem.key) == (str(folder / "AUTH.TAB"), 2, "status")
        await looked(tab)
        await logins(tab).put(AuthRecord("bob@x", 0))
        assert b"ann@x\toops\r\n" in (folder / "AUTH.TAB").read_bytes()
        assert len(tab.problems()) == 1

    log = on_site(tmp_path, body, AUTH=BOB + b"ann@x\toops\r\n")
    assert log.events() == ["tab_problem"]


def test_at_the_start_an_unreadable_file_is_served_from_its_sav(tmp_path: Path) -> None:
    (tmp_path / "AUTH.TAB").write_bytes(b"\0" * 100)
    (tmp_path / "AUTH.SAV").write_bytes(ANN)

    async def main() -> None:
        async with opened(tmp_path) as tab:
            assert names(tab) == ["ann@x"]
            assert "AUTH.SAV are in force" in str(tab.problems()[0])

    asyncio.run(main())


@pytest.mark.parametrize("name", ["AUTH.TAB", "Postoffices/x/MAILBOX.TAB"])
def test_at_the_start_an_unreadable_file_without_one_stops_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"\0" * 100)

    async def main() -> None:
        async with opened(tmp_path):
            raise AssertionError("it opened")

    with pytest.raises(ConfigError, match=Path(name).name) as told:
        asyncio.run(main())
    assert told.value.remedy


def test_a_config_folder_that_cannot_be_made_is_the_operators_move(tmp_path: Path) -> None:
    (tmp_path / "Config").write_bytes(b"a file")

    async def main() -> None:
        async with opened(tmp_path / "Config" / "deeper"):
            raise AssertionError("it opened")

    with pytest.raises(ConfigError, match="deeper") as told:
        asyncio.run(main())
    assert told.value.remedy


def test_domains_tab_is_read_and_written_where_it_is(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        family = tab.families["smtp"]
        assert isinstance(family, TabSmtp)
        await family.domains.put(DomainRecord("other.test"))
        assert [row.domain for row in family.domains.snapshot()] == ["example.test", "other.test"]
        assert not (folder / "DOMAIN.TAB").exists()
        (folder / "DOMAIN.TAB").write_bytes(b"third.test\t1\r\n")
        await looked(tab)
        assert [row.domain for row in family.domains.snapshot()] == ["third.test"]
        assert "DOMAINS.TAB: not read, because" in str(tab.problems()[0])

    on_site(tmp_path, body, DOMAINS=b"example.test\t1\r\n")


def test_post_offices_have_files_of_their_own_in_folders_of_any_case(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        await offices(tab).mailboxes.put(
            MailboxRecord("Example.Test", "bob"), MailboxRecord("../up", "ann"), MailboxRecord("EXAMPLE.TEST", "cy")
        )
        await offices(tab).members.put(MemberRecord("example.test", "Sales/East", "[SMTP:ann@x]"))
        assert made_below(folder) == [
            "Postoffices/%2E.%2Fup/MAILBOX.TAB",
            "Postoffices/Example.Test/GROUPS/Sales%2FEast.TAB",
            "Postoffices/Example.Test/MAILBOX.TAB",
        ]
        assert [row.postoffice for row in await offices(tab).mailboxes.find()] == ["../up", "Example.Test", "Example.Test"]
        assert await offices(tab).members.get("EXAMPLE.test", "sales/EAST", "[smtp:ANN@x]") is not None

    on_site(tmp_path, body)


def test_a_batch_over_several_files_is_all_or_none_for_a_later_process(tmp_path: Path) -> None:
    class Torn(Disk):
        """Loses power at the second file's turn."""

        turns = 0

        def __init__(self) -> None:
            self.replace = self._replace  # type: ignore[assignment]

        def _replace(self, old: Path, new: Path) -> None:
            if new.suffix == ".TAB":
                self.turns += 1
                if self.turns == 2:
                    raise OSError(errno.EIO, "Input/output error")
            os.replace(old, new)

    async def main() -> None:
        folder = tmp_path / "Config"
        rows = [MailboxRecord(f"po{n}.test", "bob") for n in range(4)]
        async with opened(folder) as tab:
            await offices(tab).mailboxes.put(rows[0])
        async with opened(folder, disk=Torn()) as tab:
            with pytest.raises(DiskError, match="Input/output"):
                await offices(tab).mailboxes.put(*rows[1:])
            await looked(tab)
            assert list(offices(tab).mailboxes.snapshot()) == rows
        async with opened(folder) as tab:
            assert list(offices(tab).mailboxes.snapshot()) == rows

    asyncio.run(main())


def test_a_full_disk_is_a_disk_error_and_nothing_changes(tmp_path: Path) -> None:
    class Full(Disk):
        @staticmethod
        def write(fd: int, data: bytes) -> int:  # type: ignore[override]
            raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        (tmp_path / "AUTH.TAB").write_bytes(BOB)
        async with opened(tmp_path, disk=Full()) as tab:
            with pytest.raises(DiskError) as told:
                await logins(tab).put(AuthRecord("cy@x"))
            assert told.value.full
            assert names(tab) == ["bob@x"]
        assert (tmp_path / "AUTH.TAB").read_bytes() == BOB

    asyncio.run(main())


def test_a_change_is_ended_though_its_asker_is_cancelled(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        told = Watched(logins(tab))
        asking = asyncio.ensure_future(logins(tab).put(AuthRecord("cy@x")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await told.changed()
        assert names(tab) == ["bob@x", "cy@x"]

    on_site(tmp_path, body, AUTH=BOB)


def test_a_row_of_another_file_is_no_place(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        there = MailboxRecord("b.test", "bob")
        await offices(tab).mailboxes.put(there)
        with pytest.raises(RecordError, match="another file"):
            await offices(tab).mailboxes.put(MailboxRecord("a.test", "ann"), before=there)

    on_site(tmp_path, body)


@pytest.mark.parametrize(("key", "said"), [((), "1 parts"), (("a", "b"), "1 parts")])
def test_a_key_of_the_wrong_length_is_refused(tmp_path: Path, key: tuple[str, ...], said: str) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        with pytest.raises(RecordError, match=said):
            await logins(tab).get(*key)
        with pytest.raises(RecordError, match="no field"):
            await logins(tab).find(user="x")

    on_site(tmp_path, body)


def test_a_watcher_that_fails_harms_neither_writer_nor_others(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
        told: list[int] = []
        logins(tab).watch(lambda: told.append(1 // 0))
        logins(tab).watch(lambda: told.append(1))
        await logins(tab).put(AuthRecord("cy@x"))
        assert (told, len(failures)) == ([1], 1)

    on_site(tmp_path, body)


def test_passwords_are_for_the_owner_alone_and_others_are_told_of(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        (folder / "AUTH.TAB").chmod(0o644)
        assert [sentence.split(": ")[0] for sentence in tab.exposed()] == [str(folder / "AUTH.TAB")]
        await logins(tab).put(AuthRecord("cy@x", password="$argon2id$v=19$"))
        assert (folder / "AUTH.TAB").stat().st_mode & 0o777 == 0o600
        assert (folder / "AUTH.SAV").read_bytes() == BOB
        assert list(tab.exposed()) == []

    on_site(tmp_path, body, AUTH=BOB)


def test_the_operating_system_tells_of_an_edit_in_a_new_folder(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "Config", watch=True) as tab:
            told = Watched(offices(tab).mailboxes)
            folder = tmp_path / "Config/POSTOFFICES/x"
            folder.mkdir(parents=True)
            (folder / "mailbox.tab").write_bytes(b"bob\t1\n")
            await told.changed()
            assert offices(tab).mailboxes.snapshot() == (MailboxRecord("x", "bob"),)

    asyncio.run(main())


def test_the_address_map_keeps_its_order_through_edits_by_hand(tmp_path: Path) -> None:
    async def body(tab: TabProviders, folder: Path, clock: HandClock) -> None:
        rows = tab.families["address_map"].rows  # type: ignore[attr-defined]
        first = rows.snapshot()[0]
        await rows.put(AddressMapRecord("[SMTP:ann@x]", "[SF:x/ann]"), before=first)
        assert [row.source for row in rows.snapshot()] == ["[SMTP:ann@x]", "[SMTP:*@*]", "[SMTP:*@x]"]
        assert [row.origin.line for row in rows.snapshot()] == [2, 3, 5]

    on_site(tmp_path, body, **{"ADDRESS-MAP": b"# the map\r\n[SMTP:*@*]\t[SMTP:*]\r\n\r\n[SMTP:*@x]\t[SF:x/bob]\r\n"})
