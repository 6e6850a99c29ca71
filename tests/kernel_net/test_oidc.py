from __future__ import annotations

import asyncio
import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postroom_net import oauth
from postroom_net.oidc import Issuer, Signed, Verifier, keys_of
from postroom_net.sasl import Bearer, Challenge, Exchange, Fault, Mechanisms, Proven
from tests.kernel_net.ticking import Ticking

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ISSUER = Issuer("https://id.test", "postroom")
BOB = "bob@po"


def b64(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def key_set() -> dict[str, list[dict[str, str]]]:
    n, point = RSA.public_key().public_numbers(), EC.public_key().public_numbers()
    return {
        "keys": [
            {"kty": "RSA", "kid": "r", "n": number(n.n), "e": number(n.e), "use": "sig"},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": number(point.x), "y": number(point.y)},
            {"kty": "OKP", "kid": "o", "crv": "Ed25519", "x": b64(ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))},
            {"kty": "oct", "kid": "s", "k": b64(b"secret")},
            {"kty": "RSA", "kid": "enc", "n": number(n.n), "e": number(n.e), "use": "enc"},
        ]
    }


KEYS = json.dumps(key_set()).encode()


def token(claims: dict[str, Any], alg: str = "RS256", kid: str = "r", **head: Any) -> str:
    text = f"{b64(json.dumps({'alg': alg, 'kid': kid, **head}).encode())}.{b64(json.dumps(claims).encode())}"
    if alg == "ES256":
        r, s = decode_dss_signature(EC.sign(text.encode(), ec.ECDSA(SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    elif alg == "EdDSA":
        signature = ED.sign(text.encode())
    elif alg == "PS256":
        signature = RSA.sign(text.encode(), padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
    elif alg == "none":
        signature = b""
    else:
        signature = RSA.sign(text.encode(), padding.PKCS1v15(), SHA256())
    return f"{text}.{b64(signature)}"


def claims(**changed: Any) -> dict[str, Any]:
    said = {"iss": "https://id.test", "aud": "postroom", "exp": Ticking().now() + 600, "email": BOB, **changed}
    return {name: value for name, value in said.items() if value is not None}


class Keys:
    """Where keys are fetched from; counts how often."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self) -> bytes:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def vouches(text: str, login: str = BOB, issuer: Issuer = ISSUER) -> bool | None:
    return asyncio.run(Verifier(issuer, Keys(KEYS), Ticking()).vouches(text, login))


@pytest.mark.parametrize(("alg", "kid"), [("RS256", "r"), ("PS256", "r"), ("ES256", "e"), ("EdDSA", "o"), ("RS256", "")])
def test_a_good_token(alg: str, kid: str) -> None:
    assert vouches(token(claims(), alg, kid)) is True
    assert vouches(token(claims(aud=["other", "postroom"]), alg, kid)) is True


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.test"}, {"iss": None}, {"aud": "other"}, {"aud": None}, {"aud": ["other"]}, {"exp": None}, {"exp": 0}, {"exp": "soon"},
        {"exp": Ticking().now() - 61}, {"nbf": Ticking().now() + 61}, {"nbf": "now"}, {"email": "eve@po"}, {"email": None}, {"email": ["bob@po"]},
        {"email_verified": False}, {"exp": 10**400}, {"nbf": -(10**400)}, {"nbf": 10**400}, {"exp": float("nan")}, {"exp": True}, {"nbf": False},
    ],
)  # fmt: skip
def test_claims_that_are_for_nobody_here(changed: dict[str, Any]) -> None:
    assert vouches(token(claims(**changed))) is False


def test_signatures_that_do_not_count() -> None:
    good = token(claims())
    head, body, signature = good.split(".")
    forged = b64(json.dumps(claims(email="eve@po")).encode())
    assert vouches(f"{head}.{forged}.{signature}", "eve@po") is False
    assert vouches(token(claims(), "none", "")) is False
    assert vouches(token(claims(), "HS256", "r")) is False  # the public key is no secret
    assert vouches(token(claims(), "HS256", "s")) is False
    assert vouches(token(claims(), "ES256", "r")) is False and vouches(token(claims(), "RS256", "enc")) is False
    assert vouches(token(claims(), crit=["x"])) is False
    assert vouches(f"{head}.{body}.") is False and vouches(f"{head}.{body}.!!") is False


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "e30.e30.", "W10.W10.AA", "é.e30.AA", "x" * 9000, "[" * 3000 + "." + "." + ""])
def test_what_is_no_token(text: str) -> None:
    assert vouches(text) is False
    assert Signed.parse(text) is None or text == "e30.e30."


def test_another_claim_may_name_the_login() -> None:
    issuer = Issuer("https://id.test", "postroom", "preferred_username")
    assert vouches(token(claims(preferred_username="BOB@po", email="x@y")), issuer=issuer) is True
    assert vouches(token(claims()), issuer=issuer) is False


def test_keys_are_kept_and_fetched_anew_for_one_that_is_not_there() -> None:
    async def main() -> None:
        clock, keys = Ticking(), Keys(b'{"keys": []}', KEYS)
        verifier = Verifier(ISSUER, keys, clock)
        assert await verifier.vouches(token(claims()), BOB) is False
        assert await verifier.vouches(token(claims()), BOB) is False and keys.asked == 1  # not again within the minute
        clock.at += 61
        assert await verifier.vouches(token(claims()), BOB) is True and keys.asked == 2
        clock.at += 300
        assert await verifier.vouches(token(claims()), BOB) is True and keys.asked == 2
        clock.at += 3600
        await verifier.vouches(token(claims(exp=clock.now() + 9)), BOB)
        assert keys.asked == 3

    asyncio.run(main())


def test_who_comes_while_keys_are_fetched_waits_for_them() -> None:
    async def main() -> None:
        fetched = asyncio.Event()

        async def slow() -> bytes:
            await fetched.wait()
            return KEYS

        verifier = Verifier(ISSUER, slow, Ticking())
        both = asyncio.gather(*(verifier.vouches(token(claims()), BOB) for _ in range(2)))
        await asyncio.sleep(0)
        fetched.set()
        assert await both == [True, True]

    asyncio.run(main())


@pytest.mark.parametrize("answer", [OSError("away"), b"<html>", b"[]", b'{"keys": 1}', b"[" * 100_000])
def test_keys_that_cannot_be_had_are_no_wrong_token(answer: bytes | Exception) -> None:
    async def main() -> None:
        verifier = Verifier(ISSUER, Keys(answer), Ticking())
        assert await verifier.vouches(token(claims()), BOB) is None
        verifier = Verifier(ISSUER, keys := Keys(KEYS, answer), clock := Ticking())
        assert await verifier.vouches(token(claims(exp=clock.now() + 9999)), BOB) is True
        clock.at += 4000
        assert await verifier.vouches(token(claims(exp=clock.now() + 9999)), BOB) is True and keys.asked == 2

    asyncio.run(main())


def test_keys_of_other_kinds_are_passed_over() -> None:
    odd = [
        {},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA"},
        7,
        {"kty": "EC", "crv": "x"},
    ]
    assert keys_of(json.dumps({"keys": odd}).encode()) == []
    assert [key.kid for key in keys_of(KEYS)] == ["r", "e", "o"]


# The dialogues.

BEARER, XOAUTH2 = Mechanisms(oauth.mechanisms("https://id.test/.well-known/openid-configuration")), Mechanisms(oauth.mechanisms())


def begun(name: str, first: bytes) -> tuple[Exchange, object]:
    exchange = BEARER.exchange(name, secure=True)
    assert exchange is not None
    return exchange, exchange.begin(b64encode(first))


def test_the_example_of_rfc_7628() -> None:
    """Section 4.1, and 4.3 for a token that is not taken."""
    first = (
        b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    )
    exchange, step = begun("OAUTHBEARER", first)
    assert step == Bearer("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    assert exchange.judged(True) == Proven("user@example.com")
    exchange, _ = begun("OAUTHBEARER", first)
    said = exchange.judged(False)
    assert isinstance(said, Challenge) and json.loads(said.data)["status"] == "invalid_token"
    assert exchange.answer(b"AQ==") is Fault.NOT_PROVEN


def test_the_older_form() -> None:
    exchange, step = begun("XOAUTH2", b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4\x01\x01")
    assert step == Bearer("someuser@example.com", "ya29.vF9dft4")
    said = exchange.judged(False)
    assert isinstance(said, Challenge) and json.loads(said.data)["status"] == "401"
    assert exchange.answer(b"") is Fault.NOT_PROVEN


@pytest.mark.parametrize(
    "first",
    [
        b"", b"n,,\x01auth=Bearer x\x01\x01", b"n,a=bob,\x01\x01", b"n,a=bob,\x01auth=Basic x\x01\x01", b"n,a=bob,\x01auth=Bearer x\x01", b"n,a=bob\x01auth=Bearer x\x01\x01",
        b"n,a=b\nb,\x01auth=Bearer x\x01\x01", b"n,a=bob,\x01auth=Bearer x y\x01\x01", b"n,a=bob,\x01auth=Bearer " + b"x" * 8193 + b"\x01\x01", b"p=tls-unique,a=bob,\x01auth=Bearer x\x01\x01",
    ],
)  # fmt: skip
def test_messages_that_are_none(first: bytes) -> None:
    assert begun("OAUTHBEARER", first or b"x")[1] is Fault.MALFORMED
    assert begun("XOAUTH2", first or b"x")[1] is Fault.MALFORMED
