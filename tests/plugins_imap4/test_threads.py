"""THREAD: REFERENCES against an oracle written from the RFC, ORDEREDSUBJECT and REFS against tables, and what comes out of a real folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom_imap4 import threads
from postroom_imap4.pace import Pace
from postroom_imap4.threads import is_reply, normal, thread, written
from postroom_mime.subjects import base_subject
from postroom_store.folder import LocalFolder
from tests.plugins_imap4.oracle import Told
from tests.plugins_imap4.oracle import threads as slowly
from tests.plugins_imap4.shelf import mail, with_mail
from tests.providers_store.house import House

IDS = st.sampled_from([*"abcdefgh", ""])
SUBJECTS = st.sampled_from(["x", "re: x", "y", "fwd: y", "", "re:", "z (fwd)", "[list] x", "[fwd: y]"])


def told(own: str, references: list[str], sent: int, subject: str) -> Told:
    base = base_subject(subject.encode())
    return Told(own, tuple(filter(None, references)), sent, base.decode(), subject in ("re: x", "fwd: y", "re:", "z (fwd)", "[fwd: y]"))


def threaded(messages: list[tuple[str, list[str], int, str]]) -> str:
    async def main() -> bytes:
        ids = [(own.encode(), tuple(one.encode() for one in references if one)) for own, references, _, _ in messages]
        order = sorted(range(len(messages)), key=lambda place: messages[place][2])
        subjects = [subject.encode() for *_, subject in messages]
        forest = await threads.references(ids, order, subjects, list(map(base_subject, subjects)), Pace())
        return await written(forest, range(1, len(messages) + 1), Pace())

    return asyncio.run(main()).decode().strip()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(IDS, st.lists(IDS, max_size=5), st.integers(0, 4), SUBJECTS), max_size=9))
def test_references_is_what_the_rfc_says(messages: list[tuple[str, list[str], int, str]]) -> None:
    assert threaded(messages) == slowly([told(*one) for one in messages])


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 39).map(str), st.lists(st.integers(0, 60).map(str), max_size=4), st.integers(0, 30), SUBJECTS),
        min_size=20,
        max_size=40,
    )
)
def test_references_of_more_messages(messages: list[tuple[str, list[str], int, str]]) -> None:
    assert threaded(messages) == slowly([told(*one) for one in messages])


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], ""),
        ([("a", [], 1, "x")], "(1)"),
        ([("a", [], 1, "x"), ("b", ["a"], 2, "re: x"), ("c", ["a", "b"], 3, "re: x")], "(1 2 3)"),
        ([("a", [], 1, "x"), ("b", ["a"], 3, "y"), ("c", ["a"], 2, "z")], "(1 (3)(2))"),
        ([("b", ["a"], 1, "x"), ("c", ["a"], 2, "y")], "((1)(2))"),  # a dummy that has two stays
        ([("b", ["a"], 1, "x")], "(1)"),  # one that has one goes
        ([("a", ["b"], 1, "p"), ("b", ["a"], 2, "q")], "(2 1)"),  # no loop
        ([("a", ["a"], 1, "p")], "(1)"),
        ([("a", [], 1, "x"), ("a", [], 2, "y"), ("b", ["a"], 3, "z")], "(1 3)(2)"),  # the first of an id has it
        ([("a", [], 1, "x"), ("b", [], 2, "re: x")], "(1 2)"),
        ([("a", [], 1, "x"), ("b", [], 2, "x")], "((1)(2))"),
        ([("a", [], 2, "x"), ("b", [], 1, "re: x")], "(1 2)"),
        ([("a", [], 1, ""), ("b", [], 2, "")], "(1)(2)"),  # no subject is no subject in common
    ],
)
def test_threads_by_hand(messages: list[tuple[str, list[str], int, str]], expected: str) -> None:
    assert threaded(messages) == expected == slowly([told(*one) for one in messages])


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("hello", False), ("re: hello", True), ("re:hello", True), ("fwd: hello", True), ("fw: hello", True), ("[list] hello", False),
        ("[list] re: hello", True), ("re[2]: hello", True), ("re [x] : hello", True), ("hello (fwd)", True), ("hello (fwd) ", True), ("[fwd: hello]", True),
        ("[a] [b]", False), ("  spaces   in it ", False), ("reply", False), ("forward", False), ("[a] hello (fwd) x", False), ("", False),
        ("re: ", True), ("[x][fwd: y]", True), ("[fwd: y", False),
    ],
)  # fmt: skip
def test_a_reply_is_known_by_what_its_base_lost(subject: str, expected: bool) -> None:
    folded = subject.encode()
    assert is_reply(folded, base_subject(folded)) is expected


def test_ids_are_the_same_however_they_are_quoted() -> None:
    """RFC 5256 section 3, with the RFC's own example."""
    assert normal(b'"01KF8JCEOCBS0045PS"@xxx.yyy.com') == b"01KF8JCEOCBS0045PS@xxx.yyy.com" == normal(b"01KF8JCEOCBS0045PS@xxx.yyy.com")
    assert normal(b'"a\\"b"@x') == b'a"b@x' and normal(b'"odd') == b'"odd'


