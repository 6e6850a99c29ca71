"""postroom_smtp.replies: a reply is one reply, whatever its text holds."""

from __future__ import annotations

import re

import pytest

from postroom.outcome import Reply
from postroom_smtp import replies

LINE = re.compile(rb"[2-5]\d\d[ -](?:[245]\.\d{1,3}\.\d{1,3})?[\x20-\x7e]*\r\n")


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Reply(550, "5.1.1", "No such user"), b"550 5.1.1 No such user\r\n"),
        (Reply(550, "", "plain"), b"550 plain\r\n"),
        (Reply(250, "2.0.0", ""), b"250 2.0.0\r\n"),
        (Reply(554, "5.7.1", "virus\r\n250 2.0.0 Ok\r\n"), b"554 5.7.1 virus 250 2.0.0 Ok\r\n"),  # no second reply hides in a reason
        (Reply(554, "5.7.1\r\n250", "x"), b"554 x\r\n"),
        (Reply(451, "4.7.1", "sp\xe4ter"), b"451 4.7.1 sp?ter\r\n"),
        (Reply(99, "4.7.1", "x"), b"451 4.7.1 x\r\n"),
    ],
)
def test_wire(reply: Reply, wire: bytes) -> None:
    assert replies.wire(reply) == wire


def test_a_long_text_takes_several_lines() -> None:
    lines = replies.wire(Reply(554, "5.7.1", "word " * 5000)).splitlines(keepends=True)
    assert 1 < len(lines) <= 10
    assert all(len(line) <= 512 and line.startswith(b"554-5.7.1 ") for line in lines[:-1])
    assert lines[-1].startswith(b"554 5.7.1 ")


def test_fixed_replies_have_the_form_of_rfc_5321_and_codes_that_agree() -> None:
    fixed = {name: value for name, value in vars(replies).items() if isinstance(value, bytes)}
    assert len(fixed) > 40
    for name, value in fixed.items():
        assert LINE.fullmatch(value) and len(value) <= 512, name
        enhanced = re.match(rb"(\d)\d\d[ -](\d)\.", value)
        assert enhanced is None or enhanced[1] == enhanced[2], name
