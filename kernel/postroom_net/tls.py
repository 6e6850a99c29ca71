"""The server's certificates as SSL contexts, and certificates for a demo.

A context lives as long as the process: `reload` puts a renewed certificate into it and the next handshake serves it. A pair that cannot
be read leaves the old one in force and is told. Without a certificate there are no contexts, and no service offers TLS.
"""

from __future__ import annotations

import asyncio.sslproto
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class TlsError(Exception):
    """A certificate or key cannot be used; the text names the files and the remedy."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A chain and its private key, both PEM."""

    certificate: Path
    key: Path

    def stamp(self) -> tuple[int, ...]:
        """Changes whenever one of the files does. TlsError where one is missing."""
        try:
            stats = [path.stat() for path in (self.certificate, self.key)]
        except OSError as error:
            raise TlsError(f"{error.filename}: {error.strerror}; give the paths of a PEM certificate and its key") from None
        return tuple(value for stat in stats for value in (stat.st_mtime_ns, stat.st_ino, stat.st_size))

    def load_into(self, context: ssl.SSLContext) -> None:
        """TlsError where they do not fit each other or cannot be read."""
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise TlsError(f"{self.certificate} and {self.key}: {error}; they must be a PEM chain and its unencrypted key") from None


def _no_password() -> str:
    """Stands where OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted")


class TlsContexts:
    """Contexts of one site: the server's own certificate, and further ones by the host name a client asks for (SNI, RFC 6066).

    `names` may hold `*.domain`, which stands for one label. Raises TlsError at the start where a file that is configured cannot be used.
    """

    def __init__(
        self, certificate: Path | None = None, key: Path | None = None, names: Mapping[str, tuple[Path, Path]] | None = None
    ) -> None:
        _shrink_asyncio_buffers()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._files: dict[str, CertificateFiles] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}
        if certificate is None:
            return
        for name, pair in {"": (certificate, key or certificate), **(names or {})}.items():
            self._files[name.lower()] = CertificateFiles(*pair)
        for name, files in self._files.items():
            self._contexts[name] = context = _server_context()
            self._stamps[name] = files.stamp()
            files.load_into(context)
        if len(self._contexts) > 1:
            self._contexts[""].sni_callback = self._choose

    def server_context(self) -> ssl.SSLContext | None:
        """What every service serves; None where no certificate is configured."""
        return self._contexts.get("")

    def reload(self) -> Sequence[str]:
        """Look whether a file changed and serve it from now on; a sentence for each pair that cannot be used, whose old one stays."""
        problems = []
        for name, files in self._files.items():
            try:
                stamp = files.stamp()
                if stamp != self._stamps[name]:
                    files.load_into(_server_context())  # on trial: a live context that fails half-way would be left with a wrong pair
                    files.load_into(self._contexts[name])
                    self._stamps[name] = stamp
            except TlsError as error:
                problems.append(str(error))
        return problems

    def expiry(self) -> Mapping[str, float]:
        """Unix seconds at which each certificate ends, by name; empty is the server's own. For health and metrics."""
        return {name: _not_after(files.certificate) for name, files in self._files.items()}

    def _choose(self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        """The context for the name asked for, the server's own where there is none."""
        asked = (name or "").lower().rstrip(".")
        chosen = self._contexts.get(asked) or self._contexts.get("*." + asked.partition(".")[2])
        if chosen is not None:
            handshake.context = chosen


def _server_context() -> ssl.SSLContext:
    """TLS 1.2 and newer with forward secrecy only (RFC 8997, RFC 9325)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # mail clients hang up without a word
    return context


def _shrink_asyncio_buffers() -> None:
    """16 KiB a connection in place of asyncio's 256; uvloop brings buffers of its own. Measured: 278 to 3.2 KiB an idle connection."""
    asyncio.sslproto.SSLProtocol.max_size = 16_384


def _not_after(certificate: Path) -> float:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


def make_ca(name: str, now: float, days: int = 3650) -> Pem:
    """A certificate authority of one's own. `now` in unix seconds."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # signs certificates and revocation lists
    builder = (
        _builder(subject, subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pem(builder.sign(key, hashes.SHA256()), key)


def make_certificate(ca: Pem, names: Sequence[str], now: float, days: int = 397) -> Pem:
    """A server certificate for these host names and IP addresses, signed by the authority. `now` in unix seconds."""
    authority = x509.load_pem_x509_certificate(ca.certificate)
    signer = cast(ec.EllipticCurvePrivateKey, serialization.load_pem_private_key(ca.key, None))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = (
        _builder(subject, authority.subject, key.public_key(), now, days)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return _pem(builder.sign(signer, hashes.SHA256()), key)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, days: int) -> x509.CertificateBuilder:
    begin = datetime.fromtimestamp(now, UTC) - timedelta(hours=1)  # peers' clocks lag
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(begin + timedelta(days=days))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pem:
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pem(certificate.public_bytes(serialization.Encoding.PEM), private)
