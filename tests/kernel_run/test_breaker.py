"""The circuit breaker: opens after so many failures in a row, lets one probe through, closes when it goes well."""

from postroom_ops.breaker import Breaker


def test_it_opens_at_its_limit_and_a_success_before_it_starts_anew() -> None:
    breaker = Breaker(3, 30.0)
    assert [breaker.failed(0), breaker.failed(0), breaker.worked(), breaker.failed(1), breaker.failed(1)] == [False] * 5
    assert breaker.may_try(1) and breaker.failed(2)
    assert not breaker.may_try(3) and not breaker.may_try(31.9)


def test_one_probe_decides() -> None:
    breaker = Breaker(1, 30.0)
    assert breaker.failed(0)
    assert breaker.may_try(30) and not breaker.may_try(30)
    assert breaker.failed(31) and not breaker.may_try(60)
    assert breaker.may_try(61) and breaker.worked() and breaker.may_try(61)


def test_a_probe_that_was_given_up_leaves_its_place() -> None:
    breaker = Breaker(1, 30.0)
    breaker.failed(0)
    assert breaker.may_try(30)
    breaker.let_go()
    assert breaker.may_try(30)
