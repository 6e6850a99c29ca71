from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from postroom_net.https import Https, HttpsError, Request, Response, Untrusted, read
from postroom_net.resolver import Resolver
from postroom_net.tls import make_ca, make_certificate
from tests.kernel_net.ticking import Ticking
from tests.nameserver import NameServer

BODY = b"hello\n"


def answer(*lines: bytes, body: bytes = BODY) -> bytes:
    return b"\r\n".join((*lines, b"", body))


def read_from(octets: bytes, limit: int = 64, *, by: int = 0) -> Response:
    """An answer read from these octets, `by` so many at a time."""

    async def main() -> Response:
        reader = asyncio.StreamReader(limit=16 * 1024)
        reading = asyncio.create_task(read(reader, limit))
        for at in range(0, len(octets), by or len(octets) or 1):
            reader.feed_data(octets[at : at + (by or len(octets))])
            if by:
                await asyncio.sleep(0)
        reader.feed_eof()
        return await reading

    return asyncio.run(main())


GOOD = [
    answer(b"HTTP/1.1 200 OK", b"Content-Length: 6"),
    answer(b"HTTP/1.1 200", b"content-length:6", body=BODY + b"more"),
    answer(b"HTTP/1.0 200 OK", b"X: y"),  # until the end
    answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: Chunked", body=b"2;x=y\r\nhe\r\n4\r\nllo\n\r\n0\r\nTrailer: x\r\n\r\n"),
    answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Content-Length: 1", body=b"6\r\nhello\n\r\n0\r\n\r\n"),
    answer(b"HTTP/1.1 103 Early", b"Link: x", body=b"") + answer(b"HTTP/1.1 200 OK", b"Content-Length: 6"),
    answer(b"HTTP/1.1 200 OK", b"not a field at all", b"Content-Length: 6"),
]


@pytest.mark.parametrize("octets", GOOD)
@pytest.mark.parametrize("by", [0, 1])
def test_an_answer(octets: bytes, by: int) -> None:
    said = read_from(octets, by=by)
    assert (said.status, said.body) == (200, BODY)


def test_an_answer_without_a_body() -> None:
    assert read_from(answer(b"HTTP/1.1 204 No Content", body=b"x")).body == b""
    assert read_from(answer(b"HTTP/1.1 404 Not Found", b"Content-Length: 0", b"Content-Type: Text/Plain; x=y", body=b"")) == Response(
        404, {"content-length": "0", "content-type": "Text/Plain; x=y"}, b""
    )


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (answer(b"ICY 200 OK"), "no answer in HTTP"),
        (answer(b"HTTP/1.1 20 OK"), "no answer in HTTP"),
        (answer(b"HTTP/1.1 200 OK", b"Content-Length: 65"), "65 octets; 64 are the most"),
        (answer(b"HTTP/1.1 200 OK", b"Content-Length: -1"), "no number"),
        (answer(b"HTTP/1.1 200 OK", b"Content-Length: 6, 6"), "no number"),
        (answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip"), "nobody asked for"),
        (answer(b"HTTP/1.1 200 OK", body=b"x" * 65), "more than 64"),
        (answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"41\r\n" + b"x" * 65), "more than 64"),
        (answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"-1\r\nx"), "without a length"),
        (answer(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=b"2\r\nhello\r\n"), "longer than it said"),
        (answer(b"HTTP/1.1 100 Continue", body=b"") * 9, "never comes to the point"),
    ],
)
def test_no_answer(octets: bytes, why: str) -> None:
    with pytest.raises(HttpsError, match=re.escape(why)):
        read_from(octets)


@pytest.mark.parametrize("cut", range(0, len(GOOD[3]) - 15, 7))
def test_an_answer_that_breaks_off_is_none(cut: int) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        read_from(GOOD[3][:cut])


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/",
        "https:///x",
        "https://u@a.example/",
        "ftp://a.example",
        "https://a.example/ü",
        "https://a b/",
        "https://a.example:x/",
        "x",
    ],
)
def test_what_is_not_asked(url: str) -> None:
    with pytest.raises(ValueError):
        Request.of(url)


