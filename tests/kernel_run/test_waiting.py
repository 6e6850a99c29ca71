"""Who waits, in memory: due times, lines, and a ring that costs nothing for hops that may not start."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from postroom.clock import SystemClock
from postroom.journal import Journal
from postroom.spool import Queue, Spool
from postroom_disk.disk import Disk
from postroom_run.waiting import Hop, Waiting


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Spool(tmp_path, Disk(), Journal(tmp_path / "Journal"), SystemClock())["SMTP"].outgoing


def free(hop: Hop) -> bool:
    return True


def taken(waiting: Waiting, is_free: Callable[[Hop], bool] = free) -> Sequence[str]:
    found = []
    while (entry := waiting.next(is_free)) is not None:
        found.append(entry.item)
    return found


def test_an_item_has_its_turn_when_it_is_due(queue: Queue) -> None:
    waiting = Waiting()
    waiting.put(queue, "B", 20.0, "b.test")
    waiting.put(queue, "A", 10.0, "a.test")
    waiting.ripen(9.9)
    assert taken(waiting) == []
    waiting.ripen(10.0)
    assert taken(waiting) == ["A"]
    waiting.ripen(100.0)
    assert taken(waiting) == ["B"] and len(waiting) == 0


def test_hops_take_turns_and_within_a_hop_the_oldest_is_first(queue: Queue) -> None:
    waiting = Waiting()
    for number, hop in enumerate("aaaab"):
        waiting.put(queue, f"{hop}{number}", float(number), hop)
    waiting.ripen(9.0)
    assert taken(waiting) == ["a0", "b4", "a1", "a2", "a3"]


def test_a_new_time_takes_the_place_of_the_old_one_and_the_same_time_keeps_it(queue: Queue) -> None:
    waiting = Waiting()
    waiting.put(queue, "A", 10.0, "a.test")
    waiting.ripen(10.0)  # in its line already
    waiting.put(queue, "A", 4e9)  # held meanwhile; its hop is known from before
    assert taken(waiting) == []
    waiting.put(queue, "A", 10.0)
    waiting.put(queue, "A", 10.0004)  # as a file system rounds it
    waiting.ripen(10.0)
    assert taken(waiting) == ["A"] and len(waiting) == 0


def test_a_look_that_took_long_does_not_undo_what_was_said_meanwhile(queue: Queue) -> None:
    """It had seen the old time of what was made due while it looked: a twelfth of a long queue waited for the next look."""
    waiting = Waiting()
    waiting.put(queue, "A", 900.0, "a.test")
    waiting.put(queue, "B", 900.0, "b.test")
    mark = waiting.mark
    waiting.put(queue, "A", 10.0, "a.test")
    for item, due in (("A", 900.0), ("B", 20.0), ("C", 30.0)):
        waiting.put(queue, item, due, seen=mark)
    waiting.ripen(30.0)
    assert taken(waiting) == ["A", "B"] and [entry.item for entry in waiting.unread(9)] == ["C"]


def test_what_nobody_read_is_read_once_and_inbound_never(queue: Queue) -> None:
    waiting = Waiting()
    inbound = queue.spool["SMTP"].inbound
    waiting.put(queue, "A", 1.0)
    waiting.put(inbound, "B", 1.0)
    waiting.ripen(1.0)
    assert taken(waiting) == ["B"]
    assert [entry.item for entry in waiting.unread(10)] == ["A"] and not waiting.unread(10)


def test_ten_thousand_for_a_dead_hop_are_not_looked_at(queue: Queue) -> None:
    """Whether a hop has a place is asked once a turn, not once an item."""
    waiting, asked = Waiting(), list[str]()

    def is_free(hop: Hop) -> bool:
        asked.append(hop.hop)
        return hop.hop != "dead.test"

    for number in range(10_000):
        waiting.put(queue, f"D{number}", 1.0, "dead.test")
    for number in range(20):
        waiting.put(queue, f"L{number}", 2.0, f"live{number}.test")
    waiting.ripen(3.0)
    assert taken(waiting, is_free) == [f"L{number}" for number in range(20)]
    assert asked.count("dead.test") == 1
    waiting.put(queue, "L20", 2.0, "live0.test")
    waiting.ripen(3.0)
    assert taken(waiting, is_free) == ["L20"] and asked.count("dead.test") == 1, "it is parked until somebody says otherwise"
    assert waiting.freed(Hop("SMTP", "Outgoing", "dead.test")) and not waiting.freed(Hop("SMTP", "Outgoing", "live0.test"))
    assert taken(waiting, is_free) == [] and asked.count("dead.test") == 2
    waiting.free_all()
    assert len(taken(waiting)) == 10_000


def test_what_another_process_ended_is_forgotten_and_what_came_since_is_not(queue: Queue) -> None:
    waiting = Waiting()
    for item in ("gone", "there"):
        waiting.put(queue, item, 4e9, "a.test")
    waiting.put(queue.spool["SF"].outgoing, "elsewhere", 1.0, "")
    mark = waiting.mark
    waiting.put(queue, "new", 1.0, "a.test")
    waiting.forget_missing(queue, ["there"], mark)
    waiting.ripen(5e9)
    assert sorted(taken(waiting)) == ["elsewhere", "new", "there"]
