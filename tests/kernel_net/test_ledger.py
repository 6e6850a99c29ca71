"""The file that workers count in: one truth for all who have it open, bounded, worth nothing, and never in anybody's way."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from postroom_disk.disk import Disk
from postroom_net import ledger
from postroom_net.ledger import Entry, Ledger, Memory, Page, Table
from postroom_testing.dying import ends_before
from postroom_testing.faults import FaultDisk


@contextmanager
def opened(folder: Path, number: int = 1, *, size: int = 1000, disk: Disk | None = None) -> Iterator[list[Page]]:
    """A page of the same file, opened so many times."""
    with ExitStack() as stack:
        books = [Ledger.open(folder / "run" / "throttle", disk or Disk(), pages=2, size=size) for _ in range(number)]
        for book in books:
            stack.callback(book.close)
        yield [book.page(1) for book in books]


def put(page: Table, key: str, value: float, when: float = 0.0, mark: int = 0) -> None:
    page.change(key, lambda old: Entry(value, when, mark))


def one_more(old: Entry | None) -> Entry:
    return Entry((old.value if old else 0.0) + 1.0, 5.0)


@pytest.fixture(params=["memory", "file"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table]:
    if request.param == "memory":
        yield Memory(1000)
    else:
        with opened(tmp_path) as (page,):
            yield page


def test_a_table_keeps_what_was_put_and_forgets_what_was_taken_out(table: Table) -> None:
    assert table.get("bob") is None and len(table) == 0
    put(table, "bob", 1.5, 3.25, 7)
    put(table, "ann", 2.0)
    assert table.get("bob") == (1.5, 3.25, 7) and table.get("ann") == (2.0, 0.0, 0) and len(table) == 2
    table.change("bob", one_more)
    assert table.get("bob") == (2.5, 5.0, 0)
    table.change("bob", lambda old: None)
    table.change("nobody", lambda old: None)
    assert table.get("bob") is None and table.get("nobody") is None and len(table) == 1


@pytest.mark.parametrize("key", ["", "a\0b", "ümläut@po", "\ud800", "x" * 5000])
def test_any_text_is_a_key(table: Table, key: str) -> None:
    put(table, key, 1.0)
    assert table.get(key) == (1.0, 0.0, 0) and table.get(key + "x") is None


def test_all_who_have_it_open_count_together(tmp_path: Path) -> None:
    with opened(tmp_path, 3) as pages:
        for number in range(30):
            pages[number % 3].change("bob", one_more)
        assert {page.get("bob") for page in pages} == {Entry(30.0, 5.0)}
        pages[0].change("bob", lambda old: None)
        assert {page.get("bob") for page in pages} == {None}


def test_pages_and_files_do_not_mix(tmp_path: Path) -> None:
    with opened(tmp_path) as (page,), opened(tmp_path / "other") as (other,):
        put(page, "bob", 1.0)
        assert page._ledger.page(0).get("bob") is None and other.get("bob") is None


def test_counts_outlive_who_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as (page,):
        put(page, "bob", 4.0)
    with opened(tmp_path) as (page,):
        assert page.get("bob") == (4.0, 0.0, 0)


def test_it_is_bounded_and_the_oldest_of_a_bucket_goes_first(tmp_path: Path) -> None:
    with opened(tmp_path, size=64) as (page,):
        octets = (tmp_path / "run" / "throttle").stat().st_size
        for number in range(2000):
            put(page, f"key {number}", 1.0, float(number))
            assert page.get(f"key {number}") is not None
        kept = {number for number in range(2000) if page.get(f"key {number}") is not None}
        assert len(page) == len(kept) == 64 and max(kept) == 1999 and min(kept) > 1500
        assert (tmp_path / "run" / "throttle").stat().st_size == octets


def test_no_name_and_no_secret_stands_in_it_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    with opened(tmp_path) as (page,):
        put(page, "bob@po", 1.0, 0.0, page._ledger.mark(b"a secret"))
        marks = {page._ledger.mark(b"%d" % number) for number in range(3000)}
        assert marks == set(range(1, 256)), "a mark is one of 255: it tells less than an octet of the secret"
    text = (tmp_path / "run" / "throttle").read_bytes()
    assert b"bob" not in text and b"secret" not in text
    assert (tmp_path / "run" / "throttle").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"postthr1", b"postthr0" + bytes(9000), bytes(9000), b"\xff" * 9000])
def test_what_is_no_ledger_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "throttle").write_bytes(damage)
    with opened(tmp_path) as (page,):
        put(page, "bob", 1.0)
        assert page.get("bob") is not None
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["throttle", "throttle.lock"]


def test_after_a_boot_it_is_made_anew_for_its_clock_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as (page,):
        put(page, "bob", 1.0)
    monkeypatch.setattr(ledger, "_boot", lambda: b"another")
    with opened(tmp_path) as (page,):
        assert page.get("bob") is None


def test_of_another_size_it_is_made_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as (page,):
        put(page, "bob", 1.0)
    with opened(tmp_path, size=5000) as (page,):
        assert page.get("bob") is None


def test_octets_that_nobody_of_us_wrote_are_no_entry(tmp_path: Path) -> None:
    with opened(tmp_path) as (page,):
        put(page, "bob", 1.0)
        tag, at = page._place("bob")
        for value, when in ((float("nan"), 0.0), (-1.0, 0.0), (1.0, float("inf")), (float("inf"), 0.0)):
            os.pwrite(page._ledger.descriptor, ledger._SLOT.pack(tag, value, when, 0), at)
            assert page.get("bob") is None
        page.change("bob", one_more)
        assert page.get("bob") == (1.0, 5.0, 0)


def test_one_that_was_cut_short_or_closed_leaves_everybody_his_own_memory(tmp_path: Path) -> None:
    with opened(tmp_path, 2) as (one, other):
        os.truncate(tmp_path / "run" / "throttle", 5000)
        one.change("bob", one_more)
        one.change("bob", one_more)
        assert one.get("bob") == (2.0, 5.0, 0) and other.get("bob") is None
    one.change("bob", one_more)  # it is closed by now
    assert one.get("bob") == (3.0, 5.0, 0)


def test_what_a_full_disk_refused_is_remembered_and_written_when_it_can_be(tmp_path: Path) -> None:
    disk = FaultDisk()
    with opened(tmp_path, disk=disk) as (page,), opened(tmp_path) as (other,):
        put(page, "before", 1.0)
        disk.how, disk.at = "full from there", len(disk.calls) + 1
        page.change("bob", one_more)
        page.change("bob", one_more)
        assert page.get("bob") == (2.0, 5.0, 0) and other.get("bob") is None and page.get("before") is not None
        disk.heal()
        page.change("bob", one_more)
        assert page.get("bob") == other.get("bob") == (3.0, 5.0, 0) and len(page) == 2


@pytest.mark.parametrize("how", ["full", "broken"])
def test_a_disk_that_refuses_its_making_is_told_and_leaves_nothing(tmp_path: Path, how: str) -> None:
    refused = 0
    for at in range(1, 20):
        try:
            with opened(tmp_path / str(at), disk=FaultDisk(at, how)):
                break
        except OSError as error:
            assert error.errno in (errno.ENOSPC, errno.EIO)
            refused += 1
        assert not list((tmp_path / str(at)).glob("run/.*")), at
        with opened(tmp_path / str(at)) as (page,):
            put(page, "bob", 1.0)
    assert refused >= 5


@pytest.mark.long
def test_after_a_death_at_any_call_it_works(tmp_path: Path) -> None:
    for how in ("die", "tear"):
        for number in range(1, 40):
            folder = tmp_path / how / str(number)
            folder.mkdir(parents=True)

            async def life(disk: FaultDisk, arm: Callable[[], None], folder: Path = folder) -> None:
                arm()
                with opened(folder, disk=disk) as (page,):
                    for key in ("bob", "ann", "bob"):
                        page.change(key, one_more)

            ended = ends_before(number, life, how)
            with opened(folder) as (page,):
                counts = [entry.value if (entry := page.get(key)) else 0.0 for key in ("bob", "ann")]
                assert 0.0 <= counts[0] <= 2.0 and 0.0 <= counts[1] <= 1.0, (number, counts)
                page.change("bob", one_more)
                assert page.get("bob") == (counts[0] + 1.0, 5.0, 0)
            if ended:
                break
        assert ended and counts == [2.0, 1.0]


def test_nobody_waits_for_one_who_holds_the_lock_and_does_not_go_on(tmp_path: Path) -> None:
    with opened(tmp_path, 2) as (stopped, page):
        fcntl.flock(stopped._ledger.descriptor, fcntl.LOCK_EX)
        page.change("bob", one_more)
        assert page.get("bob") == (1.0, 5.0, 0) and page._ledger.unlocked == 1


COUNTER = """
import sys
from pathlib import Path
from postroom_disk.disk import Disk
from postroom_net.ledger import Ledger
from tests.kernel_net.test_ledger import one_more

