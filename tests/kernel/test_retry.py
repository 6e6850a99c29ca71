"""Three days in a microsecond."""

from postroom.envelope import Attempt
from postroom.retry import HOUR, MINUTE, OVERVIEW, RetryPolicy


def schedule(policy: RetryPolicy) -> tuple[list[float], list[float]]:
    """Ages in hours of the attempts and of the delay notices."""
    attempts, notices, now, told = [0.0], [], 0.0, 0
    for count in range(1, 1000):
        attempt = Attempt(count=count, told=told)
        due = policy.next(attempt, 0.0, now)
        if due is None:
            break
        if policy.tells(attempt, 0.0, now):
            notices.append(now / HOUR)
            told += 1
        assert due > now
        now = due
        attempts.append(now / HOUR)
    return attempts, notices


def test_the_default_schedule() -> None:
    attempts, notices = schedule(RetryPolicy())
    assert attempts[:6] == [0, 0.25, 0.75, 1.75, 5.75, 9.75]
    assert attempts[-1] == 72
    assert notices == [5.75]


def test_the_overviews_schedule_is_every_three_hours_for_three_days_with_a_notice_per_ten() -> None:
    attempts, notices = schedule(OVERVIEW)
    assert attempts == [3.0 * n for n in range(25)]
    assert notices == [27.0, 57.0]


def test_a_clock_set_forward_a_day_does_not_bounce_what_was_tried_once() -> None:
    """Case 11, the policy's part: age alone never gives up before each delay was used once."""
    assert RetryPolicy().next(Attempt(count=1), 0.0, 100 * HOUR) == 100 * HOUR + 15 * MINUTE


def test_a_clock_set_back_keeps_trying() -> None:
    assert RetryPolicy().next(Attempt(count=9), 100 * HOUR, 0.0) == 4 * HOUR


def test_a_next_hop_may_have_times_of_its_own() -> None:
    slow = RetryPolicy(delays=(HOUR,))
    policy = RetryPolicy(hops={"slow.test": slow})
    assert policy.of("SLOW.test") is slow
    assert policy.of("other.test") is policy.of("") is policy.of("a.slow.test") is policy
