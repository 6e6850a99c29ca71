from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from postroom_disk.disk import Disk
from postroom_net.ledger import Ledger
from postroom_net.throttle import PAGES, Attempt, Counts, Throttle, ThrottlePolicy

HOME = Attempt("bob@po", "198.51.100.1")


def guess(throttle: Throttle, times: int, attempt: Attempt = HOME, at: float = 0.0) -> list[float]:
    """Wrong passwords; the delay each one got."""
    delays = []
    for _ in range(times):
        throttle.failed(attempt, at)
        delays.append(throttle.delay(attempt, at))
    return delays


def test_a_few_are_free_then_each_waits_longer() -> None:
    assert guess(Throttle(), 9) == [0, 0, 0, 1, 2, 4, 8, 15, 15]


def test_then_the_address_is_not_heard_until_the_count_has_decayed() -> None:
    throttle = Throttle()
    guess(throttle, 19)
    assert throttle.locked(HOME, 0.0) == 0.0
    guess(throttle, 19)
    wait = throttle.locked(HOME, 0.0)
    assert 570 < wait < 600  # 38 is twice 19: nearly a half life
    assert throttle.locked(HOME, wait - 1) > 0 and throttle.locked(HOME, wait + 1) == 0
    assert throttle.locked(Attempt("eve@po", HOME.ip), 0.0) > 0
    assert throttle.locked(Attempt("bob@po", "203.0.113.5"), 0.0) == 0


def test_addresses_of_one_64_add_up() -> None:
    throttle = Throttle()
    for n in range(60):
        guess(throttle, 1, Attempt(f"user{n}@po", f"2001:db8::{n:x}"))
    assert throttle.locked(Attempt("bob@po", "2001:db8::ffff"), 0.0) > 0
    assert throttle.locked(Attempt("bob@po", "2001:db8:0:1::1"), 0.0) == 0


def test_an_attack_on_an_account_never_locks_out_the_owners_device() -> None:
    throttle = Throttle()
    throttle.succeeded(HOME, 0.0)
    for n in range(60):
        guess(throttle, 1, Attempt("bob@po", f"203.0.113.{n}"))
    assert throttle.locked(Attempt("bob@po", "203.0.113.99"), 0.0) > 0
    assert throttle.locked(HOME, 0.0) == 0


def test_nor_does_a_guesser_behind_the_owners_own_address() -> None:
    throttle = Throttle()
    throttle.succeeded(HOME, 0.0)
    guess(throttle, 40, Attempt("eve@po", HOME.ip))
    assert throttle.locked(Attempt("eve@po", HOME.ip), 0.0) > 0
    assert throttle.locked(HOME, 0.0) == 0


def test_a_known_device_is_slowed_down_all_the_same() -> None:
    throttle = Throttle()
    throttle.succeeded(HOME, 0.0)
    assert guess(throttle, 6) == [0, 0, 0, 1, 2, 4]
    throttle.succeeded(HOME, 0.0)
    assert guess(throttle, 1) == [0]


def test_owning_one_account_does_not_clear_what_was_guessed_at_others() -> None:
    throttle = Throttle()
    for _ in range(20):
        assert throttle.locked(HOME, 0.0) == 0.0
        guess(throttle, 1)
        throttle.succeeded(Attempt("mallory@po", HOME.ip), 0.0)
    assert throttle.locked(HOME, 0.0) > 0


def test_a_device_is_forgotten_after_its_time() -> None:
    throttle = Throttle(ThrottlePolicy(known_for=100.0))
    throttle.succeeded(HOME, 0.0)
    assert throttle.is_known(HOME, 100.0) and not throttle.is_known(HOME, 101.0)


def test_memory_is_bounded() -> None:
    throttle = Throttle(ThrottlePolicy(size=50))
    for n in range(500):
        attempt = Attempt(f"user{n}@po", f"10.0.{n // 250}.{n % 250}")
        throttle.failed(attempt, 0.0)
        throttle.succeeded(Attempt(f"good{n}@po", attempt.ip), 0.0)
    assert all(len(counts) == 50 for counts in (throttle._ips, throttle._accounts, throttle._networks))
    assert len(throttle._pairs) <= 50 and len(throttle._known) == 50


