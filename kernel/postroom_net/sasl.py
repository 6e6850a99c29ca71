"""SASL mechanisms as dialogues, shared by every service (RFC 4422). Pure: nothing here looks anything up or waits.

An `Exchange` takes the client's base64 lines and answers each with a `Step`: a challenge to send, credentials to verify, a login whose
stored secret is needed, a token that somebody else vouches for, a login that has proven itself, or a `Fault`. What a fault is called on
the wire is the protocol's business; `authentication.py` carries the other steps out. A new mechanism is a class with `step` (and `found`
where it needs the stored secret) and a row in a `Mechanisms`. SCRAM is in `scram.py`, OAUTHBEARER in `oauth.py`.
"""

from __future__ import annotations

import binascii
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol

MAXIMUM = 12_288  # octets of base64 in one line (RFC 4954 section 4)


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this and wait for the answer."""

    data: bytes

    @property
    def line(self) -> bytes:
        """As it is sent, in base64."""
        return binascii.b2a_base64(self.data, newline=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The client has shown a password: verify it. `authorization` is whom it wants to act as, empty for itself."""

    login: str
    password: str | bytes = field(repr=False)
    authorization: str = ""

    @property
    def acts_for_itself(self) -> bool:
        return not self.authorization or self.authorization.casefold() == self.login.casefold()


@dataclass(frozen=True, slots=True)
class Lookup:
    """The dialogue needs this login's stored secret, the password itself or its SCRAM verifier: go on with `Exchange.found`."""

    login: str
    kind: Literal["clear", "scram"] = "clear"
    authorization: str = ""

    @property
    def acts_for_itself(self) -> bool:
        return not self.authorization or self.authorization.casefold() == self.login.casefold()


@dataclass(frozen=True, slots=True)
class Bearer:
    """The client has shown a token: find out whether its issuer means this login, then go on with `Exchange.judged`."""

    login: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """The client knows the secret, or its token was found good."""

    login: str


class Fault(Enum):
    """Why an exchange ended without a login."""

    CANCELLED = "cancelled"  # the client sent "*"
    TOO_LONG = "too long"
    MALFORMED = "malformed"  # no base64, or not what the mechanism says
    NOT_PROVEN = "not proven"
    NOT_ALLOWED = "not allowed"  # to act for somebody else


Step = Challenge | Credentials | Lookup | Bearer | Proven | Fault


class Binding(Protocol):
    """The TLS channel under a conversation, for mechanisms that tie themselves to it (RFC 5056)."""

    def data(self, kind: str) -> bytes | None:
        """What both ends of the channel know by this name ("tls-server-end-point"); None where it cannot be told."""


class Dialogue(Protocol):
    """One run of a mechanism."""

    def step(self, response: bytes | None) -> Step:
        """The client's next message; None at the start where it sent no initial response."""

    def found(self, secret: str | None, name: str = "") -> Step:
        """The stored secret asked for with `Lookup`; None where there is no such login, and then nobody may notice. `name` is the one
        spelling of the login, whatever the client wrote."""
        return Fault.MALFORMED

    def judged(self, good: bool) -> Step:
        """What became of the token shown with `Bearer`."""
        return Fault.MALFORMED


class Plain(Dialogue):
    """PLAIN (RFC 4616)."""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            return Fault.MALFORMED
        authorization, login = (name_of(part) for part in parts[:2])
        return Fault.MALFORMED if authorization is None or not login else Credentials(login, parts[2], authorization)


class Login(Dialogue):
    """LOGIN: never a standard, still asked for by old clients. The prompts are what those clients expect."""

    def __init__(self) -> None:
        self._login = ""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"Username:")
        if self._login:
            return Credentials(self._login, response) if response else Fault.MALFORMED
        self._login = name_of(response) or ""
        return Challenge(b"Password:") if self._login else Fault.MALFORMED


