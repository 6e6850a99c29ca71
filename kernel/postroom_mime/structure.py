"""BODYSTRUCTURE (RFC 9051 section 7.5.2) from a tree of entities, and BODY from a BODYSTRUCTURE.

`rendered` takes any tree that `tree.grow` made. `without_extensions` takes what `rendered` made and raises ValueError for anything else.
Both are linear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from postroom_mime import envelope
from postroom_mime.content import Media
from postroom_mime.tree import Entity


def rendered(entity: Entity) -> bytes:
    """The BODYSTRUCTURE with its extension data. Depth is bounded by tree.MAX_DEPTH, so it may recurse."""
    content = entity.content
    media = content.media
    if media == Media.MULTIPART:
        return b"(%b %b%b)" % (b"".join(map(rendered, entity.children)), content.opening, content.closing)
    size = entity.end - entity.body
    if media == Media.OTHER:
        return b"(%b %d%b)" % (content.opening, size, content.closing)
    if media == Media.MESSAGE:
        within = entity.children[0]
        shown = envelope.rendered(within.message) if within.message else b"NIL"
        return b"(%b %d %b %b %d%b)" % (content.opening, size, shown, rendered(within), entity.lines, content.closing)
    return b"(%b %d %d%b)" % (content.opening, size, entity.lines, content.closing)


_TOKEN = re.compile(rb'([()])|"(?:[^"\\]++|\\.)*+"|\{(\d{1,10})\}\r\n|[^\s"(){}]++', re.DOTALL)


@dataclass(slots=True)
class _List:
    start: int
    items: list[_List | tuple[int, int]]
    end: int = -1


def without_extensions(bodystructure: bytes) -> bytes:
    """The same as BODY sends it (RFC 9051 section 7.5.2): no extension data, in no part. ValueError for what is no BODYSTRUCTURE."""
    try:
        return _body(bodystructure, _parsed(bodystructure))
    except (IndexError, AttributeError, RecursionError):
        raise ValueError("not a BODYSTRUCTURE") from None


def _parsed(text: bytes) -> _List:
    """Where each list and each atom or string lies."""
    top = _List(0, [])
    stack, position = [top], 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            position += 1  # the blank between two items
            continue
        end = token.end() + int(token[2] or 0)
        if token[1] == b"(":
            inner = _List(position, [])
            stack[-1].items.append(inner)
            stack.append(inner)
        elif token[1] == b")":
            stack.pop().end = end
        else:
            stack[-1].items.append((position, end))
        position = end
    only = top.items[0]
    if isinstance(only, tuple) or len(stack) != 1 or len(top.items) != 1:
        raise ValueError("not a BODYSTRUCTURE")
    return only


def _body(text: bytes, node: _List) -> bytes:
    if isinstance(node.items[0], _List):
        children = [item for item in node.items if isinstance(item, _List)]
        subtype = next(place for place, item in enumerate(node.items) if isinstance(item, tuple))
        return b"(%b %b)" % (b"".join(_body(text, child) for child in children[:subtype]), _piece(text, node.items[subtype]))
    kind, subtype_name = (_piece(text, item) for item in node.items[:2])
    pieces = [_piece(text, item) for item in node.items[: 8 if kind == b'"TEXT"' else 7]]
    if (kind, subtype_name) == (b'"MESSAGE"', b'"RFC822"'):
        within = node.items[8]
        if isinstance(within, tuple):
            raise ValueError("not a BODYSTRUCTURE")
        pieces += [_piece(text, node.items[7]), _body(text, within), _piece(text, node.items[9])]
    return b"(%b)" % b" ".join(pieces)


def _piece(text: bytes, item: _List | tuple[int, int]) -> bytes:
    start, end = item if isinstance(item, tuple) else (item.start, item.end)
    return text[start:end]
