"""Whether a filter marked a message as junk: `X-ME-Content: Deliver-To=Junk` in its header, the mark MailEnable's plug-ins write.

Linear in the header, and bounded: a mark beyond the first 64 KiB is not looked for.
"""

from __future__ import annotations

import re

from postroom.message import Message

HEADER_LIMIT = 64 * 1024  # octets
_VALUE = re.compile(rb"x-me-content:(?:[ \t]|\r\n[ \t])*deliver-to=junk[ \t]*(?:;|\r\n|$)")


def is_marked(start: bytes) -> bool:
    """Whether the header at the start of a message's text carries the mark. RFC 5322 section 2.1: the header ends at the empty line."""
    end = start.find(b"\r\n\r\n", 0, HEADER_LIMIT)
    header = b"\r\n" + (start[:end] if end >= 0 else start[:HEADER_LIMIT]).lower()
    at = header.find(b"\r\nx-me-content:")
    while at >= 0:
        if _VALUE.match(header, at + 2):
            return True
        at = header.find(b"\r\nx-me-content:", at + 2)
    return False


async def is_junk(message: Message) -> bool:
    """The same for a message; DiskError when its bytes are out of reach."""
    whole = message.peek()
    return is_marked(whole if whole is not None else await message.read(0, HEADER_LIMIT))
