"""Log lines: what is written where, what is masked, what a refusing disk costs."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typing_extensions import Buffer

from postroom_disk.disk import Disk
from postroom_ops.logs import BoundLog, Writer, render
from postroom_testing.clock import HandClock

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()


def lines(folder: Path, day: str = "20261122") -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / f"postroom-{day}.log").read_text().splitlines()]


def writer(folder: Path, clock: HandClock | None = None, **said: object) -> Writer:
    return Writer(folder / "Logging", clock or HandClock(NOON), Disk(), stderr=False, **said)  # type: ignore[arg-type]


def test_a_line_has_time_level_event_and_facts(tmp_path: Path) -> None:
    made = writer(tmp_path)
    BoundLog(made, {"worker": 0}).bind(plugin="smtp").info("smtp.accepted", id="A", size=3, ok=True, none=None, seconds=0.25, to=["a", "b"])
    made.close()
    [line] = lines(tmp_path / "Logging")
    assert line == {
        "at": "2026-11-22T12:00:00.000Z",
        "level": "info",
        "event": "smtp.accepted",
        "worker": 0,
        "plugin": "smtp",
        "id": "A",
        "size": 3,
        "ok": True,
        "none": None,
        "seconds": 0.25,
        "to": ["a", "b"],
    }


@pytest.mark.parametrize("value", ['"}\n{"', "\x00\x1b[31m\udcff", "é\u2028", float("nan"), float("inf"), object(), Path("/x"), b"\xff"])
def test_any_value_is_one_line_of_json(value: object) -> None:
    text = render((NOON, 1, "e\n", {}, {"k\n": value}))
    assert text.count("\n") == 1 and text.isascii()
    assert set(json.loads(text)) == {"at", "level", "event", "k\n"}


def test_secrets_are_masked_and_errors_keep_their_traceback() -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        line = json.loads(render((NOON, 3, "x", {"password": "p"}, {"error": error})))
    assert line["password"] == "***" and "ValueError: boom" in line["error"] and "test_logs.py" in line["error"]


def test_levels_below_the_set_one_are_not_written(tmp_path: Path) -> None:
    made = writer(tmp_path, level="warning")
    log = BoundLog(made, {})
    for say in (log.debug, log.info, log.warning, log.error):
        say("x")
    made.close()
    assert [line["level"] for line in lines(tmp_path / "Logging")] == ["warning", "error"]


def test_nothing_is_written_before_the_writers_turn(tmp_path: Path) -> None:
    made = writer(tmp_path)
    BoundLog(made, {}).error("x")
    assert not (tmp_path / "Logging").exists()
    made.flush()
    assert len(lines(tmp_path / "Logging")) == 1
    made.close()


def test_the_thread_writes_by_itself_and_close_waits_for_it(tmp_path: Path) -> None:
    made = writer(tmp_path)
    made.start()
    log = BoundLog(made, {})
    for number in range(1000):
        log.info("x", number=number)
    made.close()
    assert [line["number"] for line in lines(tmp_path / "Logging")] == list(range(1000))


def test_warnings_are_told_on_stderr_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Writer(tmp_path, HandClock(NOON), Disk())
    log = BoundLog(made, {})
    log.info("quiet")
    log.warning("loud")
    made.close()
    told = capsys.readouterr()
    assert told.out == "" and "loud" in told.err and "quiet" not in told.err


def test_a_day_has_its_file_and_old_ones_go(tmp_path: Path) -> None:
    clock = HandClock(NOON)
    made = writer(tmp_path, clock, keep=2)
    folder = tmp_path / "Logging"
    folder.mkdir()
    for day in ("20261119", "20261120"):
        (folder / f"postroom-{day}.log").touch()
    (folder / "something-else.log").touch()
    for date in (22, 23):
        clock.set(datetime(2026, 11, date, 12, tzinfo=UTC).timestamp())
        BoundLog(made, {}).info("x")
        made.flush()
    made.close()
    assert sorted(os.listdir(folder)) == ["postroom-20261122.log", "postroom-20261123.log", "something-else.log"]


class FullDisk(Disk):
    """Refuses as long as it is full."""

    full = True

    def write_all(self, fd: int, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write_all(fd, data)


def test_a_full_disk_costs_lines_that_are_counted(tmp_path: Path) -> None:
    disk = FullDisk()
    made = Writer(tmp_path, HandClock(NOON), disk, stderr=False)
    log = BoundLog(made, {})
    for _ in range(3):
        log.info("lost")
    made.flush()
    log.info("lost")
    made.flush()
    disk.full = False
    log.info("kept")
    made.close()
    assert [(line["event"], line.get("lines")) for line in lines(tmp_path)] == [("log.lost", 4), ("kept", None)]


class FillingDisk(Disk):
    """Takes so many octets more."""

    room = 1 << 30

    def write(self, fd: int, data: Buffer) -> int:
        if not (taken := bytes(data)[: self.room]):
            raise OSError(28, "No space left on device")
        self.room -= len(taken)
        return super().write(fd, taken)


def test_a_line_that_a_full_disk_cut_off_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    """They were one line, and no JSON."""
    disk = FillingDisk()
    made = Writer(tmp_path, HandClock(NOON), disk, stderr=False)
    log = BoundLog(made, {})
    log.info("whole")
    made.flush()
    disk.room = 10
    log.info("cut off")
    made.flush()
    disk.room = 1 << 30
    log.info("kept")
    made.flush()
    log.info("next")
    made.close()
    (path,) = tmp_path.iterdir()
    whole, torn, lost, kept, following = path.read_bytes().splitlines()
    assert len(torn) == 10
    assert [json.loads(line)["event"] for line in (whole, lost, kept, following)] == ["whole", "log.lost", "kept", "next"]
