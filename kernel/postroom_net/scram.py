"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side (RFC 5802, RFC 7677): a password is proven by both ends and shown by none. Pure.

What is stored is a verifier: whoever steals it must still guess the password, and can meanwhile only pretend to be this server. A login
that has none, or that does not exist, goes through the same dialogue with a verifier made up from a key, always the same one for the same
login, however it is spelt; it ends as a wrong password does, in the same words after the same work.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from postroom_net.sasl import Binding, Challenge, Dialogue, Fault, Lookup, Mechanism, Proven, Step, name_of

ITERATIONS = (
    65_536  # of PBKDF2, at every login in the client; RFC 7677 section 4 asks for 4,096 at least, Cyrus SASL's clients take no more
)
_SCHEME = "SCRAM-SHA-256"
_STORED = re.compile(r"SCRAM-SHA-256\$(\d{1,8}):([A-Za-z0-9+/=]{4,200})\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})")
_FIRST = re.compile(
    rb"(n|y|p=([A-Za-z0-9.-]{1,64})),(?:a=([^,\0]{1,1000}))?,(n=([^,\0]{1,1000}),r=([!-+\--~]{1,512})(?:,[A-Za-z]=[^\0]*)?)"
)
_FINAL = re.compile(rb"(c=([A-Za-z0-9+/=]{4,8000}),r=([!-+\--~]{1,1024})(?:,[A-Za-z]=[^,\0]*)*),p=([A-Za-z0-9+/]{43}=)")
_ESCAPE = re.compile(r"=(?!2C|3D)")


class Files(Protocol):
    """The part of a disk that keeps a key."""

    def open(self, path: Path, flags: int, mode: int = ..., /) -> int: ...
    def write_all(self, fd: int, data: bytes) -> None: ...
    def fsync(self, fd: int, /) -> None: ...
    def close(self, fd: int, /) -> None: ...
    def link(self, old: Path, new: Path, /) -> None: ...
    def unlink(self, path: Path, /) -> None: ...


class SiteKey:
    """The key from which verifiers are made up: 32 random octets in a file of the site, made when first asked for. All workers, and every
    start, must use one key, or names that do not exist give themselves away by a salt that changes."""

    def __init__(self, path: Path, disk: Files) -> None:
        self._path, self._disk = path, disk
        self._key = b""

    def __call__(self) -> bytes:
        """Where the disk refuses, one for this process alone: logins go on."""
        if not self._key:
            with suppress(OSError):
                self._key = self._read() or self._made()
        if len(self._key) != 32:
            self._key = os.urandom(32)
        return self._key

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def _made(self) -> bytes:
        """Written aside and given its name whole; where another worker was first, its key is ours."""
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}.new")
        fd = self._disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._disk.write_all(fd, os.urandom(32))
            self._disk.fsync(fd)
        finally:
            self._disk.close(fd)
        try:
            with suppress(FileExistsError):
                self._disk.link(aside, self._path)
        finally:
            self._disk.unlink(aside)
        return self._read()


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


@dataclass(frozen=True, slots=True)
class Verifier:
    """What the server keeps of a password (RFC 5802 section 3)."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def of(cls, password: bytes, iterations: int = ITERATIONS, salt: bytes = b"") -> Verifier:
        """Of a prepared password. Takes 30 ms for each 100,000 iterations: call it in a thread."""
        salt = salt or os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
        return cls(iterations, salt, hashlib.sha256(_hmac(salted, b"Client Key")).digest(), _hmac(salted, b"Server Key"))

    @classmethod
    def parse(cls, text: str) -> Verifier | None:
        """Read what `str` wrote, which is PostgreSQL's form; None for anything else."""
        found = _STORED.fullmatch(text)
        if found is None or not int(found[1]):
            return None
        try:
            salt, stored, server = (binascii.a2b_base64(part, strict_mode=True) for part in found.groups()[1:])
        except binascii.Error:
            return None
        return cls(int(found[1]), salt, stored, server) if len(stored) == len(server) == 32 else None

    @classmethod
    def made_up(cls, key: bytes, login: str) -> Verifier:
        """One that no password opens, the same each time."""
        name = login.casefold().encode("utf-8", "surrogatepass")
        salt, stored, server = (_hmac(key, purpose + name) for purpose in (b"salt\0", b"stored\0", b"server\0"))
        return cls(ITERATIONS, salt[:16], stored, server)

    def __str__(self) -> str:
        salt, stored, server = (b64encode(part).decode() for part in (self.salt, self.stored_key, self.server_key))
        return f"{_SCHEME}${self.iterations}:{salt}${stored}:{server}"


