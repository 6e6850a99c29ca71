from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress

import pytest
import trustme

from postroom_net.binding import TlsBinding, binding_of, end_point, served_certificate

AUTHORITY = trustme.CA()


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext, bytes]:
    """A server's, a client's that believes it, and the certificate."""
    issued = AUTHORITY.issue_cert("localhost")
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    issued.configure_cert(server)
    AUTHORITY.configure_trust(client)
    return server, client, ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def connected(version: ssl.TLSVersion) -> tuple[ssl.SSLObject, ssl.SSLObject, bytes]:
    server_context, client_context, certificate = contexts()
    client_context.maximum_version = version
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(up, down, server_side=True)
    client = client_context.wrap_bio(down, up, server_hostname="localhost")
    for side in (client, server) * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return server, client, certificate


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_ends_know_the_certificate(version: ssl.TLSVersion) -> None:
    server, client, certificate = connected(version)
    assert client.getpeercert(binary_form=True) == certificate
    assert TlsBinding(server).data("tls-server-end-point") == hashlib.sha256(certificate).digest()
    assert TlsBinding(server).data("tls-exporter") is None


def test_tls_unique_is_of_tls_1_2() -> None:
    server, client, _ = connected(ssl.TLSVersion.TLSv1_2)
    assert TlsBinding(server).data("tls-unique") == client.get_channel_binding("tls-unique") != None  # noqa: E711
    assert TlsBinding(connected(ssl.TLSVersion.TLSv1_3)[0]).data("tls-unique") is None


def test_it_is_offered_where_clients_can_use_it() -> None:
    old, new = connected(ssl.TLSVersion.TLSv1_2)[0], connected(ssl.TLSVersion.TLSv1_3)[0]
    assert binding_of(old) is not None and binding_of(new) is None and binding_of(None) is None
    assert binding_of(new, always=True) is not None


def test_the_certificate_served_is_asked_for_anew() -> None:
    """A renewed certificate is loaded into the same context."""
    server, _, certificate = contexts()
    assert served_certificate(server) == certificate
    again = AUTHORITY.issue_cert("localhost")
    again.configure_cert(server)
    assert served_certificate(server) != certificate


def test_what_is_no_certificate_has_no_hash() -> None:
    assert end_point(b"") is None and end_point(b"0") is None