class CramMd5(Dialogue):
    """CRAM-MD5 (RFC 2195): to be offered only where passwords are stored in clear text, which it needs."""

    def __init__(self, host: str) -> None:
        self._challenge = f"<{secrets.token_hex(12)}@{host}>".encode("ascii", "replace")
        self._login, self._digest = "", b""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(self._challenge)
        login, space, digest = response.rpartition(b" ")
        self._login, self._digest = name_of(login) or "", digest.lower()
        return Lookup(self._login) if space and self._login and len(digest) == 32 else Fault.MALFORMED

    def found(self, secret: str | None, name: str = "") -> Step:
        expected = hmac.digest((secret or "\0").encode(), self._challenge, "md5").hex().encode()
        right = hmac.compare_digest(expected, self._digest)
        return Proven(self._login) if right and secret is not None else Fault.NOT_PROVEN


def name_of(octets: bytes) -> str | None:
    """A name from the wire: UTF-8 without control characters, else None."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A row of the registry."""

    name: str
    make: Callable[[Binding | None], Dialogue]
    shows_password: bool = True  # offered only where nobody can listen
    takes_initial: bool = True  # False where the server speaks first
    needs_binding: bool = False  # offered only where the TLS channel can be named


PLAIN = Mechanism("PLAIN", lambda binding: Plain())
LOGIN = Mechanism("LOGIN", lambda binding: Login())


def cram_md5(host: str) -> Mechanism:
    """CRAM-MD5 with challenges that name this host."""
    return Mechanism("CRAM-MD5", lambda binding: CramMd5(host), shows_password=False, takes_initial=False)


class Exchange:
    """One authentication: base64 lines in, steps out. After a step that is no Challenge, Lookup or Bearer it has ended."""

    __slots__ = ("_dialogue", "mechanism")

    def __init__(self, mechanism: Mechanism, binding: Binding | None = None) -> None:
        self.mechanism = mechanism
        self._dialogue = mechanism.make(binding)

    def begin(self, initial: bytes | None = None) -> Step:
        """Start, with the initial response as it stood on the command line; "=" is an empty one (RFC 4954, RFC 5034 section 4)."""
        if initial is None:
            return self._dialogue.step(None)
        if not self.mechanism.takes_initial:
            return Fault.MALFORMED
        return self._dialogue.step(b"") if initial == b"=" else self._decoded(initial)

    def answer(self, line: bytes) -> Step:
        """The client's answer to the last challenge, without its line end."""
        return Fault.CANCELLED if line == b"*" else self._decoded(line)

    def found(self, secret: str | None, name: str = "") -> Step:
        """The stored secret asked for with `Lookup`; `name` is the login's one spelling."""
        return self._dialogue.found(secret, name)

    def judged(self, good: bool) -> Step:
        """What became of the token shown with `Bearer`."""
        return self._dialogue.judged(good)

    def _decoded(self, line: bytes) -> Step:
        if len(line) > MAXIMUM:
            return Fault.TOO_LONG
        try:
            return self._dialogue.step(binascii.a2b_base64(line, strict_mode=True))
        except (binascii.Error, ValueError):
            return Fault.MALFORMED


class Mechanisms:
    """What a service offers, in its order of preference."""

    def __init__(self, mechanisms: Iterable[Mechanism] = (PLAIN, LOGIN)) -> None:
        self._by_name = {mechanism.name: mechanism for mechanism in mechanisms}

    def names(self, *, secure: bool, binding: bool = False) -> tuple[str, ...]:
        """What may be used on this connection; `secure` says that nobody can listen, or that the operator does not mind, `binding` that
        the TLS channel can be named."""
        return tuple(name for name, mechanism in self._by_name.items() if _is_offered(mechanism, secure, binding))

    def knows(self, name: str) -> bool:
        """Whether it is offered to anybody at all."""
        return name.upper() in self._by_name

    def exchange(self, name: str, *, secure: bool, binding: Binding | None = None) -> Exchange | None:
        """A fresh exchange, None where it is unknown or not offered here. Names compare without case (RFC 4422 section 3.1)."""
        mechanism = self._by_name.get(name.upper())
        if mechanism is None or not _is_offered(mechanism, secure, binding is not None):
            return None
        return Exchange(mechanism, binding)


def _is_offered(mechanism: Mechanism, secure: bool, binding: bool) -> bool:
    return (secure or not mechanism.shows_password) and (binding or not mechanism.needs_binding)
