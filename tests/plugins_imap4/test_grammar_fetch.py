from __future__ import annotations

import pytest

from postroom_imap4.commands import STAR, Copy, Fetch, FetchItem, Macro, Numbers, Partial, Section, Store
from tests.plugins_imap4.wire import command, literal, wrong

ONE = Numbers(((1, 1),))
FAST = (Macro.FLAGS, Macro.INTERNALDATE, Macro.SIZE)


@pytest.mark.parametrize(
    ("octets", "runs"),
    [
        (b"1", ((1, 1),)),
        (b"1:3", ((1, 3),)),
        (b"3:1", ((3, 1),)),
        (b"*", ((STAR, STAR),)),
        (b"1:*", ((1, STAR),)),
        (b"*:1", ((STAR, 1),)),
        (b"*:*", ((STAR, STAR),)),
        (b"1,2,5:7,*", ((1, 1), (2, 2), (5, 7), (STAR, STAR))),
        (b"007", ((7, 7),)),
        (b"4294967295", ((4294967295, 4294967295),)),
    ],
)
def test_sequence_sets(octets: bytes, runs: tuple[tuple[int, int], ...]) -> None:
    assert command(b"FETCH " + octets + b" FLAGS") == Fetch(Numbers(runs), (Macro.FLAGS,))
    assert command(b"UID FETCH " + octets + b" FLAGS") == Fetch(Numbers(runs), (Macro.FLAGS,), by_uid=True)


def test_what_was_saved_is_a_set() -> None:
    assert command(b"FETCH $ FLAGS") == Fetch(Numbers(saved=True), (Macro.FLAGS,))


@pytest.mark.parametrize(
    "octets", [b"0", b"1:0", b"1,", b",1", b"1:", b":1", b"1::2", b"1:2:3", b"**", b"4294967296", b"1" * 30, b"1,,2", b"*1"]
)
def test_what_is_no_sequence_set(octets: bytes) -> None:
    assert wrong(b"FETCH " + octets + b" FLAGS") == ("expected a sequence set such as 1:3,7,9:* at octet 9", b"", False)


ITEMS: list[tuple[bytes, tuple[FetchItem, ...]]] = [
    (b"ALL", (*FAST, Macro.ENVELOPE)),
    (b"FAST", FAST),
    (b"FULL", (*FAST, Macro.ENVELOPE, Macro.BODY)),
    (b"(FAST UID)", (*FAST, Macro.UID)),
    (b"(UID FLAGS UID)", (Macro.UID, Macro.FLAGS)),
    (b"( UID  FLAGS )", (Macro.UID, Macro.FLAGS)),
    *((macro.value, (macro,)) for macro in Macro),
    (b"(PREVIEW (LAZY) UID)", (Macro.PREVIEW_LAZY, Macro.UID)),
    (b"RFC822", (Section(b"RFC822", peeks=False),)),
    (b"RFC822.HEADER", (Section(b"RFC822.HEADER", b"HEADER"),)),
    (b"RFC822.TEXT", (Section(b"RFC822.TEXT", b"TEXT", peeks=False),)),
    (b"BODY[]", (Section(b"BODY[]", peeks=False),)),
    (b"body.peek[]", (Section(b"BODY[]"),)),
    (b"BODY[]<0.100>", (Section(b"BODY[]", window=(0, 100), peeks=False),)),
    (b"BODY[]<9223372036854775807.1>", (Section(b"BODY[]", window=((1 << 63) - 1, 1), peeks=False),)),
    (b"BODY.PEEK[HEADER]", (Section(b"BODY[HEADER]", b"HEADER"),)),
    (b"BODY.PEEK[text]", (Section(b"BODY[TEXT]", b"TEXT"),)),
    (b"BODY.PEEK[1]", (Section(b"BODY[1]", b"1"),)),
    (b"BODY.PEEK[1.2.003]", (Section(b"BODY[1.2.3]", b"1.2.3"),)),
    (b"BODY.PEEK[1.mime]", (Section(b"BODY[1.MIME]", b"1.MIME"),)),
    (b"BODY.PEEK[4.1.HEADER]", (Section(b"BODY[4.1.HEADER]", b"4.1.HEADER"),)),
    (b"BODY.PEEK[HEADER.FIELDS (From to)]", (Section(b"BODY[HEADER.FIELDS (From to)]", b"HEADER", (b"from", b"to")),)),
    (
        b'BODY.PEEK[HEADER.FIELDS ("From" "X Y" FROM)]<3.4>',
        (Section(b'BODY[HEADER.FIELDS (From "X Y" FROM)]', b"HEADER", (b"from", b"x y"), window=(3, 4)),),
    ),
    (
        b"BODY.PEEK[2.HEADER.FIELDS.NOT (" + literal(b"From") + b")]",
        (Section(b"BODY[2.HEADER.FIELDS.NOT (From)]", b"2.HEADER", (b"from",), excludes=True),),
    ),
    (b"BINARY[1.2]", (Section(b"BINARY[1.2]", b"1.2", peeks=False, kind="binary"),)),
    (b"BINARY[]", (Section(b"BINARY[]", peeks=False, kind="binary"),)),
    (b"BINARY.PEEK[1]<0.9>", (Section(b"BINARY[1]", b"1", window=(0, 9), kind="binary"),)),
    (b"BINARY.SIZE[1]", (Section(b"BINARY.SIZE[1]", b"1", kind="binary.size"),)),
    (b"(BODY BODY[] BODYSTRUCTURE)", (Macro.BODY, Section(b"BODY[]", peeks=False), Macro.BODYSTRUCTURE)),
]


