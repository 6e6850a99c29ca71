"""Whether a token was issued for a login: a JSON web token (RFC 7519) checked against its issuer's keys (RFC 7517, OpenID Connect).

Only signatures with a public key count; which of an issuer's keys and what it may be used with is the key's word, never the token's. Keys
come from a file or an https URL and are kept for a while; a token signed by a key that is not among them has them fetched anew, at most
once a minute. Where they cannot be had the answer is "cannot be found out now".
"""

from __future__ import annotations

import asyncio
import binascii
import json
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from postroom_net.oauth import TOKEN

_LEEWAY = 60.0  # seconds by which clocks may differ
_KEPT = 3600.0  # seconds
_SOONEST = 60.0  # seconds between two fetches
_HASHES: Mapping[str, HashAlgorithm] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
_CURVES: Mapping[str, tuple[ec.EllipticCurve, str, int]] = {
    "P-256": (ec.SECP256R1(), "ES256", 32),
    "P-384": (ec.SECP384R1(), "ES384", 48),
    "P-521": (ec.SECP521R1(), "ES512", 66),
}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class Clock(Protocol):
    def now(self) -> float: ...
    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an issuer."""

    kid: str
    algorithms: tuple[str, ...]  # it may be used with
    public: PublicKey

    def signed(self, algorithm: str, text: bytes, signature: bytes) -> bool:
        """RFC 7518 section 3."""
        try:
            if isinstance(self.public, ed25519.Ed25519PublicKey):
                self.public.verify(signature, text)
                return True
            digest = _HASHES[algorithm[2:]]
            if isinstance(self.public, rsa.RSAPublicKey):
                pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
                self.public.verify(signature, text, pss if algorithm.startswith("PS") else padding.PKCS1v15(), digest)
                return True
            half = (self.public.curve.key_size + 7) // 8
            if len(signature) != 2 * half:
                return False
            r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
            self.public.verify(encode_dss_signature(r, s), text, ec.ECDSA(digest))
            return True
        except InvalidSignature:
            return False


def keys_of(text: bytes) -> Sequence[Key]:
    """The keys of a JWK set that may verify signatures; those of kinds we do not know are passed over. ValueError where it is no set."""
    found = json.loads(text)
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise ValueError("this is no JWK set")
    return [key for one in found["keys"][:100] if isinstance(one, dict) and (key := _key(one)) is not None]


def _key(one: Mapping[str, object]) -> Key | None:
    if one.get("use", "sig") != "sig":
        return None
    try:
        kid, said, public, fitting = str(one.get("kid", "")), one.get("alg"), *_public(one)
    except (KeyError, ValueError):
        return None
    return Key(kid, fitting if said is None else tuple(name for name in fitting if name == said), public)


def _public(one: Mapping[str, object]) -> tuple[PublicKey, tuple[str, ...]]:
    """RFC 7518 section 6, RFC 8037 section 2."""
    kind = one["kty"]
    if kind == "RSA":
        n = _number(one["n"])
        if n.bit_length() < 2048:  # RFC 7518 section 3.3
            raise ValueError("too short")
        return rsa.RSAPublicNumbers(_number(one["e"]), n).public_key(), _RSA
    if kind == "EC":
        curve, algorithm, _ = _CURVES[str(one["crv"])]
        return ec.EllipticCurvePublicNumbers(_number(one["x"]), _number(one["y"]), curve).public_key(), (algorithm,)
    if kind == "OKP" and one["crv"] == "Ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(_octets(one["x"])), ("EdDSA", "Ed25519")
    raise ValueError("a kind we do not know")


def _octets(text: object) -> bytes:
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("no base64url")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _number(text: object) -> int:
    return int.from_bytes(_octets(text), "big")


@dataclass(frozen=True, slots=True)
class Signed:
    """A token taken apart; nothing in it is believed yet."""

    algorithm: str
    kid: str
    claims: Mapping[str, object]
    text: bytes
    signature: bytes

    @classmethod
    def parse(cls, token: str) -> Signed | None:
        """RFC 7515 section 7.1. None where it is none, or says that something must be understood which is not."""
        parts = token.split(".")
        if len(parts) != 3 or len(token) > TOKEN:
            return None
        try:
            head, claims, signature = json.loads(_octets(parts[0])), json.loads(_octets(parts[1])), _octets(parts[2])
        except (ValueError, RecursionError):
            return None
        if not isinstance(head, dict) or not isinstance(claims, dict) or "crit" in head:
            return None
        return cls(str(head.get("alg", "")), str(head.get("kid", "")), claims, ".".join(parts[:2]).encode(), signature)

    def is_signed_by(self, keys: Sequence[Key]) -> bool:
        fitting = [key for key in keys if self.algorithm in key.algorithms and (not self.kid or key.kid in ("", self.kid))]
        return any(key.signed(self.algorithm, self.text, self.signature) for key in fitting)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens count, and for what."""

    issuer: str
    audience: str
    claim: str = "email"  # the one that names the login

    def means(self, token: Signed, login: str, now: float) -> bool:
        """Whether these claims are for this login, now (RFC 7519 section 4.1). What is not said is not so."""
        claims = token.claims
        audience, name = claims.get("aud"), claims.get(self.claim)
        expires, begins = _seconds(claims.get("exp")), _seconds(claims.get("nbf", 0))
        return (
            claims.get("iss") == self.issuer
            and (self.audience in audience if isinstance(audience, list) else audience == self.audience)
            and expires is not None
            and begins is not None
            and begins - _LEEWAY <= now < expires + _LEEWAY
            and isinstance(name, str)
            and name.casefold() == login.casefold()
            and (self.claim != "email" or claims.get("email_verified", True) is True)
        )


def _seconds(claim: object) -> float | None:
    """A NumericDate (RFC 7519 section 2); None where it is none. Anybody may write a number that no float holds."""
    if not isinstance(claim, int | float) or isinstance(claim, bool):
        return None
    try:
        return float(claim)
    except OverflowError:
        return None


class Verifier:
    """`authentication.Tokens` over one issuer. `fetch` gives the JWK set; OSError and ValueError mean that it cannot be had."""

    def __init__(self, issuer: Issuer, fetch: Callable[[], Awaitable[bytes]], clock: Clock) -> None:
        self._issuer, self._fetch, self._clock = issuer, fetch, clock
        self._keys: Sequence[Key] | None = None
        self._asked = -_KEPT  # monotonic seconds of the last fetch
        self._asking = asyncio.Lock()  # who comes meanwhile waits for the same answer

    async def vouches(self, token: str, login: str) -> bool | None:
        signed = Signed.parse(token)
        if signed is None or not self._issuer.means(signed, login, self._clock.now()):
            return False
        keys = await self._current(_KEPT)
        if keys is not None and not signed.is_signed_by(keys):
            keys = await self._current(_SOONEST)  # the issuer may have a new key
        return None if keys is None else signed.is_signed_by(keys)

    async def _current(self, age: float) -> Sequence[Key] | None:
        """The keys, fetched anew where they are older than `age` seconds; those we have stay good where they cannot be had."""
        async with self._asking:
            now = self._clock.monotonic()
            if now - self._asked >= (age if self._keys is not None else _SOONEST):
                self._asked = now
                with suppress(OSError, ValueError, RecursionError):
                    self._keys = keys_of(await self._fetch())
            return self._keys
