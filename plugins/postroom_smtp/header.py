"""Two looks at a message's header before it is taken: is it bounded, and has it been around too long."""

from __future__ import annotations

import re

from postroom_smtp import replies

_FIELDS = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)*+")  # RFC 5322 section 2.2, with section 4.5's blanks
_FIELD_BEGINS = re.compile(rb"[!-9;-~]++[ \t]*+:|[ \t]")


def fault(head: bytes, *, most: int, hops: int) -> bytes | None:
    """The reply that refuses this header, or None. `head` is the front of the message, more than `most` octets of it or all there is."""
    end = head.find(b"\r\n\r\n", 0, most)
    if end < 0:
        end = _end_without_empty_line(head)
        if end > most:
            return replies.HEADER_TOO_BIG
    received = (b"\n" + head[:end].lower()).count(b"\nreceived:")
    return replies.TOO_MANY_HOPS if received > hops else None  # RFC 5321 section 6.3


def _end_without_empty_line(head: bytes) -> int:
    """Where the header ends by a line that is none of its fields: some programs send text without any header."""
    found = _FIELDS.match(head)
    end = found.end() if found is not None else 0
    return len(head) if _FIELD_BEGINS.match(head, end) else end
