"""THREAD REFERENCES as RFC 5256 section 3 says it, step by step, with objects and recursion: slow, and nothing shared with what it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(eq=False)
class Message:
    """A message, or a dummy where `number` is 0."""

    number: int = 0
    sent: int = 0
    subject: str = ""  # base subject
    is_reply: bool = False
    parent: Message | None = None
    children: list[Message] = field(default_factory=list)

    @property
    def is_dummy(self) -> bool:
        return self.number == 0

    def first(self) -> Message:
        return self.children[0] if self.is_dummy else self

    def key(self) -> tuple[int, int]:
        return self.first().sent, self.first().number


@dataclass(frozen=True)
class Told:
    """What a message says: its id (or none), its references, sent date, base subject, and whether it is a reply or forward."""

    own: str
    references: tuple[str, ...]
    sent: int
    subject: str
    is_reply: bool


def threads(told: Sequence[Told]) -> str:
    root = Message()
    root.children = _linked(told)  # steps 1 and 2
    for child in root.children:
        child.parent = root
    _prune(root, is_root=True)  # step 3
    _sort_root(root)  # step 4
    _merge(root)  # step 5
    _sort_all(root)  # step 6
    return "".join(_written(child) for child in root.children)


def _linked(told: Sequence[Told]) -> list[Message]:
    by_id: dict[str, Message] = {}
    messages, everybody = [], []
    for number, one in enumerate(told, 1):
        message = Message(number, one.sent, one.subject, one.is_reply)
        messages.append(message)
        everybody.append(message)
        if one.own and one.own not in by_id:
            by_id[one.own] = message
    for message, one in zip(messages, told):
        chain = []
        for reference in one.references:
            if reference not in by_id:
                by_id[reference] = Message()
                everybody.append(by_id[reference])
            chain.append(by_id[reference])
        for parent, child in pairwise(chain):
            if child.parent is None and not _descends(parent, child):
                _link(parent, child)
        if message.parent is not None:
            message.parent.children.remove(message)
            message.parent = None
        if chain and not _descends(chain[-1], message):
            _link(chain[-1], message)
    return [one for one in everybody if one.parent is None]


def _descends(who: Message, of: Message) -> bool:
    up: Message | None = who
    while up is not None:
        if up is of:
            return True
        up = up.parent
    return False


def _link(parent: Message, child: Message) -> None:
    child.parent = parent
    parent.children.append(child)


def _prune(parent: Message, *, is_root: bool = False) -> None:
    for child in list(parent.children):
        _prune(child)
        if not child.is_dummy:
            continue
        if not child.children:
            parent.children.remove(child)
        elif not is_root or len(child.children) == 1:
            parent.children.remove(child)
            parent.children += child.children
            for one in child.children:
                one.parent = parent


def _sort_root(root: Message) -> None:
    for child in root.children:
        if child.is_dummy:
            child.children.sort(key=Message.key)
    root.children.sort(key=Message.key)


def _merge(root: Message) -> None:
    table: dict[str, Message] = {}
    for child in root.children:
        subject = child.first().subject
        if not subject:
            continue
        known = table.get(subject)
        if known is None or (not known.is_dummy and (child.is_dummy or (known.is_reply and not child.is_reply))):
            table[subject] = child
    for child in list(root.children):
        subject = child.first().subject
        if not subject or table[subject] is child:
            continue
        known = table[subject]
        if known.is_dummy and child.is_dummy:
            known.children += child.children
            root.children.remove(child)
        elif known.is_dummy or (child.is_reply and not known.is_reply):
            root.children.remove(child)
            known.children.append(child)
        else:
            dummy = Message()
            root.children.remove(child)
            root.children[root.children.index(known)] = dummy
            dummy.children = [known, child]
            table[subject] = dummy


def _sort_all(message: Message) -> None:
    for child in message.children:
        _sort_all(child)
    message.children.sort(key=Message.key)


def _written(message: Message) -> str:
    return f"({_members(message)})"


def _members(message: Message) -> str:
    own = "" if message.is_dummy else str(message.number)
    if len(message.children) == 1:
        return f"{own} {_members(message.children[0])}"
    blank = " " if own and message.children else ""
    return own + blank + "".join(_written(child) for child in message.children)
