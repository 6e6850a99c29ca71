"""POP3 command lines as values (RFC 1939 section 3, RFC 2449 section 4). Pure.

A line that is no command raises `Mistake`, whose text is what the client is told.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

LONGEST: Final = 512  # octets of a command line; RFC 2449 section 4 asks for 255. AUTH is bounded by the line buffer alone
_COMMAND: Final = re.compile(rb"([A-Za-z0-9]{3,10})(?: (.*))?", re.DOTALL)
_NUMBER: Final = re.compile(rb"[0-9]{1,10}")
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")


class Mistake(Exception):
    """The client's move."""


class Command(NamedTuple):
    """A keyword in capitals and what follows the blank behind it, as it was sent."""

    name: bytes
    argument: bytes


def parse(line: bytes) -> Command:
    """A line without its end."""
    found = _COMMAND.fullmatch(line)
    if found is None:
        raise Mistake("this is no POP3 command")
    name = found[1].upper()
    if len(line) > LONGEST and name != b"AUTH":
        raise Mistake("the line is too long")
    argument = found[2] or b""
    if _CONTROL.search(argument):
        raise Mistake("control characters have no place in a command")
    return Command(name, argument)


def nothing(argument: bytes) -> None:
    """For commands that take no argument."""
    if argument.strip(b" "):
        raise Mistake("this command takes no argument")


def number(argument: bytes) -> int:
    """A message number, from 1."""
    digits = argument.strip(b" ")
    if not _NUMBER.fullmatch(digits) or int(digits) == 0:
        raise Mistake("give a message number")
    return int(digits)


def number_and_lines(argument: bytes) -> tuple[int, int]:
    """TOP's message number and count of body lines."""
    first, _, second = argument.strip(b" ").partition(b" ")
    if not _NUMBER.fullmatch(second.strip(b" ")):
        raise Mistake("give a message number and a number of lines")
    return number(first), int(second)


def name(argument: bytes) -> str:
    """A login: UTF-8 (RFC 6856 section 2.2), blanks around it dropped, blanks within it kept."""
    try:
        text = argument.strip(b" ").decode()
    except UnicodeDecodeError:
        raise Mistake("a name must be UTF-8") from None
    if not text:
        raise Mistake("give a name")
    return text


def mechanism_and_initial(argument: bytes) -> tuple[str, bytes | None]:
    """AUTH's mechanism and initial response, None where there is no response (RFC 5034 section 4)."""
    words = argument.split()
    if len(words) > 2:
        raise Mistake("give a mechanism and at most one initial response")
    if not re.fullmatch(rb"[A-Za-z0-9_-]{1,20}", words[0]):  # RFC 4422 section 3.1
        raise Mistake("this is no mechanism's name")
    return words[0].decode(), words[1] if len(words) == 2 else None


def name_and_digest(argument: bytes) -> tuple[str, bytes]:
    """APOP's login and MD5 digest in hexadecimal."""
    login, _, digest = argument.strip(b" ").rpartition(b" ")
    if not re.fullmatch(rb"[0-9A-Fa-f]{32}", digest):
        raise Mistake("give a name and a digest")
    return name(login), digest.lower()
