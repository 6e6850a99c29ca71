"""A reader of IMAP lists, as a client would have one: what the tests hold the scanner's answers against."""

from __future__ import annotations

Item = bytes | int | None | list["Item"]


def parse(text: bytes) -> Item:
    """One item, all of `text`; ValueError for whatever RFC 9051 section 9 does not allow."""
    item, rest = _item(text, 0)
    if rest != len(text):
        raise ValueError(f"left over: {text[rest : rest + 40]!r}")
    return item


def _item(text: bytes, at: int) -> tuple[Item, int]:
    if text[at : at + 1] == b"(":
        return _list(text, at + 1)
    if text[at : at + 1] == b'"':
        return _quoted(text, at + 1)
    if text[at : at + 1] == b"{":
        return _literal(text, at + 1)
    end = at
    while end < len(text) and text[end : end + 1].isalnum():
        end += 1
    atom = text[at:end]
    if atom != b"NIL" and not atom.isdigit():
        raise ValueError(f"neither NIL nor a number: {text[at : at + 40]!r}")
    return (None if atom == b"NIL" else int(atom)), end


def _list(text: bytes, at: int) -> tuple[Item, int]:
    items: list[Item] = []
    while text[at : at + 1] != b")":
        if items:
            if text[at : at + 1] == b" ":
                at += 1
            elif not (text[at - 1 : at] == b")" and text[at : at + 1] == b"("):  # addresses and bodies stand without blanks
                raise ValueError(f"no blank between items: {text[at - 20 : at + 20]!r}")
        item, at = _item(text, at)
        items.append(item)
    if not items:
        raise ValueError("an empty list")
    return items, at + 1


def _quoted(text: bytes, at: int) -> tuple[bytes, int]:
    value = bytearray()
    while (octet := text[at]) != 0x22:
        if octet == 0x5C:
            at += 1
            if text[at] not in b'"\\':
                raise ValueError("a backslash before something else")
        elif octet in b"\r\n\0" or octet > 127:
            raise ValueError("not a TEXT-CHAR")
        value.append(text[at])
        at += 1
    return bytes(value), at + 1


def _literal(text: bytes, at: int) -> tuple[bytes, int]:
    end = text.index(b"}\r\n", at)
    start, size = end + 3, int(text[at:end])
    value = text[start : start + size]
    if len(value) != size or b"\0" in value:
        raise ValueError("a literal cut off, or with NUL in it")
    return value, start + size
