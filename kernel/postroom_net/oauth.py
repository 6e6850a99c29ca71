"""OAUTHBEARER (RFC 7628) and XOAUTH2, the form that came before it: a login shown by a token that its issuer vouches for. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from postroom_net.sasl import Bearer, Challenge, Dialogue, Fault, Mechanism, Proven, Step, name_of

TOKEN = 8192  # octets of a token
_BEARER = re.compile(rb"n,a=([^,\x00-\x1f]{1,1000}),\x01((?:[A-Za-z]+=[^\x00\x01]*\x01)+)\x01")  # RFC 7628 section 3.1
_XOAUTH2 = re.compile(rb"(?i:user)=([^\x00-\x1f]{1,1000})\x01((?:[A-Za-z]+=[^\x00\x01]*\x01)+)\x01")
_TOKEN = re.compile(rb"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)


class Token(Dialogue):
    """Either form. `trouble` is what a client is told of a bad token (RFC 7628 section 3.2.2); it answers that, and then has failed."""

    def __init__(self, shape: re.Pattern[bytes], trouble: bytes) -> None:
        self._shape, self._trouble = shape, trouble
        self._login = ""
        self._failed = False

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        if self._failed:
            return Fault.NOT_PROVEN
        found = self._shape.fullmatch(response)
        if found is None:
            return Fault.MALFORMED
        pairs = dict(pair.split(b"=", 1) for pair in found[2].split(b"\x01") if pair)
        shown = _TOKEN.fullmatch(pairs.get(b"auth", b""))
        login = name_of(found[1].replace(b"=2C", b",").replace(b"=3D", b"="))
        if shown is None or not login or len(shown[1]) > TOKEN:
            return Fault.MALFORMED
        self._login = login
        return Bearer(login, shown[1].decode())

    def judged(self, good: bool) -> Step:
        if good:
            return Proven(self._login)
        self._failed = True
        return Challenge(self._trouble)


def mechanisms(configuration: str = "") -> Iterable[Mechanism]:
    """Both; `configuration` is the URL at which a client learns where to get a better token."""
    new = {"status": "invalid_token", **({"openid-configuration": configuration} if configuration else {})}
    old = {"status": "401", "schemes": "bearer", "scope": ""}
    yield Mechanism("OAUTHBEARER", lambda binding: Token(_BEARER, json.dumps(new).encode()))
    yield Mechanism("XOAUTH2", lambda binding: Token(_XOAUTH2, json.dumps(old).encode()))
