"""Passwords as they are stored, and whether a given one is meant.

We write argon2id and, behind a bar, what SCRAM needs: `$argon2id$...|SCRAM-SHA-256$...`. Read are also either of the two alone, argon2i
and argon2d, the LDAP digests `{SHA} {SSHA} {SSHA256} {SSHA512}`, and clear text, which is everything that is not known to be some hash: a
hash of a scheme we cannot verify never counts as clear text, or whoever steals it could log in with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import unicodedata
from dataclasses import dataclass

from argon2.exceptions import VerificationError
from argon2.low_level import Type, hash_secret, verify_secret

from postroom_net.scram import ITERATIONS, Verifier

_ARGON2 = re.compile(r"\$argon2(id|i|d)\$")
_LDAP = re.compile(r"\{(S?SHA|SSHA256|SSHA512)\}(.+)", re.IGNORECASE)
_LDAP_DIGESTS = {"SHA": "sha1", "SSHA": "sha1", "SSHA256": "sha256", "SSHA512": "sha512"}
_FOREIGN = re.compile(
    r"\$(1|2[abxy]?|5|6|7|y|gy|P|H|apr1|sha1|md5|scrypt|bcrypt-sha256|pbkdf2[a-z0-9-]*)\$"
    r"|\{(CRYPT|MD5|SMD5|SHA256|SHA512|SHA384|SSHA384|BLF-CRYPT|SHA512-CRYPT|SHA256-CRYPT|PBKDF2[A-Z0-9-]*|SCRAM-SHA-[0-9]+)\}|SCRAM-SHA-[0-9]+\$",
    re.IGNORECASE,
)
_TYPES = {"id": Type.ID, "i": Type.I, "d": Type.D}


@dataclass(frozen=True, slots=True)
class HashCost:
    """What one password costs. The default is OWASP's second choice of argon2id, 29 ms of one core, and 30 ms more to make its verifier."""

    time: int = 2  # passes
    memory: int = 19_456  # KiB
    lanes: int = 1
    iterations: int = ITERATIONS  # of the SCRAM verifier, once here and at every login in the client


def prepared(password: str | bytes) -> bytes:
    """A password as it is hashed and compared: NFC and plain spaces (RFC 8265 section 4.2.2). Octets that are not UTF-8 stay as they are."""
    if password.isascii():
        return password if isinstance(password, bytes) else password.encode()
    try:
        text = password.decode() if isinstance(password, bytes) else password
    except UnicodeDecodeError as wrong:
        return wrong.object
    spaced = "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in text)
    return unicodedata.normalize("NFC", spaced).encode("utf-8", "surrogateescape")


def hash_password(password: str | bytes, cost: HashCost = HashCost()) -> str:
    """A password as it is stored, for every mechanism: a fresh argon2id hash and a SCRAM verifier. Takes some 60 ms: call it in a thread."""
    return f"{slow_hash(password, cost)}|{Verifier.of(prepared(password), cost.iterations)}"


def slow_hash(password: str | bytes, cost: HashCost = HashCost()) -> str:
    """A fresh argon2id hash with its parameters, alone."""
    return hash_secret(prepared(password), os.urandom(16), cost.time, cost.memory, cost.lanes, 32, Type.ID).decode()


def is_hashed(stored: str) -> bool:
    """Whether this is a hash of a scheme we know by name, verifiable or not."""
    return bool(_ARGON2.match(stored) or _LDAP.fullmatch(stored) or _FOREIGN.match(stored))


def is_current(stored: str) -> bool:
    """Whether this is what `hash_password` writes: all mechanisms can be served from it. Else a login is the time to write it anew."""
    return _ARGON2.match(stored) is not None and scram_verifier(stored) is not None


def is_slow(stored: str) -> bool:
    """Whether `verify` takes milliseconds and belongs in a thread."""
    return bool(_ARGON2.match(stored) or Verifier.parse(stored))


def scram_verifier(stored: str) -> str | None:
    """What SCRAM needs of this entry; None where it has none."""
    text = stored.rpartition("|")[2]
    return text if text.startswith("SCRAM-SHA-256$") and (text == stored or _ARGON2.match(stored)) else None


def clear_text(stored: str) -> str | None:
    """The password itself where it is stored in clear text, for mechanisms that need it; else None."""
    return None if not stored or is_hashed(stored) else stored


def verify(stored: str, password: str | bytes) -> bool:
    """Whether the password is the stored one. Never raises for what is stored; an empty or unknown entry matches nothing."""
    given = prepared(password)
    if match := _ARGON2.match(stored):
        try:
            return verify_secret(stored.partition("|")[0].encode(), given, _TYPES[match[1]])
        except (VerificationError, UnicodeEncodeError):
            return False
    if match := _LDAP.fullmatch(stored):
        return _verify_ldap(_LDAP_DIGESTS[match[1].upper()], match[2], given)
    if verifier := Verifier.parse(stored):
        again = Verifier.of(given, verifier.iterations, verifier.salt)
        return hmac.compare_digest(again.stored_key, verifier.stored_key)
    clear = clear_text(stored)
    return clear is not None and hmac.compare_digest(prepared(clear), given)


def _verify_ldap(digest: str, encoded: str, given: bytes) -> bool:
    """Digest of password and salt, the salt behind the digest (RFC 3112 section 3 and OpenLDAP's practice)."""
    try:
        octets = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    size = hashlib.new(digest).digest_size
    return len(octets) >= size and hmac.compare_digest(hashlib.new(digest, given + octets[size:]).digest(), octets[:size])
