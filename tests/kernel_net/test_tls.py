from __future__ import annotations

import asyncio.sslproto
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from postroom_net.tls import Pem, TlsContexts, TlsError, make_ca, make_certificate

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def ca() -> Pem:
    return make_ca("test authority", _now(), days=2)


def _now() -> float:
    """Handshakes compare with the machine's own clock."""
    return Path("/proc/self").stat().st_mtime


def put(folder: Path, name: str, pem: Pem) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(pem.certificate)
    key.write_bytes(pem.key)
    return certificate, key


def served(server: ssl.SSLContext, ca: Pem, name: str, version: ssl.TLSVersion | None = None) -> list[str]:
    """Shake hands in memory; the names in the certificate the client got."""
    client = ssl.create_default_context(cadata=ca.certificate.decode())
    client.check_hostname = False
    if version is not None:
        client.maximum_version = version
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(to_server, to_client, server_side=True)
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    certificate = here.getpeercert(binary_form=True)
    assert certificate is not None
    names = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


def test_no_certificate_no_tls() -> None:
    contexts = TlsContexts()
    assert contexts.server_context() is None and contexts.reload() == [] and contexts.expiry() == {}


def test_certificates_by_name(tmp_path: Path, ca: Pem) -> None:
    own = put(tmp_path, "own", make_certificate(ca, ["mail.example.test"], _now(), 1))
    other = put(tmp_path, "other", make_certificate(ca, ["mail.other.test"], _now(), 1))
    star = put(tmp_path, "star", make_certificate(ca, ["*.third.test"], _now(), 1))
    contexts = TlsContexts(*own, {"Mail.Other.test": other, "*.third.test": star})
    context = contexts.server_context()
    assert context is not None
    for asked, got in (
        ("mail.example.test", "mail.example.test"),
        ("mail.other.test", "mail.other.test"),
        ("a.third.test", "*.third.test"),
        ("a.b.third.test", "mail.example.test"),
        ("unknown.test", "mail.example.test"),
    ):
        assert served(context, ca, asked) == [got]
    assert set(contexts.expiry()) == {"", "mail.other.test", "*.third.test"}


def test_old_versions_are_refused(tmp_path: Path, ca: Pem) -> None:
    context = TlsContexts(*put(tmp_path, "own", make_certificate(ca, ["a.test"], _now(), 1))).server_context()
    assert context is not None and context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert served(context, ca, "a.test", ssl.TLSVersion.TLSv1_2) == ["a.test"]
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names), names


def test_a_renewed_certificate_is_served_from_then_on(tmp_path: Path, ca: Pem) -> None:
    files = put(tmp_path, "own", make_certificate(ca, ["old.test"], _now(), 1))
    contexts = TlsContexts(*files)
    context = contexts.server_context()
    assert context is not None and served(context, ca, "x.test") == ["old.test"]
    put(tmp_path, "own", make_certificate(ca, ["renewed.test"], _now(), 1))
    assert contexts.reload() == []
    assert contexts.server_context() is context and served(context, ca, "x.test") == ["renewed.test"]


def test_a_broken_renewal_leaves_the_old_one_and_is_told(tmp_path: Path, ca: Pem) -> None:
    files = put(tmp_path, "own", make_certificate(ca, ["old.test"], _now(), 1))
    contexts = TlsContexts(*files)
    files[1].write_bytes(make_certificate(ca, ["new.test"], _now(), 1).key)  # the certificate is still to come
    os.utime(files[1], ns=(1, 1))
    for _ in range(2):
        (problem,) = contexts.reload()
        assert str(files[1]) in problem
    context = contexts.server_context()
    assert context is not None and served(context, ca, "x.test") == ["old.test"]
    files[0].unlink()
    assert len(contexts.reload()) == 1


@pytest.mark.parametrize("text", [b"", b"no pem", b"-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_stops_the_start(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.pem").write_bytes(text)
    with pytest.raises(TlsError, match=r"a\.pem"):
        TlsContexts(tmp_path / "a.pem", tmp_path / "a.pem")


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match="give the paths"):
        TlsContexts(tmp_path / "none.pem", tmp_path / "none.key")


def test_an_encrypted_key_does_not_ask_the_terminal(tmp_path: Path, ca: Pem) -> None:
    from cryptography.hazmat.primitives import serialization

    pem = make_certificate(ca, ["a.test"], _now(), 1)
    locked = serialization.load_pem_private_key(pem.key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(TlsError, match="unencrypted"):
        TlsContexts(*put(tmp_path, "own", Pem(pem.certificate, locked)))


def test_names_and_addresses_in_a_certificate(ca: Pem) -> None:
    made = x509.load_pem_x509_certificate(make_certificate(ca, ["a.test", "127.0.0.1", "::1"], NOW, 10).certificate)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.test"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert made.not_valid_before_utc.timestamp() < NOW < made.not_valid_after_utc.timestamp() < NOW + 11 * 86_400


def test_asyncio_keeps_small_buffers() -> None:
    TlsContexts()
    assert asyncio.sslproto.SSLProtocol.max_size == 16_384