class Scram(Dialogue):
    """One run. `binding` is the channel where it can be named; `plus` says which of the two mechanisms this is."""

    def __init__(self, key: Callable[[], bytes], binding: Binding | None, *, plus: bool, plus_is_offered: bool) -> None:
        self._key, self._binding, self._plus = key, binding, plus
        self._plus_is_offered = plus_is_offered and binding is not None
        self._login, self._bare, self._nonce, self._said = "", b"", b"", b""
        self._channel = b""  # what the client must send as its "c="
        self._verifier: Verifier | None = None
        self._is_real = self._proven = False

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")  # the client speaks first
        if self._proven:
            return Proven(self._login) if not response else Fault.MALFORMED  # its empty answer to "v="
        return self._first(response) if self._verifier is None else self._final(response, self._verifier)

    def _first(self, response: bytes) -> Step:
        """RFC 5802 section 7, client-first-message. An extension that must be understood ("m=") matches nothing here."""
        found = _FIRST.fullmatch(response)
        if found is None:
            return Fault.MALFORMED
        flag, kind, authorization, self._bare, login, nonce = found.groups()
        name, other = _saslname(login), _saslname(authorization or b"")
        if not name or other is None:
            return Fault.MALFORMED
        if self._plus != (kind is not None) or (flag == b"y" and self._plus_is_offered):  # section 6: somebody took PLUS off our list
            return Fault.NOT_PROVEN
        channel = self._binding.data(kind.decode()) if kind is not None and self._binding is not None else b""
        if channel is None:
            return Fault.NOT_PROVEN
        self._channel = response[: len(response) - len(self._bare)] + channel
        self._login, self._nonce = name, nonce + b64encode(secrets.token_bytes(18))
        return Lookup(name, "scram", other)

    def found(self, secret: str | None, name: str = "") -> Step:
        real = Verifier.parse(secret) if secret is not None else None
        self._is_real = real is not None
        self._verifier = verifier = real or Verifier.made_up(self._key(), name or self._login)
        self._said = b"r=%b,s=%b,i=%d" % (self._nonce, b64encode(verifier.salt), verifier.iterations)
        return Challenge(self._said)

    def _final(self, response: bytes, verifier: Verifier) -> Step:
        """RFC 5802 section 3: the proof opens with StoredKey to a ClientKey whose digest StoredKey is."""
        found = _FINAL.fullmatch(response)
        if found is None:
            return Fault.MALFORMED
        without_proof, channel, nonce, proof = found.groups()
        text = b"%b,%b,%b" % (self._bare, self._said, without_proof)
        client_key = _xor(_hmac(verifier.stored_key, text), binascii.a2b_base64(proof))
        right = hmac.compare_digest(hashlib.sha256(client_key).digest(), verifier.stored_key)
        same = hmac.compare_digest(nonce, self._nonce) and hmac.compare_digest(channel, b64encode(self._channel))
        if not (right and same and self._is_real):
            return Fault.NOT_PROVEN
        self._proven = True
        return Challenge(b"v=" + b64encode(_hmac(verifier.server_key, text)))


def _saslname(octets: bytes) -> str | None:
    """A name in which "," and "=" are written =2C and =3D; None where it is none (RFC 5802 section 5.1)."""
    text = name_of(octets)
    return None if text is None or _ESCAPE.search(text) else text.replace("=2C", ",").replace("=3D", "=")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def mechanisms(key: Callable[[], bytes], *, plus: bool = True) -> Iterable[Mechanism]:
    """SCRAM-SHA-256-PLUS, where wanted, and SCRAM-SHA-256, with verifiers for the unknown made up by this key."""
    if plus:
        yield Mechanism(
            f"{_SCHEME}-PLUS",
            lambda binding: Scram(key, binding, plus=True, plus_is_offered=True),
            shows_password=False,
            needs_binding=True,
        )
    yield Mechanism(_SCHEME, lambda binding: Scram(key, binding, plus=False, plus_is_offered=plus), shows_password=False)
