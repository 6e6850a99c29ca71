"""SEARCH against a real folder: every key, exactly what IMAP means; what the columns say, what was decoded, what lies in files only."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.mailstore import FLAGGED, SEEN
from postroom_imap4 import matching, searching, threads
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
    SearchKey,
    Size,
    Within,
)
from postroom_imap4.fetching import email_id
from postroom_imap4.searching import Asked, asks_modseq, highest_modseq, search
from postroom_mime.parts import Parts
from postroom_mime.scan import scan
from postroom_mime.text import part_text
from postroom_store.folder import LocalFolder
from postroom_testing.mail import HOSTILE, huge
from tests.plugins_imap4.shelf import NOW, found, mail, multipart, part, with_mail
from tests.providers_store.house import House
from tests.turns import turns_during

DAY = 20458  # 5 January 2026
MAILS = [
    mail("plain words", "First letter", "Cc: Carl <carl@example.org>", "X-Mark: one two", day=5),
    mail("more", "=?utf-8?Q?Gr=C3=BC=C3=9Fe?= from Köln", "Message-ID: <two@example.com>", day=6, zone="+1400"),
    mail("fold", "a very\r\n long subject", "References: <two@example.com>", day=7, zone="-1200"),
    multipart(
        part("Die Straße ist naß".encode(), encoding="8bit"),
        part(base64.encodebytes("Geheime ÄNDERUNG".encode()).replace(b"\n", b"\r\n"), "text/html; charset=utf-8", "base64"),
        part(b"AAAA", "application/pdf; name*=utf-8''R%C3%A9sum%C3%A9.pdf", "base64"),
        part(b"=48=45llo qp=\r\n joined", "text/plain; charset=iso-8859-1", "quoted-printable"),
    ),
    multipart(part(b"ascii part"), part(b"Subject: inner one\r\nX-Inner: deep\r\n\r\ninner text", "message/rfc822"), part(b"cGxhaW4gd29yZHM=", "application/x", "base64")),
]  # fmt: skip


def of_folder(tmp_path: Path, *cases: tuple[SearchKey, list[int]], mails: list[bytes] | None = None) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        for key, rows in cases:
            assert await found(folder, key) == rows, key
            everything = list(range(len(folder.view())))
            assert await found(folder, Not(key)) == [row for row in everything if row not in rows], key
            assert await found(folder, AllOf((InSet(Numbers(((1, 2), (4, 0))), False), key))) == [row for row in rows if row != 2], key

    with_mail(tmp_path, MAILS if mails is None else mails, check)


def test_texts_are_found_where_they_stand(tmp_path: Path) -> None:
    header: Callable[[str, str], SearchKey] = lambda name, text: InHeader(name.encode(), text)  # noqa: E731
    of_folder(
        tmp_path,
        (header("subject", "FIRST"), [0]),
        (header("subject", "grüsse"), [1]),
        (header("subject", "GRÜẞE FROM köln"), [1]),
        (header("subject", "very long"), [2]),
        (header("subject", "t letter"), [0]),
        (header("subject", "letterg"), []),  # across two subjects
        (header("subject", ""), [0, 1, 2, 3, 4]),
        (header("from", "ANN@"), [0, 1, 2, 3, 4]),
        (header("from", "ann <"), [0, 1, 2]),
        (header("cc", "carl"), [0]),
        (header("cc", ""), [0]),
        (header("bcc", "carl"), []),
        (header("x-mark", "E T"), [0]),
        (header("x-mark", ""), [0]),
        (header("x-none", ""), []),
        (header("message-id", "two@"), [1]),
        (InText("plain words", headers=False), [0]),  # not in an attachment's base64, nor in what that says
        (InText("first letter", headers=False), []),
        (InText("first letter", headers=True), [0]),
        (InText("subject: first", headers=True), [0]),
        (InText("grüsse", headers=True), [1]),
        (InText("very long", headers=True), [2]),
        (InText("strasse", headers=False), [3]),
        (InText("NASS", headers=False), [3]),
        (InText("geheime änderung", headers=False), [3]),
        (InText("hello qp joined", headers=False), [3]),
        (InText("résumé.pdf", headers=True), [3]),
        (InText("résumé.pdf", headers=False), []),
        (InText("inner text", headers=False), [4]),
        (InText("inner one", headers=False), []),
        (InText("inner one", headers=True), [4]),
        (InText("x-inner: deep", headers=True), [4]),
        (InText("cGxhaW4", headers=True), []),
        (InText("ascii\r\n", headers=False), []),
        (InText("plain words\r\n", headers=True), [0]),
        (InText("--edge", headers=True), []),
        (InText("", headers=False), [0, 1, 2, 3, 4]),
        (Fuzzy(InText("ascii part", headers=True)), [4]),
    )


def test_columns_tell_flags_sizes_dates_and_ids(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        await folder.change_flags([1, 2], add=SEEN)
        await folder.change_flags([2, 3], add=FLAGGED | await folder.keyword("$Work"))
        view = folder.view()
        sizes = list(view.octets)
        cases: list[tuple[SearchKey, list[int]]] = [
            (HasFlag("\\Seen"), [0, 1]),
            (HasFlag("\\seen", on=False), [2, 3, 4]),
            (HasFlag("$WORK"), [1, 2]),
            (HasFlag("$Other"), []),
            (HasFlag("$Other", on=False), [0, 1, 2, 3, 4]),
            (AllOf(()), [0, 1, 2, 3, 4]),
            (AnyOf(()), []),
            (AnyOf((HasFlag("\\Seen"), HasFlag("\\Flagged"))), [0, 1, 2]),
            (AllOf((HasFlag("\\Seen"), HasFlag("\\Flagged"))), [1]),
            (Not(AnyOf((HasFlag("\\Seen"), InText("fold", headers=False)))), [3, 4]),
            (Size(larger=True, octets=sizes[0]), [row for row in range(5) if sizes[row] > sizes[0]]),
            (Size(larger=False, octets=sizes[0]), [row for row in range(5) if sizes[row] < sizes[0]]),
            (ModSeq(view.modseqs[1]), [1, 2]),
            (InSet(Numbers(((2, 4),)), by_uid=True), [1, 2, 3]),
            (InSet(Numbers(((0, 99),)), by_uid=True), [4]),
            (InSet(Numbers(((5, 0),)), by_uid=False), [4]),
            (InSet(Numbers(saved=True), by_uid=False), [1, 3]),
            (OnDay("sent", "on", DAY), [0]),
            (OnDay("sent", "on", DAY + 1), [1]),  # the day as written, whatever the zone
            (OnDay("sent", "since", DAY + 2), [2, 3, 4]),
            (OnDay("sent", "before", DAY + 2), [0, 1]),
            (OnDay("arrived", "on", int(view.message(0).arrived // 86400)), [0, 1, 2, 3, 4]),
            (OnDay("saved", "since", int(view.message(0).saved // 86400)), [0, 1, 2, 3, 4]),
            (OnDay("saved", "before", int(view.message(0).saved // 86400)), []),
            (Within(younger=True, seconds=10), [0, 1, 2, 3, 4]),
            (Within(younger=False, seconds=10), []),
            (ById("email", email_id(view.ids[2])), [2]),
            (ById("email", "Mnone"), []),
            (HasSaveDate(), [0, 1, 2, 3, 4]),
        ]
        for key, rows in cases:
            assert await found(folder, key, saved=[2, 4]) == rows, key
        for thread in {*threads.thread_ids(view.texts("header", 0, 5), view.ids)}:
            rows = await found(folder, ById("thread", thread))
            assert rows in ([1, 2], [0], [3], [4])
        assert await found(folder, InSet(Numbers(((6, 6),)), by_uid=False)) == []
        assert highest_modseq(view, [0, 3]) == view.modseqs[0] and highest_modseq(view, []) == 0

    with_mail(tmp_path, MAILS, check)


def test_subjects_are_kept_while_the_folder_grows_and_shrinks(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        key = InHeader(b"subject", "letter")
        assert await found(folder, key) == [0, 2]
        await folder.copy([3], folder)
        assert await found(folder, key) == [0, 2, 3]
        await folder.expunge([1])
        assert await found(folder, key) == [1, 2]
        assert await found(folder, AllOf((InSet(Numbers(((3, 3),)), False), key))) == [2]

    with_mail(tmp_path, [mail(subject="a letter"), mail(), mail(subject="letters")], check)


def test_expunged_messages_are_found_by_columns_only(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        view = folder.view()
        await folder.expunge([1])
        asked = Asked(NOW)
        assert await search(folder, view, InText("hello", headers=True), asked) == [1]
        assert await search(folder, view, HasFlag("\\Seen", on=False), asked) == [0, 1]
        assert await search(folder, view, InHeader(b"x-none", ""), asked) == []

    with_mail(tmp_path, [mail(), mail()], check)


def test_a_huge_message_is_searched_by_windows(tmp_path: Path) -> None:
    """What lies across two windows is found too, in every encoding."""
    line = "Wörter über Wörter, und keines fehlt. " * 2
    text = (line + "\r\n") * 16_000 + "nadel im heuhaufen"
    plain = b"Subject: large\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b"
    mails = [
        plain % (b"8bit", text.encode()),
        plain % (b"base64", base64.encodebytes(text.encode()).replace(b"\n", b"\r\n")),
        plain.replace(b"utf-8", b"us-ascii") % (b"8bit", text.encode("cp1252")),
        plain % (b"8bit", text.encode().replace(b"nadel", b"kein")),
    ]

    async def check(house: House, folder: LocalFolder) -> None:
        for size in (1, 7, 64):
            at = len(text.encode()) - size
            assert await found(folder, InText(text.encode()[at:].decode("utf-8", "replace").upper(), headers=False)) == (
                [0, 1, 2] if size > 13 else [0, 1, 2, 3]
            )
        assert await found(folder, InText("Nadel", headers=False)) == [0, 1, 2]
        assert await found(folder, InText("LARGE", headers=True)) == [0, 1, 2, 3]
        await house.deliver(huge(tmp_path / "huge", 2 << 20, b"bmFkZWw="))
        assert await found(folder, InText("see below", headers=False)) == [4]

    with_mail(tmp_path, mails, check)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_is_searched(tmp_path: Path, name: str) -> None:
    """Case 31: whatever it is, what its text parts say is found, and what they do not say is not."""

    async def check(house: House, folder: LocalFolder) -> None:
        data = HOSTILE[name]
        parts = Parts.load(scan(data).parts)
        for one in [part_text(data, parts, each) for each in parts.texts()][:3]:
            words = one.strip()[:40]
            assert not words or await found(folder, InText(words, headers=False)) == [0]
        assert await found(folder, InText("no such words in it", headers=True)) == []

    with_mail(tmp_path, [HOSTILE[name]], check)


TEXT = st.text(st.sampled_from("aAbß é=?_*\r\n\t\"'%"), max_size=30)


@settings(max_examples=150, deadline=None)
@given(body=TEXT, subject=TEXT, needle=st.text(st.sampled_from("aAbßs é=?*'%"), min_size=1, max_size=4), headers=st.booleans())
def test_the_quick_look_and_the_slow_one_agree(body: str, subject: str, needle: str, headers: bool) -> None:
    """Of a plain message, one look at its octets says what decoding all of it says."""
    data = f"Subject: {subject}".encode() + b"\r\nContent-Type: text/plain; name*=utf-8''%41b\r\n\r\n" + body.encode()
    scanned = scan(data)
    what = matching.needle(needle)
    slow = matching.in_decoded(data, scanned.parts, what, headers=headers)
    if scanned.is_plain_7bit and what.is_line:
        quick = 1 in matching.among_plain([b"x", data], what, headers=headers) and matching.in_plain(
            data, scanned.parts, what, headers=headers
        )
        assert quick is slow
        assert slow or not matching.at_sight(data, scanned.parts, what, headers=headers)


@pytest.mark.parametrize(
    ("text", "in_text", "in_body"),
    [
        ("subject: one", False, False),  # not as it was given
        ("one", True, False),
        ("between", False, False),
        ("type: text/html", False, False),
        ("two", True, True),
        ("charset=x", True, False),
        ("three", False, False),
        ("two\r\n--b", False, False),
        ("nowhere", False, False),
    ],
)
def test_at_sight_it_is_in_a_text_or_a_header_and_nowhere_else(text: str, in_text: bool, in_body: bool) -> None:
    data = b"Subject: one\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nbetween\r\n"
    data += b"--b\r\nContent-Type: text/html; charset=x\r\n\r\ntwo\r\n--b\r\nContent-Type: image/gif\r\n\r\nthree\r\n--b--\r\n"
    packed = scan(data).parts
    for headers, expected in ((True, in_text), (False, in_body)):
        assert matching.at_sight(data, packed, matching.needle(text), headers=headers) is expected


def test_it_is_found_in_small_letters_and_in_others_portion_after_portion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a portion has it as it was asked the next is looked into for that first; nobody is missed for it, or found twice."""
    monkeypatch.setattr(searching, "_FILES", 2)
    mails = [mail(text) for text in ("small", "Small", "none", "x", "SMALL small", "small", "small", "y", "sMall", "small")]

    async def check(house: House, folder: LocalFolder) -> None:
        assert await found(folder, InText("Small", headers=True)) == [0, 1, 4, 5, 6, 8, 9]
        assert await found(folder, InText("small", headers=False)) == [0, 1, 4, 5, 6, 8, 9]

    with_mail(tmp_path, mails, check)


