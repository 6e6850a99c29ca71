from __future__ import annotations

from postroom_net.throttle import Attempt, Counts, Throttle, ThrottlePolicy

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
