from __future__ import annotations

import time
from datetime import date

import pytest

from postroom_imap4 import grammar
from postroom_imap4.commands import (
    AllOf,
    AnyOf,
    ById,
    Fuzzy,
    HasFlag,
    HasSaveDate,
    InHeader,
    InSet,
    InText,
    ModSeq,
    Not,
    Numbers,
    OnDay,
    Partial,
    Returns,
    Search,
    SearchKey,
    Size,
    Sort,
    SortKey,
    Source,
    Tagged,
    Thread,
    Within,
    Wrong,
)
from postroom_imap4.framing import Frame, Framer, Limits
from tests.plugins_imap4.wire import Shelf, command, literal, read, wrong

ALL, SEEN, DRAFT, A, B, C = AllOf(()), HasFlag("\\Seen"), HasFlag("\\Draft"), HasFlag("a"), HasFlag("b"), HasFlag("c")
DAY = (date(2026, 2, 1) - date(1970, 1, 1)).days

KEYS: list[tuple[bytes, SearchKey]] = [
    (b"ALL", ALL),
    (b"ANSWERED", HasFlag("\\Answered")),
    (b"DELETED", HasFlag("\\Deleted")),
    (b"FLAGGED", HasFlag("\\Flagged")),
    (b"SEEN", SEEN),
    (b"DRAFT", DRAFT),
    (b"UNANSWERED", HasFlag("\\Answered", False)),
    (b"UNDELETED", HasFlag("\\Deleted", False)),
    (b"UNFLAGGED", HasFlag("\\Flagged", False)),
    (b"UNSEEN", HasFlag("\\Seen", False)),
    (b"UNDRAFT", HasFlag("\\Draft", False)),
    (b"RECENT", Not(ALL)),  # nothing is
    (b"NEW", Not(ALL)),
    (b"OLD", ALL),
    (b"KEYWORD $Forwarded", HasFlag("$Forwarded")),
    (b"UNKEYWORD a", HasFlag("a", False)),
    (b"KEYWORD \\seen", SEEN),
    (b"KEYWORD \\Recent", Not(ALL)),
    (b"UNKEYWORD \\Recent", ALL),
    (b"1:3,*", InSet(Numbers(((1, 3), (0, 0))), by_uid=False)),
    (b"$", InSet(Numbers(saved=True), by_uid=False)),
    (b"UID 1:*", InSet(Numbers(((1, 0),)), by_uid=True)),
    (b"UID $", InSet(Numbers(saved=True), by_uid=True)),
    (b"LARGER 5", Size(True, 5)),
    (b"SMALLER 9223372036854775807", Size(False, (1 << 63) - 1)),
    (b"BEFORE 1-Feb-2026", OnDay("arrived", "before", DAY)),
    (b"ON 01-feb-2026", OnDay("arrived", "on", DAY)),
    (b'SINCE "1-FEB-2026"', OnDay("arrived", "since", DAY)),
    (b'SENTBEFORE " 1-Feb-2026"', OnDay("sent", "before", DAY)),
    (b"SENTON 1-Feb-2026", OnDay("sent", "on", DAY)),
    (b"SENTSINCE 1-Jan-1970", OnDay("sent", "since", 0)),
    (b"SAVEDBEFORE 31-Dec-1969", OnDay("saved", "before", -1)),
    (b"SAVEDON 29-Feb-2024", OnDay("saved", "on", 19782)),
    (b"SAVEDSINCE 1-Feb-2026", OnDay("saved", "since", DAY)),
    (b"SAVEDATESUPPORTED", HasSaveDate()),
    (b"YOUNGER 60", Within(True, 60)),
    (b"OLDER 1", Within(False, 1)),
    (b"SUBJECT x", InHeader(b"subject", "x")),
    (b'FROM "a b"', InHeader(b"from", "a b")),
    (b"TO " + literal(b"a\r\nb"), InHeader(b"to", "a\r\nb")),
    (b"CC x", InHeader(b"cc", "x")),
    (b"BCC x", InHeader(b"bcc", "x")),
    (b"HEADER Message-ID <a@b>", InHeader(b"message-id", "<a@b>")),
    (b'HEADER "X-A" ""', InHeader(b"x-a", "")),
    (b"TEXT x", InText("x", True)),
    (b'BODY ""', InText("", False)),
    (b"SUBJECT \xc3\xa9", InHeader(b"subject", "é")),
    (b'SUBJECT "\xc3\xa9"', InHeader(b"subject", "é")),
    (b"SUBJECT " + literal("é".encode()), InHeader(b"subject", "é")),
    (b"SUBJECT ALL", InHeader(b"subject", "ALL")),
    (b"MODSEQ 5", ModSeq(5)),
    (b'MODSEQ "/flags/\\\\draft" all 5', ModSeq(5)),
    (b"EMAILID M1-x_", ById("email", "M1-x_")),
    (b"THREADID T1", ById("thread", "T1")),
    (b"FUZZY SUBJECT x", Fuzzy(InHeader(b"subject", "x"))),
    (b"FUZZY FUZZY (SEEN DRAFT)", Fuzzy(AllOf((SEEN, DRAFT)))),
    (b"NOT SEEN", HasFlag("\\Seen", False)),
    (b"NOT NOT SEEN", SEEN),
    (b"NOT NOT NOT 1", Not(InSet(Numbers(((1, 1),)), False))),
    (b"NOT (SEEN DRAFT)", Not(AllOf((SEEN, DRAFT)))),
    (b"NOT ALL", Not(ALL)),
    (b"SEEN DRAFT", AllOf((SEEN, DRAFT))),
    (b"(SEEN)", SEEN),
    (b"( SEEN  DRAFT )", AllOf((SEEN, DRAFT))),
    (b"((SEEN) DRAFT) SEEN", AllOf((AllOf((SEEN, DRAFT)), SEEN))),
    (b"OR SEEN DRAFT", AnyOf((SEEN, DRAFT))),
    (b"OR (SEEN DRAFT) SEEN", AnyOf((AllOf((SEEN, DRAFT)), SEEN))),
    (b"OR KEYWORD a OR KEYWORD b KEYWORD c", AnyOf((A, B, C))),
    (b"OR OR KEYWORD a KEYWORD b KEYWORD c", AnyOf((A, B, C))),
    (b"OR KEYWORD a NOT OR KEYWORD b KEYWORD c", AnyOf((A, Not(AnyOf((B, C)))))),
    (b"OR NOT KEYWORD a FUZZY KEYWORD b", AnyOf((HasFlag("a", False), Fuzzy(B)))),
    (b"OR KEYWORD a KEYWORD b KEYWORD c", AllOf((AnyOf((A, B)), C))),
    (b"(OR KEYWORD a KEYWORD b) (KEYWORD c)", AllOf((AnyOf((A, B)), C))),
]


