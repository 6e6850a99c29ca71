"""Whatever the octets, a scan answers: lists a client can read, offsets within the message, sections within each other."""

from __future__ import annotations

import tempfile
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom_mime import addresses, dates, onfile, parameters, text, words
from postroom_mime.headers import count_received, first_header_end, select_fields
from postroom_mime.onfile import FileOctets
from postroom_mime.scan import scan
from tests.kernel_mime.shape import check

LINES = st.sampled_from(
    [
        b"--a", b"--a--", b"--ab", b"--ab--", b"--a ", b"--a--\t", b"--a--b", b"--", b"---", b"", b"", b"", b"text", b" folded", b"\tfolded",
        b"Content-Type: multipart/mixed; boundary=a", b"Content-Type: multipart/digest; boundary=\"ab\"", b"Content-Type: message/rfc822",
        b"Content-Type: multipart/alternative; boundary=a--", b"Content-Type: text/plain; charset=utf-8", b"Content-Type: text/html",
        b"Content-Type: multipart/mixed", b"Content-Type: MULTIPART/Mixed; boundary*0=a; boundary*1=b", b"Content-Type: ;", b"Content-Type:",
        b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: (x) 8bit", b"Content-Disposition: attachment; filename*=utf-8''%e2",
        b"Content-Language: en, de", b"Content-Location: a b", b"Content-ID: <\"\\>", b"Content-MD5: \x80", b"Content-Description: =?utf-8?q?=e4?=",
        b"From: a <b@c>, d@e", b"To: g: <x@y>, z;", b"Cc: \"unclosed", b"Bcc: (((", b"Subject: Re: [x] =?utf-8?B?4pyT?= (fwd)", b"Subject: \xff",
        b"Date: Wed, 17 Jul 1996 02:23:25 -0700", b"Date: 99 Foo", b"Message-ID: <a@b>", b"References: <a@b> <c@d", b"In-Reply-To: <\0>",
    ]
)  # fmt: skip
MESSAGES = st.builds(
    lambda lines, end: end.join(lines), st.lists(LINES | st.binary(max_size=12), max_size=40), st.sampled_from([b"\r\n", b"\n"])
)


@settings(max_examples=600, deadline=None)
@given(MESSAGES)
@example(b"")
@example(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a")
@example(b"Content-Type: multipart/mixed; boundary=a\r\n--a\r\n--a--")
@example(b"Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=a")
def test_every_line_made_of_mail(data: bytes) -> None:
    table = check(data, scan(data))
    assert all(isinstance(each, str) for each in text.texts(data, table))
    assert all(isinstance(each, str) for each in text.readable_texts(data, table))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_every_octet(data: bytes) -> None:
    check(data, scan(data))
    check(b"Content-Type: " + data, scan(b"Content-Type: " + data))


@settings(max_examples=60, deadline=None)
@given(data=MESSAGES, window=st.integers(1, 90))
def test_a_file_gives_the_same_answers_through_any_window(data: bytes, window: int) -> None:
    with tempfile.TemporaryFile() as file, mock.patch.object(onfile, "WINDOW", window):
        file.write(data)
        file.flush()
        assert scan(FileOctets(file.fileno(), len(data))) == scan(data) == scan(memoryview(data)) == scan(bytearray(data))


HEADER_TEXT = st.text(alphabet=st.sampled_from("ab <>@,:;\"\\()[].=?*'%_ \t\r\n\0=?utf8?q?\xe401"), max_size=60)
HEADER_OCTETS = HEADER_TEXT.map(lambda value: value.encode("latin-1"))


@settings(max_examples=400, deadline=None)
@given(HEADER_OCTETS)
def test_every_header_value(value: bytes) -> None:
    for address in addresses.parse(value):
        assert len(address) == 4
        assert address.host is not None or address.name is None
    assert isinstance(words.decode_words(value), str)
    assert all(name == name.upper() for name, _ in parameters.parse(b"x;" + value))
    assert isinstance(parameters.text(parameters.parse(b"x;" + value), b"a"), str | None)
    assert dates.parse(value) is None or isinstance(dates.parse(value), dates.Moment)


@settings(max_examples=200, deadline=None)
@given(st.integers(-(2**40), 2**40), st.integers(-900, 900))
def test_dates_are_read_as_written(seconds: int, zone: int) -> None:
    seconds = min(max(seconds, -62135000000), 253402000000)
    assert dates.parse(dates.field(seconds, zone)) == (seconds, zone)
    assert dates.parse_internal(dates.internal(seconds, zone)) == (seconds, zone)


@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_a_header_is_its_two_halves(data: bytes) -> None:
    block = data[: first_header_end(data)]
    named, others = select_fields(block, {b"from", b"to"}), select_fields(block, {b"from", b"to"}, exclude=True)
    assert sorted((named + others).split()) == sorted(block.replace(b"\0", b"?").split())
    assert count_received(data) <= len(block.splitlines()) + 1


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("<>/!-ab scriptyle&;\"'= ")))
def test_no_tag_outlives_strip_tags(source: str) -> None:
    assert isinstance(text.strip_tags(source), str)
    assert (
        text.strip_tags("<p>" + source.replace("<", "").replace("&", "") + "</p>").strip()
        == source.replace("<", "").replace("&", "").strip()
    )
