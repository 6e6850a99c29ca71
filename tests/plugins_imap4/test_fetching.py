"""FETCH against a real folder: every item, mail of every shape, large messages, messages that go meanwhile."""

from __future__ import annotations

import os
import re
import tracemalloc
from functools import cache
from pathlib import Path

import pytest

from postroom.errors import NoSuchFolder
from postroom.mailstore import FLAGGED, SEEN, View
from postroom_imap4 import fetching
from postroom_imap4.commands import Macro, Section
from postroom_imap4.fetching import RENDERED, Fetching
from postroom_imap4.sections import PIECE, SMALL
from postroom_mime import dates
from postroom_mime.headers import select_fields
from postroom_mime.scan import scan
from postroom_store.folder import LocalFolder
from postroom_testing.mail import HOSTILE, huge
from tests.plugins_imap4.shelf import fetched, mail, multipart, part, with_mail
from tests.providers_store.house import House

WHOLE = Section(b"BODY[]")
HEADER = Section(b"BODY[HEADER]", b"HEADER")
TEXT = Section(b"BODY[TEXT]", b"TEXT")
NESTED = multipart(
    part(b"first"),
    part(b"Zmlyc3Qg\r\nAGJhc2U=\r\n", "application/octet-stream", "base64"),
    part(b"From: in@example.com\r\nSubject: within\r\n\r\nwithin body", "message/rfc822"),
)


def picked(*names: bytes, excludes: bool = False) -> Section:
    label = b"BODY[HEADER.FIELDS%b (%b)]" % (b".NOT" if excludes else b"", b" ".join(names).upper())
    return Section(label, b"HEADER", tuple(names), excludes)


