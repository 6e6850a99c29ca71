"""What the signer's tests share: RFC 8463's message and keys, messages, events, a site with a signer, and dkimpy as the verifier."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dkim  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from postroom.address import smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.message import FileMessage, MemoryMessage, Message
from postroom.records import DomainRecord
from postroom.transfer import Stage, TransferEvent, Verdict
from postroom_disk.disk import Disk
from postroom_dkim.keys import Key
from postroom_dkim.plugin import DkimPlugin
from postroom_dkim.records import Record
from postroom_run.assembly import Assembled
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines, site_in
from postroom_testing.mail import letter
from tests.nameserver import NameServer

NOW = 1_700_000_000.0  # dkimpy knows no clock but the machine's, and takes no signature from the future
TEXT = b"From: Ann <ann@example.test>\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\nHow are  you? \r\n\r\n\r\n"

# RFC 8463 appendix A.
ED25519_SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
RSA_PEM = b"""-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
"""
JOES = b"""From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")


def rfc_keys() -> tuple[Key, Key]:
    """RSA and Ed25519."""
    return Key.read(RSA_PEM, "RFC 8463"), Key(Ed25519PrivateKey.from_private_bytes(base64.b64decode(ED25519_SEED)))


def small(data: bytes = TEXT) -> MemoryMessage:
    return letter(data)


def large(folder: Path, head: bytes = TEXT, octets: int = 700_000, line: bytes = b"0123456789 \t abc " * 4 + b"\r\n") -> FileMessage:
    """A message in a file, too large for memory."""
    data = head + line * ((octets - len(head)) // len(line))
    name = hashlib.md5(data).hexdigest().upper()
    path = folder / f"{name}.MAI"
    path.write_bytes(data)
    return FileMessage(name, path, len(data))


HERE = Peer(ip="192.0.2.1", helo="pc", user="ann@example.test", account="example.test", trusted=True)
OUTSIDE = Peer(ip="198.51.100.7", helo="mx.example.org")


def event(
    message: Message, *, peer: Peer = HERE, sender: str | None = "ann@example.test", source: str = "SMTP", target: str = "SMTP", **of: Any
) -> TransferEvent:
    who = smtp(sender) if sender else None
    envelope = Envelope(message.id, message.id, source, who, (Recipient(smtp("bob@example.org")),), 1_000_000.0, peer=peer, **of)
    return TransferEvent(Stage.DELIVERY, envelope, message, source, target)


@dataclass
class Bench:
    """A site with a signer, and what it told."""

    parts: Assembled
    clock: HandClock
    lines: Lines

    @property
    def plugin(self) -> DkimPlugin:
        plugin = self.parts.host.plugins["dkim"]
        assert isinstance(plugin, DkimPlugin)
        return plugin

    async def ask(self, message: Message, **event_of: Any) -> tuple[Verdict, Message]:
        """The host's verdict, and the message as it goes on."""
        verdict, after = await self.parts.host.ask.transfer("mta_delivery", event(message, **event_of))
        return verdict, after.message

    async def signed(self, message: Message, **event_of: Any) -> bytes:
        """The octets that go out."""
        verdict, after = await self.ask(message, **event_of)
        assert type(verdict).__name__ == "Pass", verdict
        return await after.read()

    def zone(self, domain: str = "example.test") -> dict[str, str]:
        """What DNS would have of a domain's keys."""
        shelf = self.plugin.signer.shelf
        return {record.name: record.value for one in shelf.sets(domain) for record in shelf.records(domain, one)}


@asynccontextmanager
async def signing(
    folder: Path, settings: str = "", *, hooks: str = "", disk: Disk | None = None, domains: Mapping[str, str] | None = None, more: str = ""
) -> AsyncIterator[Bench]:
    """A site with these settings of the signer in flow style, and these domains with their post offices."""
    settings = settings if "rsa_bits" in settings else f"rsa_bits: 1024, {settings}"  # made ten times as fast
    policy = f"hooks: {{{hooks}}}, " if hooks else ""
    table = f"{{{policy}{settings}}}".replace(", }", "}")
    yaml = f"server: mail.example.test\nplugins: {{tab: {{watch: false}}, dkim: {table}}}\n{more}"
    clock, lines = HandClock(NOW), Lines()
    async with site_in(folder, yaml, clock=clock, disk=disk, log=lines, plugins={"dkim": DkimPlugin}) as parts:
        for domain, owner in (domains if domains is not None else {"example.test": "example.test"}).items():
            await parts.site.providers.smtp.domains.put(DomainRecord(domain=domain, account=owner))
        yield Bench(parts, clock, lines)


def verdicts(text: bytes, zone: Mapping[str, str]) -> list[bool]:
    """What dkimpy says of each signature of a message, from the top; a field it cannot read is False."""
    found = []
    for index in range(text.split(b"\r\n\r\n")[0].lower().count(b"dkim-signature:")):
        try:
            verifier = dkim.DKIM(text)
            found.append(bool(verifier.verify(index, dnsfunc=lambda name, timeout=5: asked(zone, name))))
        except dkim.DKIMException:
            found.append(False)
    return found


def asked(zone: Mapping[str, str], name: bytes) -> bytes | None:
    text = zone.get(name.decode().rstrip("."))
    return None if text is None else text.encode()


def publish(server: NameServer, zone: Mapping[str, str]) -> None:
    """Put these texts into DNS."""
    server.put({f"TXT {name}": Record(name, value).zone_value for name, value in zone.items()})


def take_out(server: NameServer, zone: Mapping[str, str]) -> None:
    """As if they had never been there."""
    for name in zone:
        del server.records[f"TXT {name}"]
