"""What a message's signatures are: which fields they cover, by which keys, and their text. Pure but for the keys' arithmetic.

The text of the header is hashed once for all keys. The size of the fields is known before the body is, so a large message is written once, with
room left in front.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from postroom_dkim.ring import Signing
from postroom_dkim.settings import DkimSettings
from postroom_mime import dkim
from postroom_mime.canonical import RelaxedBody, SimpleBody
from postroom_mime.dkim import Signature


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is settled before the body was read."""

    header: tuple[bytes, ...]
    signatures: tuple[Signature, ...]
    keys: tuple[Signing, ...]

    @property
    def body(self) -> type[SimpleBody]:
        """The form in which the body is hashed."""
        return SimpleBody if self.signatures[0].body == "simple" else RelaxedBody

    def fields(self, body_hash: bytes) -> bytes:
        """The signature fields for a body with this SHA-256 digest."""
        hashed, encoded = hashlib.sha256(dkim.signed_text(self.header, self.signatures[0].listed)), base64.b64encode(body_hash)
        return b"".join(self._signed(hashed.copy(), encoded))

    def _signed(self, header: hashlib._Hash, body_hash: bytes) -> Iterator[bytes]:
        for signature, signing in zip(self.signatures, self.keys):
            begun = signature.begun(body_hash)
            whole = header.copy()
            whole.update(dkim.hashed(begun))
            yield dkim.ended(begun, base64.b64encode(signing.key.sign(whole.digest())))

    @property
    def size(self) -> int:
        """Octets of the fields, whatever the body."""
        body_hash = base64.b64encode(bytes(32))
        return sum(
            len(dkim.ended(signature.begun(body_hash), base64.b64encode(bytes(signing.key.signature_size))))
            for signature, signing in zip(self.signatures, self.keys)
        )


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the settings say of signatures, as octets."""

    signed: tuple[bytes, ...]
    oversigned: frozenset[bytes]
    simple_above: int  # octets
    lifetime: int  # seconds; zero: for ever

    @classmethod
    def of(cls, settings: DkimSettings) -> Wishes:
        """From is signed, and no second one may be added, whatever the settings say (RFC 6376 sections 5.4 and 8.15)."""
        signed = dict.fromkeys(name.encode() for name in ("from", *settings.headers, *settings.oversign))
        oversigned = frozenset((b"from", *(name.encode() for name in settings.oversign)))
        return cls(tuple(signed), oversigned, settings.simple_above, int(settings.expire * 86400))


def plan(header: Sequence[bytes], domain: str, keys: Sequence[Signing], wishes: Wishes, *, now: float, size: int) -> Plan:
    """How a message of this size with these header fields is signed for a domain."""
    listed = tuple(dkim.covered(map(dkim.name_of, header), wishes.signed, wishes.oversigned))
    body = "simple" if size > wishes.simple_above else "relaxed"
    at = int(now)
    expires = at + wishes.lifetime if wishes.lifetime else 0
    made = [Signature(signing.key.algorithm, domain, signing.selector, at, listed, body, expires) for signing in keys]
    return Plan(tuple(header), tuple(made), tuple(keys))


def unsigned(header: Sequence[bytes], domain: str, keys: Sequence[Signing]) -> tuple[Signing, ...]:
    """The keys by which the message bears no signature yet."""
    borne = {pair for field in header if dkim.name_of(field) == b"dkim-signature" if (pair := _signer(field))}
    return tuple(one for one in keys if (domain.encode(), one.selector.encode()) not in borne)


def _signer(field: bytes) -> tuple[bytes, bytes] | None:
    found = dkim.tags(dkim.value_of(field))
    return None if found is None else (found.get(b"d", b"").lower(), found.get(b"s", b"").lower())