@pytest.mark.parametrize(("octets", "key"), KEYS, ids=lambda value: repr(value)[:40])
def test_keys(octets: bytes, key: SearchKey) -> None:
    assert command(b"SEARCH " + octets) == Search(key)
    assert command(b"uid search " + octets + b" ") == Search(key, by_uid=True)
    assert command(b"SEARCH CHARSET utf-8 " + octets) == Search(key)


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        (b"US-ASCII", b"abc", "abc"),
        (b"US-ASCII", b"\xc3\xa9", "é"),
        (b'"utf-8"', b"\xc3\xa9", "é"),
        (b"ISO-8859-1", b"\xe9", "é"),
        (b"iso-8859-15", b"\xa4", "€"),
        (b"windows-1251", b"\xe9", "й"),
        (b"KOI8-R", b"\xc1", "а"),
        (b"Shift_JIS", b"\x93\xfa", "日"),
        (b"iso-2022-jp", b"\x1b$BF|\x1b(B", "日"),
        (b"GB2312", b"\xc8\xd5", "日"),
        (b"UTF-7", b"+AOk-", "é"),
    ],
)
def test_charsets(charset: bytes, octets: bytes, text: str) -> None:
    assert command(b"SEARCH CHARSET " + charset + b" SUBJECT " + literal(octets)) == Search(InHeader(b"subject", text))
    assert command(b"SORT (DATE) " + charset + b" SUBJECT " + literal(octets)) == Sort((SortKey("DATE"),), InHeader(b"subject", text))
    found = command(b"UID THREAD REFERENCES " + charset + b" SUBJECT " + literal(octets))
    assert found == Thread("REFERENCES", InHeader(b"subject", text), by_uid=True)


