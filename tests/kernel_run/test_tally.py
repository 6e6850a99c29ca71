"""What several workers counted, as one listing."""

from __future__ import annotations

from typing import Any

from postroom_run.tally import together


def scan(**counted: Any) -> dict[str, Any]:
    hook = {"calls": 1, "seconds": 0.5, "errors": 0, "breaker": "closed", "place": 2, **counted}
    return {"name": "scan", "plugin": "command", "mode": "enforce", "isolation": "process", "hooks": {"mta_pickup": hook}}


TAB: dict[str, Any] = {"name": "tab", "plugin": "tab", "mode": "enforce", "isolation": "inline", "hooks": {}}


def test_nobody_counted_anything() -> None:
    assert together([]) == []


def test_one_worker_is_as_it_says() -> None:
    assert together([[TAB, scan()]]) == [TAB, scan()]


def test_counts_and_seconds_add_up_and_the_place_stays() -> None:
    listings = [[TAB, scan(calls=2)], [TAB, scan(calls=3, seconds=0.25, errors=1)], [TAB, scan(calls=5)]]
    assert together(listings) == [TAB, scan(calls=10, seconds=1.25, errors=1)]


def test_a_breaker_that_is_open_in_one_worker_is_open() -> None:
    for first, second in (("open", "closed"), ("closed", "open"), ("open", "open")):
        (each,) = together([[scan(breaker=first)], [scan(breaker=second)], [scan()]])
        assert each["hooks"]["mta_pickup"]["breaker"] == "open"


def test_a_counter_that_only_a_newer_worker_has_is_counted() -> None:
    (each,) = together([[scan()], [scan(agreed=4)], [scan(agreed=1)]])
    assert each["hooks"]["mta_pickup"]["agreed"] == 5


def test_workers_of_two_generations_differ_in_what_they_have() -> None:
    assert [each["name"] for each in together([[TAB], [scan(), TAB]])] == ["tab", "scan"]


def test_the_listings_are_left_as_they_were() -> None:
    listing = [scan()]
    together([listing, listing])
    assert listing == [scan()]
