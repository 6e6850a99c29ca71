"""Subjects as SEARCH, SORT and THREAD compare them: decoded, case folded, and stripped to the base (RFC 5256 section 2.1).

Folded text is UTF-8 in one case, so comparing is comparing octets. Linear; nothing raises.
"""

from __future__ import annotations

import re

from postroom_mime.words import decode_words

MAX_SUBJECT = 2_000  # octets of a Subject that are decoded and compared

_BLOBS = re.compile(rb"(?:\[[^\[\]]*+\] ?+)++")  # 1*subj-blob
_REPLY = re.compile(rb"(?:re|fwd?) ?+(?:\[[^\[\]]*+\] ?+)?+:")  # subj-refwd
_LEADERS, _TRAILERS = (b"re", b"fw", b"[", b" "), (b"(fwd)", b" ")  # without these there is nothing to strip
_SPACES = re.compile(rb"[ \t\r\n]++")


def folded(text: str) -> bytes:
    """`text` in the form in which needles and hay are compared."""
    return text.casefold().encode("utf-8", "replace")


def folded_subject(value: bytes) -> bytes:
    """A Subject's unfolded value, decoded and folded."""
    value = value[:MAX_SUBJECT]
    if value.isascii() and value.find(b"=?") < 0:
        return value.lower()
    return folded(decode_words(value))


def base_subject(subject: bytes) -> bytes:
    """The base of a folded subject."""
    while subject.startswith(b"re: "):
        subject = subject[4:]
    if subject.find(b"  ") < 0 and 9 not in subject and not subject.startswith(_LEADERS) and not subject.endswith(_TRAILERS):
        return subject
    text = _SPACES.sub(b" ", subject).strip(b" ") if subject.find(b"  ") >= 0 or 9 in subject else subject.strip(b" ")
    start, end = 0, len(text)
    while True:
        end = _without_trailers(text, start, end)
        start = _without_leaders(text, start, end)
        if not (text.startswith(b"[fwd:", start, end) and text.endswith(b"]", start + 5, end)):
            return text[start:end]
        start, end = start + 5, end - 1  # step 6, and from step 2 again


def _without_trailers(text: bytes, start: int, end: int) -> int:
    """Step 2: "(fwd)" and blanks off the end."""
    while end > start:
        if text[end - 1] == 0x20:
            end -= 1
        elif text.endswith(b"(fwd)", start, end):
            end -= 5
        else:
            break
    return end


def _without_leaders(text: bytes, start: int, end: int) -> int:
    """Steps 3 to 5. All blobs in a row go at once, for either a reply mark follows, or step 4 takes them one by one."""
    while True:
        while start < end and text[start] == 0x20:
            start += 1
        blobs = _BLOBS.match(text, start, end)
        after = blobs.end() if blobs else start
        if reply := _REPLY.match(text, after, end):
            start = reply.end()
        elif blobs is None:
            return start
        elif after < end:
            return after
        else:  # nothing would be left: the last blob is the base
            return text.rindex(b"[", start, end)
