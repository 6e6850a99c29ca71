"""Features case 31: whatever the shape, eight times the octets cost about eight times the work.

Each shape is made at two sizes and timed in process time, the best of several runs; a scan that looked at everything again for each
part or level would need 64 times as long, so the bound of 24 is far from both.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from postroom_mime.scan import scan

pytestmark = pytest.mark.long

HEAD = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n"


def nested(size: int) -> bytes:
    """Multiparts that never end, one in the other, and text below."""
    levels = b"".join((HEAD + b"--%b\r\n") % (b"b%d" % level, b"b%d" % level) for level in range(90))
    return levels + b"\r\n" + b"text --b1 \r\n" * (size // 12)


def self_similar(size: int) -> bytes:
    """Each boundary begins the next one, and every line begins like all of them."""
    levels = b"".join((HEAD + b"--%b\r\n") % (b"-" * level, b"-" * level) for level in range(1, 60))
    return levels + b"\r\n" + (b"-" * 70 + b"\r\n") * (size // 72)


SHAPES: dict[str, Callable[[int], bytes]] = {
    "nested": nested,
    "self-similar boundaries": self_similar,
    "parts": lambda size: HEAD % b"b" + b"--b\r\n\r\nx\r\n" * (size // 10),
    "parts without blank lines": lambda size: HEAD % b"b" + b"--b\r\n" * (size // 5),
    "parts of one headerless run": lambda size: HEAD % b"b" + b"--b\r\nX: y\r\n" * (size // 11),
    "lines like delimiters": lambda size: HEAD % b"b" + b"--bx\r\n" * (size // 6),
    "one long line": lambda size: HEAD % b"b" + b"--b" * (size // 3),
    "header without an end": lambda size: b"X: y\r\n" * (size // 6),
    "one field without an end": lambda size: b"Subject: " + b" \r\n " * (size // 4),
    "addresses": lambda size: b"To: " + b"a@b," * (size // 4),
    "hostile addresses": lambda size: b"To: " + b'"\\"(<@:' * (size // 7),
    "comments": lambda size: b"From: " + b"(" * size,
    "fields": lambda size: b"To: a\r\n" * (size // 7),
    "parameters": lambda size: b"Content-Type: text/plain" + b";a*1=b" * (size // 6),
    "semicolons": lambda size: b"Content-Type: text/plain" + b";" * size,
    "quotes": lambda size: b"Content-Type: text/plain; a=" + b'"\\' * (size // 2),
    "encoded words": lambda size: b"Subject: " + b"=?utf-8?q?=C3?= " * (size // 16),
    "half encoded words": lambda size: b"Subject: " + b"=?=?" * (size // 4),
    "brackets": lambda size: b"Subject: " + b"[" * size,
    "references": lambda size: b"References: " + b"<" * size,
    "messages": lambda size: b"Content-Type: message/rfc822\r\n\r\n" * (size // 32),
    "blank lines": lambda size: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\r\n" * (size // 2),
}


def best(data: bytes, runs: int) -> float:
    """Process time of one scan, the best of several."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        scan(data)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("shape", SHAPES)
def test_eight_times_the_octets_cost_about_eight_times_the_work(shape: str) -> None:
    small, large = SHAPES[shape](20_000), SHAPES[shape](160_000)
    taken = best(large, 2)
    assert taken < 24 * best(small, 4) + 0.002
    assert taken < 0.5