page = Ledger.open(Path(sys.argv[1]) / "run" / "throttle", Disk(), pages=2, size=1000).page(1)
print("ready", flush=True)
sys.stdin.readline()
for number in range(2000):
    page.change("bob", one_more)
    page.change(f"own {sys.argv[2]} {number % 50}", one_more)
print(page._ledger.unlocked)
"""


def test_two_processes_that_count_at_once_lose_none(tmp_path: Path) -> None:
    """But for changes of a moment in which the other one had the lock and the machine had no turn for it."""

    async def main() -> int:
        pipe = subprocess.PIPE
        children = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", COUNTER, str(tmp_path), name, stdin=pipe, stdout=pipe)
            for name in ("one", "two")
        ]
        for child in children:
            assert child.stdout is not None and await child.stdout.readline() == b"ready\n"
        said = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
        assert [child.returncode for child in children] == [0, 0]
        return sum(int(out) for out, _ in said)

    unlocked = asyncio.run(main())
    with opened(tmp_path) as (page,):
        counted = page.get("bob")
        assert counted is not None and 4000 - unlocked <= counted.value <= 4000 and unlocked < 400
        own = [entry.value for n in range(50) for who in ("one", "two") if (entry := page.get(f"own {who} {n}"))]
        assert len(own) == 100 and 4000 - unlocked <= sum(own) <= 4000
