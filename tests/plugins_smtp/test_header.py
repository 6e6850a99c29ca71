"""postroom_smtp.header: what a header may not be."""

from __future__ import annotations

import pytest

from postroom_smtp import replies
from postroom_smtp.header import fault

HOPS = b"Received: from x\r\n"


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", None),
        (b"A: b\r\n\r\nbody", None),
        (b"A: b\r\n", None),
        (HOPS * 3 + b"\r\n", None),
        (HOPS * 4 + b"\r\n", replies.TOO_MANY_HOPS),
        (b"received: x\r\nRECEIVED: x\r\nReCeIvEd: x\r\nReceived: x", replies.TOO_MANY_HOPS),
        (HOPS * 3 + b"\r\n" + HOPS * 9, None),  # in the body they count for nothing
        (HOPS * 3 + b"X-Received: x\r\n", None),
        (b"A: " + b"x" * 200, replies.HEADER_TOO_BIG),
        (b"A: " + b"x" * 50 + b"\r\n\r\n" + b"y" * 500, None),
        (b"X:" + b"x" * 98 + b"\r\n\r\n", replies.HEADER_TOO_BIG),
        (b"X: y\r\n " + b"z" * 100, replies.HEADER_TOO_BIG),
        (b"X: y\r\n" * 20 + b"\r\n", replies.HEADER_TOO_BIG),
        (b"text without any header, and long " * 9, None),
        (HOPS * 3 + b"and then text. " * 20 + b"\r\nReceived: of old\r\n", None),
        (HOPS * 4 + b"and then text. " * 20, replies.TOO_MANY_HOPS),
    ],
)
def test_fault(head: bytes, said: bytes | None) -> None:
    assert fault(head, most=100, hops=3) == said


def test_a_header_of_any_shape_is_looked_at_in_linear_time() -> None:
    for octets in (b"a", b" ", b"\n", b"a:", b"a: b\n", b" \n", b"a \n", b"\t:", b"a:\n "):
        fault(octets * (500_000 // len(octets)), most=102_400, hops=50)
