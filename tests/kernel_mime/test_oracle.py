"""The scanner against the standard library's parser: the same tree, the same octets in every section."""

from __future__ import annotations

import email
import email.message
import email.policy
import random

import pytest

from postroom_mime.parts import Parts
from postroom_mime.scan import scan

from .imaplist import Item, parse
from .shape import check

BOUNDARIES = ["a", "ab", "abc", "a-", "=_x", "x y", "----=_Part_1", "0" * 70, "a'()+_,./:=?"]
LEAVES = ["text/plain", "text/html; charset=utf-8", "application/pdf", "image/png; name=x.png", "text/plain; format=flowed"]
BODIES = [
    "",
    "one line",
    "two\r\nlines\r\n",
    "--",
    "--a b\r\n--abcd\r\n--nothing--",
    "-- \r\nsignature\r\n",
    "\r\n\r\n",
    "x\r\n\r\n--",
    " --a",
]


class Mail:
    """Random mail, written out by hand, so that neither parser has seen its shape before."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def message(self, depth: int = 0, avoid: frozenset[str] = frozenset()) -> str:
        return "Subject: s\r\nFrom: a@b\r\n" + self.entity(depth, avoid)

    def entity(self, depth: int, avoid: frozenset[str]) -> str:
        kind = self.dice.random() if depth < 5 else 1
        if kind < 0.4 and len(avoid) < len(BOUNDARIES):
            return self.multipart(depth, avoid)
        if kind < 0.5:
            return "Content-Type: message/rfc822\r\n\r\n" + self.message(depth + 1, avoid)
        body = self.dice.choice(BODIES)
        head = self.dice.choice(["", f"Content-Type: {self.dice.choice(LEAVES)}\r\n", "X-Other: y\r\n folded\r\n"])
        if any(line.strip()[2:].removesuffix("--") in avoid for line in body.split("\r\n") if line.startswith("--")):
            body = "harmless"
        return f"{head}\r\n{body}"

    def multipart(self, depth: int, avoid: frozenset[str]) -> str:
        is_within = bool(avoid)  # another boundary is open, which ends this multipart too where its own close is missing
        boundary = self.dice.choice([b for b in BOUNDARIES if b not in avoid])
        avoid |= {boundary}
        head = f'Content-Type: multipart/{self.dice.choice(["mixed", "alternative"])};\r\n boundary="{boundary}"\r\n\r\n'
        pieces = [self.dice.choice(["", "preamble\r\n", "\r\n"])]
        for _ in range(self.dice.randint(1, 4)):
            pieces.append(f"--{boundary}{self.dice.choice(['', '', ' ', chr(9)])}\r\n{self.entity(depth + 1, avoid)}\r\n")
        if not is_within or self.dice.random() < 0.8:
            pieces.append(f"--{boundary}--\r\n{self.dice.choice(['', 'epilogue', f'--{boundary}x'])}")
        return head + "".join(pieces)


def same(seen: email.message.Message, structure: Item, table: Parts, data: bytes, section: bytes) -> None:
    assert isinstance(structure, list)
    if seen.get_content_type() == "message/rfc822":
        within = seen.get_payload(0)
        base = section or b"1"
        assert structure[:2] == [b"MESSAGE", b"RFC822"]
        of_header, of_text = table.section(base + b".HEADER"), table.section(base + b".TEXT")
        assert of_header is not None and of_text is not None
        assert isinstance(within, email.message.Message)
        same(
            within,
            structure[8],
            table,
            data,
            base if within.is_multipart() and within.get_content_maintype() == "multipart" else base + b".1",
        )
    elif seen.is_multipart():
        children = seen.get_payload()
        bodies = [item for item in structure if isinstance(item, list)][: len(children)]
        assert structure[len(children)] == seen.get_content_subtype().upper().encode()
        for number, (child, body) in enumerate(zip(children, bodies, strict=True), 1):
            assert isinstance(child, email.message.Message)
            same(child, body, table, data, b"%b.%d" % (section, number) if section else b"%d" % number)
    else:
        kind = seen.get_content_type().upper().encode()
        assert b"/".join(item for item in structure[:2] if isinstance(item, bytes)) == kind
        where = table.section(section or b"1")
        assert where is not None
        payload = seen.get_payload()
        assert isinstance(payload, str)
        assert data[slice(*where)] == payload.encode("ascii", "surrogateescape"), section


@pytest.mark.parametrize("chunk", range(8))
def test_the_standard_library_sees_the_same_tree_and_octets(chunk: int) -> None:
    for seed in range(chunk * 150, chunk * 150 + 150):
        data = Mail(seed).message().encode()
        seen = email.message_from_bytes(data, policy=email.policy.compat32)
        answer = scan(data)
        table = check(data, answer)
        try:
            same(seen, parse(answer.bodystructure), table, data, b"")
        except AssertionError as mismatch:
            raise AssertionError(f"seed {seed}: {data!r}") from mismatch


def test_headers_of_parts_are_the_same() -> None:
    for seed in range(100):
        data = Mail(seed).message().encode()
        table = Parts.load(scan(data).parts)
        seen = [dict(part.items()) for part in email.message_from_bytes(data).walk()]
        ours = [dict(email.message_from_bytes(data[part.header : part.body]).items()) for part in table.rows]
        assert ours == seen
