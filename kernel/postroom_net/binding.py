"""What ties a login to the TLS channel it came by, so that nobody in the middle can pass it on (RFC 5929; for SCRAM-SHA-256-PLUS).

Python's ssl has no exporter, so `tls-exporter` (RFC 9266), which clients use with TLS 1.3, cannot be served; it knows `tls-unique` up to
TLS 1.2, and the served certificate gives `tls-server-end-point` everywhere. A client that finds a -PLUS mechanism on offer takes it and
fails where its own type is missing, so by default none is offered above TLS 1.2.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes


class TlsBinding:
    """A `sasl.Binding` over one TLS connection, the server's side."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self._tls = tls

    def data(self, kind: str) -> bytes | None:
        """None for a type that is unknown or cannot be had here."""
        if kind == "tls-server-end-point":
            return end_point(served_certificate(self._tls.context))
        if kind == "tls-unique" and self._tls.version() == "TLSv1.2":
            return self._tls.get_channel_binding("tls-unique")
        return None


def binding_of(tls: ssl.SSLObject | None, *, always: bool = False) -> TlsBinding | None:
    """The binding to offer on this connection; `always` offers it with TLS 1.3 too, to clients that are known to use the certificate."""
    return TlsBinding(tls) if tls is not None and (always or tls.version() == "TLSv1.2") else None


def end_point(certificate: bytes) -> bytes | None:
    """The certificate's hash as RFC 5929 section 4.1 wants it; None where its signature names no hash."""
    try:
        named = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if named is None:
        return None
    digest = hashes.Hash(hashes.SHA256() if named.name in ("md5", "sha1") else named)
    digest.update(certificate)
    return digest.finalize()


def served_certificate(context: ssl.SSLContext) -> bytes:
    """What this server context shows to clients, in DER. ssl does not tell a server its own certificate, so a handshake in memory asks for
    it, in a millisecond; it follows a certificate that is renewed in place."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(up, down, server_side=True)
    client = trusting.wrap_bio(down, up)
    for side in (client, server, client, server, client):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client.getpeercert(binary_form=True) or b""
