"""One HTTPS request and its answer, for the few things mail asks the web: policies of MTA-STS, reports of TLS-RPT, keys of OIDC.

The certificate must be right, nothing is followed and no proxy is used, names are looked up by our own resolver. An answer has limits in octets
and seconds, so whoever is asked can waste little of either. Untrusted: the certificate will not do; HttpsError: anything else that went
wrong; both say what. An answer of any status is an answer.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from postroom_net.resolver import Resolver, ResolverError

_HEADER = 16 * 1024  # octets of a status line and its fields, or of a chunk's line
_CONNECT = 10.0  # seconds for a connection to one address
_ADDRESSES = 4  # tried of a host
_INTERIM = 5  # answers of the 1xx kind before the real one
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)")
_TARGET: Final = re.compile(r"/[!-~]*")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")


class HttpsError(Exception):
    """No answer: what went wrong, for people."""


class Untrusted(HttpsError):
    """The host's certificate will not do."""


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered. Field names are in lower case; of a field that comes twice the last is kept."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """Without parameters, in lower case."""
        return self.fields.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. ValueError from `of` where an URL is none of ours to ask."""

    host: str
    port: int
    target: str
    method: str = "GET"
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(cls, url: str, method: str = "GET", fields: Mapping[str, str] | None = None, body: bytes = b"") -> Request:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.hostname or ""
        if parts.scheme != "https" or parts.username is not None or not _HOST.fullmatch(host) or not _TARGET.fullmatch(target):
            raise ValueError(f"{url!r} is no https URL of a host")
        return cls(host, parts.port or 443, target, method, fields or {}, body)

    def octets(self) -> bytes:
        """On the wire (RFC 9112 section 3)."""
        host = self.host if self.port == 443 else f"{self.host}:{self.port}"
        fields = {"Host": host, "User-Agent": "postroom", "Connection": "close", **self.fields}
        if self.body or self.method == "POST":
            fields["Content-Length"] = str(len(self.body))
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


class Https:
    """Asks. `timeout` seconds for all of it, `limit` octets of a body."""

    def __init__(self, resolver: Resolver, context: ssl.SSLContext | None = None, timeout: float = 60.0, limit: int = 64 * 1024) -> None:
        self._resolver, self._made, self.timeout, self.limit = resolver, context, timeout, limit

    async def ask(self, request: Request) -> Response:
        """HttpsError, Untrusted."""
        try:
            async with asyncio.timeout(self.timeout):
                return await self._ask(request)
        except TimeoutError:
            raise HttpsError(f"{request.host} did not answer within {self.timeout:g} seconds") from None
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(f"the certificate of {request.host} will not do: {error.verify_message}") from None
        except ResolverError as error:
            raise HttpsError(f"nobody can tell where {request.host} is: {error}") from None
        except asyncio.IncompleteReadError:
            raise HttpsError(f"{request.host} broke off its answer") from None
        except asyncio.LimitOverrunError:
            raise HttpsError(f"{request.host} sent a line that is too long") from None
        except (OSError, ValueError) as error:  # SSLError is an OSError; ValueError: a name that TLS cannot carry
            raise HttpsError(f"{request.host} cannot be asked: {error}") from None

    async def _ask(self, request: Request) -> Response:
        reader, writer = await self._connected(request)
        try:
            writer.write(request.octets())
            return await read(reader, self.limit)
        finally:
            writer.transport.abort()

    async def _connected(self, request: Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """By the first address that takes us; a certificate that is wrong is wrong at all of them."""
        why: OSError = OSError("it has no address")
        context = await self._context()
        for address in (await self._resolver.addresses(request.host))[:_ADDRESSES]:
            try:
                async with asyncio.timeout(_CONNECT):
                    return await asyncio.open_connection(
                        address, request.port, ssl=context, server_hostname=request.host, limit=_HEADER, ssl_shutdown_timeout=1.0
                    )
            except ssl.SSLCertVerificationError:
                raise
            except OSError as error:  # TimeoutError is one
                why = error
        raise why

    async def _context(self) -> ssl.SSLContext:
        """Made when it is first needed, in a thread: reading the authorities takes 20 ms."""
        if self._made is None:
            self._made = await asyncio.to_thread(ssl.create_default_context)
            self._made.minimum_version = ssl.TLSVersion.TLSv1_2
        return self._made


async def read(reader: asyncio.StreamReader, limit: int) -> Response:
    """One answer (RFC 9112 section 6), its body no longer than `limit` octets. HttpsError, IncompleteReadError, LimitOverrunError."""
    for _ in range(_INTERIM):
        status, fields = await _head(reader)
        if status >= 200:
            break
    else:
        raise HttpsError("an answer that never comes to the point")
    if status in (204, 304):
        return Response(status, fields, b"")
    if "transfer-encoding" in fields:
        if fields["transfer-encoding"].lower() != "chunked":
            raise HttpsError(f"a transfer encoding nobody asked for: {fields['transfer-encoding'][:40]!r}")
        return Response(status, fields, await _chunks(reader, limit))
    length = fields.get("content-length")
    if length is None:
        return Response(status, fields, await _rest(reader, limit))
    if not re.fullmatch(r"[0-9]{1,12}", length):
        raise HttpsError("a length that is no number")
    if int(length) > limit:
        raise HttpsError(f"an answer of {length} octets; {limit} are the most")
    return Response(status, fields, await reader.readexactly(int(length)))


async def _head(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise HttpsError("no answer in HTTP/1.1")
    found = [_FIELD.fullmatch(line) for line in lines]
    return int(status[1]), {one[1].decode().lower(): one[2].strip(b" \t").decode("latin-1") for one in found if one is not None}


async def _chunks(reader: asyncio.StreamReader, limit: int) -> bytes:
    """RFC 9112 section 7.1; what trails is not read."""
    body = bytearray()
    while True:
        line = (await reader.readuntil(b"\r\n"))[:-2].partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", line):
            raise HttpsError("a chunk without a length")
        size = int(line, 16)
        if not size:
            return bytes(body)
        if len(body) + size > limit:
            raise HttpsError(f"an answer of more than {limit} octets")
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise HttpsError("a chunk longer than it said")


async def _rest(reader: asyncio.StreamReader, limit: int) -> bytes:
    body = bytearray()
    while block := await reader.read(limit + 1 - len(body)):
        body += block
        if len(body) > limit:
            raise HttpsError(f"an answer of more than {limit} octets")
    return bytes(body)
