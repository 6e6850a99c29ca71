"""What a service offers its people to log in with: mechanisms by their names, and the issuer whose tokens count. Made once a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from postroom_net import oauth, scram
from postroom_net.https import Https, HttpsError, Request
from postroom_net.oidc import Clock, Issuer, Verifier
from postroom_net.resolver import Resolver
from postroom_net.sasl import LOGIN, PLAIN, Mechanisms, cram_md5

Name = Literal["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5", "OAUTHBEARER", "XOAUTH2"]
USUAL: tuple[Name, ...] = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")
WITH_TOKENS: frozenset[Name] = frozenset({"OAUTHBEARER", "XOAUTH2"})  # need an issuer
_TIMEOUT = 10.0  # seconds for an issuer's keys
_KEYS = 256 * 1024  # octets of them


def mechanisms(names: Sequence[Name], *, host: str, key: Callable[[], bytes], configuration: str = "") -> Mechanisms:
    """Those named, in this order. `host` is named in challenges, `key` makes up verifiers (scram.py), `configuration` is told to who shows a
    bad token (oauth.py)."""
    known = {PLAIN.name: PLAIN, LOGIN.name: LOGIN, "CRAM-MD5": cram_md5(host)}
    known |= {mechanism.name: mechanism for mechanism in scram.mechanisms(key, plus="SCRAM-SHA-256-PLUS" in names)}
    known |= {mechanism.name: mechanism for mechanism in oauth.mechanisms(configuration)}
    return Mechanisms([known[name] for name in names])


def tokens(issuer: Issuer, keys: str, root: Path, resolver: Resolver, clock: Clock, failed: Callable[[str], None]) -> Verifier:
    """Who can tell a good token of this issuer. `keys` is an https URL, or a file below `root` that is read again like one; `failed` is told
    why keys could not be fetched."""
    if not keys.startswith("https://"):
        path = root / keys
        return Verifier(issuer, lambda: asyncio.to_thread(path.read_bytes), clock)
    https, request = Https(resolver, timeout=_TIMEOUT, limit=_KEYS), Request.of(keys)

    async def fetch() -> bytes:
        try:
            answer = await https.ask(request)
        except HttpsError as error:
            failed(str(error))
            raise OSError(str(error)) from error
        if answer.status != 200:
            raise ValueError(f"{keys} answered {answer.status}")
        return answer.body

    return Verifier(issuer, fetch, clock)
