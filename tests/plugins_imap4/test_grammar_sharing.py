from __future__ import annotations

import pytest

from postroom_imap4.commands import (
    Command,
    EventGroup,
    GetAcl,
    GetMetadata,
    GetQuota,
    GetQuotaRoot,
    ListRights,
    Macro,
    MyRights,
    Notify,
    Section,
    SetAcl,
    SetMetadata,
    SetQuota,
)
from tests.plugins_imap4.wire import command, literal, wrong

MESSAGES = ("MessageNew", "MessageExpunge")

COMMANDS: list[tuple[bytes, Command]] = [
    (b"SETACL foo bob lrs", SetAcl("foo", "bob", "", "lrs")),
    (b'SETACL foo "bob b" +kx', SetAcl("foo", "bob b", "+", "kx")),
    (b"setacl foo bob -0", SetAcl("foo", "bob", "-", "0")),
    (b'SETACL foo bob ""', SetAcl("foo", "bob", "", "")),
    (b"SETACL foo -bob lr", SetAcl("foo", "-bob", "", "lr")),
    ("SETACL foo jörg lr".encode(), SetAcl("foo", "jörg", "", "lr")),
    (b"DELETEACL foo bob", SetAcl("foo", "bob", "", "", is_delete=True)),
    (b"GETACL foo", GetAcl("foo")),
    (b"LISTRIGHTS foo anyone", ListRights("foo", "anyone")),
    (b"MYRIGHTS inbox", MyRights("Inbox")),
    (b'GETQUOTA ""', GetQuota("")),
    (b"GETQUOTA " + literal("ü".encode()), GetQuota("ü")),
    (b"GETQUOTAROOT INBOX", GetQuotaRoot("Inbox")),
    (b'SETQUOTA "" (STORAGE 512 message 9223372036854775807)', SetQuota("", (("STORAGE", 512), ("MESSAGE", (1 << 63) - 1)))),
    (b"SETQUOTA x ()", SetQuota("x", ())),
    (b'GETMETADATA "" /shared/comment', GetMetadata("", ("/shared/comment",))),
    (b"GETMETADATA INBOX (/Shared/Comment /private/x)", GetMetadata("Inbox", ("/shared/comment", "/private/x"))),
    (b"GETMETADATA (MAXSIZE 1024) INBOX /shared/x", GetMetadata("Inbox", ("/shared/x",), 1024)),
    (b"GETMETADATA INBOX (depth 1 maxsize 0) (/shared/x)", GetMetadata("Inbox", ("/shared/x",), 0, "1")),
    (b"GETMETADATA (DEPTH infinity) {3+}\r\nfoo {9+}\r\n/shared/x", GetMetadata("foo", ("/shared/x",), None, "infinity")),
    (b"GETMETADATA (DEPTH 0) foo (" + literal(b"/shared/x") + b")", GetMetadata("foo", ("/shared/x",))),
    (
        b'SETMETADATA INBOX (/private/comment "a" /shared/comment NIL /x/y ~' + literal(b"\x00") + b" /z " + literal(b"") + b")",
        SetMetadata("Inbox", (("/private/comment", b"a"), ("/shared/comment", None), ("/x/y", b"\x00"), ("/z", b""))),
    ),
    (b"NOTIFY NONE", Notify()),
    (b"notify set (selected none)", Notify((EventGroup("selected"),))),
    (
        b"NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[1]) messageexpunge flagchange)) (personal (MailboxName SubscriptionChange))",
        Notify(
            (
                EventGroup("selected", (), (*MESSAGES, "FlagChange"), (Macro.UID, Section(b"BODY[1]", b"1"))),
                EventGroup("personal", (), ("MailboxName", "SubscriptionChange")),
            ),
            status=True,
        ),
    ),
    (b"NOTIFY SET (selected-delayed (MessageExpunge MessageNew))", Notify((EventGroup("selected-delayed", (), MESSAGES[::-1]),))),
    (
        b"NOTIFY SET (subtree INBOX (MessageNew MessageExpunge)) (mailboxes (a b) (MailboxMetadataChange ServerMetadataChange)) (inboxes NONE)",
        Notify(
            (
                EventGroup("subtree", ("Inbox",), MESSAGES),
                EventGroup("mailboxes", ("a", "b"), ("MailboxMetadataChange", "ServerMetadataChange")),
                EventGroup("inboxes"),
            )
        ),
    ),
]


