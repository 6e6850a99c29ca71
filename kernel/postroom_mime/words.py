"""Encoded words (RFC 2047) and charsets: octets of a header or a body into people's text.

Whatever comes in, text comes out: what cannot be decoded becomes U+FFFD, an unknown charset is read as UTF-8 where it is that and as
Windows-1252 where not. Only charsets of the list below are ever looked up, so no name from a message reaches a codec that is not
a charset. Linear.
"""

from __future__ import annotations

import binascii
import codecs
import re
from functools import lru_cache

# RFC 2047 section 2, and lenient: blanks inside, words longer than 75 octets. Each part stops at the next "?", so the search is linear.
_WORD = re.compile(rb"=\?([^?\s=]{1,64})\?([bBqQ])\?([^?\r\n]*)\?=")
_FAMILIES = re.compile(
    r"ascii|utf-(?:7|8|16(?:-[lb]e)?|32(?:-[lb]e)?)|iso8859-\d+|cp\d{3,4}|koi8-[rut]|mac-\w+|big5(?:hkscs)?|gb(?:2312|k|18030)|hz|johab"
    r"|euc_(?:jp|kr|jis_2004|jisx0213)|shift_jis(?:_2004|x0213)?|iso2022_(?:jp(?:_\w+)?|kr)|tis-620|ptcp154|kz1048|iso8859_\w+"
)
_LIKE_ASCII = re.compile(r"ascii|utf-8|iso8859-\d+|cp125\d|cp874|koi8-[rut]|gb18030|gbk|gb2312|euc_\w+|big5\w*|tis-620")
_NAMES = {
    "unicode-1-1-utf-7": "utf-7",
    "x-sjis": "shift_jis",
    "ks_c_5601-1987": "cp949",
    "x-unknown": "utf-8",
    "gb2312": "gb18030",
    "gbk": "gb18030",
}


@lru_cache(maxsize=512)
def codec_name(charset: bytes) -> str | None:
    """Python's codec for a charset name as mail writes it, or None where it is no charset we read."""
    name = charset[:64].decode("ascii", "replace").strip().lower()
    name = _NAMES.get(name, name)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._:+-]*", name):
        return None
    try:
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    if codec == "iso8859-1":
        return "cp1252"  # as every reader does: mail that says Latin-1 has Windows's quotes in it
    return codec if _FAMILIES.fullmatch(codec) else None


def is_like_ascii(charset: bytes) -> bool:
    """Whether octets below 128 mean themselves in this charset, in every state; an unnamed one does."""
    codec = codec_name(charset) if charset else "ascii"
    return codec is not None and _LIKE_ASCII.fullmatch(codec) is not None


def decode_charset(octets: bytes, charset: bytes = b"") -> str:
    """Text of these octets. No charset, US-ASCII or an unknown one: UTF-8 if it is that, else Windows-1252."""
    codec = codec_name(charset) if charset else None
    if codec is None or codec == "ascii":
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            codec = "cp1252"
    try:
        return octets.decode(codec, "replace")
    except (UnicodeError, ValueError, OverflowError):  # some stateful codecs raise even so
        return octets.decode("latin-1")


def decode_words(value: bytes) -> str:
    """An unfolded header value with its encoded words decoded (RFC 2047 section 6); text outside of them is read as `decode_charset`."""
    if value.find(b"=?") < 0:
        return decode_charset(value)
    pieces: list[str] = []
    charset, run, end = b"", b"", 0  # neighbours of one charset are decoded together: senders cut inside characters
    for word in _WORD.finditer(value):
        between = value[end : word.start()]
        name = word[1].partition(b"*")[0].lower()  # RFC 2231 section 5: a language may follow the charset
        if end == 0 or between.strip() or name != charset:
            pieces.append(decode_charset(run, charset))
            if end == 0 or between.strip():
                pieces.append(decode_charset(between))
            charset, run = name, b""
        run, end = run + _payload(word[2], word[3]), word.end()
    pieces.append(decode_charset(run, charset))
    pieces.append(decode_charset(value[end:]))
    return "".join(pieces)


def _payload(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return binascii.a2b_qp(text.replace(b"_", b" "), header=False)
    return decode_base64(text)


def decode_base64(text: bytes) -> bytes:
    """Base64, reading over foreign octets and cut ends (RFC 2045 section 6.8); padding ends it."""
    try:
        return binascii.a2b_base64(text)
    except binascii.Error:
        return _decode_broken_base64(text)


_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def _decode_broken_base64(text: bytes) -> bytes:
    clean = text.translate(None, _NOT_BASE64)
    clean = clean[: len(clean) - (len(clean) % 4 == 1)]
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))
