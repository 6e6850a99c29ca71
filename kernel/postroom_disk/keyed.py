"""Text files of `Key=Value` lines with CRLF, as queues keep them: writing, reading, and lists within a value. Pure.

A value is one line: control characters never come out. A list is joined by ";", with "%" and ";" in its parts written %25 and %3B, so a
quoted local part cannot smuggle another one in. Any octets can be read; lines without "=" are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def written(lines: Sequence[str]) -> bytes:
    """The file of these lines, each `Key=Value`."""
    if not "".join(lines).isprintable():
        lines = [_CONTROL.sub(" ", line) for line in lines]
    return "\r\n".join([*lines, ""]).encode("utf-8", "surrogateescape")


def read(data: bytes) -> dict[str, str]:
    """Keys and values; of a key that stands twice, the last."""
    found = {}
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        key, equals, value = line.partition("=")
        if equals and (name := (key if key.isprintable() else _CONTROL.sub(" ", key)).strip()):
            found[name] = value.removesuffix("\r")
    return found


def some(values: Iterable[str]) -> str:
    """Values joined in their order; nothing where all are empty."""
    joined = ";".join(values)
    return joined if joined.strip(";") else ""


def quote(text: str) -> str:
    """A part as it stands in a list."""
    return text.replace("%", "%25").replace(";", "%3B") if "%" in text or ";" in text else text


def unquote(text: str) -> str:
    """The part again."""
    return text.replace("%3B", ";").replace("%25", "%") if "%" in text else text