def test_a_request_on_the_wire() -> None:
    assert Request.of("https://a.example/x?y=1").octets() == (
        b"GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: postroom\r\nConnection: close\r\n\r\n"
    )
    assert Request.of("https://A.example:8443", "POST", {"Content-Type": "x/y"}, b"abc").octets() == (
        b"POST / HTTP/1.1\r\nHost: a.example:8443\r\nUser-Agent: postroom\r\nConnection: close\r\n"
        b"Content-Type: x/y\r\nContent-Length: 3\r\n\r\nabc"
    )


# ---------------------------------------------------------------- over real TLS on loopback

NAME = "web.example.org"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def over_tls(
    folder: Path,
    serve: Serve,
    *,
    name: str = NAME,
    timeout: float = 20.0,
    days: int = 397,
    addresses: str = "127.0.0.1",
    run: Callable[[Coroutine[Any, Any, Response]], Response] = asyncio.run,
) -> Response:
    """What Https says of a server that does this."""
    now = 1_700_000_000.0 if days < 0 else time.time()
    ca = make_ca("ours", now)
    made = make_certificate(ca, [name], now, days=abs(days))
    (folder / "server.pem").write_bytes(made.certificate + made.key)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(folder / "server.pem")
    ours = ssl.create_default_context(cadata=ca.certificate.decode())

    async def main() -> Response:
        served = set[asyncio.Task[None]]()

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            served.add(task)
            try:
                await serve(reader, writer)
            except OSError:
                pass
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(session, "127.0.0.1", 0, ssl=theirs)
        async with NameServer({f"A {NAME}": addresses}) as dns:
            resolver = Resolver(Ticking(), ["127.0.0.1"], dns.port)
            try:
                port = server.sockets[0].getsockname()[1]
                return await Https(resolver, ours, timeout, limit=100).ask(Request(NAME, port, "/x"))
            finally:
                await resolver.close()
                server.close()
                for task in served:
                    task.cancel()
                await asyncio.gather(*served, return_exceptions=True)
                await server.wait_closed()
                await asyncio.sleep(0)

    return run(main())


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = await reader.readuntil(b"\r\n\r\n")
    assert asked.startswith(b"GET /x HTTP/1.1\r\nHost: web.example.org:")
    writer.write(GOOD[0])
    await writer.drain()
    await reader.read()


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(GOOD[0][:20])
    await writer.drain()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: " + b"y" * 10_000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_server_with_a_good_certificate(tmp_path: Path, run: Any) -> None:
    assert over_tls(tmp_path, hello, run=run).body == BODY


def test_a_certificate_for_somebody_else(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="not valid for"):
        over_tls(tmp_path, hello, name="other.example.org")


def test_a_certificate_that_expired(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="expired"):
        over_tls(tmp_path, hello, days=-30)


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(HttpsError, match="did not answer within"):
        over_tls(tmp_path, mute, timeout=0.3)


def test_a_server_that_hangs_up(tmp_path: Path) -> None:
    with pytest.raises(HttpsError, match=r"broke off|cannot be asked"):
        over_tls(tmp_path, rude)


def test_a_header_without_end(tmp_path: Path) -> None:
    with pytest.raises(HttpsError, match="too long"):
        over_tls(tmp_path, endless)


def test_nobody_there(tmp_path: Path) -> None:
    """127.0.0.2 is this machine too, and nobody listens there."""
    with pytest.raises(HttpsError, match="cannot be asked"):
        over_tls(tmp_path, hello, addresses="127.0.0.2")


def test_a_field_of_blanks_kept_the_loop_busy_for_a_second() -> None:
    """Each blank of a value was tried as its last: 16,000 of them took 1.6 s."""
    began = time.process_time()
    said = read_from(answer(b"HTTP/1.1 200 OK", b"X: y" + b" " * 15_000 + b"z", b"Content-Length: 6 \t"))
    assert said.body == BODY and said.fields["x"] == "y" + " " * 15_000 + "z"
    assert time.process_time() - began < 0.5