def test_columns_are_told_as_the_folder_has_them(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        await folder.change_flags([2], add=SEEN | FLAGGED | await folder.keyword("$Work"))
        view = folder.view()
        one = view.message(1)
        told = await fetched(
            folder, Macro.UID, Macro.FLAGS, Macro.SIZE, Macro.MODSEQ, Macro.INTERNALDATE, Macro.SAVEDATE, Macro.EMAILID, spans=[(1, 2)]
        )
        assert told == b"* 2 FETCH (UID 2 FLAGS (\\Seen \\Flagged $Work) RFC822.SIZE %d MODSEQ (%d) INTERNALDATE %b SAVEDATE %b EMAILID (M%b))\r\n" % (
            one.octets, one.modseq, dates.internal(one.arrived), dates.internal(one.saved), one.id.lower().encode(),
        )  # fmt: skip

    with_mail(tmp_path, [mail(), mail("two")], check)


def test_uid_goes_without_saying_where_it_was_asked_by_uid(tmp_path: Path) -> None:
    """RFC 9051 section 6.4.9; once, and not where it is the name of the answer (RFC 9586)."""

    async def check(house: House, folder: LocalFolder) -> None:
        await folder.expunge([1])
        assert await fetched(folder, Macro.FLAGS, by_uid=True) == b"* 1 FETCH (UID 2 FLAGS ())\r\n"
        assert await fetched(folder, Macro.FLAGS, Macro.UID, Macro.FLAGS, by_uid=True) == b"* 1 FETCH (FLAGS () UID 2)\r\n"
        assert await fetched(folder, Macro.FLAGS, by_uid=True, uidonly=True) == b"* 2 UIDFETCH (FLAGS ())\r\n"
        assert re.fullmatch(rb"\* 1 FETCH \(FLAGS \(\) MODSEQ \(\d+\)\)\r\n", await fetched(folder, Macro.FLAGS, modseq=True))

    with_mail(tmp_path, [mail(), mail("two")], check)


@pytest.mark.long
def test_envelope_and_structure_are_what_the_scan_said(tmp_path: Path) -> None:
    mails = [NESTED, *HOSTILE.values()]

    async def check(house: House, folder: LocalFolder) -> None:
        told = await fetched(folder, Macro.ENVELOPE, Macro.BODYSTRUCTURE, Macro.BODY)
        expected = [scan(one) for one in mails]
        assert told == b"".join(
            b"* %d FETCH (ENVELOPE %b BODYSTRUCTURE %b BODY %b)\r\n" % (number, one.envelope, one.bodystructure, one.body)
            for number, one in enumerate(expected, 1)
        )

    with_mail(tmp_path, mails, check)


def test_whole_messages_header_and_text_are_slices_whatever_the_message(tmp_path: Path) -> None:
    mails = [NESTED, *HOSTILE.values()]

    async def check(house: House, folder: LocalFolder) -> None:
        told = await fetched(folder, WHOLE, HEADER, TEXT)
        at = 0
        for number, data in enumerate(mails, 1):
            root = scan(data)
            body = int.from_bytes(root.parts[3 + int.from_bytes(root.parts[1:3], "little") + 4 :][:4], "little")
            sections = zip((b"BODY[]", b"BODY[HEADER]", b"BODY[TEXT]"), (data, data[:body], data[body:]))
            row = b"* %d FETCH (%b)\r\n" % (number, b" ".join(b"%b %b" % (label, nstring(octets)) for label, octets in sections))
            assert told[at : at + len(row)] == row, data[:60]
            at += len(row)
        assert at == len(told)

    with_mail(tmp_path, mails, check)


def nstring(octets: bytes) -> bytes:
    return b"{%d}\r\n%b" % (len(octets), octets.replace(b"\0", b"?")) if octets else b'""'


FIELD_NAMES = ((b"subject",), (b"from", b"subject", b"date"), (b"x-none",), (b"received", b"to"), (b"bcc",))


@pytest.mark.long
def test_header_fields_are_the_same_from_cache_and_file(tmp_path: Path) -> None:
    mails = [NESTED, mail("x", "a\r\n folded one", "X-None: 1", "To: second@example.com"), *HOSTILE.values()]

    async def check(house: House, folder: LocalFolder) -> None:
        for item in [picked(*names, excludes=excludes) for names in FIELD_NAMES for excludes in (False, True)]:
            told = await fetched(folder, item)
            assert told == b"".join(
                b"* %d FETCH (%b %b)\r\n"
                % (number, item.label, nstring(select_fields(header_of(data), item.fields or (), exclude=item.excludes)))
                for number, data in enumerate(mails, 1)
            )

    with_mail(tmp_path, mails, check)


@cache
def header_of(data: bytes) -> bytes:
    packed = scan(data).parts
    return data[: int.from_bytes(packed[3 + int.from_bytes(packed[1:3], "little") + 4 :][:4], "little")]


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (Section(b"BODY[1]", b"1"), b"BODY[1] {5}\r\nfirst"),
        (Section(b"BODY[1.MIME]", b"1.MIME"), b"BODY[1.MIME] {76}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"),
        (Section(b"BODY[3.HEADER]", b"3.HEADER"), b"BODY[3.HEADER] {41}\r\nFrom: in@example.com\r\nSubject: within\r\n\r\n"),
        (Section(b"BODY[3.TEXT]", b"3.TEXT"), b"BODY[3.TEXT] {11}\r\nwithin body"),
        (Section(b"BODY[3.1]", b"3.1"), b"BODY[3.1] {11}\r\nwithin body"),
        (Section(b"BODY[3.HEADER.FIELDS (SUBJECT)]", b"3.HEADER", (b"subject",)), b"BODY[3.HEADER.FIELDS (SUBJECT)] {19}\r\nSubject: within\r\n\r\n"),
        (Section(b"BODY[9]", b"9"), b"BODY[9] NIL"),
        (Section(b"BODY[1.HEADER]", b"1.HEADER"), b"BODY[1.HEADER] NIL"),
        (Section(b"BODY[1]", b"1", window=(1, 3)), b"BODY[1]<1> {3}\r\nirs"),
        (Section(b"BODY[1]", b"1", window=(3, 100)), b"BODY[1]<3> {2}\r\nst"),
        (Section(b"BODY[1]", b"1", window=(9, 1)), b'BODY[1]<9> ""'),
        (Section(b"BODY[]", window=(0, 5)), b"BODY[]<0> {5}\r\nFrom:"),
        (Section(b"BINARY[2]", b"2", kind="binary"), b"BINARY[2] ~{11}\r\nfirst \0base"),
        (Section(b"BINARY[2]", b"2", window=(0, 5), kind="binary"), b"BINARY[2]<0> {5}\r\nfirst"),
        (Section(b"BINARY.SIZE[2]", b"2", kind="binary.size"), b"BINARY.SIZE[2] 11"),
        (Section(b"BINARY.SIZE[1]", b"1", kind="binary.size"), b"BINARY.SIZE[1] 5"),
        (Section(b"BINARY.SIZE[7]", b"7", kind="binary.size"), b"BINARY.SIZE[7] 0"),
        (Section(b"BINARY[7]", b"7", kind="binary"), b"BINARY[7] NIL"),
        (Section(b"RFC822.HEADER", b"HEADER", window=(0, 4)), b"RFC822.HEADER<0> {4}\r\nFrom"),
    ],
)  # fmt: skip
def test_sections(tmp_path: Path, item: Section, told: bytes) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        assert await fetched(folder, item) == b"* 1 FETCH (%b)\r\n" % told

    with_mail(tmp_path, [NESTED], check)