@pytest.mark.parametrize(("octets", "items"), ITEMS, ids=lambda value: repr(value)[:40])
def test_items(octets: bytes, items: tuple[FetchItem, ...]) -> None:
    assert command(b"FETCH 1 " + octets) == Fetch(ONE, items)
    assert command(b"uid fetch 1 " + octets + b" ") == Fetch(ONE, items, by_uid=True)


MODIFIERS = [
    (b"FETCH 1 FLAGS (CHANGEDSINCE 5)", Fetch(ONE, (Macro.FLAGS,), changed_since=5)),
    (b"FETCH 1 PREVIEW (CHANGEDSINCE 5)", Fetch(ONE, (Macro.PREVIEW,), changed_since=5)),
    (b"FETCH 1 PREVIEW (LAZY) (CHANGEDSINCE 0)", Fetch(ONE, (Macro.PREVIEW_LAZY,), changed_since=0)),
    (b"UID FETCH 1 (FLAGS) (changedsince 5 vanished)", Fetch(ONE, (Macro.FLAGS,), True, 5, vanished=True)),
    (b"UID FETCH 1 FLAGS (VANISHED CHANGEDSINCE 9223372036854775807)", Fetch(ONE, (Macro.FLAGS,), True, (1 << 63) - 1, vanished=True)),
    (b"UID FETCH 1 FLAGS (PARTIAL -1:-30)", Fetch(ONE, (Macro.FLAGS,), True, partial=Partial(-1, -30))),
    (b"UID FETCH 1 FLAGS (PARTIAL 1:30 CHANGEDSINCE 2)", Fetch(ONE, (Macro.FLAGS,), True, 2, partial=Partial(1, 30))),
]


