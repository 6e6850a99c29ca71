"""SORT against a real folder: every key, ties, REVERSE, parts of a folder, orders that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom_imap4 import sorting
from postroom_imap4.commands import SortKey
from postroom_imap4.pace import Pace
from postroom_imap4.sorting import ordered, sort
from postroom_store.folder import LocalFolder
from tests.plugins_imap4.shelf import mail, with_mail
from tests.providers_store.house import House


def letter(author: str, to: str, subject: str, date: str, body: str = "x", cc: str = "") -> bytes:
    copy = f"Cc: {cc}\r\n" if cc else ""
    return f"From: {author}\r\nTo: {to}\r\n{copy}Subject: {subject}\r\nDate: {date}\r\n\r\n{body}\r\n".encode()


MAILS = [
    letter("Zoe <b@x.org>", "m@x.org", "Re: beta", "Mon, 5 Jan 2026 10:00:00 +0000", "x" * 30, "q@x, a@x"),
    letter("Adam <C@x.org>", "l@x.org, a@x.org", "alpha", "Mon, 5 Jan 2026 09:00:00 -0500", "x" * 10),
    letter("=?utf-8?Q?=C3=84nne?= <a@x.org>", "Team: k@x.org;", "[list] Beta", "Mon, 5 Jan 2026 11:00:00 +0200", "x" * 20, "b@x"),
    letter("b@a.org", "M@y.org", "gamma", "no date", "x" * 40),
    b"\r\nnothing at all\r\n",
]
CASES = [
    ("DATE", [2, 0, 1, 3, 4]),
    ("ARRIVAL", [0, 1, 2, 3, 4]),
    ("SIZE", sorted(range(5), key=lambda row: len(MAILS[row]))),
    ("SUBJECT", [4, 1, 0, 2, 3]),
    ("FROM", [4, 2, 0, 3, 1]),
    ("TO", [4, 2, 1, 0, 3]),
    ("CC", [1, 3, 4, 2, 0]),
    ("DISPLAYFROM", [4, 1, 3, 0, 2]),
    ("DISPLAYTO", [4, 2, 1, 0, 3]),
]


@pytest.mark.parametrize(("by", "expected"), CASES)
def test_keys(tmp_path: Path, by: str, expected: list[int]) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        view = folder.view()
        assert await sort(folder, view, range(5), [SortKey(by)]) == expected
        assert await sort(folder, view, range(5), [SortKey(by)]) == expected  # kept
        assert await sort(folder, view, [0, 3, 4], [SortKey(by)]) == [row for row in expected if row not in (1, 2)]

    with_mail(tmp_path, MAILS, check)


def test_a_reversed_key_leaves_ties_in_order(tmp_path: Path) -> None:
    """RFC 5256 section 3, REVERSE."""

    async def check(house: House, folder: LocalFolder) -> None:
        view = folder.view()
        assert await sort(folder, view, range(4), [SortKey("SUBJECT", True)]) == [1, 3, 0, 2]
        assert await sort(folder, view, range(4), [SortKey("SUBJECT", True), SortKey("DATE", True)]) == [3, 1, 2, 0]
        assert await sort(folder, view, range(4), [SortKey("SUBJECT"), SortKey("DATE", True)]) == [2, 0, 3, 1]

    with_mail(tmp_path, [mail(subject="a", day=1), mail(subject="b", day=2), mail(subject="a", day=3), mail(subject="b", day=4)], check)


def test_orders_hold_until_a_message_comes_or_goes(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        key = [SortKey("DATE")]
        assert await sort(folder, folder.view(), range(2), key) == [1, 0]
        await folder.change_flags([1], add=1)
        assert await sort(folder, folder.view(), range(2), key) == [1, 0]
        await folder.copy([2], folder)
        assert await sort(folder, folder.view(), range(3), key) == [1, 2, 0]
        await folder.expunge([2])
        assert await sort(folder, folder.view(), range(2), key) == [1, 0]
        assert await sort(folder, folder.view(), [0], key) == [0] and await sort(folder, folder.view(), [], key) == []

    with_mail(tmp_path, [mail(day=9), mail(day=2)], check)


def test_few_of_many_are_sorted_alone(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        assert await sort(folder, folder.view(), [3, 17], [SortKey("DATE"), SortKey("SUBJECT")]) == [17, 3]

    with_mail(tmp_path, [mail(day=28 - number) for number in range(20)], check)


def test_what_is_gone_sorts_as_nothing(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        view = folder.view()
        await folder.expunge([2])
        assert sorted(await sort(folder, view, range(3), [SortKey("FROM"), SortKey("SUBJECT")])) == [0, 1, 2]

    with_mail(tmp_path, [mail(), mail(), mail()], check)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=60), st.booleans())
def test_runs_are_merged_as_one_sort_would(values: list[int], reverse: bool) -> None:
    async def main() -> Sequence[int]:
        return await ordered(values, Pace(), reverse=reverse)

    small, sorting.SLICE = sorting.SLICE, 4  # type: ignore[misc]
    try:
        assert asyncio.run(main()) == sorted(range(len(values)), key=values.__getitem__, reverse=reverse)
    finally:
        sorting.SLICE = small  # type: ignore[misc]
