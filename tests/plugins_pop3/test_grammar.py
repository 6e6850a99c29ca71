from __future__ import annotations

from collections.abc import Callable

import pytest

from postroom_pop3 import grammar
from postroom_pop3.grammar import Command, Mistake


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"STAT", (b"STAT", b"")),
        (b"stat", (b"STAT", b"")),
        (b"RETR 1", (b"RETR", b"1")),
        (b"PASS  two  blanks ", (b"PASS", b" two  blanks ")),
        (b"USER j\xc3\xb6rg", (b"USER", "jörg".encode())),
        (b"STAT ", (b"STAT", b"")),
        (b"UTF8", (b"UTF8", b"")),
        (b"AUTH PLAIN " + b"A" * 5000, (b"AUTH", b"PLAIN " + b"A" * 5000)),
    ],
)
def test_commands(line: bytes, command: tuple[bytes, bytes]) -> None:
    assert grammar.parse(line) == Command(*command)


@pytest.mark.parametrize(
    "line",
    [b"", b" STAT", b"\xff\xfe", b"GET / HTTP/1.1" * 50, b"STAT\t1", b"PASS a\x00b", b"USER a\rb", b"AB", b"PASS " + b"x" * 508, b"*"],
)
def test_what_is_no_command(line: bytes) -> None:
    with pytest.raises(Mistake):
        grammar.parse(line)


@pytest.mark.parametrize(
    ("read", "argument", "value"),
    [
        (grammar.number, b"1", 1),
        (grammar.number, b" 0012 ", 12),
        (grammar.number_and_lines, b"1 0", (1, 0)),
        (grammar.number_and_lines, b" 3  10 ", (3, 10)),
        (grammar.name, b" bob ", "bob"),
        (grammar.name, b"b o b", "b o b"),
        (grammar.mechanism_and_initial, b"plain", ("plain", None)),
        (grammar.mechanism_and_initial, b"PLAIN =", ("PLAIN", b"=")),
        (grammar.mechanism_and_initial, b"CRAM-MD5", ("CRAM-MD5", None)),
        (grammar.name_and_digest, b"bob " + b"A1" * 16, ("bob", b"a1" * 16)),
    ],
)
def test_arguments(read: Callable[[bytes], object], argument: bytes, value: object) -> None:
    assert read(argument) == value


@pytest.mark.parametrize(
    ("read", "argument"),
    [
        (grammar.number, b""),
        (grammar.number, b"0"),
        (grammar.number, b"-1"),
        (grammar.number, b"+1"),
        (grammar.number, b"1 2"),
        (grammar.number, b"99999999999"),
        (grammar.number, "١".encode()),
        (grammar.number_and_lines, b"1"),
        (grammar.number_and_lines, b"1 -1"),
        (grammar.number_and_lines, b"1 2 3"),
        (grammar.name, b""),
        (grammar.name, b"\xff"),
        (grammar.mechanism_and_initial, b"PLAIN a b"),
        (grammar.mechanism_and_initial, b"PLA\xffIN"),
        (grammar.mechanism_and_initial, b"X" * 21),
        (grammar.name_and_digest, b"bob"),
        (grammar.name_and_digest, b"bob " + b"x" * 32),
        (grammar.nothing, b"x"),
    ],
)
def test_mistakes(read: Callable[[bytes], object], argument: bytes) -> None:
    with pytest.raises(Mistake):
        read(argument)