def test_case_34_no_needle_is_an_expression_and_time_is_bounded(tmp_path: Path) -> None:
    """Needles that would send a backtracking engine to sleep: they are looked for as they stand."""

    async def check(house: House, folder: LocalFolder) -> None:
        for needle in ("(a+)+$", ".*.*.*.*x", "a" * 5_000 + "b", "[" * 1_000, "\\", "%_*?"):
            assert await found(folder, InText(needle, headers=True)) == []
            assert await found(folder, InHeader(b"subject", needle)) == []
        assert await found(folder, InText("a" * 5_000, headers=False)) == [0]

    with_mail(tmp_path, [mail("a" * 100_000)], check)


def test_others_get_their_turn_during_a_long_program(tmp_path: Path) -> None:
    """Ten thousand keys are many turns."""

    async def check(house: House, folder: LocalFolder) -> None:
        keys = tuple(AnyOf((Size(larger=True, octets=number % 9), HasFlag("\\Seen"))) for number in range(10_000))

        async def search() -> None:
            assert await found(folder, AllOf((*keys, InText("x", headers=False)))) == []

        assert await turns_during(search()) >= 20

    with_mail(tmp_path, [mail() for _ in range(10)], check)


def test_who_searches_is_told_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_FILES", 2)

    async def check(house: House, folder: LocalFolder) -> None:
        told: list[tuple[int, int]] = []
        asked = Asked(NOW, progress=lambda done, of: told.append((done, of)))
        await search(folder, folder.view(), InText("plain", headers=True), asked)
        assert told == [(2, 5), (4, 5), (5, 5)]

    with_mail(tmp_path, MAILS, check)


