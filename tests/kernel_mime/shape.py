"""What every answer of the scanner must be, whatever the message: the invariant of the fuzz target, as one function."""

from __future__ import annotations

from itertools import pairwise

from postroom_mime.content import Media
from postroom_mime.fields import NAMES, header_fields
from postroom_mime.parts import Part, Parts
from postroom_mime.scan import Scan

from .imaplist import Item, parse


def check(data: bytes, scan: Scan) -> Parts:
    """AssertionError or ValueError where an answer is malformed; the part table otherwise."""
    check_envelope(parse(scan.envelope))
    check_body(parse(scan.bodystructure), extended=True)
    check_body(parse(scan.body), extended=False)
    table = Parts.load(scan.parts)
    check_table(table.rows, len(data))
    check_sections(table, parse(scan.bodystructure))
    header = header_fields(scan.fields, NAMES)
    assert header is None or header.endswith(b"\r\n")
    assert not scan.subject or scan.subject.decode() is not None
    assert (
        scan.base_subject in scan.subject
        or b"  " in scan.subject
        or b"\t" in scan.subject
        or b"\n" in scan.subject
        or b"\r" in scan.subject
    )
    return table


def check_envelope(item: Item) -> None:
    assert isinstance(item, list)
    assert len(item) == 10
    for place in (0, 1, 8, 9):
        assert item[place] is None or isinstance(item[place], bytes)
    for addresses in item[2:8]:
        assert addresses is None or (isinstance(addresses, list) and addresses)
        for address in addresses or []:
            assert isinstance(address, list)
            assert len(address) == 4
            assert all(part is None or isinstance(part, bytes) for part in address)


def check_body(item: Item, *, extended: bool) -> None:
    assert isinstance(item, list)
    if isinstance(item[0], list):
        children = [each for each in item if isinstance(each, list)]
        count = next(place for place, each in enumerate(item) if not isinstance(each, list))
        assert isinstance(item[count], bytes)
        assert len(item) == count + (5 if extended else 1)
        for child in children[:count]:
            check_body(child, extended=extended)
        if extended:
            check_extension(item[count + 2 :])
        return
    kind, subtype, _parameters, _id, _description, encoding, size = item[:7]
    assert isinstance(kind, bytes) and isinstance(subtype, bytes) and isinstance(encoding, bytes) and isinstance(size, int)
    rest = item[7:]
    if (kind, subtype) == (b"MESSAGE", b"RFC822"):
        check_envelope(rest[0])
        check_body(rest[1], extended=extended)
        assert isinstance(rest[2], int)
        rest = rest[3:]
    elif kind == b"TEXT":
        assert isinstance(rest[0], int)
        rest = rest[1:]
    assert len(rest) == (4 if extended else 0)
    if extended:
        assert rest[0] is None or isinstance(rest[0], bytes)
        check_extension(rest[1:])


def check_extension(items: list[Item]) -> None:
    disposition, language, location = items
    assert disposition is None or (isinstance(disposition, list) and isinstance(disposition[0], bytes) and len(disposition) == 2)
    assert (
        language is None or isinstance(language, bytes) or (isinstance(language, list) and all(isinstance(tag, bytes) for tag in language))
    )
    assert location is None or isinstance(location, bytes)


def check_table(rows: list[Part], size: int) -> None:
    assert (rows[0].header, rows[0].end, rows[0].depth) == (0, size, 0)
    above: list[Part] = []
    for row in rows:
        assert 0 <= row.header <= row.body <= row.end <= size
        del above[row.depth :]
        assert len(above) == row.depth
        if above:
            assert above[-1].media in (Media.MULTIPART, Media.MESSAGE)
            assert above[-1].body <= row.header and row.end <= above[-1].end, (above[-1], row)
        above.append(row)
    for earlier, later in pairwise(rows):
        assert earlier.header <= later.header
        assert later.depth > earlier.depth or earlier.end <= later.header, (earlier, later)


def check_sections(table: Parts, structure: Item, section: bytes = b"") -> None:
    """Every leaf of the structure has its section, and its size is that section's."""
    assert isinstance(structure, list)
    if isinstance(structure[0], list):
        for number, child in enumerate((each for each in structure if isinstance(each, list) and not _is_parameters(each)), 1):
            check_sections(table, child, b"%b.%d" % (section, number) if section else b"%d" % number)
        assert table.section(b"%b.99999" % section if section else b"99999") is None
        return
    where = table.section(section or b"1")
    assert where is not None
    assert where[1] - where[0] == structure[6]
    if structure[0] == b"MESSAGE" and structure[1] == b"RFC822":
        base = section or b"1"
        header, text = table.section(base + b".HEADER"), table.section(base + b".TEXT")
        assert header is not None and text is not None
        assert header[0] == where[0] and header[1] == text[0] and text[1] == where[1]
        within = structure[8]
        if isinstance(within, list):
            check_sections(table, within, base if isinstance(within[0], list) else base + b".1")
    else:
        assert table.section((section or b"1") + b".HEADER") is None


def _is_parameters(item: list[Item]) -> bool:
    """A list of strings: parameters, a disposition, languages. A body that is no multipart begins with a string too, but is longer."""
    return isinstance(item[0], bytes) and not (len(item) >= 7 and isinstance(item[6], int))
