"""What BODY[…], BINARY[…] and their kin are of one message (RFC 9051 section 6.4.5, RFC 3516).

A section is a slice of the message's file, found in its table of parts: nothing is parsed but a header whose fields are picked. Large ones come
in pieces, so memory does not grow with a message; what was begun ends, for the file is held open. NoSuchMessage: it was expunged before it was
opened. DiskError: the disk failed, perhaps in the middle of a literal; then the connection has to go. UnknownEncoding: the client's
BINARY cannot be answered.
"""

from __future__ import annotations

import binascii
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from postroom.errors import NoSuchMessage
from postroom.mailstore import Folder
from postroom_disk.disk import refused
from postroom_imap4.answers import NIL, literal_start
from postroom_imap4.commands import Section
from postroom_mime.content import Encoding
from postroom_mime.headers import MAX_HEADER, select_fields
from postroom_mime.parts import Parts
from postroom_mime.text import decode_transfer
from postroom_mime.words import decode_base64

SMALL = 256 * 1024  # octets of a message up to which it is read at once
PIECE = 256 * 1024


class UnknownEncoding(Exception):
    """The part has a Content-Transfer-Encoding that nobody knows: UNKNOWN-CTE (RFC 3516 section 4.3)."""


class Source(Protocol):
    """A message's octets while somebody looks at them."""

    size: int

    def read(self, start: int, end: int) -> bytes: ...


class InMemory:
    """A small one, read already."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, start: int, end: int) -> bytes:
        return self.data[start:end]


class OnDisk:
    """An open file; whoever opened it closes it. It stays whole when the message is expunged."""

    __slots__ = ("fd", "size")

    def __init__(self, fd: int) -> None:
        self.fd, self.size = fd, os.fstat(fd).st_size

    def read(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        try:
            octets = os.pread(self.fd, max(end - start, 0), start)
            if len(octets) < end - start:
                raise OSError(errno.EIO, "a message has become shorter while it was read")
        except OSError as error:
            raise refused(error, "reading a message") from error
        return octets


@contextmanager
def opened(folder: Folder, uid: int) -> Iterator[Source]:
    """A message's octets for as long as the block lasts."""
    data = folder.peek(uid, SMALL)
    if data is not None:
        yield InMemory(data)
        return
    with on_disk(folder.path(uid)) as source:
        yield source


@contextmanager
def on_disk(path: str) -> Iterator[OnDisk]:
    """The same of a message whose file is known already: work in a thread asks no folder."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoSuchMessage("the message is gone") from None
    except OSError as error:
        raise refused(error, "reading a message") from error
    try:
        yield OnDisk(fd)
    finally:
        os.close(fd)


class Content(NamedTuple):
    """What a section holds: how many octets (-1: count them), and where they come from."""

    size: int
    pieces: Callable[[int, int], Iterator[bytes]]  # from offset to offset, each at most about PIECE


def answer(section: Section, source: Source, packed: bytes) -> Iterator[bytes]:
    """The item as it is sent, label first, in pieces; `packed` is the message's table of parts. An empty piece says that time went by."""
    found = content(section, source, packed)
    size = found.size if found else 0
    if found and size < 0:
        size = 0
        for piece in found.pieces(0, source.size):
            size += len(piece)
            yield b""
    if section.kind == "binary.size":  # exactly what BINARY would send (RFC 3516 section 4.2)
        yield b"%b %d" % (section.label, size)
        return
    label = section.label if section.window is None else b"%b<%d>" % (section.label, section.window[0])
    if found is None:
        yield b"%b NIL" % label  # there is no such part
        return
    start, end = windowed(section.window, size)
    if start == end:
        yield b'%b ""' % label
        return
    is_binary = section.kind == "binary"
    octets = found.pieces(start, end)
    first = next(octets, b"")
    with_nul = is_binary and (0 in first or len(first) < end - start)  # what is sent in pieces may have one later
    yield b"%b %b%b" % (label, literal_start(end - start, binary=with_nul), first if is_binary else without_nul(first))
    for piece in octets:
        yield piece if is_binary else without_nul(piece)


def without_nul(octets: bytes) -> bytes:
    """RFC 9051 section 4.3: a literal holds no NUL. BINARY has a literal that does."""
    return octets.replace(b"\0", b"?") if 0 in octets else octets