@pytest.mark.parametrize(
    "charset", [b"X-UNKNOWN-9", b"rot13", b"zlib", b"idna", b"punycode", b"unicode_escape", b"hex", b"\xff", b'""', b"mbcs"]
)
def test_charsets_that_are_none(charset: bytes) -> None:
    """No name of the client's reaches a codec that is no charset."""
    for octets in (b"SEARCH CHARSET %b ALL", b"SORT (DATE) %b ALL", b"THREAD REFERENCES %b ALL"):
        assert wrong(octets % charset) == ("the charset is not known here", b"BADCHARSET (UTF-8 US-ASCII)", True)


RETURNS = [
    (b"", Returns()),
    (b"RETURN () ", Returns(True, frozenset({"ALL"}))),
    (b"RETURN (MIN max) ", Returns(True, frozenset({"MIN", "MAX"}))),
    (b"RETURN (ALL COUNT SAVE) ", Returns(True, frozenset({"ALL", "COUNT", "SAVE"}))),
    (b"return (save) ", Returns(True, frozenset({"SAVE"}))),
    (b"RETURN (PARTIAL 1:500) ", Returns(True, frozenset(), Partial(1, 500))),
    (b"RETURN (COUNT PARTIAL -1:-100 RELEVANCY) ", Returns(True, frozenset({"COUNT", "RELEVANCY"}), Partial(-1, -100))),
]


@pytest.mark.parametrize(("octets", "returns"), RETURNS)
def test_what_is_to_be_returned(octets: bytes, returns: Returns) -> None:
    assert command(b"SEARCH " + octets + b"CHARSET UTF-8 SEEN") == Search(SEEN, returns=returns)
    assert command(b"SORT " + octets + b"(SIZE) UTF-8 SEEN") == Sort((SortKey("SIZE"),), SEEN, returns=returns)
    assert command(b"ESEARCH " + octets + b"SEEN") == Search(SEEN, True, returns, (Source("selected"),))


SOURCES = [
    (b"(SELECTED)", (Source("selected"),)),
    (b"(selected inboxes personal subscribed)", (Source("selected"), Source("inboxes"), Source("personal"), Source("subscribed"))),
    (b'(subtree INBOX mailboxes (a "b c" &AOk-))', (Source("subtree", ("Inbox",)), Source("mailboxes", ("a", "b c", "é")))),
    (b"(SUBTREE-ONE (x))", (Source("subtree-one", ("x",)),)),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "sources"), SOURCES)
def test_a_search_of_several_folders(octets: bytes, sources: tuple[Source, ...]) -> None:
    assert command(b"ESEARCH IN " + octets + b" UNSEEN") == Search(HasFlag("\\Seen", False), True, Returns(), sources)
    found = command(b"ESEARCH IN " + octets + b" RETURN (COUNT) SEEN")
    assert found == Search(SEEN, True, Returns(True, frozenset({"COUNT"})), sources)


