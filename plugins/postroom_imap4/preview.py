"""PREVIEW (RFC 8970): the first words of a message as people would read them.

The first text part that has any, decoded, without tags and without runs of white space. Of a long part only the beginning is read. Any
message gives a preview, perhaps an empty one; errors are those of reading (sections.py). It is made when it is asked for: reading and decoding
cost less than keeping it would.
"""

from __future__ import annotations

import re
from typing import Final

from postroom_imap4.sections import Source
from postroom_mime.content import Media
from postroom_mime.parts import Part, Parts
from postroom_mime.text import part_text, strip_tags

CHARACTERS: Final = 200  # RFC 8970 section 3.1: 200 are asked for, 256 are allowed
_READ: Final = 24 * 1024  # octets of a part that are looked at; HTML often begins with much style
_PARTS: Final = 20  # text parts that are looked at before giving up
_UNSEEN: Final = re.compile("[\\s\\x00-\\x1f\\x7f-\\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]++")


def preview(source: Source, packed: bytes) -> str:
    """At most CHARACTERS characters on one line; empty where there is no text."""
    parts = Parts.load(packed)
    for _, part in zip(range(_PARTS), parts.texts()):
        if words := _beginning(source, parts, part):
            return words
    return ""


def _beginning(source: Source, parts: Parts, part: Part) -> str:
    end = min(part.end, part.body + _READ)
    octets = source.read(part.body, end)
    if end < part.end:
        octets = octets[: octets.rfind(b"\n") + 1 or len(octets)]  # whole lines: no encoding is cut in the middle of a character
    text = part_text(octets, parts, part._replace(body=0, end=len(octets)))
    if part.media == Media.HTML:
        text = strip_tags(text)
    return _UNSEEN.sub(" ", text[: CHARACTERS * 40]).strip()[:CHARACTERS].rstrip()
