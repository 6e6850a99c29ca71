"""Who may send to whom, and as whom: the relay rules one by one, each switched off too; and the sender of a login."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from postroom.address import smtp
from postroom.clock import Clock
from postroom.envelope import Peer
from postroom.outcome import Reply
from postroom.providers import SmtpProvider
from postroom.records import AccessRecord, DomainRecord
from postroom.site import Log
from postroom_net.login import Principal
from postroom_smtp.gate import Gate
from postroom_smtp.relay import Relay, SeenAddresses
from postroom_smtp.replies import RELAYING_DENIED
from postroom_smtp.settings import Listen, RelaySettings, SmtpSettings
from postroom_testing.clock import HandClock
from tests.plugins_smtp.desk import Intake, Lines, Routes, Tables, Talk, people, run
from tests.plugins_smtp.submitting import ALICE, SEALED, logged_in, plain, submission

STRANGER = Peer(ip="192.0.2.1")
SOMEBODY = Peer(ip="192.0.2.1", user=ALICE, account="example.test", trusted=True)
PRINTER = Peer(ip="10.0.0.7", trusted=True)
READER = Peer(ip="192.0.2.88")
ALICE_HERSELF = Principal(ALICE, "example.test", "alice", "USER")


async def relay(folder: Path, **settings: Any) -> Relay:
    tables = Tables(access=[AccessRecord(mask="10.0.0.*", right="RELAY")])
    tables.domains.rows += [
        DomainRecord(domain="passed.test", redirect_status=1, redirect_hosts="mx.inside"),
        DomainRecord(domain="members.test", redirect_status=2, redirect_hosts="mx.inside"),
        DomainRecord(domain="off.test", status=0, redirect_status=1, redirect_hosts="mx.inside"),
    ]
    gate = Gate(cast(SmtpProvider, tables), cast(Log, Lines()), listed_only=False)
    await gate.open()
    chosen = RelaySettings.model_validate(settings)
    seen = SeenAddresses(cast(Clock, HandClock()), 600)
    seen.saw(READER.ip)
    intake = Intake(folder)

    def verify(address: Any) -> Reply | None:
        return RELAYING_DENIED if address.detail in ("far@away.test", "forwarded@example.test") else intake.verify(address)

    return Relay(chosen, Routes(), gate, seen, verify)


@pytest.mark.parametrize(
    ("peer", "address", "settings", "wanted"),
    [
        (STRANGER, "alice@example.test", {}, None),
        (STRANGER, "nobody@example.test", {}, "5.1.1"),
        (STRANGER, "far@away.test", {}, "5.7.1"),
        (STRANGER, "forwarded@example.test", {}, None),  # ours, and a row sends it on
        (SOMEBODY, "far@away.test", {}, None),
        (SOMEBODY, "far@away.test", {"authenticated": False}, "5.7.1"),
        (SOMEBODY, "nobody@example.test", {}, "5.1.1"),
        (PRINTER, "far@away.test", {}, None),
        (PRINTER, "far@away.test", {"addresses": False}, "5.7.1"),
        (READER, "far@away.test", {"pop_before_smtp": 10}, None),
        (READER, "far@away.test", {}, "5.7.1"),
        (STRANGER, "far@away.test", {"pop_before_smtp": 10}, "5.7.1"),
        (STRANGER, "who@passed.test", {}, None),
        (STRANGER, "who@passed.test", {"redirected_domains": False}, "5.7.1"),
        (STRANGER, "who@members.test", {}, "5.7.1"),
        (SOMEBODY, "who@members.test", {"authenticated": False}, None),
        (SOMEBODY, "who@members.test", {"authenticated": False, "redirected_domains": False}, "5.7.1"),
        (STRANGER, "who@off.test", {}, "5.7.1"),
    ],
)
def test_rules(tmp_path: Path, peer: Peer, address: str, settings: dict[str, Any], wanted: str | None) -> None:
    async def main() -> None:
        refusal = (await relay(tmp_path, **settings)).refuses(peer, smtp(address))
        assert (refusal and refusal.enhanced) == wanted
        assert refusal is None or refusal.enhanced != "5.7.1" or refusal == RELAYING_DENIED  # the same words for all

    run(main())


@pytest.mark.parametrize(
    ("rights", "sender", "wanted"),
    [
        ("USER", "alice@example.test", True),
        ("USER", "ALICE@Example.Test", True),
        ("USER", "taken@other.test", True),  # a row leads to her mailbox
        ("USER", "bob@example.test", False),
        ("USER", "forwarded@example.test", False),
        ("USER", "far@away.test", False),
        ("ADMIN", "bob@example.test", True),
        ("ADMIN", "far@away.test", False),
        ("SYSADMIN", "bob@example.test", True),
        ("SYSADMIN", "forwarded@example.test", True),
        ("SYSADMIN", "far@away.test", False),
    ],
)
def test_whose_address_a_sender_is(tmp_path: Path, rights: str, sender: str, wanted: bool) -> None:
    async def main() -> None:
        who = Principal(ALICE, "Example.Test", "Alice", rights)
        assert (await relay(tmp_path)).owns(who, smtp(sender)) is wanted

    run(main())


def test_a_foreign_sender_is_refused_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        assert await talk.say("MAIL FROM:<bob@example.test>") == (
            b"550 5.7.1 bob@example.test is not an address of the login alice@example.test\r\n"
        )
        assert await talk.say("MAIL FROM:<>", "RCPT TO:<far@away.test>", "RSET") == (
            b"250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n250 2.0.0 Ok\r\n"  # a disposition notification (RFC 8098)
        )
        await talk.end()
        talk = await logged_in(tmp_path, own_sender=False)
        assert (await talk.say("MAIL FROM:<bob@example.test>")).startswith(b"250")
        await talk.end()

    run(main())


def test_an_administrator_sends_as_his_people(tmp_path: Path) -> None:
    async def main() -> None:
        talk = submission(tmp_path)
        talk.people.update(people("ADMIN"))
        await talk.connect()
        assert (await talk.say("EHLO x.test", plain(), "MAIL FROM:<bob@example.test>")).endswith(b"250 2.1.0 Sender ok\r\n")
        await talk.end()

    run(main())


def test_pop_before_smtp_lasts_as_long_as_it_says(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, settings=SmtpSettings.model_validate({"relay": {"pop_before_smtp": 10}}))
        end = talk.house.seen.follow(talk.login)
        await talk.connect()
        await talk.say("EHLO x.test", "MAIL FROM:<a@b.test>")
        assert (await talk.say("RCPT TO:<far@away.test>")).startswith(b"550 5.7.1")
        for arrived in talk.login.arrivals:
            arrived(ALICE_HERSELF, "192.0.2.99", "pop3")
            arrived(ALICE_HERSELF, talk.ip, "smtp")  # sending is no fetching
        assert (await talk.say("RCPT TO:<far@away.test>")).startswith(b"550 5.7.1")
        for arrived in talk.login.arrivals:
            arrived(ALICE_HERSELF, talk.ip, "pop3")
        assert (await talk.say("RCPT TO:<far@away.test>")).startswith(b"250")
        await talk.turn(299)
        await talk.say("NOOP")
        await talk.turn(299)
        assert (await talk.say("RCPT TO:<further@away.test>")).startswith(b"250")
        await talk.turn(3)
        assert (await talk.say("RCPT TO:<furthest@away.test>")).startswith(b"550 5.7.1")
        end()
        assert not talk.login.arrivals
        await talk.end()

    run(main())


def test_other_workers_hear_of_it() -> None:
    heard: list[bytes] = []

    class Bus:
        def send(self, topic: str, payload: bytes = b"", *, here: bool = False) -> None:
            heard.append(payload)

        def listen(self, topic: str, told: Any) -> Any:
            self.told = told
            return lambda: heard.append(b"deaf")

    async def main() -> None:
        bus, login = Bus(), Talk(Path("."), listen=Listen(port=0)).login
        seen = SeenAddresses(cast(Clock, HandClock()), 600, cast(Any, bus))
        end = seen.follow(login)
        login.arrivals[0](ALICE_HERSELF, "192.0.2.5", "imap4")
        assert heard == [b"192.0.2.5"]
        bus.told(b"192.0.2.6")
        bus.told(b"\xff")
        login.arrivals[0](ALICE_HERSELF, "::ffff:192.0.2.8", "imap4")  # a listener of both families tells it so
        assert "192.0.2.8" in seen
        assert "192.0.2.5" in seen and "192.0.2.6" in seen and "192.0.2.7" not in seen
        end()
        assert heard[-1] == b"deaf"
        login.close()

    run(main())


def test_who_has_seen_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroom_smtp.relay._SEEN", 10)
    seen = SeenAddresses(cast(Clock, HandClock()), 600)
    for n in range(50):
        seen.saw(f"192.0.2.{n}")
    assert "192.0.2.39" not in seen and "192.0.2.40" in seen and len(seen._until) == 10


def test_a_privileged_address_needs_no_login_where_mail_comes_in_and_one_where_people_submit(tmp_path: Path) -> None:
    async def main() -> None:
        tables = Tables(access=[AccessRecord(mask="192.0.2.*", right="RELAY")])
        talk = Talk(tmp_path, tables=tables)
        await talk.connect()
        await talk.say("EHLO printer.test", "MAIL FROM:<printer@example.test>")
        assert (await talk.say("RCPT TO:<far@away.test>")).startswith(b"250")
        await talk.end()
        talk = Talk(tmp_path, tables=tables, listen=SEALED)
        await talk.connect()
        assert (await talk.say("EHLO printer.test", "MAIL FROM:<printer@example.test>")).endswith(b"530 5.7.0 Authentication required\r\n")
        await talk.end()

    run(main())
