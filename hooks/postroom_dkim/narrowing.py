"""What is put into other words before it is signed, because a server on the way would have to do it afterwards and break the signature
(RFC 6376 section 5.3). Up to 32 MiB, in memory, and in a thread where the message is not small.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from postroom.message import SMALL, MemoryMessage, Message
from postroom_mime import sevenbit
from postroom_mime.sevenbit import CannotConvert, Look

LARGEST: Final = 32 * 1024 * 1024  # octets
Which = Literal["needed", "8bit", "never"]


def is_wanted(which: Which, look: Look) -> bool:
    """Whether a message that looks so is converted. Lines too long for SMTP are changed on their way to nearly every server, 8-bit octets on
    their way to hardly any."""
    return which != "never" and (look.has_long_lines or (which == "8bit" and look.is_wide))


async def narrowed(message: Message) -> Message:
    """The same in 7 bits, in memory. CannotConvert with a clause that says why not; DiskError, OSError."""
    if message.size > LARGEST:
        raise CannotConvert(f"{message.size} octets are too many")
    data = await message.read()
    made = sevenbit.converted(data) if len(data) <= SMALL else await asyncio.to_thread(sevenbit.converted, data)
    return MemoryMessage(message.id, made)