def test_messages_read_together_and_one_by_one_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message whose file is gone, among others, keeps nothing from being found in them."""

    async def check(house: House, folder: LocalFolder) -> None:
        key = InText("example", headers=True)
        Path(folder.path(2)).unlink()
        assert await found(folder, key) == [0, 2, 3, 4]
        for at_once in (1, 2, 3):
            monkeypatch.setattr(searching, "_AT_ONCE", at_once)
            assert await found(folder, key) == [0, 2, 3, 4]
            assert await found(folder, InText("fold", headers=False)) == [2]

    with_mail(tmp_path, MAILS, check)


def test_cheap_keys_are_asked_first() -> None:
    keys: list[SearchKey] = [
        InText("x", headers=True),
        InHeader(b"x-any", "x"),
        InHeader(b"from", "x"),
        InHeader(b"subject", "x"),
        HasFlag("\\Seen"),
        InSet(Numbers(), True),
    ]
    assert sorted(keys, key=lambda key: searching.cost(key)) == keys[::-1]
    assert searching.cost(AllOf((HasFlag("\\Seen"), Not(InText("x", headers=False))))) > searching.cost(InHeader(b"from", "x"))


def test_modseq_is_told_where_it_was_asked_for() -> None:
    assert asks_modseq(AllOf((HasFlag("a"), Not(AnyOf((Fuzzy(ModSeq(1)),))))))
    assert not asks_modseq(AllOf((HasFlag("a"), Not(InText("b", headers=True)))))


@given(text=st.text(st.sampled_from("aAß\u0130\u1fb3\U0001f600 \n"), max_size=20))
def test_a_long_text_is_folded_in_pieces_as_if_at_once(text: str) -> None:
    with mock.patch.object(matching, "_FOLDED", 3):
        assert matching._folded(text) == text.casefold().encode()


def test_a_long_message_is_decoded_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was decoded in the loop up to 256 KiB."""
    asked: list[str] = []
    in_large = matching.in_large

    def told(path: str, packed: bytes, what: matching.Needle, *, headers: bool) -> bool:
        asked.append(path)
        return in_large(path, packed, what, headers=headers)

    monkeypatch.setattr(matching, "in_large", told)

    async def check(house: House, folder: LocalFolder) -> None:
        assert await found(folder, InText("grün", headers=False)) == [0, 1]
        assert asked == [folder.path(2)]

    body = "Gr\u00fcn\r\n"
    head = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    with_mail(tmp_path, [f"{head}{body * times}".encode() for times in (1, 12_000)], check)