def test_ordered_subject() -> None:
    async def main() -> bytes:
        forest = await threads.ordered_subject([b"b", b"a", b"b", b"a", b"b", b"c"], [5, 1, 0, 2, 3, 4], Pace())
        return await written(forest, range(1, 7), Pace())

    assert asyncio.run(main()) == b" (6)(2 4)(1 (3)(5))"


def test_refs_sorts_threads_by_their_latest_message() -> None:
    ids = [(b"a", ()), (b"b", ()), (b"c", (b"a",)), (b"d", (b"z",)), (b"e", (b"z",))]

    async def main() -> bytes:
        return await written(await threads.refs(ids, [3, 0, 1, 2, 4], Pace()), range(1, 6), Pace())

    assert asyncio.run(main()) == b" (2)(1 3)((4)(5))"


@pytest.mark.parametrize("turned", [False, True])
def test_a_thread_as_deep_as_the_folder_takes_linear_steps(turned: bool) -> None:
    """Each answers the one before, or the one after: ten thousand deep, and no recursion."""
    count = 10_000
    numbers = list(range(count))[:: -1 if turned else 1]
    messages = [(str(number), [str(number - 1)] if number else [], place, "x") for place, number in enumerate(numbers)]
    told = threaded(messages)
    expected = range(count, 0, -1) if turned else range(1, count + 1)
    assert told == "(" + " ".join(map(str, expected)) + ")"


def test_a_search_for_loops_ends() -> None:
    """Mail made so that each message has to climb past all others."""
    deep = [(f"c{number}", [f"c{number - 1}"], number, "x") for number in range(1, 3_000)]
    hooks = [(f"x{number}", [f"d{number}"], number, "y") for number in range(3_000)]
    climbers = [(f"d{number}", ["c2999"], number, "z") for number in range(3_000)]
    assert threaded(deep + hooks + climbers).count("(") >= 3_000


def test_a_folder_is_threaded_and_its_threads_are_kept(tmp_path: Path) -> None:
    mails = [
        mail("1", "hi", "Message-ID: <a@x>", day=3),
        mail("2", "Re: hi", "Message-ID: <b@x>", "In-Reply-To: somebody <a@x> and <q@x>", day=2),
        mail("3", "Re: hi", "Message-ID: <c@x>", "References: <a@x>\r\n <b@x>", day=4),
        mail("4", "other", day=1),
        mail(
            "5", "RE: =?utf-8?Q?h=69?=", "X-Pad: " + "x" * 100, *[f"To: a{number}@x" for number in range(300)], "Message-ID: <e@x>", day=9
        ),
    ]

    async def check(house: House, folder: LocalFolder) -> None:
        everything = range(5)
        view = folder.view()
        expected = b" (4)(1 (2 3)(5))"
        assert await thread(folder, view, everything, "REFERENCES", False) == expected
        assert await thread(folder, view, everything, "REFERENCES", False) == expected
        assert await thread(folder, view, [1, 2, 3], "REFERENCES", False) == b" (4)(2 3)"
        assert await thread(folder, view, everything, "ORDEREDSUBJECT", False) == b" (4)(2 (1)(3)(5))"
        assert await thread(folder, view, everything, "REFS", False) == b" (1 2 3)(4)(5)"
        assert await thread(folder, view, [], "REFERENCES", False) == b""
        await folder.expunge([4])
        assert await thread(folder, folder.view(), range(4), "REFERENCES", True) == b" (1 (2 3)(5))"
        assert await thread(folder, view, everything, "REFERENCES", False) == expected

    with_mail(tmp_path, mails, check)
