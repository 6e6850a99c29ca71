"""Files that are added to under a lock: what a crash leaves of an addition says what was said before, or what is said now."""

import pytest

from postroom_disk.keyed import read, written
from postroom_ops.files import amended, whole


def test_an_amended_file_says_what_the_new_one_says() -> None:
    old, new = {"A": "1", "B": "2", "C": "3"}, {"A": "1", "B": "4", "D": "5"}
    lines = amended(old, new, always=["E"])
    assert lines == ["B=4", "C=", "D=5", "E="]
    said = read(written([f"{key}={value}" for key, value in old.items()]) + written(lines))
    assert {key: value for key, value in said.items() if value} == new


@pytest.mark.parametrize("end", range(1, len(b"To=[a];[b]\r\nRetries=12\r\n")))
def test_what_was_being_added_when_the_power_went_is_left_out_or_whole(end: int) -> None:
    old = b"To=[a];[b];[c]\r\nRetries=11\r\n"
    found = read(whole(old + b"To=[a];[b]\r\nRetries=12\r\n"[:end]))
    assert found["To"] in ("[a];[b];[c]", "[a];[b]") and found["Retries"] in ("11", "12")
    assert read(whole(old + bytes(end))) == read(old), "a page that was not written is zeros"


def test_another_programs_last_line_needs_no_line_end() -> None:
    for data in (b"Sender=x\nRecipients=[SMTP:a@b]", b"", b"A=1"):
        assert whole(data) == data
