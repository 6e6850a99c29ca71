"""The part table: every section of RFC 9051's own example lies where it should, and what is no section is None."""

from __future__ import annotations

import pytest

from postroom_mime.content import Encoding, Media
from postroom_mime.parts import Parts
from postroom_mime.scan import scan

# RFC 9051 section 6.4.5.1: the tree printed there.
MESSAGE = b"""Subject: outer
Content-Type: multipart/mixed; boundary=one

--one
Content-Type: text/plain; charset=koi8-r

part 1
--one
Content-Type: application/octet-stream

part 2
--one
Content-Type: message/rfc822

Subject: third
Content-Type: multipart/mixed; boundary=three

--three

part 3.1
--three
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

cGFydCAzLjI=
--three--
--one
Content-Type: multipart/mixed; boundary=four

--four
Content-Type: image/gif

part 4.1
--four
Content-Type: message/rfc822

Subject: four two
Content-Type: multipart/mixed; boundary=fourtwo

--fourtwo

part 4.2.1
--fourtwo
Content-Type: multipart/alternative; boundary=fourtwotwo

--fourtwotwo

part 4.2.2.1
--fourtwotwo
Content-Type: text/richtext

part 4.2.2.2
--fourtwotwo--
--fourtwo--
--four--
--one--
""".replace(b"\n", b"\r\n")
TABLE = Parts.load(scan(MESSAGE).parts)

EXACT = {
    b"1": b"part 1",
    b"2": b"part 2",
    b"3.1": b"part 3.1",
    b"3.2": b"cGFydCAzLjI=",
    b"4.1": b"part 4.1",
    b"4.1.MIME": b"Content-Type: image/gif\r\n\r\n",
    b"4.1.mime": b"Content-Type: image/gif\r\n\r\n",
    b"3.MIME": b"Content-Type: message/rfc822\r\n\r\n",
    b"3.HEADER": b"Subject: third\r\nContent-Type: multipart/mixed; boundary=three\r\n\r\n",
    b"4.2.HEADER": b"Subject: four two\r\nContent-Type: multipart/mixed; boundary=fourtwo\r\n\r\n",
    b"4.2.1": b"part 4.2.1",
    b"4.2.1.MIME": b"\r\n",
    b"4.2.2.1": b"part 4.2.2.1",
    b"4.2.2.2": b"part 4.2.2.2",
    b"": MESSAGE,
    b"HEADER": b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=one\r\n\r\n",
}


@pytest.mark.parametrize("section", EXACT, ids=bytes.decode)
def test_a_section_is_these_octets(section: bytes) -> None:
    where = TABLE.section(section)
    assert where is not None
    assert MESSAGE[slice(*where)] == EXACT[section]


def test_text_begins_where_the_header_ends() -> None:
    for outer in (b"", b"3.", b"4.2."):
        header, text = TABLE.section(outer + b"HEADER"), TABLE.section(outer + b"TEXT")
        assert header is not None and text is not None and header[1] == text[0]
    text, part = TABLE.section(b"4.2.TEXT"), TABLE.section(b"4.2")
    assert text is not None and part is not None
    assert MESSAGE[slice(*text)].startswith(b"--fourtwo\r\n") and MESSAGE[slice(*text)].endswith(b"--fourtwo--")
    assert text[1] == part[1]


@pytest.mark.parametrize(
    "section",
    [b"0", b"5", b"1.1", b"1.HEADER", b"1.TEXT", b"MIME", b"3.3", b"4.2.3", b"4.HEADER", b"HEADER.1", b"1..2", b"1.", b".1", b"x", b"-1", b"+1",
     b"1.HEADER.FIELDS", b"99999999999999999999", b"\xb2", b"4.2.2.2.1"],
)  # fmt: skip
def test_what_is_no_section_is_none(section: bytes) -> None:
    assert TABLE.section(section) is None


def test_a_message_that_is_no_multipart_is_its_own_part_one() -> None:
    data = b"Subject: s\r\n\r\nbody\r\n"
    table = Parts.load(scan(data).parts)
    assert table.section(b"1") == table.section(b"TEXT") == (14, 20)
    assert table.section(b"1.MIME") == table.section(b"HEADER") == (0, 14)
    assert table.section(b"2") is None and table.section(b"1.1") is None and table.section(b"1.TEXT") is None


def test_a_message_that_is_a_message_has_one_within() -> None:
    data = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody"
    table = Parts.load(scan(data).parts)
    assert [data[slice(*(table.section(s) or (0, 0)))] for s in (b"1.HEADER", b"1.TEXT", b"1.1")] == [
        b"Subject: in\r\n\r\n",
        b"body",
        b"body",
    ]
    assert table.section(b"1.2") is None


def test_a_part_knows_its_kind() -> None:
    one, gif, within = TABLE.part(b"1"), TABLE.part(b"4.1"), TABLE.part(b"3.2")
    assert one is not None and gif is not None and within is not None
    assert (one.media, TABLE.charset(one), one.is_text) == (Media.PLAIN, b"koi8-r", True)
    assert (gif.media, TABLE.charset(gif), gif.is_text) == (Media.OTHER, b"", False)
    assert within.encoding == Encoding.BASE64
    assert TABLE.part(b"9") is None and TABLE.part(b"3.HEADER") is None
    assert len(list(TABLE.texts())) == 5


def test_charsets_of_a_message_are_kept_up_to_a_limit() -> None:
    pieces = b"".join(b"--b\r\nContent-Type: text/plain; charset=X-%d\r\n\r\n\r\n" % number for number in range(300))
    table = Parts.load(scan(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + pieces).parts)
    names = [table.charset(part) for part in table.texts()]
    assert names[:190] == [b"x-%d" % number for number in range(190)]
    assert names[-1] == b""


@pytest.mark.parametrize("damaged", [b"", b"\x01", b"\x07\0\0" + bytes(20), b"\x01\0\0" + bytes(19), b"\x01\xff\xff" + bytes(20)])
def test_a_damaged_table_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="not a table of parts"):
        Parts.load(damaged)