def test_an_unknown_encoding_is_said_to_be_one(tmp_path: Path) -> None:
    """RFC 3516 section 4.3."""

    async def check(house: House, folder: LocalFolder) -> None:
        asking = Fetching(folder, folder.view())
        item = Section(b"BINARY[1]", b"1", kind="binary")
        told = b"".join([piece async for piece in asking.pieces([(0, 1)], [item], by_uid=False)])
        assert told == b"* 1 FETCH (BINARY[1] NIL)\r\n" and asking.undecodable

    with_mail(tmp_path, [multipart(part(b"x", "text/plain", "x-none"))], check)


def test_reading_marks_what_was_not_seen_and_peeking_does_not(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        await folder.change_flags([2], add=SEEN)
        for peeks in (True, False):
            asking = Fetching(folder, folder.view())
            item = Section(b"BODY[TEXT]", b"TEXT", peeks=peeks)
            assert [piece async for piece in asking.pieces([(0, 3)], [item], by_uid=False)]
            assert asking.seen == ([] if peeks else [1, 3])

    with_mail(tmp_path, [mail(), mail(), mail()], check)


def test_what_was_expunged_meanwhile_is_left_out_and_said(tmp_path: Path) -> None:
    """RFC 2180 section 4.1.2: what the view has is told, what only the file has is not."""

    async def check(house: House, folder: LocalFolder) -> None:
        view = folder.view()
        await folder.expunge([2])
        asking = Fetching(folder, view)
        told = b"".join([piece async for piece in asking.pieces([(0, 3)], [Macro.FLAGS, WHOLE], by_uid=False)])
        assert re.findall(rb"\* (\d) FETCH", told) == [b"1", b"3"] and asking.gone
        asking = Fetching(folder, view)
        told = b"".join([piece async for piece in asking.pieces([(0, 3)], [Macro.FLAGS, Macro.ENVELOPE], by_uid=False)])
        assert re.findall(rb"\* (\d) FETCH", told) == [b"1", b"2", b"3"] and not asking.gone

    with_mail(tmp_path, [mail(), mail(), mail()], check)


def test_another_folder_in_its_place_is_not_read(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        box = await house.store.mailbox("example", "alice")
        await box.create("Other")
        other = await house.folder("Other")
        await folder.copy([1], other)
        view = other.view()
        await box.delete("Other")
        house.clock.set(house.clock.now() + 10)
        await box.create("Other")
        with pytest.raises(NoSuchFolder):
            await anext(Fetching(await house.folder("Other"), view).pieces([(0, 1)], [WHOLE], by_uid=False))

    with_mail(tmp_path, [mail()], check)


def test_a_huge_message_goes_out_in_pieces(tmp_path: Path) -> None:
    message = huge(tmp_path / "huge", 3 << 20, b"AAAA")
    data = message.path.read_bytes()

    async def check(house: House, folder: LocalFolder) -> None:
        await house.deliver(message)
        view = folder.view()
        pieces = [
            piece async for piece in Fetching(folder, view).pieces([(0, 2)], [Macro.UID, WHOLE, Macro.PREVIEW, Macro.FLAGS], by_uid=False)
        ]
        told = b"".join(pieces)
        assert max(map(len, pieces)) <= PIECE + 65_536 + 200
        assert b'* 2 FETCH (UID 2 BODY[] {%d}\r\n%b PREVIEW "See below." FLAGS ())\r\n' % (len(data), data) in told
        assert told.startswith(b"* 1 FETCH (UID 1") and told.endswith(b"FLAGS ())\r\n")

        decoded = await fetched(
            folder, Section(b"BINARY[2]", b"2", kind="binary"), Section(b"BINARY.SIZE[2]", b"2", kind="binary.size"), spans=[(1, 2)]
        )
        size = int(decoded[decoded.index(b"~{") + 2 : decoded.index(b"}")])
        assert decoded.endswith(b" BINARY.SIZE[2] %d)\r\n" % size) and size > 2 << 20
        middle = await fetched(folder, Section(b"BINARY[2]", b"2", kind="binary", window=(1_000_000, 50)), spans=[(1, 2)])
        start = decoded.index(b"}\r\n") + 3 + 1_000_000
        assert decoded[start : start + 50] in middle
        header = await fetched(folder, HEADER, picked(b"subject"), picked(b"x-huge"), spans=[(1, 2)])
        assert b"BODY[HEADER.FIELDS (SUBJECT)] {17}\r\nSubject: huge\r\n\r\n" in header and b"(X-HUGE)] {2}\r\n\r\n" in header

    with_mail(tmp_path, [mail()], check)


def test_a_huge_message_that_is_expunged_while_it_is_sent_is_sent_whole(tmp_path: Path) -> None:
    message = huge(tmp_path / "huge", 2 << 20)

    async def check(house: House, folder: LocalFolder) -> None:
        await house.deliver(message)
        pieces = Fetching(folder, folder.view()).pieces([(0, 1)], [WHOLE], by_uid=False)
        told = [await anext(pieces)]
        await folder.expunge([1])
        told += [piece async for piece in pieces]
        assert message.path.read_bytes() in b"".join(told)

    with_mail(tmp_path, [], check)


def test_many_rows_are_told_in_pieces_and_kept_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "ROWS", 10)
    count = 25

    async def check(house: House, folder: LocalFolder) -> None:
        uids = list(folder.view().uids)
        first = await fetched(folder, Macro.FLAGS, by_uid=True)
        assert first == b"".join(b"* %d FETCH (UID %d FLAGS ())\r\n" % (number, uid) for number, uid in enumerate(uids[:count], 1))
        assert await fetched(folder, Macro.FLAGS, by_uid=True) == first
        assert any(isinstance(value.value, bytes) and value.value in first for value in RENDERED._known.values())
        await folder.change_flags([uids[7]], add=SEEN)
        assert await fetched(folder, Macro.FLAGS, by_uid=True) == first.replace(
            b"* 8 FETCH (UID %d FLAGS ())" % uids[7], b"* 8 FETCH (UID %d FLAGS (\\Seen))" % uids[7]
        )
        await folder.expunge(uids[:1])
        shifted = b"".join(
            b"* %d FETCH (UID %d FLAGS (%b))\r\n" % (number, uid, b"\\Seen" if uid == uids[7] else b"")
            for number, uid in enumerate(uids[1:count], 1)
        )
        assert await fetched(folder, Macro.FLAGS, by_uid=True) == shifted

    with_mail(tmp_path, [mail("x")] * count, check)


def test_what_is_long_is_kept_when_it_is_asked_for_again(tmp_path: Path) -> None:
    """And is never what it was before: of flags beside it, of rows that shifted, of an answer of other items."""
    count = fetching.ROWS + 1
    mails = [mail(subject=f"letter {number}") for number in range(count)]

    async def check(house: House, folder: LocalFolder) -> None:
        uids = list(folder.view().uids)

        def envelopes(view: View, flags: bytes = b"", seen: int = -1) -> bytes:
            told = [flags % (b"\\Seen" if uid == seen else b"") if flags else b"" for uid in view.uids]
            return b"".join(b"* %d FETCH (%bENVELOPE %b)\r\n" % (row + 1, told[row], view.envelope(row)) for row in range(len(view)))

        def is_kept(octets: bytes) -> bool:
            return any(isinstance(one.value, bytes) and one.value == octets[: len(one.value)] for one in RENDERED._known.values())

        plain = envelopes(folder.view())
        assert await fetched(folder, Macro.ENVELOPE) == plain and not is_kept(plain)
        assert await fetched(folder, Macro.ENVELOPE) == plain and is_kept(plain)
        assert await fetched(folder, Macro.BODYSTRUCTURE) != plain
        for _ in range(3):
            assert await fetched(folder, Macro.FLAGS, Macro.ENVELOPE) == envelopes(folder.view(), b"FLAGS (%b) ")
        await folder.change_flags([uids[7]], add=SEEN)
        assert await fetched(folder, Macro.FLAGS, Macro.ENVELOPE) == envelopes(folder.view(), b"FLAGS (%b) ", uids[7])
        assert await fetched(folder, Macro.ENVELOPE) == plain
        await folder.expunge([uids[3]])
        for _ in range(3):
            assert await fetched(folder, Macro.ENVELOPE) == envelopes(folder.view())

    with_mail(tmp_path, mails, check)


def test_what_would_fill_the_memory_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_MOST", 1000)

    async def check(house: House, folder: LocalFolder) -> None:
        RENDERED._known.clear()
        for _ in range(3):
            assert (await fetched(folder, Macro.ENVELOPE)).count(b"\r\n") == fetching.ROWS
        assert not RENDERED._known

    with_mail(tmp_path, [mail("x")] * fetching.ROWS, check)


def test_one_file_that_is_gone_takes_nothing_else_along(tmp_path: Path) -> None:
    """Files are read many at once; where one of them is missing the others are still told, and the client that something is gone."""
    mails = [mail(str(number)) for number in range(5)]

    async def check(house: House, folder: LocalFolder) -> None:
        view = folder.view()
        os.unlink(folder.path(view.uids[2]))
        fetching = Fetching(folder, view)
        told = b"".join([piece async for piece in fetching.pieces([(0, 5)], [WHOLE, Macro.UID], by_uid=False)])
        assert fetching.gone and told == b"".join(
            b"* %d FETCH (BODY[] {%d}\r\n%b UID %d)\r\n" % (row + 1, len(mails[row]), mails[row], view.uids[row]) for row in (0, 1, 3, 4)
        )

    with_mail(tmp_path, mails, check)


def test_conversations_have_one_thread_id(tmp_path: Path) -> None:
    mails = [
        mail("a", "a", "Message-ID: <root@x>"),
        mail("b", "b", "Message-ID: <b@x>", "In-Reply-To: <root@x>"),
        mail("c", "c", "Message-ID: <c@x>", 'References: <"root"@x>\r\n <b@x>'),
        mail("d", "d", "Message-ID: <d@x>"),
        mail("e", "e"),
        mail("f", "f"),
    ]

    async def check(house: House, folder: LocalFolder) -> None:
        told = re.findall(rb"THREADID \((T[0-9a-f]{24})\)", await fetched(folder, Macro.THREADID))
        assert told[0] == told[1] == told[2] and len(set(told)) == 4

    with_mail(tmp_path, mails, check)


def test_portions_stay_small_in_a_folder_of_large_messages(tmp_path: Path) -> None:
    mails = [mail("x" * (SMALL // 2)) for _ in range(5)]

    async def check(house: House, folder: LocalFolder) -> None:
        pieces = [piece async for piece in Fetching(folder, folder.view()).pieces([(0, 5)], [WHOLE], by_uid=False)]
        assert b"".join(pieces).count(b"FETCH (BODY[] {") == 5 and max(map(len, pieces)) <= PIECE

    with_mail(tmp_path, mails, check)


@pytest.mark.parametrize(
    ("items", "mails"),
    [
        ([Section(b"BODY[]", window=(number, SMALL)) for number in range(200)], [mail("x" * (SMALL - 1000))]),
        ([Section(b"BODY[TEXT]", b"TEXT", window=(number, SMALL)) for number in range(200)], [mail("x" * 5000)] * 40),
        ([Section(b"BODY[HEADER.FIELDS (SUBJECT%b)]" % (b" SUBJECT" * number), b"HEADER", (b"subject",)) for number in range(200)],
         [mail("", "s" * 900)] * 100),
    ],
)  # fmt: skip
def test_many_items_of_one_message_are_not_all_in_memory(tmp_path: Path, items: list[Section], mails: list[bytes]) -> None:
    """A client that asks for the same octets 500 times, each time by another name, had them all in memory at once: 128 MiB, or more."""

    async def check(house: House, folder: LocalFolder) -> None:
        one = await fetched(folder, *items[:1])
        told, peak = 0, 0
        tracemalloc.start()
        async for piece in Fetching(folder, folder.view()).pieces([(0, len(mails))], items, by_uid=False):
            told += len(piece)
            peak = max(peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert told > len(one) * 150 and peak < 12 << 20, (told, peak)

    with_mail(tmp_path, mails, check)