def test_sorts_and_threads() -> None:
    keys = (SortKey("SUBJECT"), SortKey("DATE", True), SortKey("DISPLAYFROM"), SortKey("DISPLAYTO", True))
    assert command(b"SORT (subject reverse date displayfrom REVERSE DISPLAYTO) US-ASCII ALL") == Sort(keys, ALL)
    assert command(b"UID SORT RETURN (ALL) (ARRIVAL CC FROM SIZE TO) UTF-8 1:3 SEEN") == Sort(
        tuple(SortKey(by) for by in ("ARRIVAL", "CC", "FROM", "SIZE", "TO")),
        AllOf((InSet(Numbers(((1, 3),)), False), SEEN)),
        True,
        Returns(True, frozenset({"ALL"})),
    )
    for algorithm in ("ORDEREDSUBJECT", "REFERENCES", "REFS"):
        assert command(b"THREAD %b UTF-8 ALL" % algorithm.lower().encode()) == Thread(algorithm, ALL)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"SEARCH", "expected a blank at the end (octet 9)"),
        (b"SEARCH ", "expected a search key at the end (octet 10)"),
        (b"SEARCH XYZZY", "expected a search key at octet 10"),
        (b"SEARCH ()", "expected a search key at octet 11"),
        (b"SEARCH (SEEN", 'expected a blank or ")" at the end (octet 15)'),
        (b"SEARCH (SEEN ", 'expected a blank or ")" at the end (octet 16)'),
        (b"SEARCH SEEN)", "expected a blank at octet 14"),
        (b"SEARCH (SEEN))", "expected a blank at octet 16"),
        (b"SEARCH (SEEN)(DRAFT)", "expected a blank at octet 16"),
        (b"SEARCH NOT", "expected a blank at the end (octet 13)"),
        (b"SEARCH NOT ", "expected a search key at the end (octet 14)"),
        (b"SEARCH OR SEEN", "expected a blank and a search key at the end (octet 17)"),
        (b"SEARCH (OR SEEN)", "expected a blank and a search key at octet 18"),
        (b"SEARCH (NOT )", "expected a search key at octet 15"),
        (b"SEARCH 0", "expected a sequence set such as 1:3,7,9:* at octet 10"),
        (b"SEARCH UID x", "expected a sequence set at octet 14"),
        (b"SEARCH SUBJECT", "expected a blank at the end (octet 17)"),
        (b"SEARCH SUBJECT (", "expected a text at octet 18"),
        (b'SEARCH SUBJECT "\xff"', "a search text must be written in the charset of the command (utf-8)"),
        (b'SEARCH CHARSET SHIFT_JIS SUBJECT "\x93"', "a search text must be written in the charset of the command (shift_jis)"),
        (b"SEARCH HEADER x", "expected a blank at the end (octet 18)"),
        (b"SEARCH ON 1/2/2026", "expected a date such as 1-Feb-2026 at octet 13"),
        (b"SEARCH ON 31-Feb-2026", "expected a date that exists at octet 13"),
        (b"SEARCH ON 1-Feb-0000", "expected a date that exists at octet 13"),
        (b"SEARCH ON 1-Fxb-2026", "expected a date such as 1-Feb-2026 at octet 13"),
        (b'SEARCH ON "1-Feb-2026', "expected a quote behind the date at the end (octet 24)"),
        (b"SEARCH LARGER x", "expected octets, a number from 0 to 9223372036854775807 at octet 17"),
        (b"SEARCH YOUNGER 0", "expected seconds, a number from 1 to 9223372036854775807 at octet 18"),
        (b"SEARCH MODSEQ x", "expected a mod-sequence, a number from 0 to 9223372036854775807 at octet 17"),
        (b'SEARCH MODSEQ "/flags/x" us 1', "expected an entry type (PRIV SHARED ALL) at octet 28"),
        (b"SEARCH KEYWORD \\*", "expected a flag at octet 18"),
        (b"SEARCH RETURN ALL", 'expected "(" and what to return at octet 17'),
        (b"SEARCH RETURN (UPDATE) ALL", "expected what to return (MIN MAX ALL COUNT SAVE RELEVANCY) at octet 18"),
        (b"ESEARCH IN (selected-delayed) ALL", "ESEARCH has no SELECTED-DELAYED"),
        (b"SEARCH RETURN (ALL PARTIAL 1:2) ALL", "only one of PARTIAL and ALL may be given"),
        (b"SEARCH RETURN (PARTIAL 1:2 PARTIAL 1:2) ALL", "only one of PARTIAL and ALL may be given"),
        (b"SEARCH RETURN (ALL)", "expected a blank at the end (octet 22)"),
        (b"SEARCH CHARSET UTF-8", "expected a blank at the end (octet 23)"),
        (b"SORT () UTF-8 ALL", "expected sort keys at octet 10"),
        (b"SORT (REVERSE) UTF-8 ALL", "expected a blank at octet 16"),
        (b"SORT (NAME) UTF-8 ALL", "expected a sort key (ARRIVAL CC DATE FROM SIZE SUBJECT TO DISPLAYFROM DISPLAYTO) at octet 9"),
        (b"SORT (DATE)", "expected a blank at the end (octet 14)"),
        (b"THREAD X UTF-8 ALL", "expected a threading algorithm (ORDEREDSUBJECT REFERENCES REFS) at octet 10"),
        (b"ESEARCH IN () ALL", "expected folders to search at octet 16"),
        (
            b"ESEARCH IN (x) ALL",
            "expected folders: SUBTREE, SUBTREE-ONE, MAILBOXES or one of (SELECTED SELECTED-DELAYED INBOXES PERSONAL SUBSCRIBED) at octet 15",
        ),
        (b"ESEARCH IN (mailboxes) ALL", "expected a blank at octet 24"),
    ],
)
def test_what_is_wrong_with_a_search(octets: bytes, text: str) -> None:
    assert wrong(octets) == (text, b"", False)


