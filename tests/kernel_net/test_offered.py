"""What a service offers to log in with, made of its settings over the site's logins: above all, where the keys of tokens come from."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from postroom_disk.disk import Disk
from postroom_net import offered
from postroom_net.authentication import Verdict
from postroom_net.login import Login, Refused
from postroom_net.oidc import Clock
from postroom_net.resolver import Resolver, ResolverError
from postroom_net.sasl import Challenge
from postroom_net.settings import OAuthSettings
from tests.kernel_net.test_authentication import BOB, Desk, run
from tests.kernel_net.test_oidc import KEYS, claims, token


class NoNames:
    async def addresses(self, host: str) -> Sequence[str]:
        raise ResolverError("away")


@dataclass
class Log:
    said: list[tuple[str, object]] = field(default_factory=list)

    def warning(self, event: str, **facts: object) -> None:
        self.said.append((event, facts["issuer"]))


@dataclass
class Settings:
    server: str = "mail.test"


@dataclass
class Site:
    root: Path
    login: Login
    clock: Clock
    settings: Settings = field(default_factory=Settings)
    disk: Disk = field(default_factory=Disk)
    resolver: Resolver = field(default_factory=lambda: cast(Resolver, NoNames()))
    log: Log = field(default_factory=Log)


@dataclass
class Offer:
    mechanisms: Sequence[offered.Name]
    oauth: OAuthSettings | None = None


def issuer(keys: str) -> OAuthSettings:
    return OAuthSettings(issuer="https://id.test", audience="postroom", keys=keys, configuration="https://id.test/more")


async def shown(site: Site, offer: Offer, text: str) -> tuple[Verdict, bytes]:
    """The verdict on a token, and what the client was told before it."""
    trial = offered.authenticator(site, offer, "pop3").begin("OAUTHBEARER", "192.0.2.1", secure=True, binding=None)
    assert trial is not None
    said = await trial.go(trial.exchange.begin(b64encode(f"n,a=bob@po,\x01auth=Bearer {text}\x01\x01".encode())))
    if not isinstance(said, Challenge):
        return said, b""
    return await trial.go(trial.exchange.answer(b64encode(b"\x01"))), said.data


def test_keys_in_a_file_of_the_site(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        (tmp_path / "keys.json").write_bytes(KEYS)
        site, offer = Site(tmp_path, desk.login, desk.clock), Offer(["OAUTHBEARER"], issuer("keys.json"))
        assert await shown(site, offer, token(claims())) == (BOB, b"")
        verdict, told = await shown(site, offer, token(claims(aud="other")))
        assert verdict == Refused("bad") and b"https://id.test/more" in told

    run(test)


def test_keys_that_cannot_be_fetched_are_told_in_the_log_and_nobody_is_called_wrong(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        site = Site(tmp_path, desk.login, desk.clock)
        verdict, _ = await shown(site, Offer(["OAUTHBEARER"], issuer("https://id.test/keys")), token(claims()))
        assert verdict == Refused("unavailable")
        assert site.log.said == [("pop3.token_keys_unavailable", "https://id.test")]

    run(test)


def test_only_what_the_operator_names_is_offered_in_his_order(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        made = offered.authenticator(Site(tmp_path, desk.login, desk.clock), Offer(["LOGIN", "SCRAM-SHA-256", "PLAIN"]), "imap4")
        assert list(made.mechanisms.names(secure=True)) == ["LOGIN", "SCRAM-SHA-256", "PLAIN"]
        assert made.begin("XOAUTH2", "192.0.2.1", secure=True, binding=None) is None
        trial = made.begin("PLAIN", "192.0.2.1", secure=True, binding=None)
        assert trial is not None
        again = made.carries(trial.exchange, "192.0.2.1")
        assert await again.go(again.exchange.begin(b64encode(b"\0bob@po\0pencil"))) == BOB

    run(test)


@pytest.mark.parametrize("name", sorted(offered.WITH_TOKENS))
def test_tokens_need_an_issuer(name: offered.Name) -> None:
    offered.check(Offer(["PLAIN"]))
    offered.check(Offer(["PLAIN", name], issuer("keys.json")))
    with pytest.raises(ValueError, match="oauth"):
        offered.check(Offer(["PLAIN", name]))
