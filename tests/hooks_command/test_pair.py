"""The private pair on disks that refuse and die: nothing of it is ever left for good, and nothing of the original is touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from postroom.site import Ground
from postroom.spool import Spool
from postroom_command import marks
from postroom_command.contract import Found, ProgramFailed
from postroom_command.pair import Pair
from postroom_disk.disk import Disk
from postroom_testing.faults import Died, FaultDisk
from postroom_testing.ground import Lines, ground_in
from postroom_testing.mail import TEXT, envelope, letter

CALLS = 40  # more than any of these takes


def site(folder: Path, disk: Disk) -> Ground:
    root = folder / "site"
    root.mkdir(exist_ok=True)
    return ground_in(root, disk=disk, log=Lines())


def files(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "postroom.yaml"]


def quarantined(pair: Pair) -> None:
    for path, held in zip((pair.place.command, pair.place.message), pair.place.held):
        os.rename(path, held)


def copied(pair: Pair) -> None:
    for path, held in zip((pair.place.command, pair.place.message), pair.place.held):
        held.write_bytes(path.read_bytes())


def edited(pair: Pair) -> None:
    pair.place.message.write_bytes(b"X: y\n" + TEXT + b"a" * (300 << 10))


def removed(pair: Pair) -> None:
    pair.place.command.unlink()
    pair.place.message.unlink()


def once(ground: Ground, act: Callable[[Pair], None]) -> Found:
    """As `asking` does it, with what a program does in the middle."""
    pair, message = Pair(ground, "SMTP", "Inbound", None), letter(name="one")
    try:
        pair.lay(envelope(message), [message.data])
        act(pair)
        found = pair.found()
        if found.is_changed:
            pair.taken(message.id, binary=False)
        return found
    finally:
        pair.remove(copies=act is not copied)


def at_every_call(folder: Path, how: str) -> Iterator[tuple[int, Ground, FaultDisk]]:
    """A site each whose disk has its fault at the first call, the second, and so on, until there is none left."""
    for at in range(1, CALLS):
        (folder / str(at)).mkdir()
        disk = FaultDisk(at, how)
        yield at, site(folder / str(at), disk), disk
        if len(disk.calls) < at:
            return
    raise AssertionError("more calls than were tried")


ACTS = [quarantined, copied, edited, removed]


@pytest.mark.parametrize("act", ACTS)
def test_what_is_found(tmp_path: Path, act: Callable[[Pair], None]) -> None:
    expected = {
        "quarantined": Found(False, False, False, True),
        "copied": Found(True, True, False, True),
        "edited": Found(True, True, True, False),
        "removed": Found(False, False, False, False),
    }[act.__name__]
    ground = site(tmp_path, Disk())
    assert once(ground, act) == expected
    assert len(files(ground.root)) == (2 if act is copied else 0)


@pytest.mark.parametrize("how", ["broken", "full", "full from there"])
@pytest.mark.parametrize("act", ACTS)
def test_a_disk_that_refuses_leaves_no_file_that_is_not_marked(tmp_path: Path, act: Callable[[Pair], None], how: str) -> None:
    for at, ground, _ in at_every_call(tmp_path, how):
        with suppress(OSError):
            once(ground, act)
        assert swept(ground), at


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what the dead process lets go of dies too
@pytest.mark.parametrize("how", ["die", "tear"])
@pytest.mark.parametrize("act", ACTS)
def test_after_a_death_at_any_call_the_next_process_sweeps_everything(tmp_path: Path, act: Callable[[Pair], None], how: str) -> None:
    for at, ground, disk in at_every_call(tmp_path, how):
        try:
            once(ground, act)
        except Died:
            assert not list(marks.sweep(ground.root, Disk())) or not files(ground.root / "run"), "a lock that is held is respected"
            disk.bury()
        assert swept(ground), at


def swept(ground: Ground) -> bool:
    """Whether a sweep takes all there is, but for copies that a program made of its own will and messages without a command file, which the
    spool sweeps."""
    problems = [error for _, error in marks.sweep(ground.root, Disk()) if error]
    held = [path for path in files(ground.root) if path.startswith("Quarantine/")]
    rest = [path for path in files(ground.root) if path not in held and not path.startswith("Queues/SMTP/Inbound/Messages/")]
    return not problems and not rest and len(held) in (0, 2)


def test_a_pair_whose_lock_is_held_is_not_swept(tmp_path: Path) -> None:
    ground = site(tmp_path, Disk())
    pair, message = Pair(ground, "SMTP", "Inbound", None), letter()
    pair.lay(envelope(message), [message.data])
    assert list(marks.sweep(ground.root, Disk())) == [] and pair.place.message.exists()
    pair.remove()
    assert files(ground.root) == []


def test_the_kernel_takes_a_private_pair_for_nobodys_mail(tmp_path: Path) -> None:
    """Neither while its program runs nor after its process died."""
    ground = site(tmp_path, Disk())
    spool = Spool(ground.root, ground.disk, ground.journal, ground.clock)
    pair, message = Pair(ground, "SMTP", "Inbound", None), letter()
    pair.lay(replace(envelope(message), extra={"Server": "Z"}), [message.data])
    (item,) = [item for item, _ in spool["SMTP"].inbound.items()]
    assert spool.claim(spool["SMTP"].inbound, item) is None and pair.found() == Found()
    pair._disk.close(pair._open.pop())  # its process died
    assert spool.claim(spool["SMTP"].inbound, item) is None
    pair.remove()
    assert files(ground.root) == []


@pytest.mark.parametrize("text", ["", "Queue=../../x/Inbound\r\n", "Queue=SMTP/../../etc\r\n", "\xff\0", "Queue=SMTP/Inbound"])
def test_a_mark_that_says_nonsense_is_only_removed(tmp_path: Path, text: str) -> None:
    ground, name = site(tmp_path, Disk()), "B" * 32
    (ground.root / "run" / "private").mkdir(parents=True)
    (ground.root / "run" / "private" / name).write_text(text, "latin-1")
    other = ground.root / "x" / "Inbound" / f"{name}.MAI"
    other.parent.mkdir(parents=True)
    other.touch()
    assert list(marks.sweep(ground.root, Disk())) == [(name, None)]
    assert files(ground.root) == [f"x/Inbound/{name}.MAI"]


def test_a_room_whose_mark_is_lost_is_swept(tmp_path: Path) -> None:
    ground = site(tmp_path, Disk())
    inner = marks.room(ground.root, "C" * 32) / "Queues" / "a"
    inner.mkdir(parents=True)
    (inner / "b").touch()
    assert list(marks.sweep(ground.root, Disk())) == [] and list((ground.root / "run" / "private").iterdir()) == []


def test_an_edit_through_a_pipe_or_a_link_is_none(tmp_path: Path) -> None:
    ground = site(tmp_path, Disk())
    pair, message = Pair(ground, "SMTP", "Inbound", None), letter()
    pair.lay(envelope(message), [message.data])
    pair.place.message.unlink()
    os.mkfifo(pair.place.message)
    with pytest.raises(ProgramFailed):
        pair.found()
    pair.place.command.unlink()
    os.symlink("/dev/zero", pair.place.command)
    assert not pair.is_edited()
    pair.remove()
    assert files(ground.root) == []
