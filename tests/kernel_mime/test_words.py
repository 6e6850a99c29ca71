"""Encoded words and charsets."""

from __future__ import annotations

import pytest

from postroom_mime.words import codec_name, decode_base64, decode_charset, decode_words, is_like_ascii


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        # RFC 2047 section 8
        (b"=?ISO-8859-1?Q?a?=", "a"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a_b?=", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
        (b"x =?utf-8?B?4pyT?= y", "x ✓ y"),
        (b"=?utf-8?Q?=E2=9C?= =?UTF-8?q?=93?=", "✓"),  # cut inside a character
        (b"=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"),  # RFC 2231 section 5
        (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?gb2312?B?1tC5+g==?=", "中国"),
        (b"=?nonsense?Q?caf=C3=A9?=", "café"),
        (b"=?nonsense?Q?caf=E9?=", "café"),
        (b"=?utf-8?Q?hello world?=", "hello world"),  # against the grammar, and met
        (b"=?utf-8?Q?unclosed", "=?utf-8?Q?unclosed"),
        (b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        (b"=?utf-8?Q??=", ""),
        (b"caf\xc3\xa9 =?utf-8?q?=C3=A9?=", "café é"),
        (b"=?utf-8?Q?=FF?=", "\ufffd"),
        (b"=?zip?B?eJw=?=", "x\u0153"),  # no codec that is not a charset is ever asked
    ],
)
def test_a_header_is_decoded(value: bytes, text: str) -> None:
    assert decode_words(value) == text


@pytest.mark.parametrize(
    "name",
    [
        b"zip",
        b"hex",
        b"rot13",
        b"idna",
        b"punycode",
        b"unicode_escape",
        b"base64",
        b"undefined",
        b"mbcs",
        b"",
        b"a" * 99,
        b"\xff",
        b"../x",
        b"utf-8\0",
    ],
)
def test_no_name_reaches_a_codec_that_is_no_charset(name: bytes) -> None:
    assert codec_name(name) is None


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        (b"UTF-8", "utf-8"),
        (b"iso-8859-1", "cp1252"),
        (b"windows-1251", "cp1251"),
        (b"KOI8-R", "koi8-r"),
        (b"ks_c_5601-1987", "cp949"),
        (b"Shift_JIS", "shift_jis"),
    ],
)
def test_names_of_mail_are_known(name: bytes, codec: str) -> None:
    assert codec_name(name) == codec


def test_octets_always_become_text() -> None:
    """Features case 31, CVE-2020-7046: cut UTF-8, wrong names."""
    every = bytes(range(256)) * 2
    for name in (b"utf-8", b"utf-7", b"utf-16", b"utf-32", b"iso-2022-jp", b"iso-2022-kr", b"hz", b"big5", b"gb18030", b"johab", b"x", b""):
        assert isinstance(decode_charset(every, name), str)
        assert isinstance(decode_charset(every[1:], name), str)
    assert decode_charset("€".encode()[:2], b"utf-8") == "\ufffd"


def test_which_charsets_are_ascii_below_128() -> None:
    assert all(map(is_like_ascii, [b"", b"us-ascii", b"utf-8", b"iso-8859-15", b"windows-1252", b"koi8-r", b"gb2312"]))
    assert not any(map(is_like_ascii, [b"utf-7", b"utf-16", b"iso-2022-jp", b"hz-gb-2312", b"x-unheard-of", b"cp037", b"shift_jis"]))


def test_broken_base64_is_read_as_far_as_it_goes() -> None:
    assert decode_base64(b"aGVs\r\nbG8=") == b"hello"
    assert decode_base64(b"aGVsbG8") == b"hello"
    assert decode_base64(b"aGVsbG8!!\xff") == b"hello"
    assert decode_base64(b"aGVsb") == b"hel"
    assert decode_base64(b"") == b""