@pytest.mark.parametrize(("octets", "value"), COMMANDS, ids=lambda value: repr(value)[:50])
def test_commands(octets: bytes, value: Command) -> None:
    assert command(octets) == value


ENTRY = "an entry name begins with a slash, does not end with one, and is plain ASCII: /private/comment"
EVENTS = b"BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"SETACL foo bob", "expected a blank at the end (octet 17)"),
        (b"SETACL foo bob LR", "rights are small letters and digits"),
        (b"SETACL foo bob +\xc3\xa9", "rights are small letters and digits"),
        (b"SETACL foo bob -+l", "rights are small letters and digits"),
        (b'SETACL foo "" l', "an identifier has no control characters, and is not empty"),
        (b'SETACL foo "a\x01" l', "an identifier has no control characters, and is not empty"),
        (b"DELETEACL foo", "expected a blank at the end (octet 16)"),
        (b"LISTRIGHTS foo", "expected a blank at the end (octet 17)"),
        (b"SETQUOTA x", "expected a blank at the end (octet 13)"),
        (b"SETQUOTA x (STORAGE)", "expected a blank at octet 22"),
        (b"SETQUOTA x (STORAGE -1)", "expected a limit, a number from 0 to 9223372036854775807 at octet 23"),
        (b"GETMETADATA INBOX", "expected a blank at the end (octet 20)"),
        (b"GETMETADATA INBOX ()", "expected entry names at the end (octet 23)"),
        (b"GETMETADATA INBOX comment", ENTRY),
        (b"GETMETADATA INBOX /a/", ENTRY),
        (b"GETMETADATA INBOX /a//b", ENTRY),
        (b"GETMETADATA INBOX /\xc3\xa9", ENTRY),
        (b'GETMETADATA INBOX "/a/*"', 'an entry name has no "*" and no "%", and at most 1000 octets'),
        (b"GETMETADATA INBOX /" + b"a" * 1000, 'an entry name has no "*" and no "%", and at most 1000 octets'),
        (b"GETMETADATA INBOX (" + b"/a " * 1001 + b")", "at most 1000 may be given: entry names"),
        (b"GETMETADATA (DEPTH 2) INBOX /a", "expected a depth (0 1 INFINITY) at octet 22"),
        (b"GETMETADATA (X) INBOX /a", "expected MAXSIZE or DEPTH at octet 16"),
        (b"SETMETADATA INBOX ()", "expected entries and their values at the end (octet 23)"),
        (b"SETMETADATA INBOX (/a)", "expected a blank at octet 24"),
        (b"SETMETADATA INBOX (/a b)", "expected a value, as a string at octet 25"),
        (b"SETMETADATA INBOX /a x", 'expected "(" and entries and their values at octet 21'),
        (b"SETMETADATA INBOX (/a {2+}\r\na\x00)", "a value must not hold a NUL"),
        (b"NOTIFY", "expected a blank at the end (octet 9)"),
        (b"NOTIFY X", "expected SET or NONE at octet 10"),
        (b"NOTIFY SET", "expected a blank at the end (octet 13)"),
        (b"NOTIFY SET STATUS", "expected a blank at the end (octet 20)"),
        (b"NOTIFY SET selected", 'expected "(" at octet 14'),
        (b"NOTIFY SET (selected)", "expected a blank at octet 23"),
        (b"NOTIFY SET (selected ())", "expected events at octet 26"),
        (b"NOTIFY SET (subtree-one x NONE)", "NOTIFY has no SUBTREE-ONE"),
        (b"NOTIFY SET (selected (MessageNew))", "MessageNew and MessageExpunge go together"),
        (b"NOTIFY SET (selected (MessageExpunge))", "MessageNew and MessageExpunge go together"),
        (b"NOTIFY SET (personal (FlagChange))", "FlagChange needs MessageNew and MessageExpunge"),
        (b"NOTIFY SET (selected (MailboxName))", "a selected folder has message events only"),
        (b"NOTIFY SET (personal (MessageNew (UID) MessageExpunge))", "what to fetch may be said of the selected folder only"),
        (b"NOTIFY SET" + b" (personal NONE)" * 101, "at most 100 event groups may be given"),
    ],
)  # fmt: skip
def test_what_is_wrong(octets: bytes, text: str) -> None:
    assert wrong(octets) == (text, b"", False)


def test_an_event_that_is_none_is_told_those_there_are() -> None:
    assert wrong(b"NOTIFY SET (personal (AnnotationChange))") == ("there is no such event here", EVENTS, True)
