"""Keys: made, read, and what is public of them; whatever is no key is a KeyFault that names its file and nothing of its content."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from postroom_dkim.errors import KeyFault
from postroom_dkim.keys import Key
from tests.hooks_dkim.house import RSA_PEM, rfc_keys


def test_the_records_are_those_of_rfc_8463() -> None:
    rsa_key, ed25519 = rfc_keys()
    assert ed25519.record() == "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    assert rsa_key.record() == (
        "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
        "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
    )


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_key_survives_its_file(kind: str) -> None:
    made = Key.make(kind, 1024)  # type: ignore[arg-type]
    again = Key.read(made.pem(), "here", in_full=True)
    assert again.kind == kind and again.record() == made.record() and again.sign(bytes(32)) == made.sign(bytes(32))
    assert len(made.sign(bytes(32))) == made.signature_size


def test_a_key_does_not_tell_itself() -> None:
    text = repr(rfc_keys()[0])
    assert "0x" in text and "MII" not in text and len(text) < 200


SMALL = rsa.generate_private_key(65537, 1024)
WRONG = {
    "nothing": (b"", "no private key"),
    "a text": (b"hello", "no private key"),
    "half a key": (RSA_PEM[:400], "no private key"),
    "a broken number": (RSA_PEM.replace(b"AoGAH0cxOhFZ", b"AoGAH0cyOhFZ"), "damaged|no private key"),
    "another kind": (
        ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "does not know",
    ),
    "encrypted": (SMALL.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")), "no private key"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_key_is_told_by_its_file(name: str) -> None:
    pem, says = WRONG[name]
    with pytest.raises(KeyFault, match=says) as told:
        Key.read(pem, "SITE/dkim/k.rsa.pem", in_full=name == "a broken number")
    assert "SITE/dkim/k.rsa.pem" in str(told.value)
    assert not any(line in str(told.value) for line in pem.decode().split() if len(line) > 20)
