"""ENVELOPE, BODYSTRUCTURE and BODY against answers written by hand, RFC 3501's own among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom_mime.scan import scan
from postroom_mime.structure import without_extensions

from .shape import check

GOLDEN = Path(__file__).parent / "golden"


def wire(text: bytes) -> bytes:
    """The files have the line ends of their repository, mail has CRLF."""
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def answers(name: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for line in (GOLDEN / f"{name}.answers").read_bytes().replace(b"\r\n", b"\n").split(b"\n"):
        word, _, rest = line.partition(b" ")
        if word in (b"ENVELOPE", b"BODYSTRUCTURE", b"BODY"):
            last, found[word] = word, rest
        elif line:
            found[last] += b"\r\n" + line
    return found


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.eml")))
def test_golden(name: str) -> None:
    data = wire((GOLDEN / f"{name}.eml").read_bytes())
    answer, wanted = scan(data), answers(name)
    check(data, answer)
    assert answer.envelope == wanted[b"ENVELOPE"]
    assert answer.bodystructure == wanted[b"BODYSTRUCTURE"]
    if b"BODY" in wanted:
        assert answer.body == wanted[b"BODY"]


def filler(octets: int, lines: int) -> bytes:
    """That many octets in that many lines."""
    return b"\r\n" * (lines - 1) + b"x" * (octets - 2 * lines) + b"\r\n"


def test_the_example_of_rfc3501_section_7_4_2() -> None:
    """Sizes and lines as printed there."""
    data = b"".join(
        [
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n",
            filler(1152, 23),
            b"\r\n--b\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME=cc.diff\r\nContent-Transfer-Encoding: BASE64\r\n",
            b"Content-ID: <960723163407.20117h@cac.washington.edu>\r\nContent-Description: Compiler diff\r\n\r\n",
            filler(4554, 73),
            b"\r\n--b--\r\n",
        ]
    )
    assert scan(data).body == (
        b'(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1152 23)'
        b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff") "<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 4554 73)'
        b' "MIXED")'
    )


@pytest.mark.parametrize(
    "wrong", [b"", b"NIL", b"()", b"(", b")", b'("TEXT" "PLAIN")(', b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 1)', b"(1 2"]
)
def test_what_is_no_bodystructure_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="not a BODYSTRUCTURE"):
        without_extensions(wrong)
