"""Whether a message that is to be forwarded has been here before: A forwards to B, B forwards to A. Features case 42.

Told by our own trace lines: each names the address the message came for, so one that came twice for the same address went in a circle. Nothing of ours
is added to the message, and a server that forgets the trace is still stopped by the limit on Received fields. Linear in the header, and bounded.
"""

from __future__ import annotations

import re

from postroom.message import Message

HEADER_LIMIT = 64 * 1024  # octets
_FIELD = re.compile(rb"^received:[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE)
_FOR = re.compile(rb"\sfor <([^<>\s]+)>")
_BY = re.compile(rb"\sby (\S+)")


def came_twice(start: bytes, server: str) -> bool:
    """Whether the header at this start of a message says that this server took it in before for the address it took it in for now."""
    end = start.find(b"\r\n\r\n", 0, HEADER_LIMIT)
    header = start[: end if end >= 0 else HEADER_LIMIT]
    ours = [field for field in _FIELD.findall(header) if (by := _BY.search(field)) and by[1].lower() == server.lower().encode()]
    named = [found[1].lower() for field in ours if (found := _FOR.search(field))]
    return bool(ours) and _FOR.search(ours[0]) is not None and named[0] in named[1:]


async def has_come_back(message: Message, server: str) -> bool:
    """The same for a message; DiskError when its bytes are out of reach."""
    whole = message.peek()
    return came_twice(whole if whole is not None else await message.read(0, HEADER_LIMIT), server)