@pytest.mark.parametrize(("octets", "value"), MODIFIERS)
def test_modifiers(octets: bytes, value: Fetch) -> None:
    assert command(octets) == value


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"FETCH", "expected a blank at the end (octet 8)"),
        (b"FETCH x FLAGS", "expected a sequence set at octet 9"),
        (b"FETCH 1", "expected a blank at the end (octet 10)"),
        (b"FETCH 1 ", "expected what to fetch at the end (octet 11)"),
        (b"FETCH 1 ()", "expected what to fetch at the end (octet 13)"),
        (b"FETCH 1 (" + b"BODY[1] " * 501 + b")", "at most 500 may be given: what to fetch"),
        (b"FETCH 1 (FLAGS", 'expected a blank or ")" at the end (octet 17)'),
        (b"FETCH 1 (FLAGS,UID)", 'expected a blank or ")" at octet 17'),
        (b"FETCH 1 NOSUCH", "expected something to fetch at octet 11"),
        (b"FETCH 1 BODY.PEEK", "expected something to fetch at octet 11"),
        (b"FETCH 1 FLAGS UID", 'expected "(" and modifiers of FETCH at octet 17'),
        (b"FETCH 1 ENVELOPE[]", "expected BODY, BODY.PEEK, BINARY, BINARY.PEEK or BINARY.SIZE before a section at octet 11"),
        (b"FETCH 1 BODY.PEEP[]", "expected BODY, BODY.PEEK, BINARY, BINARY.PEEK or BINARY.SIZE before a section at octet 11"),
        (b"FETCH 1 BINARY.X[]", "expected BODY, BODY.PEEK, BINARY, BINARY.PEEK or BINARY.SIZE before a section at octet 11"),
        (b"FETCH 1 BODY[", "expected a section at the end (octet 16)"),
        (b"FETCH 1 BODY[HEADER", 'expected "]" at the end (octet 22)'),
        (b"FETCH 1 BODY[MIME]", "expected HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT, or MIME of a part at octet 16"),
        (b"FETCH 1 BODY[X]", "expected HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT, or MIME of a part at octet 16"),
        (b"FETCH 1 BODY[HEADER.1]", "expected HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT, or MIME of a part at octet 16"),
        (b"FETCH 1 BODY[1..2]", "expected HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT, or MIME of a part at octet 16"),
        (b"FETCH 1 BODY[1.]", "expected a part number at octet 16"),
        (b"FETCH 1 BODY[0]", "expected a part number at octet 16"),
        (b"FETCH 1 BODY[1.0]", "expected a part number at octet 16"),
        (b"FETCH 1 BODY[1234567]", "expected a part number at octet 16"),
        (b"FETCH 1 BODY[" + b"1." * 100 + b"1]", "expected a part number at octet 16"),
        (b"FETCH 1 BODY[HEADER.FIELDS]", "expected a blank at octet 29"),
        (b"FETCH 1 BODY[HEADER.FIELDS ()]", "expected header field names at octet 32"),
        (b"FETCH 1 BODY[HEADER.FIELDS (" + b"a " * 1001 + b")]", "at most 1000 may be given: header field names"),
        (b"FETCH 1 BODY[]<0>", 'expected "." at octet 19'),
        (b"FETCH 1 BODY[]<0.0>", "expected how many octets, a number from 1 to 9223372036854775807 at octet 20"),
        (b"FETCH 1 BODY[]<-1.5>", "expected the first octet, a number from 0 to 9223372036854775807 at octet 18"),
        (b"FETCH 1 BODY[]<0.9223372036854775808>", "expected how many octets, a number from 1 to 9223372036854775807 at octet 20"),
        (b"FETCH 1 RFC822<0.1>", 'expected the end of the command at octet 17'),
        (b"FETCH 1 BINARY[TEXT]", "expected part numbers alone at octet 18"),
        (b"FETCH 1 BINARY.SIZE[1]<0.1>", "expected the end of the command at octet 25"),
        (b"FETCH 1 FLAGS (CHANGEDSINCE)", "expected a blank at octet 30"),
        (b"FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)", "expected a mod-sequence, a number from 0 to 9223372036854775807 at octet 31"),
        (b"FETCH 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 2)", "a modifier may be given once"),
        (b"FETCH 1 FLAGS (UNCHANGEDSINCE 1)", "expected CHANGEDSINCE, VANISHED or PARTIAL at octet 18"),
        (b"UID FETCH 1 FLAGS (VANISHED)", "VANISHED goes with UID FETCH and CHANGEDSINCE only"),
        (b"FETCH 1 FLAGS (VANISHED CHANGEDSINCE 1)", "VANISHED goes with UID FETCH and CHANGEDSINCE only"),
        (b"FETCH 1 FLAGS (PARTIAL 1)", 'expected ":" at octet 27'),
        (b"FETCH 1 FLAGS (PARTIAL -1:1)", 'expected "-": both ends count from the last at octet 29'),
        (b"FETCH 1 FLAGS (PARTIAL 1:-1)", "expected the last of a window, a number from 1 to 4294967295 at octet 28"),
        (b"FETCH 1 FLAGS (PARTIAL 0:1)", "expected the first of a window such as 1:100, a number from 1 to 4294967295 at octet 26"),
        (b"FETCH 1 FLAGS (PARTIAL 1:*)", "expected the last of a window, a number from 1 to 4294967295 at octet 28"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_fetch(octets: bytes, text: str) -> None:
    assert wrong(octets) == (text, b"", False)


STORES = [
    (b"STORE 1 FLAGS (\\Seen)", Store(ONE, "", ("\\Seen",))),
    (b"STORE 1 FLAGS ()", Store(ONE, "", ())),
    (b"STORE 1 +flags \\seen \\DELETED  work", Store(ONE, "+", ("\\Seen", "\\Deleted", "work"))),
    (b"STORE 1 -FLAGS.SILENT ($Forwarded \\Recent)", Store(ONE, "-", ("$Forwarded",), silent=True)),
    (b"STORE 1 FLAGS.SILENT \\Draft", Store(ONE, "", ("\\Draft",), silent=True)),
    (b"UID STORE 1:* +FLAGS.SILENT (a b)", Store(Numbers(((1, 0),)), "+", ("a", "b"), True, True)),
    (b"STORE $ (UNCHANGEDSINCE 0) FLAGS (a)", Store(Numbers(saved=True), "", ("a",), unchanged_since=0)),
    (b"UID STORE 1 (unchangedsince 12) -FLAGS (a)", Store(ONE, "-", ("a",), by_uid=True, unchanged_since=12)),
    (b"STORE 1 FLAGS (" + b"k" * 250 + b")", Store(ONE, "", ("k" * 250,))),
]


@pytest.mark.parametrize(("octets", "value"), STORES, ids=lambda value: repr(value)[:40])
def test_stores(octets: bytes, value: Store) -> None:
    assert command(octets) == value


NO_FLAG = "there is no system flag of that name (\\Seen \\Answered \\Flagged \\Deleted \\Draft)"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"STORE 1", "expected a blank at the end (octet 10)"),
        (b"STORE 1 FLAGS", "expected a blank at the end (octet 16)"),
        (b"STORE 1 FLAGS ", "expected a flag at the end (octet 17)"),
        (b"STORE 1 FLAGS (\\Seen", 'expected a blank or ")" at the end (octet 23)'),
        (b"STORE 1 FLAGS (\\Seen\\Draft)", 'expected a blank or ")" at octet 23'),
        (b"STORE 1 FLAGS (\\*)", "expected a flag at octet 18"),
        (b"STORE 1 FLAGS (a b\xff)", 'expected a blank or ")" at octet 21'),
        (b"STORE 1 FLAGS (\\Nosuch)", NO_FLAG),
        (b'STORE 1 FLAGS ("a")', "expected a flag at octet 18"),
        (
            b"STORE 1 FLAG (a)",
            "expected how to change flags (FLAGS +FLAGS -FLAGS FLAGS.SILENT +FLAGS.SILENT -FLAGS.SILENT) at octet 11",
        ),
        (b"STORE 1 (CHANGEDSINCE 1) FLAGS (a)", "expected UNCHANGEDSINCE at octet 12"),
        (b"STORE 1 (UNCHANGEDSINCE 1 UNCHANGEDSINCE 1) FLAGS (a)", "a modifier may be given once"),
        (b"STORE 1 () FLAGS (a)", "expected a modifier of STORE at octet 13"),
    ],
)
def test_what_is_wrong_with_a_store(octets: bytes, text: str) -> None:
    assert wrong(octets) == (text, b"", False)


def test_a_keyword_has_an_end() -> None:
    assert wrong(b"STORE 1 FLAGS (" + b"k" * 251 + b")") == ("a keyword has at most 250 octets", b"LIMIT", True)


def test_copies_and_moves() -> None:
    assert command(b"COPY 1 INBOX") == Copy(ONE, "Inbox")
    assert command(b"UID COPY $ {3+}\r\nfoo") == Copy(Numbers(saved=True), "foo", by_uid=True)
    assert command(b"MOVE 1 a") == Copy(ONE, "a", moves=True)
    assert command(b'UID MOVE 1 "a b"') == Copy(ONE, "a b", True, True)
    assert wrong(b"COPY 1") == ("expected a blank at the end (octet 9)", b"", False)
    assert wrong(b"MOVE 1 a&b") == ('an "&" in a mailbox name begins modified UTF-7, and "-" must end it', b"CANNOT", True)
