"""A message of 8-bit or binary octets, or of lines too long for SMTP, as one of 7 bits (RFC 2045 section 2.7, RFC 6152 section 3). Pure.

Text becomes quoted-printable, all else base64; a part that is 7-bit already stays as it is, octet for octet. Only bodies are put into other
words. A header that is not ASCII, a multipart/signed that would not verify any more (RFC 1847 section 2.1), and a part that lies about its
encoding cannot be: `CannotConvert`, whose text says which. A line too long in a header stays. Linear in the message, which is held in memory
about three times; what is larger than a small message is for a thread.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from postroom_mime.canonical import Mender, has_whole_lines
from postroom_mime.content import Encoding, Media
from postroom_mime.tree import Entity, grow

LONGEST: Final = 998  # octets of a line without its end (RFC 5322 section 2.1.1, RFC 5321 section 4.5.3.1.6)
_ENCODING = re.compile(rb"^content-transfer-encoding[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
_VERSION = re.compile(rb"^mime-version[ \t]*:", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(rb"^content-type[ \t]*:", re.IGNORECASE | re.MULTILINE)
_COMPOSITE = re.compile(rb"^content-type[ \t]*:\s*(?:multipart|message/(?!global))", re.IGNORECASE | re.MULTILINE)
_WIDE = re.compile(rb"8bit|binary", re.IGNORECASE)
_FOREIGN = re.compile(rb"[\x00\x80-\xff]")
_OVERLONG = re.compile(rb"^(?!--)([^\r\n]{%d})[^\r\n]+" % LONGEST, re.MULTILINE)


class CannotConvert(Exception):
    """It cannot be made 7-bit; the text says why, for the sender."""


class Look:
    """What the octets of a message are, told block by block, so that a large one needs not be held."""

    __slots__ = ("_line", "has_long_lines", "is_wide")

    def __init__(self) -> None:
        self.is_wide = False  # an octet above 127 was seen
        self.has_long_lines = False  # a line of more than LONGEST octets was seen
        self._line = 0  # octets of the line that the next block goes on with

    def update(self, block: bytes) -> None:
        """The next octets, cut anywhere."""
        self.is_wide = self.is_wide or not block.isascii()
        end = block.find(b"\n")
        if end < 0:
            self._line += len(block)
            self.has_long_lines = self.has_long_lines or self._line > LONGEST + 1  # its last octet may be the CR of its end
            return
        self.has_long_lines = self.has_long_lines or self._line + end > LONGEST + 1 or has_long_lines(block, end + 1)
        self._line = len(block) - block.rfind(b"\n") - 1


def has_long_lines(data: bytes, at: int = 0) -> bool:
    """Whether a line has more than LONGEST octets. Looks at one line end in a thousand octets."""
    while len(data) - at > LONGEST:
        end = data.rfind(b"\n", at, at + LONGEST + 2)
        if end < 0:
            return len(data) - at > LONGEST + 1 or not data.endswith(b"\r")
        at = end + 1
    return False


def is_narrow(data: bytes) -> bool:
    """Whether it is "7bit data": ASCII without NUL, in CRLF lines that are not too long (RFC 2045 section 2.7)."""
    return data.isascii() and 0 not in data and has_whole_lines(data) and not has_long_lines(data)


def converted(data: bytes) -> bytes:
    """The message, the body of every part of it in 7 bits and its last line with an end. CannotConvert."""
    pieces: list[bytes] = []
    _render(data, grow(data)[0], pieces)
    return Mender().mended(b"".join(pieces), is_last=True)


def _render(data: bytes, entity: Entity, pieces: list[bytes]) -> None:
    """Append an entity in its new words."""
    header, body = data[entity.header : entity.body], data[entity.body : entity.end]
    if not header.isascii():
        raise CannotConvert("the message has a header that is not ASCII")
    if not entity.children:
        pieces += _leaf(entity, header, body)
    elif entity.content.opening.startswith(b'"SIGNED"'):
        if not is_narrow(body):
            raise CannotConvert("a part is signed, and other words for it would break the signature")
        pieces += header, body
    else:
        pieces.append(_labelled(header, b"7bit", entity) if _is_labelled_wide(header) else header)
        _render_children(data, entity, pieces)


def _render_children(data: bytes, entity: Entity, pieces: list[bytes]) -> None:
    """The children, and what stands between them: delimiters, and prose that no reader shows."""
    at = entity.body
    for child in entity.children:
        pieces.append(_prose(data[at : child.header]))
        _render(data, child, pieces)
        at = child.end
    pieces.append(_prose(data[at : entity.end]))


def _prose(text: bytes) -> bytes:
    return _OVERLONG.sub(rb"\1", _FOREIGN.sub(b"?", text))


def _leaf(entity: Entity, header: bytes, body: bytes) -> tuple[bytes, bytes]:
    """A part that holds no others."""
    if is_narrow(body):
        return header, body
    if entity.content.encoding in (Encoding.QUOTED_PRINTABLE, Encoding.BASE64):
        return header, _wrapped(entity.content.encoding, body)
    if _COMPOSITE.search(header):  # RFC 2045 section 6.4: nothing that holds messages may be encoded
        raise CannotConvert("a part that should hold others cannot be taken apart")
    if entity.content.media not in (Media.PLAIN, Media.HTML, Media.TEXT) or 0 in body or not has_whole_lines(body):
        return _labelled(header, b"base64", entity), _base64(body)
    more = b"" if body.isascii() or _TYPE.search(header) else b"Content-Type: text/plain; charset=%b\r\n" % _charset(body)
    return _labelled(header, b"quoted-printable", entity, more), _quoted(body)


def _wrapped(encoding: int, body: bytes) -> bytes:
    """An encoded body whose lines are too long, in shorter ones."""
    if not body.isascii() or 0 in body:
        raise CannotConvert("a part has octets that its own encoding does not allow")
    if encoding == Encoding.BASE64:
        text = b"".join(body.split())
        return b"".join(text[at : at + 76] + b"\r\n" for at in range(0, len(text), 76))
    return b"\r\n".join([line if len(line) <= LONGEST else _softened(line) for line in body.split(b"\r\n")])


def _softened(line: bytes) -> bytes:
    """A line of quoted-printable with soft breaks; its own last octet may be one."""
    soft = b"=" if line.endswith(b"=") else b""
    return binascii.b2a_qp(binascii.a2b_qp(line.removesuffix(b"=")), istext=False).replace(b"=\n", b"=\r\n") + soft


def _is_labelled_wide(header: bytes) -> bool:
    found = _ENCODING.search(header)
    return found is not None and _WIDE.search(found[0]) is not None


def _labelled(header: bytes, encoding: bytes, entity: Entity, more: bytes = b"") -> bytes:
    """The header with this Content-Transfer-Encoding and no other, at its end, where no fold of a damaged field can swallow it."""
    blank = next((one for one in (b"\r\n", b"\n") if header == one or header.endswith(b"\n" + one)), b"")
    kept = header.removesuffix(blank)
    if kept and not kept.endswith(b"\n"):
        kept += b"\r\n"
    version = b"MIME-Version: 1.0\r\n" if entity.message is not None and not _VERSION.search(kept) else b""
    return b"%b%b%bContent-Transfer-Encoding: %b\r\n%b" % (_ENCODING.sub(b"", kept), version, more, encoding, blank or b"\r\n")


def _charset(body: bytes) -> bytes:
    """Of text that names none."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"  # RFC 1428
    return b"utf-8"


def _quoted(body: bytes) -> bytes:
    """Text with whole lines as quoted-printable. b2a_qp breaks lines as the text does, so it is shown how."""
    return binascii.b2a_qp(body, istext=True) if b"\n" in body else binascii.b2a_qp(body + b"\r\n", istext=True).removesuffix(b"\r\n")


def _base64(body: bytes) -> bytes:
    return b"".join(binascii.b2a_base64(body[at : at + 57], newline=False) + b"\r\n" for at in range(0, len(body), 57))