def test_counts_halve() -> None:
    counts = Counts(half_life=10.0, size=10)
    counts.add("a", 0.0)
    counts.add("a", 10.0)
    assert counts.get("a", 10.0) == 1.5 and counts.get("a", 20.0) == 0.75 and counts.get("b", 0.0) == 0.0


@contextmanager
def workers(folder: Path, number: int = 2) -> Iterator[list[Throttle]]:
    """The throttles of so many workers of a site."""
    with ExitStack() as stack:
        throttles = [Throttle() for _ in range(number)]
        for throttle in throttles:
            book = Ledger.open(folder / "run" / "throttle", Disk(), pages=PAGES)
            stack.callback(book.close)
            throttle.share(book)
        yield throttles


def test_more_workers_give_nobody_more_guesses(tmp_path: Path) -> None:
    """Each worker counted for itself: four of them allowed four times the guesses."""
    with workers(tmp_path, 4) as throttles:
        delays = [guess(throttles[n % 4], 1)[0] for n in range(9)]
        assert delays == [0, 0, 0, 1, 2, 4, 8, 15, 15]
        for n in range(9, 20):
            assert throttles[n % 4].locked(HOME, 0.0) == 0.0
            guess(throttles[n % 4], 1)
        locked = {throttle.locked(HOME, 0.0) for throttle in throttles}
        assert len(locked) == 1 and locked.pop() > 0


def test_an_account_that_is_guessed_at_from_everywhere_is_locked_in_every_worker_and_open_to_its_owner(tmp_path: Path) -> None:
    with workers(tmp_path) as (one, other):
        one.succeeded(HOME, 0.0)
        for n in range(50):
            guess((one, other)[n % 2], 1, Attempt("bob@po", f"203.0.113.{n}"))
        stranger = Attempt("bob@po", "203.0.113.200")
        assert one.locked(stranger, 0.0) == other.locked(stranger, 0.0) > 0
        assert one.locked(HOME, 0.0) == other.locked(HOME, 0.0) == 0.0 and other.is_known(HOME, 0.0)


def test_a_right_password_at_one_worker_ends_the_owners_delays_at_all(tmp_path: Path) -> None:
    with workers(tmp_path) as (one, other):
        one.succeeded(HOME, 0.0)
        assert guess(one, 6) == [0, 0, 0, 1, 2, 4]
        assert guess(other, 1) == [8]
        other.succeeded(HOME, 0.0)
        assert guess(one, 1) == [0]


def test_a_device_with_an_old_password_is_counted_once_by_all_workers_together(tmp_path: Path) -> None:
    """Each worker remembers by itself which wrong passwords it saw."""
    with workers(tmp_path, 8) as throttles:
        for throttle in throttles:
            throttle.failed(HOME, 0.0, b"old password")
        assert throttles[0]._ips.get(HOME.ip, 0.0) == 1.0
        half_life = throttles[0].policy.half_life
        throttles[3].failed(HOME, half_life, b"old password")  # as each worker counts it again after that time
        assert throttles[0]._ips.get(HOME.ip, half_life) == 1.5
        mark = throttles[0]._ledger.mark  # type: ignore[union-attr]
        guesses = [b"guess %d" % n for n in range(40)]
        fresh = sum(mark(one) != mark(before) for before, one in zip([b"old password", *guesses], guesses))
        for n, one in enumerate(guesses):
            throttles[n % 8].failed(HOME, half_life, one)
        assert throttles[0]._ips.get(HOME.ip, half_life) == 1.5 + fresh and fresh >= 35


def test_what_another_clock_wrote_says_nothing(tmp_path: Path) -> None:
    with workers(tmp_path) as (one, other):
        guess(one, 30, at=1000.0)
        one.succeeded(Attempt("eve@po", HOME.ip), 1000.0)
        assert other.locked(HOME, 0.0) == 0.0 and not other.is_known(Attempt("eve@po", HOME.ip), 0.0)
        assert guess(other, 1, at=0.0) == [0]


def test_a_worker_that_comes_later_knows_what_was_counted(tmp_path: Path) -> None:
    with workers(tmp_path) as (one, _):
        guess(one, 20)
    with workers(tmp_path) as (later, _):
        assert later.locked(HOME, 0.0) > 0
