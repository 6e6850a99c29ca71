"""What may be typed for a domain, an address, a size."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postroom_cli.names import Address, Wrong, age, domain_name, kibibytes, mailbox_name, mask, size

GOOD: list[tuple[Callable[[str], object], str, object]] = [
    (domain_name, "Example.COM.", "example.com"),
    (domain_name, "bücher.example", "xn--bcher-kva.example"),
    (domain_name, "_dmarc.a-b.example", "_dmarc.a-b.example"),
    (mailbox_name, "j.r-smith+x", "j.r-smith+x"),
    (Address.parse, "Alice@Example.Test", Address("Alice", "example.test")),
    (kibibytes, "none", -1),
    (kibibytes, "500M", 512000),
    (kibibytes, "2 GiB", 2097152),
    (kibibytes, "2048", 2),
    (kibibytes, "0", 0),
]
BAD: list[tuple[Callable[[str], object], str]] = [
    *(
        (domain_name, text)
        for text in ("", "com", "a..b", "-a.example", "a b.example", "a.example/..", "x" * 64 + ".example", "a." * 127 + "ab")
    ),
    *((mailbox_name, text) for text in ("", ".a", "a.", "a/b", "a\\b", "a b", "a\tb", "a@b", "*", "a%b", "[a]", "é" * 33, "x" * 65)),
    *((Address.parse, text) for text in ("alice", "@example.test", "alice@", "a;b@example.test")),
    *((kibibytes, text) for text in ("", "much", "-5", "1", "5X", "1.5G", "999999999999T")),
    *((mask, text) for text in ("alice", "[SMTP:x", "*@bad domain.example", "a\tb*@example.test")),
]


@pytest.mark.parametrize(("read", "text", "value"), GOOD)
def test_good(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(("read", "text"), BAD)
def test_bad(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(Wrong):
        read(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("*@Example.Test", "[SMTP:*@example.test]"), ("*@*", "[SMTP:*@*]"), ("a@b.example", "[SMTP:a@b.example]"), ("[SF:PO/x]", "[SF:PO/x]")],
)
def test_masks(text: str, meant: str) -> None:
    assert str(mask(text)) == meant


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59, "59 s"), (90, "2 min"), (7200, "2 h"), (200000, "2 d"), (-3, "0 s")])
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(("octets", "text"), [(512000 * 1024, "500 MiB"), (1536, "1.5 KiB"), (17, "17 B"), (3 << 40, "3.0 TiB")])
def test_sizes(octets: int, text: str) -> None:
    assert size(octets) == text
