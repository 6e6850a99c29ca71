"""What the end of a program means, as a table."""

from __future__ import annotations

import pytest

from postroom_command.contract import Answer, Found, ProgramFailed, Word, answer, listed, reason, strange

WHOLE, CHANGED = Found(), Found(is_changed=True)
GONE, HELD = Found(False, False), Found(False, False, is_held=True)
NO_MESSAGE, NO_COMMAND = Found(has_message=False), Found(has_command=False)
CODES: dict[int, Word] = {1: "reject", 3: "quarantine", 5: "pass"}


@pytest.mark.parametrize(
    ("code", "found", "expected"),
    [
        (0, WHOLE, "pass"),
        (5, WHOLE, "pass"),
        (0, CHANGED, "replace"),
        (5, CHANGED, "replace"),
        (0, Found(is_held=True), "pass"),  # a copy
        (0, Found(is_changed=True, is_held=True), "replace"),
        (0, GONE, "discard"),
        (0, HELD, "quarantine"),
        (7, GONE, "discard"),  # a pair that vanished was handled, whatever the code
        (7, HELD, "quarantine"),
        (0, NO_MESSAGE, "discard"),
        (0, NO_COMMAND, "discard"),
        (0, Found(has_message=False, is_held=True), "quarantine"),
        (1, WHOLE, "reject"),
        (1, CHANGED, "reject"),
        (1, GONE, "reject"),
        (3, HELD, "quarantine"),
        (7, WHOLE, None),
        (7, CHANGED, None),
        (7, NO_MESSAGE, None),
        (7, NO_COMMAND, None),
        (-9, WHOLE, None),
        (-9, GONE, None),
        (-9, HELD, None),
        (-1, CHANGED, None),
    ],
)
def test_what_an_end_means(code: int, found: Found, expected: Answer | None) -> None:
    if expected is None:
        with pytest.raises(ProgramFailed):
            answer(code, found, CODES)
    else:
        assert answer(code, found, CODES) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"", "else"),
        (b"\n \n\t\n", "else"),
        (b"one\ntwo\n\n", "two"),
        (b"a\r\nb\r\n", "b"),
        (b"250 ok\r554 no", "554 no"),
        (b"\xff\xfe bad", "? bad"),
        (b"x" * 5000, "x" * 400),
    ],
)
def test_the_reason_is_the_last_line_fit_for_a_reply(output: bytes, expected: str) -> None:
    assert reason(output, "else") == expected


def test_recipients_are_listed_as_far_as_whole_ones_fit() -> None:
    assert listed([]) == "" and listed(["a@b", "c@d"]) == "a@b\nc@d"
    assert listed(["a" * 30_000, "b@c"]) == ""
    assert set(map(len, listed(["x" * 99] * 1000).split("\n"))) == {99}


def test_placeholders_that_nobody_knows_are_told() -> None:
    assert strange(["{file}", "-x{id}y", "{}", "{sender}", "plain"]) == ["{}", "{sender}"]
