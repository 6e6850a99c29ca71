"""A private key: made, read, used, and what of it is public. RSA and Ed25519, the two of RFC 8463.

A key never leaves its object: it has no text form here but the PEM that goes into its file. KeyFault where a file holds no such key.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key

from postroom_dkim.errors import KeyFault

Kind = Literal["rsa", "ed25519"]
LEAST_BITS: Final = 1024  # RFC 8301 section 3.2
_PADDING: Final = padding.PKCS1v15()
_DIGEST: Final = Prehashed(hashes.SHA256())


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """One private key."""

    private: RSAPrivateKey | Ed25519PrivateKey

    @classmethod
    def make(cls, kind: Kind, bits: int) -> Key:
        """A new one. RSA takes a tenth of a second or more: not in a loop."""
        return cls(generate_private_key(65537, bits) if kind == "rsa" else Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, pem: bytes, where: str, *, in_full: bool = False) -> Key:
        """The key in a PEM file that nobody encrypted. A trial signature takes 1 ms and finds numbers that do not belong together; checking them
        `in_full`, primes and all, takes 40. KeyFault."""
        try:
            private = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=not in_full)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFault(f"{where} holds no private key that can be read ({type(error).__name__}); put it back from a backup") from None
        if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
            raise KeyFault(f"{where} holds a key that DKIM does not know; it takes RSA and Ed25519 (RFC 8463)")
        if isinstance(private, RSAPrivateKey) and private.key_size < LEAST_BITS:
            raise KeyFault(f"{where} holds an RSA key of {private.key_size} bits; verifiers refuse less than {LEAST_BITS} (RFC 8301)")
        key = cls(private)
        key._try(where)
        return key

    @property
    def kind(self) -> Kind:
        return "rsa" if isinstance(self.private, RSAPrivateKey) else "ed25519"

    @property
    def algorithm(self) -> str:
        """As a= names it."""
        return f"{self.kind}-sha256"

    @property
    def signature_size(self) -> int:
        """Octets of a signature."""
        return (self.private.key_size + 7) // 8 if isinstance(self.private, RSAPrivateKey) else 64

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest; Ed25519 signs the digest as its message (RFC 8463 section 3)."""
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(digest, _PADDING, _DIGEST)
        return self.private.sign(digest)

    def pem(self) -> bytes:
        """For its file."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def record(self) -> str:
        """What DNS must say: RFC 6376 section 3.6.1; of Ed25519 the bare 32 octets, RFC 8463 section 4."""
        if isinstance(self.private, RSAPrivateKey):
            public = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k={self.kind}; p={base64.b64encode(public).decode()}"

    def _try(self, where: str) -> None:
        digest = bytes(32)
        try:
            made = self.sign(digest)
            if isinstance(self.private, RSAPrivateKey):
                self.private.public_key().verify(made, digest, _PADDING, _DIGEST)
            else:
                self.private.public_key().verify(made, digest)
        except (InvalidSignature, ValueError):
            raise KeyFault(f"{where} holds a damaged key: what it signs does not verify; put it back from a backup") from None
