"""postroom_smtp.extensions: what EHLO offers."""

from __future__ import annotations

from postroom_smtp.extensions import lines, offered

RFCS = {
    "PIPELINING": 2920, "SIZE": 1870, "STARTTLS": 3207, "8BITMIME": 6152, "SMTPUTF8": 6531, "CHUNKING": 3030, "BINARYMIME": 3030,
    "ENHANCEDSTATUSCODES": 2034, "DSN": 3461, "LIMITS": 9422, "HELP": 5321,
}  # fmt: skip


def test_each_keyword_stands_with_its_rfc() -> None:
    assert {one.keyword: one.rfc for one in offered(size=1, recipients=1, messages=1, starttls=True)} == RFCS


def test_starttls_is_offered_only_where_it_can_be_done() -> None:
    assert "STARTTLS" not in {one.keyword for one in offered(size=1, recipients=1, messages=1, starttls=False)}


def test_the_lines_tell_the_limits_and_only_the_last_ends_the_reply() -> None:
    said = lines(offered(size=1000, recipients=100, messages=7, starttls=True)).split(b"\r\n")
    assert said.pop() == b""
    assert b"250-SIZE 1000" in said and b"250-LIMITS RCPTMAX=100 MAILMAX=7" in said
    assert [line[3:4] for line in said] == [b"-"] * (len(said) - 1) + [b" "]
