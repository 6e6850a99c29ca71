"""Key=Value files: a value is one line, a list's parts never run together."""

import pytest

from postroom_disk.keyed import quote, read, some, unquote, written


def test_what_is_written_is_read_again() -> None:
    lines = ["Recipients=[SMTP:a@b];[SMTP:c@d]", "Subject=a = b", "Name=\udcff"]
    assert read(written(lines)) == {"Recipients": "[SMTP:a@b];[SMTP:c@d]", "Subject": "a = b", "Name": "\udcff"}
    assert written(lines).endswith(b"\r\n") and read(b"no pair\nA=1\n A =2\r\n") == {"A": "2"}


def test_a_control_character_makes_no_line_of_its_own() -> None:
    assert written(["Subject=x\r\nSkip=clamav\0\u2028"]) == "Subject=x Skip=clamav \u2028\r\n".encode()


@pytest.mark.parametrize("text", ["", "a;b", "100%", "%3B", "%253B;%", '[SMTP:"a;b"@c]'])
def test_a_part_comes_back_as_it_was(text: str) -> None:
    assert ";" not in quote(text) and unquote(quote(text)) == text


def test_nothing_is_said_of_parts_that_are_all_empty() -> None:
    assert some(["", "", ""]) == "" and some(["", "x"]) == ";x"
