"""Strings as IMAP sends them: quoted where that is allowed, else as a literal.

Any octets go in; what comes out obeys RFC 9051 section 9 (and RFC 3501's): no CR, LF, NUL or 8-bit octet within quotes, no NUL in a
literal. Linear; nothing here raises.
"""

from __future__ import annotations

MAX_VALUE = 10_000  # octets of one header value that go into an answer; the rest is cut off
PLAIN = bytes(set(range(1, 127)) - set(b'"\\\r\n'))
NIL = b"NIL"


def string(value: bytes) -> bytes:
    """`value` as a quoted string or a literal; cut after MAX_VALUE octets."""
    if len(value) > MAX_VALUE:
        value = value[:MAX_VALUE]
    odd = value.translate(None, PLAIN)
    if not odd:
        return b'"%b"' % value
    if not odd.strip(b'"\\'):
        return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b"{%d}\r\n%b" % (len(value), value.replace(b"\0", b"?"))  # RFC 9051 section 4.3: a literal holds no NUL


def nstring(value: bytes | None) -> bytes:
    """`value` as a string, or NIL where there is none."""
    return NIL if value is None else string(value)