def value(octets: bytes | None) -> bytes:
    """A whole section as a literal; NIL for none, an empty one in quotes."""
    if not octets:
        return NIL if octets is None else b'""'
    return b"{%d}\r\n%b" % (len(octets), without_nul(octets))


def windowed(window: tuple[int, int] | None, size: int) -> tuple[int, int]:
    """The part of `size` octets that a window shows; beyond the end it shows nothing (RFC 9051 section 6.4.5)."""
    if window is None:
        return 0, size
    start = min(window[0], size)
    return start, min(start + window[1], size)


def content(section: Section, source: Source, packed: bytes) -> Content | None:
    """What a section of a message holds; None where the message has no such part."""
    if not section.section and section.kind == "body":
        return _slice(source, 0, source.size)
    parts = Parts.load(packed)
    if section.kind != "body":
        return _decoded(section, source, parts)
    place = parts.section(section.section)
    if place is None:
        return None
    if section.fields is None:
        return _slice(source, *place)
    return _whole(select_fields(source.read(place[0], min(place[1], place[0] + MAX_HEADER)), section.fields, exclude=section.excludes))


def _slice(source: Source, start: int, end: int) -> Content:
    def pieces(first: int, after: int) -> Iterator[bytes]:
        for at in range(start + first, start + after, PIECE):
            yield source.read(at, min(at + PIECE, start + after))

    return Content(max(min(end, source.size) - start, 0), pieces)


def _whole(octets: bytes) -> Content:
    def pieces(first: int, after: int) -> Iterator[bytes]:
        yield octets[first:after]

    return Content(len(octets), pieces)


# BINARY.


def _decoded(section: Section, source: Source, parts: Parts) -> Content | None:
    part = parts.part(section.section)
    if part is None:
        return None
    if not section.section:  # the message as a whole is sent as it is
        return _slice(source, 0, source.size)
    if part.encoding <= Encoding.BINARY:
        return _slice(source, part.body, part.end)
    if part.encoding == Encoding.UNKNOWN:
        raise UnknownEncoding(section.label.decode())
    if part.end - part.body <= SMALL:
        return _whole(decode_transfer(source.read(part.body, part.end), part.encoding) or b"")
    return Content(-1, lambda first, after: _cut(_decode(source, part.body, part.end, part.encoding), first, after))


def _decode(source: Source, start: int, end: int, encoding: int) -> Iterator[bytes]:
    """A long part decoded piece by piece."""
    yield from decoded_pieces((source.read(at, min(at + PIECE, end)) for at in range(start, end, PIECE)), encoding)


def decoded_pieces(octets: Iterable[bytes], encoding: int) -> Iterable[bytes]:
    """What these octets say in a transfer encoding; as they stand where it is none that we read."""
    if encoding == Encoding.BASE64:
        return decode_base64_pieces(octets)
    return decode_quoted_pieces(octets) if encoding == Encoding.QUOTED_PRINTABLE else octets


_FOREIGN = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))


def decode_base64_pieces(octets: Iterable[bytes]) -> Iterator[bytes]:
    """Base64 that comes in pieces (RFC 2045 section 6.8); foreign octets are passed over, padding ends it."""
    left = b""
    for piece in octets:
        clean = left + piece.translate(None, _FOREIGN)
        padding = clean.find(b"=")
        if padding >= 0:
            left = clean[:padding]
            break
        whole = len(clean) - len(clean) % 4
        left = clean[whole:]
        yield binascii.a2b_base64(clean[:whole])
    yield decode_base64(left)


def decode_quoted_pieces(octets: Iterable[bytes]) -> Iterator[bytes]:
    """Quoted-printable that comes in pieces, cut at line ends; a line longer than a piece is cut where no "=" is near."""
    left = b""
    for piece in octets:
        text = left + piece
        cut = text.rfind(b"\n") + 1
        if not cut and len(text) > PIECE:
            equals = text.rfind(b"=", len(text) - 3)
            cut = len(text) if equals < 0 else equals
        left = text[cut:]
        yield binascii.a2b_qp(text[:cut])
    yield binascii.a2b_qp(left)


def _cut(pieces: Iterable[bytes], first: int, after: int) -> Iterator[bytes]:
    """From offset to offset of what these add up to."""
    at = 0
    for piece in pieces:
        part = piece[max(first - at, 0) : max(after - at, 0)]
        at += len(piece)
        if part:
            yield part
        if at >= after:
            return
