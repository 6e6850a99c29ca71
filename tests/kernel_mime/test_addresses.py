"""Address lists: what RFC 5322 allows, what it once allowed, and what people write."""

from __future__ import annotations

import pytest

from postroom_mime.addresses import GROUP_END, MAX_ADDRESSES, MAX_OCTETS, Address, mailboxes, parse, rendered


def a(name: bytes | None, mailbox: bytes, host: bytes, route: bytes | None = None) -> Address:
    return Address(name, route, mailbox, host)


def group(name: bytes) -> Address:
    return Address(None, None, name, None)


CASES: list[tuple[bytes, list[Address]]] = [
    (b"", []),
    (b" , ,, ", []),
    (b"a@b", [a(None, b"a", b"b")]),
    (b"a@b, c@d ,e@f", [a(None, b"a", b"b"), a(None, b"c", b"d"), a(None, b"e", b"f")]),
    (b"<a@b>", [a(None, b"a", b"b")]),
    (b"John Doe <a@b>", [a(b"John Doe", b"a", b"b")]),
    (b'"Doe, John" <a@b>', [a(b"Doe, John", b"a", b"b")]),
    (b'"" <a@b>', [a(None, b"a", b"b")]),
    (b'John "X." Doe <a@b>', [a(b"John X. Doe", b"a", b"b")]),
    (b"John  \t Doe<a@b>,c@d", [a(b"John Doe", b"a", b"b"), a(None, b"c", b"d")]),
    (b'"say \\"hi\\" \\\\" <a@b>', [a(b'say "hi" \\', b"a", b"b")]),
    (b"=?utf-8?q?J=C3=B6rg?= <a@b>", [a(b"=?utf-8?q?J=C3=B6rg?=", b"a", b"b")]),
    (b"J\xc3\xb6rg <j\xc3\xb6rg@b\xc3\xbc.de>", [a(b"J\xc3\xb6rg", b"j\xc3\xb6rg", b"b\xc3\xbc.de")]),
    (b"a@b (John Doe)", [a(b"John Doe", b"a", b"b")]),
    (b"a@b (John (The \\) Man) Doe), c@d", [a(b"John (The ) Man) Doe", b"a", b"b"), a(None, b"c", b"d")]),
    (b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", [a(b"Pete", b"pete", b"silly.test")]),  # RFC 5322 appendix A.5
    (b"Mary Smith <@node.test,@other.test:mary@example.net>", [a(b"Mary Smith", b"mary", b"example.net", b"@node.test,@other.test")]),
    (b"<@node.test:mary@example.net>", [a(None, b"mary", b"example.net", b"@node.test")]),
    (b"john . doe @ example . org", [a(None, b"john.doe", b"example.org")]),
    (b'"john doe"@example.org', [a(None, b"john doe", b"example.org")]),
    (b'"a@b"@example.org', [a(None, b"a@b", b"example.org")]),
    (b"user@[192.0.2.1]", [a(None, b"user", b"[192.0.2.1]")]),
    (b"a@b@c", [a(None, b"a@b", b"c")]),
    (b"local", [a(None, b"local", b"")]),
    (b"John Doe", [a(None, b"John Doe", b"")]),
    (b"<>", [a(None, b"", b"")]),
    (b"Name <>", [a(b"Name", b"", b"")]),
    (b"<a@b", [a(None, b"a", b"b")]),
    (b'"unclosed <a@b>', [a(None, b"unclosed <a@b>", b"")]),
    (b"(((", []),
    (b"A Group:Ed Jones <joe@where.test>,John <jdoe@one.test>;",
     [group(b"A Group"), a(b"Ed Jones", b"joe", b"where.test"), a(b"John", b"jdoe", b"one.test"), GROUP_END]),
    (b"undisclosed-recipients:;", [group(b"undisclosed-recipients"), GROUP_END]),
    (b"g: a@b", [group(b"g"), a(None, b"a", b"b"), GROUP_END]),
    (b"x@y, g:;, z@w", [a(None, b"x", b"y"), group(b"g"), GROUP_END, a(None, b"z", b"w")]),
    (b"a@b; c@d", [a(None, b"a", b"b"), a(None, b"c", b"d")]),  # as Outlook separates
    (b'"g, h": a@b;', [group(b"g, h"), a(None, b"a", b"b"), GROUP_END]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "wanted"), CASES)
def test_a_list_is_these_addresses(value: bytes, wanted: list[Address]) -> None:
    assert list(parse(value)) == wanted


def test_mailboxes_leave_the_borders_of_groups_out() -> None:
    assert list(mailboxes(b"x@y, g: a@b;")) == [a(None, b"x", b"y"), a(None, b"a", b"b")]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"", b"NIL"),
        (b"a@b", b'((NIL NIL "a" "b"))'),
        (b'"x\\"y" <a@b>', b'(("x\\"y" NIL "a" "b"))'),
        (b"g: a@b;", b'((NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL))'),
        (b"<@r:a@b>", b'((NIL "@r" "a" "b"))'),
        (b"\xe4 <a@b>", b'(({1}\r\n\xe4 NIL "a" "b"))'),
    ],
)
def test_a_list_is_shown(value: bytes, wanted: bytes) -> None:
    assert rendered(value) == wanted


def test_a_list_has_limits() -> None:
    """Features case 31, CVE-2024-23184."""
    assert len(parse(b"a@b," * 5_000)) == MAX_ADDRESSES
    assert len(parse(b"g:a@b;," * 5_000)) == MAX_ADDRESSES
    long = b"a@b," + b"x" * MAX_OCTETS + b"@c"
    assert parse(long) == (a(None, b"a", b"b"),)
    assert parse(b"x" * (MAX_OCTETS + 1)) == ()
