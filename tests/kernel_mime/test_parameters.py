"""Parameters, whole and in pieces (RFC 2045, RFC 2231)."""

from __future__ import annotations

import pytest

from postroom_mime.parameters import MAX_PARAMETERS, Parameters, parse, text, without_comments


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"text/plain", ()),
        (b"text/plain;", ()),
        (b"text/plain; charset=utf-8", ((b"CHARSET", b"utf-8"),)),
        (b'a/b;x="1;2";y=3', ((b"X", b"1;2"), (b"Y", b"3"))),
        (b'a/b; x = "q\\"q\\\\" ; y=z', ((b"X", b'q"q\\'), (b"Y", b"z"))),
        (b"a/b; name=two words.pdf; c=d", ((b"NAME", b"two words.pdf"), (b"C", b"d"))),
        (b'a/b; x="unclosed; y=z', ((b"X", b"unclosed; y=z"),)),
        (b"a/b;;; ; x=y", ((b"X", b"y"),)),
        (b"a/b; novalue; x=y", ((b"X", b"y"),)),
        (b"a/b; =nothing; x=", ((b"X", b""),)),
        (b'a/b; x="y"junk; z=1', ((b"X", b"y"), (b"Z", b"1"))),
        # RFC 2231 sections 3 and 4.1
        (b'm/e; URL*0="ftp://"; URL*1="cs.utk.edu/"; access-type=URL', ((b"URL", b"ftp://cs.utk.edu/"), (b"ACCESS-TYPE", b"URL"))),
        (
            b"a/x; title*0*=us-ascii'en'This%20is%20; title*1*=%2A%2A; title*2=\"it's 5%\"",
            ((b"TITLE*", b"us-ascii'en'This%20is%20%2A%2Ait's 5%25"),),
        ),
        (b"a/x; t*1=b; t*0=a; t*3=d", ((b"T", b"ab"),)),  # a gap ends it
        (b"a/x; t*1=b", ((b"T", b""),)),
        (b"a/x; t*00=b; t*x=c", ((b"T*00", b"b"), (b"T*X", b"c"))),
    ],
)
def test_a_value_has_these_parameters(value: bytes, wanted: Parameters) -> None:
    assert parse(value) == wanted


def test_a_parameter_is_text() -> None:
    given = parse(
        b"a; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A; f*=utf-8''%e2%82%ac.pdf; f=x; g==?utf-8?q?=E2=82=AC?=; h*=bare%20"
    )
    assert text(given, b"title") == "This is ***fun***"
    assert text(given, b"F") == "€.pdf"  # the extended form goes before the plain one
    assert text(given, b"g") == "€"
    assert text(given, b"h") == "bare "
    assert text(given, b"none") is None


def test_of_two_with_one_name_the_first_counts() -> None:
    assert text(parse(b"a; x=1; x=2"), b"x") == "1"


def test_parameters_have_a_limit() -> None:
    """Features case 31, CVE-2026-27859."""
    assert len(parse(b";x=y" * 10_000)) == MAX_PARAMETERS
    assert len(parse(b"".join(b";x*%d=y" % number for number in range(10_000)))[0][1]) == MAX_PARAMETERS


def test_comments_go() -> None:
    assert without_comments(b'a(b(c)\\)d)e "(kept)" (unclosed') == b'ae "(kept)" '
