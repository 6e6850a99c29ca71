"""postroom_smtp.outbound.reply."""

from __future__ import annotations

import pytest

from postroom_smtp.outbound.reply import LINE, LINES, Answer, Offers, ReplyError, ReplyReader, explained, offers


def test_replies() -> None:
    reader = ReplyReader()
    assert reader.read(b"220 hello\r\n250-a\r\n250-b\r\n250 c\r\n354\r\n550 5.1.1 x\n25") == [
        Answer(220, (b"hello",)),
        Answer(250, (b"a", b"b", b"c")),
        Answer(354, (b"",)),
        Answer(550, (b"5.1.1 x",)),
    ]
    assert not reader.is_empty
    assert reader.read(b"0 late\r\n") == [Answer(250, (b"late",))]
    assert reader.is_empty


def test_the_last_line_s_code_counts() -> None:
    assert ReplyReader().read(b"250-a\r\n550 b\r\n") == [Answer(550, (b"a", b"b"))]


@pytest.mark.parametrize("octets", [b"hello\r\n", b"999 x\r\n", b"25 x\r\n", b"250x\r\n", b"\r\n", b"150 x\r\n", b"\xff\xfe\r\n"])
def test_what_is_no_reply(octets: bytes) -> None:
    with pytest.raises(ReplyError):
        ReplyReader().read(octets)


def test_limits() -> None:
    with pytest.raises(ReplyError, match="line of more"):
        ReplyReader().read(b"250 " + b"x" * LINE)
    with pytest.raises(ReplyError):
        ReplyReader().read(b"250 " + b"x" * LINE + b"\r\n")
    with pytest.raises(ReplyError, match="reply of more"):
        ReplyReader().read(b"250-x\r\n" * LINES)
    reader = ReplyReader()
    assert reader.read(b"250-x\r\n" * (LINES - 1)) == [] and len(reader.read(b"250 x\r\n")) == 1


@pytest.mark.parametrize(
    ("lines", "code", "wanted"),
    [
        ((b"5.1.1 Unknown",), 550, "550 5.1.1 Unknown"),
        ((b"4.1.1 Of another class",), 550, "550 5.0.0 4.1.1 Of another class"),
        ((b"Nothing",), 450, "450 4.0.0 Nothing"),
        ((b"5.7.1",), 554, "554 5.7.1 "),
        ((b"5.7.1 a", b"5.7.1 b"), 554, "554 5.7.1 a b"),
        ((b"",), 421, "421 4.0.0 "),
        (("5.1.1 ü\x00\x1b[2J\r\nx".encode() + b"\xff",), 550, "550 5.1.1 ü??[2J  x\ufffd"),
        ((b"5.1.1234 x",), 550, "550 5.0.0 5.1.1234 x"),
    ],
)
def test_explanations(lines: tuple[bytes, ...], code: int, wanted: str) -> None:
    assert str(explained(Answer(code, lines))) == wanted


def test_a_long_explanation_is_cut() -> None:
    assert len(explained(Answer(550, (b"x" * 4000,) * 50)).text) == 500


def test_offers() -> None:
    said = (
        b"Mx.example.test hello there", b"PIPELINING", b"size 52428800", b"8bitmime", b"SMTPUTF8", b"CHUNKING", b"BINARYMIME", b"DSN",
        b"ENHANCEDSTATUSCODES", b"STARTTLS", b"AUTH PLAIN login", b"LIMITS RCPTMAX=50 mailmax=7 RCPTDOMAINMAX=1 X=y", b"REQUIRETLS", b"ETRN", b"",
        b"\xff\xfe x",
    )  # fmt: skip
    assert offers(said) == Offers(
        "Mx.example.test", True, True, True, True, True, True, True, True, True, True, 52428800, frozenset({"PLAIN", "LOGIN"}), 50, 7, 1
    )


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"SIZE", Offers("x", takes_size=True)),
        (b"SIZE lots", Offers("x", takes_size=True)),
        (b"SIZE 99999999999999999999999", Offers("x", takes_size=True)),
        (b"BINARYMIME", Offers("x")),
        (b"AUTH=LOGIN", Offers("x", mechanisms=frozenset({"LOGIN"}))),
        (b"LIMITS RCPTMAX=many", Offers("x")),
        (b"LIMITS", Offers("x")),
    ],
)
def test_odd_offers(line: bytes, wanted: Offers) -> None:
    assert offers((b"x", line)) == wanted
