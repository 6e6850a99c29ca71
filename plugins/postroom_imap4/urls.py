"""The URLs by which CATENATE names what lies here already (RFC 4469, RFC 5092). Pure.

Only this server's own messages are meant: a relative URL, an absolute path, or a whole one whose server nobody checks, because the mailbox is
the one that has logged in either way. URLAUTH is not offered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

_SERVER = re.compile(r"imaps?://[^/]*+", re.IGNORECASE)
_MESSAGE = re.compile(
    r"(?:/(?P<name>[^;]+?))?(?:;UIDVALIDITY=(?P<validity>[0-9]{1,10}))?/?;UID=(?P<uid>[0-9]{1,10})"
    r"(?:/?;SECTION=(?P<section>[^;]+?))?(?:/?;PARTIAL=(?P<offset>[0-9]{1,10})(?:\.(?P<octets>[0-9]{1,10}))?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a URL names. An empty folder is the selected one."""

    folder: str
    uidvalidity: int | None
    uid: int
    section: str = ""  # as FETCH writes it, upper case where it is no field name; empty is the whole message
    window: tuple[int, int] | None = None  # offset and octets; the latter is -1 for the rest


def parse(url: str) -> Place | None:
    """None where it names no message of ours."""
    path = _SERVER.sub("", url, count=1)
    found = _MESSAGE.fullmatch(path) if len(path) <= 4096 else None
    if found is None:
        return None
    try:
        folder = unquote((found["name"] or "").rstrip("/"), errors="strict")
        section = unquote(found["section"] or "", errors="strict").rstrip("/")
    except UnicodeDecodeError:
        return None
    validity = int(found["validity"]) if found["validity"] else None
    window = None
    if found["offset"]:
        window = (int(found["offset"]), int(found["octets"]) if found["octets"] else -1)
    return Place(folder, validity, int(found["uid"]), section.upper(), window)
