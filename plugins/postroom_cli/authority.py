"""The demo's own certificate authority, and the server certificate it signs; renewed when its end is near."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from postroom_cli.files import write
from postroom_net.tls import Pem, TlsContexts, TlsError, make_ca, make_certificate

CA, CA_KEY, CERTIFICATE, KEY = "tls/ca.pem", "tls/ca.key", "tls/server.pem", "tls/server.key"
SOON = 30 * 86400.0  # seconds before its end from which a certificate is replaced


def provide(root: Path, names: Sequence[str], now: float) -> None:
    """An authority and a certificate for these names, made where missing or nearly at their end. DiskError."""
    if _ends(root / CA, root / CA_KEY) < now + SOON:
        ca = make_ca("postroom demo", now)
        write(root, CA_KEY, ca.key)
        write(root, CA, ca.certificate, mode=0o644)
        (root / CERTIFICATE).unlink(missing_ok=True)
    if _ends(root / CERTIFICATE, root / KEY) < now + SOON:
        ca = Pem((root / CA).read_bytes(), (root / CA_KEY).read_bytes())
        made = make_certificate(ca, names, now)
        write(root, KEY, made.key)
        write(root, CERTIFICATE, made.certificate + ca.certificate, mode=0o644)


def _ends(certificate: Path, key: Path) -> float:
    """Unix seconds at which the certificate ends; zero where the pair cannot be used."""
    try:
        return TlsContexts(certificate, key).expiry()[""]
    except (TlsError, OSError, ValueError, ssl.SSLError):
        return 0.0
