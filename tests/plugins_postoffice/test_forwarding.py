"""Forwarded mail leaves under a name of ours, and a bounce to it goes back to whom it stands for."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from postroom.address import InternalAddress, smtp
from postroom.envelope import Envelope
from postroom.message import MemoryMessage, new_id
from postroom.outcome import Expanded, Failed, Outcome
from postroom.records import DomainRecord
from postroom_cli.opened import opened
from postroom_disk.disk import Disk
from postroom_postoffice import forwarding
from tests.plugins_postoffice.rows import PO, address, box, envelope, family, sf
from tests.plugins_postoffice.site import World

SRS = {"domain": "example.test", "secret": "SRS.KEY"}
MAP = [
    ("[SMTP:al@example.test]", f"[SF:{PO}/al]"),
    ("[SMTP:two@example.test]", f"[SF:{PO}/al]"),
    ("[SMTP:two@example.test]", "[SMTP:t@far.test]"),
]
ROWS = family(
    [box("al"), box("away", redirect=1, to="[SMTP:x@far.test]")],
    {
        "mixed": ["[SMTP:x@far.test]", "[SF:Acme/al]", "[SMTP:al@example.test]", "[SMTP:two@example.test]"],
        "near": ["[SF:Acme/al]", "[SF:Acme/away]"],
    },
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    forwarding.make_secret(Disk(), tmp_path / "SRS.KEY")
    return World(ROWS, tmp_path, MAP, srs=SRS)


def delivered(world: World, sent: Envelope) -> Sequence[Outcome]:
    return asyncio.run(world.connector.deliver(sent, MemoryMessage(new_id(), b"Subject: x\r\n\r\n")))


def expanded(world: World, name: str, sender: str = "eve@example.org") -> list[tuple[str, list[str]]]:
    """New senders, "" where the old one is kept, and who gets it."""
    outcomes = delivered(world, replace(envelope(name), sender=smtp(sender)))
    assert all(isinstance(one, Expanded) and bool(one.sender) is not one.sender_kept for one in outcomes)
    return [(one.sender, [str(to.address) for to in one.into]) for one in outcomes if isinstance(one, Expanded)]


def test_who_is_outside_gets_it_under_a_name_of_ours_and_who_is_not_does_not(world: World) -> None:
    """An address that the map sends both ways is told apart: two envelopes must not share a hop."""
    ((none, near), (name, far)) = expanded(world, "mixed")
    assert (none, near) == ("", ["[SF:Acme/al]", "[SF:Acme/al]", "[SF:Acme/al]"])
    assert far == ["[SMTP:x@far.test]", "[SMTP:t@far.test]"]
    assert name.startswith("[SMTP:SRS0=") and name.endswith("=example.org=eve@example.test]")
    assert expanded(world, "near") == [("", ["[SF:Acme/al]", "[SF:Acme/away]"])]


@pytest.mark.parametrize("sender", ["bob@Example.Test", '"a b"@example.org', "x" * 250 + "@example.org"])
def test_a_sender_of_ours_or_of_a_form_that_cannot_be_rewritten_stays(world: World, sender: str) -> None:
    assert expanded(world, "away", sender) == [("", ["[SMTP:x@far.test]"])]


def test_a_notice_is_forwarded_as_a_notice(world: World) -> None:
    (outcome,) = delivered(world, replace(envelope("away"), sender=None))
    assert isinstance(outcome, Expanded) and outcome.sender_kept


def test_without_srs_or_its_secret_the_sender_stays(tmp_path: Path) -> None:
    for world in (World(ROWS), World(ROWS, tmp_path, srs=SRS)):
        assert expanded(world, "away") == [("", ["[SMTP:x@far.test]"])]
        assert world.connector.refuses(sf("SRS0=AAAAAAAA=AA=example.org=eve")) is not None


def returned(world: World) -> InternalAddress:
    """Where a bounce to a forwarded message arrives."""
    ((name, _),) = expanded(world, "away")
    return sf(address(name).local)


def test_a_bounce_finds_back_and_rcpt_takes_it(world: World) -> None:
    to = returned(world)
    assert world.connector.refuses(to) is None
    (outcome,) = delivered(world, replace(envelope(to.name), sender=None))
    assert isinstance(outcome, Expanded) and [str(one.address) for one in outcome.into] == ["[SMTP:eve@example.org]"]
    assert outcome.sender_kept


def test_a_name_that_was_made_up_or_is_too_old_is_refused(world: World) -> None:
    to = returned(world)
    forged = sf("SRS0=AAAAAAAA=AA=example.org=victim")
    world.unix += 22 * 86_400
    for stale in (to, forged, sf("srs1=AAAAAAAA=other.test==a")):
        assert world.connector.refuses(stale) == forwarding.STALE
        (outcome,) = delivered(world, envelope(stale.name))
        assert isinstance(outcome, Failed) and outcome.reply == forwarding.STALE


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "Config" / "SRS.KEY"
    forwarding.make_secret(Disk(), path)
    (secret,) = forwarding.read_secrets(path)
    forwarding.make_secret(Disk(), path)
    assert forwarding.read_secrets(path) == [secret] and len(secret) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("short\n" + "new secret of some length\n\n" + secret.decode())
    assert forwarding.read_secrets(path) == [b"new secret of some length", secret]


def test_a_disk_that_refuses_leaves_no_half_secret(tmp_path: Path) -> None:
    class Full(Disk):
        def write_all(self, fd: int, data: bytes, *_: object) -> None:
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        forwarding.make_secret(Full(), tmp_path / "SRS.KEY")
    assert not (tmp_path / "SRS.KEY").exists()
    forwarding.make_secret(Disk(), tmp_path / "SRS.KEY")
    assert [path.name for path in tmp_path.iterdir()] == ["SRS.KEY"] and forwarding.read_secrets(tmp_path / "SRS.KEY")


YAML = "server: mail.example.test\nplugins: {tab: {watch: false}, postoffice: {srs: {domain: example.test}}}\nproviders: {default: tab}\n"


def test_a_new_site_has_its_secret_and_its_rows_and_check_tells_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "postroom.yaml").write_text(YAML)

    async def create() -> None:
        async with opened(tmp_path) as parts:
            missing = "\n".join(parts.host.check(parts.site))
            assert "no domain of this site" in missing and "has no secret" in missing and "[SMTP:SRS1*@example.test]" in missing
            for _ in range(2):
                await parts.host.site_created(parts.site, "example.test")
            await parts.site.providers.smtp.domains.put(DomainRecord("example.test", account="example.test"))
            assert parts.host.check(parts.site) == []
            rows = await parts.site.providers.address_map.rows.find()
            assert [(row.source, row.destination) for row in rows] == [
                ("[SMTP:SRS0*@example.test]", "[SF:example.test/*]"),
                ("[SMTP:SRS1*@example.test]", "[SF:example.test/*]"),
            ]
            (found,) = parts.site.router.resolve(smtp("srs0=A=b=example.org=eve@example.test")).to
            assert found == InternalAddress("SF", "example.test/srs0=A=b=example.org=eve")

    asyncio.run(create())
