"""COMPRESS=DEFLATE (RFC 4978): nothing stalls, nothing grows; case 29."""

from __future__ import annotations

import asyncio
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from postroom_imap4.compressing import SLICE, BadStream, Deflate
from tests.plugins_imap4.house import LOGIN, PASSWORD, PATIENCE, Client, Served, letter
from tests.plugins_imap4.test_conversations import served


def pressed(data: bytes, mode: int = zlib.Z_SYNC_FLUSH) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush(mode)


class Presser:
    """A writer that compresses."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.raw, self.stream = writer, zlib.compressobj(6, zlib.DEFLATED, -15)

    def write(self, data: bytes) -> None:
        self.raw.write(self.stream.compress(data) + self.stream.flush(zlib.Z_SYNC_FLUSH))


class Squeezed(Client):
    """A client that has said COMPRESS; what comes is inflated by a task."""

    def __init__(self, client: Client) -> None:
        self.presser = Presser(client.writer)
        super().__init__(asyncio.StreamReader(limit=1 << 22), cast(asyncio.StreamWriter, self.presser))
        self._raw = client.reader
        self.heard = 0  # octets, as they came
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        stream = zlib.decompressobj(-15)
        with suppress(ConnectionError):
            while data := await self._raw.read(1 << 16):
                self.heard += len(data)
                self.reader.feed_data(stream.decompress(data))
        self.reader.feed_eof()

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def close(self) -> None:
        self.presser.raw.close()
        with suppress(OSError):
            await self.presser.raw.wait_closed()
        await self._hearing


async def squeezed(at: Served, label: str = "imap") -> Squeezed:
    client = await at.client(label=label)
    assert b" COMPRESS=DEFLATE " in (await client.ok("CAPABILITY"))[0]
    await client.ok("COMPRESS DEFLATE")
    return Squeezed(client)


@pytest.mark.parametrize("label", ["imap", "imaps"])
def test_a_session_goes_on_compressed(tmp_path: Path, label: str) -> None:
    async def test(at: Served) -> None:
        client = await squeezed(at, label)
        text = letter("large", "all work and no play " * 20_000)
        await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(text), text))
        await client.ok("SELECT INBOX")
        assert text in (await client.ok("FETCH 1 BODY[]"))[0]
        assert (await client.say("COMPRESS DEFLATE"))[-1].startswith(b"T NO [COMPRESSIONACTIVE]")
        await client.close()
        assert client.heard < 20_000  # octets, for answers that are 420,000

    served(tmp_path, test, "plaintext: loopback, append_limit: 1000000")


def test_an_idling_client_is_told_at_once(tmp_path: Path) -> None:
    """No octet waits within the stream for more to come."""

    async def test(at: Served) -> None:
        client = await squeezed(at)
        await client.ok("SELECT INBOX")
        client.send(b"i IDLE\r\n")
        assert (await client.line()).startswith(b"+")
        for number in range(1, 4):
            await at.deliver()
            while (line := await client.line()) != b"* %d EXISTS\r\n" % number:
                assert line.startswith(b"* "), line
        client.send(b"DONE\r\n")
        assert (await client.until(b"i"))[-1].startswith(b"i OK")
        await client.close()

    served(tmp_path, test)


def test_what_stands_behind_the_command_is_the_first_of_the_stream(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        client.send(b"c COMPRESS deflate\r\n" + pressed(b"d NOOP\r\n"))
        assert (await client.until(b"c"))[-1].startswith(b"c OK")
        heard = zlib.decompressobj(-15).decompress(await asyncio.wait_for(client.reader.read(1 << 16), PATIENCE))
        assert heard.startswith(b"d OK")
        await client.close()

    served(tmp_path, test)


def test_what_is_refused(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.connect()
        assert (await client.say("COMPRESS DEFLATE"))[-1].startswith(b"T BAD")
        await client.log_in()
        assert (await client.say("COMPRESS LZW"))[-1].startswith(b"T BAD")
        await client.close()
        again = await squeezed(at)
        assert (await again.say("COMPRESS DEFLATE"))[-1].startswith(b"T NO [COMPRESSIONACTIVE]")
        await again.close()

    served(tmp_path, test)


@pytest.mark.parametrize("octets", [b"a NOOP\r\n", pressed(b"a NOOP\r\n", zlib.Z_FINISH)])
def test_who_does_not_compress_is_sent_away(tmp_path: Path, octets: bytes) -> None:
    async def test(at: Served) -> None:
        client = await squeezed(at)
        client.presser.raw.write(octets)
        assert (await client.rest()).startswith(b"* BYE ")
        await client.close()

    served(tmp_path, test)


def test_case_29_a_bomb_is_heard_slice_by_slice(tmp_path: Path) -> None:
    """32 MiB in 32 KiB, in one packet: a message that is refused, and dropped as it comes. The others have their turns, and nothing is held."""

    async def test(at: Served) -> None:
        client, other = await squeezed(at), await at.client()
        size = 32 << 20
        bomb = client.presser.stream.compress(b"b APPEND INBOX {%d+}\r\n" % size)
        for _ in range(32):
            bomb += client.presser.stream.compress(bytes(1 << 20))
        bomb += client.presser.stream.compress(b"\r\n") + client.presser.stream.flush(zlib.Z_SYNC_FLUSH)
        assert len(bomb) < 40_000
        tracemalloc.start()
        client.presser.raw.write(bomb)
        turns = 0
        answer = asyncio.create_task(client.until(b"b"))
        while not answer.done():
            await other.ok("NOOP")
            turns += 1
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (await answer)[-1].startswith(b"b NO [TOOBIG]") and turns > 20 and peak < 2 << 20
        await client.ok("NOOP")
        await client.close()
        await other.close()

    served(tmp_path, test, "plaintext: loopback, append_limit: 100000")


def test_case_29_a_line_of_32_mib_is_no_command(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await squeezed(at)
        client.send(b"l " + b"x" * (1 << 25) + b"\r\n")
        assert (await client.until(b"l"))[-1].startswith(b"l BAD")
        await client.ok("NOOP")
        await client.close()

    served(tmp_path, test)


@pytest.mark.long
def test_many_commands_in_a_packet_are_all_answered_also_behind_a_half_close(tmp_path: Path) -> None:
    """More than may wait while a command is carried out, so that reading pauses in between."""

    async def test(at: Served) -> None:
        client = await squeezed(at)
        count = 30_000
        client.send(b"".join(b"n%d NOOP\r\n" % number for number in range(count)))
        client.presser.raw.write_eof()
        lines = (await client.rest()).splitlines()
        assert [line.split()[0] for line in lines] == [b"n%d" % number for number in range(count)]
        await client.close()

    served(tmp_path, test)


# The streams.


def slices(stream: Deflate) -> list[bytes]:
    found = []
    while stream.has_more:
        found.append(stream.slice())
    return found


@pytest.mark.parametrize("size", [0, 1, SLICE - 1, SLICE, SLICE + 1, 5 * SLICE])
def test_slices_are_all_there_is(size: int) -> None:
    stream, data = Deflate(), (bytes(range(256)) * (size // 256 + 1))[:size]
    stream.push(pressed(data))
    found = slices(stream)
    assert b"".join(found) == data and all(len(one) <= SLICE for one in found)


def test_a_packet_may_end_anywhere() -> None:
    stream, data = Deflate(), letter("cut", "words, words, words " * 300)
    found = b""
    for octet in pressed(data):
        stream.push(bytes([octet]))
        found += b"".join(slices(stream))
    assert found == data


def test_what_is_sent_can_be_read_at_once() -> None:
    stream, reader = Deflate(), zlib.decompressobj(-15)
    for data in (b"* OK\r\n", b"x" * 200_000, b"", letter()):
        assert reader.decompress(stream.squeezed(data)) == data


def test_a_damaged_stream_is_seen() -> None:
    stream = Deflate()
    stream.push(b"\xff" * 10)
    with pytest.raises(BadStream):
        stream.slice()


def test_the_two_streams_cost_little() -> None:
    """Of a session, however much went through."""
    text = b"".join(b"%d words and %d more " % (number, number * number) for number in range(20_000))
    packets = [pressed(text)]
    tracemalloc.start()
    stream = Deflate()
    stream.push(packets.pop())
    before = tracemalloc.get_traced_memory()[0]
    slices(stream)
    stream.squeezed(text)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert before < 80 * 1024 and after - before < 80 * 1024, (before, after)


# UNAUTHENTICATE ends both streams (RFC 8437 section 4.1); compression went on.


@pytest.mark.parametrize("mode", [zlib.Z_SYNC_FLUSH, zlib.Z_FINISH, zlib.Z_FULL_FLUSH])
@pytest.mark.parametrize("is_piped", [False, True])
@pytest.mark.parametrize("before", [b"", b"n NOOP\r\n", b"n SEARCH TEXT {16+}\r\nUNAUTHENTICATE\r\n\r\n"])
def test_compression_ends_with_the_login(tmp_path: Path, mode: int, is_piped: bool, before: bytes) -> None:
    """Also where the next commands, in the clear, stand in the same packet."""

    async def test(at: Served) -> None:
        client = await at.client("INBOX")
        await client.ok("COMPRESS DEFLATE")
        stream, behind = zlib.compressobj(9, zlib.DEFLATED, -15), b"l LOGIN %b %b\r\n" % (LOGIN.encode(), PASSWORD.encode())
        client.send(stream.compress(before + b"u unauthenticate\r\n") + stream.flush(mode) + (behind if is_piped else b""))
        inflate, heard = zlib.decompressobj(-15), b""
        async with asyncio.timeout(PATIENCE):
            while not inflate.eof:
                raw = await client.reader.read(1 << 16)
                assert raw, heard
                heard += inflate.decompress(raw)
        assert heard.splitlines()[-1] == b"u OK logged out" and heard.count(b"n OK") == bool(before)
        rest = inflate.unused_data
        if not is_piped:
            client.send(behind)
        async with asyncio.timeout(PATIENCE):
            while not rest.endswith(b"\r\n"):
                raw = await client.reader.read(1 << 16)
                assert raw, rest
                rest += raw
        assert rest.startswith(b"l OK [CAPABILITY ")
        assert await client.ok("COMPRESS DEFLATE") == []  # and may begin again
        await client.close()

    served(tmp_path, test)


def test_a_line_that_only_looks_like_the_end_ends_nothing(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await squeezed(at)
        text = b"Subject: x\r\n\r\nUNAUTHENTICATE\r\nUNAUTHENTICATE\r\n"
        await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(text), text))
        await client.ok("SELECT INBOX")
        assert text in (await client.ok("FETCH 1 BODY[]"))[0]
        assert (await client.say("X UNAUTHENTICATE"))[-1].startswith(b"T BAD")
        await client.ok("NOOP")
        await client.close()

    served(tmp_path, test)
