from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from postroom.errors import DiskError, NoSuchFolder
from postroom.mailstore import Folder, MailStore, View
from postroom_disk.disk import Disk
from postroom_pop3.maildrop import Locks, Maildrop, TopCut, lock_name
from tests.plugins_pop3.house import FIRST, SECOND, THIRD, Inbox, Store


def drop_of(inbox: Inbox, folder: Path) -> Maildrop:
    locks = Locks(folder, Disk())
    lock = locks.acquire("po", "bob")
    assert lock is not None
    return Maildrop(cast(Folder, inbox), cast(View, inbox.view()), lock, locks)


def test_marks_count_for_stat_and_are_taken_back(tmp_path: Path) -> None:
    drop = drop_of(Inbox().add(FIRST, SECOND, THIRD), tmp_path)
    assert drop.stat() == (3, len(FIRST + SECOND + THIRD))
    drop.delete(2)
    assert drop.stat() == (2, len(FIRST + THIRD))
    assert [drop.has(n) for n in (0, 1, 2, 3, 4)] == [False, True, False, True, False]
    assert b"".join(drop.scan_listing()) == b"1 %d\r\n3 %d\r\n" % (len(FIRST), len(THIRD))
    drop.reset()
    assert drop.stat() == (3, len(FIRST + SECOND + THIRD))
    drop.release()


def test_unique_ids_are_printable_and_unique_and_stay(tmp_path: Path) -> None:
    inbox = Inbox().add(*[THIRD] * 2500)
    drop = drop_of(inbox, tmp_path)
    lines = b"".join(drop.unique_id_listing()).split(b"\r\n")[:-1]
    ids = [line.split(b" ")[1] for line in lines]
    assert len(set(ids)) == 2500 and all(1 <= len(one) <= 70 and one.isalnum() for one in ids)
    drop.release()
    del inbox.texts[1]
    again = drop_of(inbox, tmp_path)
    assert again.unique_id(1) == ids[1]
    again.release()


def test_commit_removes_what_is_marked_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        inbox = Inbox().add(FIRST, SECOND, THIRD)
        drop = drop_of(inbox, tmp_path)
        drop.delete(1)
        drop.retrieved |= {1, 3}
        inbox.add(b"arrived meanwhile\r\n")
        await drop.commit(mark_read=True)
        assert list(inbox.texts) == [2, 3, 4] and inbox.seen == {3}
        drop.release()

    asyncio.run(main())


def test_a_lock_keeps_others_out_in_any_spelling(tmp_path: Path) -> None:
    locks, others = Locks(tmp_path / "a" / "b", Disk()), Locks(tmp_path / "a" / "b", Disk())
    lock = locks.acquire("po", "Bob")
    assert lock is not None
    assert others.acquire("PO", "bob") is None and locks.acquire("po", "bob") is None
    other = others.acquire("po", "alice")
    assert other is not None
    locks.release(lock)
    again = others.acquire("po", "bob")
    assert again is not None
    others.release(again)
    others.release(other)


def test_a_lock_holds_against_another_process_and_ends_with_it(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from postroom_disk.disk import Disk; from postroom_pop3.maildrop import Locks;"
        "print(Locks(Path(sys.argv[1]), Disk()).acquire('po', 'bob'), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline().strip().isdigit()
        locks = Locks(tmp_path, Disk())
        assert locks.acquire("po", "bob") is None
        holder.kill()
        holder.wait()
        lock = locks.acquire("po", "bob")
        assert lock is not None
        locks.release(lock)


@pytest.mark.parametrize("names", [("po", "../../etc/passwd"), ("a/b", "c\0d"), ("x" * 300, "ü" * 300), ("", ""), ("a", "\ud800")])
def test_lock_names_stay_in_their_folder(names: tuple[str, str]) -> None:
    name = lock_name(*names)
    assert len(name) == 37 and name.replace("-", "").isalnum()


def test_lock_names_do_not_run_together() -> None:
    assert lock_name("a", "bc") != lock_name("ab", "c")


def test_a_disk_that_refuses_a_lock_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError):
        Locks(tmp_path / "file", Disk()).acquire("po", "bob")


def test_a_mailbox_that_does_not_open_leaves_no_lock_and_no_descriptor(tmp_path: Path) -> None:
    async def main() -> None:
        locks = Locks(tmp_path, Disk())
        with pytest.raises(NoSuchFolder):
            await Maildrop.open(cast(MailStore, Store(broken=NoSuchFolder("Inbox"))), locks, "po", "bob")
        drop = await Maildrop.open(cast(MailStore, Store()), locks, "po", "bob")
        assert drop is not None and len(drop) == 0
        assert await Maildrop.open(cast(MailStore, Store()), locks, "po", "bob") is None
        drop.release()
        drop.release()
        assert not [fd for fd in os.listdir("/proc/self/fd") if str(tmp_path) in os.path.realpath(f"/proc/self/fd/{fd}")]

    asyncio.run(main())


BODY = b"one\r\ntwo\r\n\r\nfour\r\n"


@pytest.mark.parametrize(
    ("text", "lines", "top"),
    [
        (b"A: b\r\n\r\n" + BODY, 0, b"A: b\r\n\r\n"),
        (b"A: b\r\n\r\n" + BODY, 1, b"A: b\r\n\r\none\r\n"),
        (b"A: b\r\n\r\n" + BODY, 3, b"A: b\r\n\r\none\r\ntwo\r\n\r\n"),
        (b"A: b\r\n\r\n" + BODY, 4, b"A: b\r\n\r\n" + BODY),
        (b"A: b\r\n\r\n" + BODY, 9_999_999_999, b"A: b\r\n\r\n" + BODY),
        (b"\r\nbody\r\nmore\r\n", 1, b"\r\nbody\r\n"),
        (b"A: b\r\nC: d\r\n", 5, b"A: b\r\nC: d\r\n"),
        (b"", 5, b""),
        (b"A: b\r\n\r\nno end", 1, b"A: b\r\n\r\nno end"),
    ],
)
def test_the_top_of_a_text(text: bytes, lines: int, top: bytes) -> None:
    for cut in range(len(text) + 1):
        cutter, got = TopCut(lines), b""
        for piece in (text[:cut], text[cut:]):
            if not cutter.done:
                got += cutter.piece(piece)
        assert got == top, cut


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"x\r\n"])
@pytest.mark.parametrize("lines", [50_000, 10**9])
def test_the_top_of_very_many_short_lines_is_cut_fast(line: bytes, lines: int) -> None:
    """A step a line blocked the loop for a tenth of a second a piece."""
    cut, body = TopCut(lines), line * (262_144 // len(line))
    cut.piece(b"A: b\r\n\r\n")
    begun = time.process_time()
    assert cut.piece(body) == (line * lines if lines == 50_000 else body)
    assert time.process_time() - begun < 0.01
    assert cut.done == (lines == 50_000)
