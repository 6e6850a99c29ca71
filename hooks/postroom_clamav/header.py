"""What stands in a message's header about viruses: taken out where outsiders wrote it, put in where we say it.

Pure. A reader trusts `X-Virus-Status` because we wrote it, so a message from outside must not bring one along: every field whose name
begins with `X-Virus` goes, in any case, folded or not. Only the header is searched, up to `headers.MAX_HEADER` octets of it.
"""

from __future__ import annotations

import re

# A field and its folds, line ends included. Every part stops at the next line end, so it is linear.
_FORGED = re.compile(rb"(?im)^x-virus[^\n]*(?:\n[ \t][^\n]*)*\n?")
_RETURN_PATH = re.compile(rb"(?i)return-path:[^\n]*\n(?:[ \t][^\n]*\n)*")
_LONGEST = 200  # characters of a field body; far below the 998 of RFC 5322 section 2.1.1


def is_forged(head: bytes) -> bool:
    """Whether a header has a field that only we may write."""
    head = head.lower()
    return head.startswith(b"x-virus") or b"\nx-virus" in head


def stripped(head: bytes) -> bytes:
    """The header without such fields; all other octets stay."""
    return _FORGED.sub(b"", head)


def found(name: str) -> bytes:
    """The fields of a message that is marked and goes on."""
    return f"X-Virus-Status: Infected\r\nX-Virus: {name[:_LONGEST]}\r\n".encode("ascii", "replace")


def clean(server: str) -> bytes:
    """The fields of a message in which nothing was found."""
    return f"X-Virus-Scanned: ClamAV at {server[:_LONGEST]}\r\nX-Virus-Status: Clean\r\n".encode("ascii", "replace")


def with_fields(head: bytes, fields: bytes) -> bytes:
    """The header with these fields on top, below Return-Path alone: whoever relays the message cuts that off where it stands first."""
    first = _RETURN_PATH.match(head)
    at = first.end() if first else 0
    return head[:at] + fields + head[at:]