# Case 28: depth and length


def depth(key: SearchKey) -> int:
    match key:
        case Not(inner) | Fuzzy(inner):
            return 1 + depth(inner)
        case AnyOf(keys) | AllOf(keys):
            return 1 + max(map(depth, keys), default=0)
        case _:
            return 1


def test_lists_within_lists_have_an_end() -> None:
    deep = b"(" * 49 + b"SEEN" + b")" * 49
    assert command(b"SEARCH " + deep) == Search(SEEN)
    for octets in (b"(" * 50 + b"SEEN" + b")" * 50, b"(" * 30_000, b"(NOT " * 10_000, b"FUZZY NOT " * 5000, b"FUZZY (OR " * 5000):
        assert wrong(b"SEARCH " + octets) == ("a search has at most 50 levels", b"", False)


def test_chains_that_clients_make_are_flat() -> None:
    chain = b"OR SUBJECT x " * 2000 + b"SUBJECT x"
    found = command(b"SEARCH " + chain)
    assert isinstance(found, Search) and isinstance(found.key, AnyOf) and len(found.key.keys) == 2001 and depth(found.key) == 2
    found = command(b"SEARCH " + b"OR " * 2000 + b"SUBJECT x " * 2001)
    assert isinstance(found, Search) and isinstance(found.key, AnyOf) and len(found.key.keys) == 2001 and depth(found.key) == 2
    assert command(b"SEARCH " + b"NOT " * 10_001 + b"SEEN") == Search(HasFlag("\\Seen", False))
    worst = b"(KEYWORD a NOT (KEYWORD b OR KEYWORD c (KEYWORD a FUZZY (KEYWORD b " * 7 + b"KEYWORD c" + b"))))" * 7
    found = command(b"SEARCH " + worst)
    assert isinstance(found, Search) and depth(found.key) <= 51


@pytest.mark.parametrize(
    "key",
    [b"NOT 1 ", b'TO "\\"" ', *(pytest.param(key, marks=pytest.mark.long) for key in (b"1,2 ", b"(1) ", b"OR 1 2 ", b"CC {1+}\r\nx "))],
)
def test_ten_thousand_keys_are_read_in_linear_time(key: bytes) -> None:
    """Four times the octets cost about four times the work; were any of it looked at again for each key, it would be sixteen."""
    most = 5000 if key.startswith(b"OR") else 10_000

    def cost(count: int) -> float:
        frame, best = large_frame(b"a SEARCH " + key * count), 1e9
        for _ in range(4):
            start = time.process_time()
            found = grammar.read(frame, utf8=False, is_rev2=False)
            best = min(best, time.process_time() - start)
            assert isinstance(found, Tagged) and isinstance(found.command, Search)
            assert isinstance(found.command.key, AllOf) and len(found.command.key.keys) == count
        return best

    assert cost(most) < 10 * cost(most // 4)


def large_frame(data: bytes) -> Frame:
    """Made under limits that let it pass, so that the grammar is what is measured."""
    framer = Framer(Limits(line=1 << 22, literal=100, literals=1 << 20, pieces=20_000), Shelf())
    framer.feed(data + b"\r\n")
    found = framer.take()
    assert isinstance(found, Frame)
    return found


def test_a_program_of_too_many_keys_is_refused() -> None:
    found = grammar.read(large_frame(b"a SEARCH " + b"1 " * 10_001), utf8=False, is_rev2=False)
    assert found == Wrong(b"a", "a search has at most 10000 keys")


def test_a_search_of_many_texts_is_read() -> None:
    octets = b" ".join(b"SUBJECT " + literal(b"x" * 100) for _ in range(1000))
    found = read(b"a SEARCH " + octets)
    assert isinstance(found, Tagged) and isinstance(found.command, Search)
