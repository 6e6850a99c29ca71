"""Any octets are a segment: reading one never raises, never goes on behind the first record that is not whole, and finds all that were."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from postroom_disk.journal import Journal
from postroom_disk.segments import read_segment

RECORDS = st.lists(st.tuples(st.integers(1, 60), st.binary(max_size=60)), max_size=8)


def written(folder: Path, records: list[tuple[int, bytes]]) -> tuple[Path, int]:
    """A segment with these records as the journal writes them, and its end."""
    import asyncio

    async def write() -> tuple[Path, int]:
        journal: Journal[object] = Journal(folder, segment_size=4096)
        journal.open()
        await journal.start()
        for kind, payload in records:
            (await journal.append(kind, payload)).hold()
        segment = journal._used[-1]
        if not records:
            segment.hold()
            await journal.append(1, b"")
        place = segment.path, segment.end
        await journal.close()
        return place

    return asyncio.run(write())


@given(st.binary(max_size=600))
def test_any_octets(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "0.seg")
        path.write_bytes(data)
        assert list(read_segment(path)) == []


@given(RECORDS.filter(bool), st.data())
def test_a_damaged_octet_ends_it(records: list[tuple[int, bytes]], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path, end = written(Path(folder, "Journal"), records)
        octets = bytearray(path.read_bytes())
        at = data.draw(st.integers(32, end - 1))
        octets[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(octets)
        found = list(read_segment(path))
        assert found == records[: len(found)] and len(found) < len(records)
