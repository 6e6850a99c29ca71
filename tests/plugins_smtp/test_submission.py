"""What a submitted message gets that others do not: missing fields, a hidden client, a time to be held until, rates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroom.address import smtp
from postroom.envelope import Peer, Recipient
from postroom.errors import DiskError
from postroom_smtp import header
from postroom_smtp.grammar import Mail
from postroom_smtp.house import House
from postroom_smtp.settings import SmtpSettings
from postroom_smtp.transaction import Transaction
from postroom_smtp.wants import Commit
from postroom_testing.clock import HandClock
from postroom_testing.ground import site_in
from tests.due import due_items
from tests.plugins_smtp.desk import Talk, body_of, run
from tests.plugins_smtp.submitting import ALICE, logged_in

WHOLE = b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nFrom: a@b.test\r\nMessage-ID: <x@b.test>\r\n"


def missing(head: bytes, sender: str = ALICE) -> list[bytes]:
    fields = header.missing(head, sender=sender, message_id="AB", server="mail.test", now=1_800_000_000.0)
    return [line.partition(b":")[0] for line in fields.split(b"\r\n")[:-1]]


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (WHOLE, []),
        (WHOLE.lower(), []),
        (b"DATE : now\r\nfrom\t: x\r\nMessage-Id:y\r\n", []),
        (b"Subject: x\r\n", [b"Date", b"From", b"Message-ID"]),
        (b"Resent-Date: x\r\nX-From: y\r\nIn-Reply-To: z\r\n", [b"Date", b"From", b"Message-ID"]),
        (b"Subject: x\r\n date: folded\r\n", [b"Date", b"From", b"Message-ID"]),
        (b"", [b"Date", b"From", b"Message-ID"]),
        (b"Dear all,\r\n", [b"Date", b"From", b"Message-ID", b""]),
    ],
)
def test_what_is_missing(head: bytes, wanted: list[bytes]) -> None:
    assert missing(head) == wanted
    assert b"From" not in missing(head, sender="")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "text",
    [
        b"Subject: x\r\n\r\nfrom: not a field\r\n",
        b"\r\nno header\r\n",
        b"Subject: no body\r\n",
        b"no header at all\r\n",
        WHOLE + b"\r\nbody\r\n",
        b"",
    ],
)
def test_the_same_for_every_split(text: bytes, step: int) -> None:
    def whole(step: int) -> bytes:
        head = header.Letterhead(sender=ALICE, message_id="AB", server="mail.test", now=0.0, most=10_000)
        return b"".join(head.take(text[at : at + step]) for at in range(0, len(text), step)) + head.end()

    said = whole(step)
    assert said == whole(len(text) or 1) and said.endswith(text)


def test_a_header_without_end_is_not_held_for_ever() -> None:
    head = header.Letterhead(sender=ALICE, message_id="AB", server="mail.test", now=0.0, most=100)
    assert head.take(b"X: " + b"y" * 50) == b""
    assert b"Message-ID: <ab@mail.test>" in head.take(b"y" * 100)
    assert head.take(b"z") == b"z" and head.end() == b""


async def sent(talk: Talk, mail: bytes, *parameters: str) -> bytes:
    await talk.say(" ".join([f"MAIL FROM:<{ALICE}>", *parameters]), "RCPT TO:<far@away.test>", "DATA")
    return await talk.send(mail + b".\r\n")


def test_missing_fields_stand_below_the_trace_lines(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        assert (await sent(talk, b"Subject: x\r\n\r\nbody\r\n")).startswith(b"250")
        fields, _, rest = body_of(talk.intake.taken[0][1]).partition(b"Subject")
        assert fields.splitlines()[0] == b"Date: Fri, 15 Jan 2027 08:00:00 +0000"
        assert fields.splitlines()[1] == b"From: alice@example.test"
        assert fields.splitlines()[2] == b"Message-ID: <%b@mail.example.test>" % talk.intake.taken[0][0].id.lower().encode()
        assert rest == b": x\r\n\r\nbody\r\n"
        assert (await sent(talk, WHOLE + b"Bcc: x@y.test\r\n\r\nbody\r\n")).startswith(b"250")
        assert body_of(talk.intake.taken[1][1]) == WHOLE + b"Bcc: x@y.test\r\n\r\nbody\r\n"  # theirs to have written
        await talk.end()

    run(main())


def test_chunks_and_large_messages_too(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        await talk.say(f"MAIL FROM:<{ALICE}>", "RCPT TO:<far@away.test>")
        await talk.send(b"BDAT 9\r\nSubject: BDAT 5\r\nx\r\n\r\nBDAT 6 LAST\r\nbody\r\n")
        assert talk.messages[0].endswith(b">\r\nSubject: x\r\n\r\nbody\r\n")
        body = b"Subject: big\r\n\r\n" + (b"y" * 998 + b"\r\n") * 400
        assert (await sent(talk, body)).startswith(b"250")
        assert talk.messages[1].endswith(b">\r\n" + body) and talk.messages[1].startswith(b"Date: ")
        await talk.end()

    run(main())


def test_strangers_mail_is_left_as_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        await talk.send(b"Subject: x\r\n\r\nbody\r\n.\r\n")
        assert talk.messages == [b"Subject: x\r\n\r\nbody\r\n"]
        await talk.end()

    run(main())


@pytest.mark.parametrize("hide", [False, True])
def test_where_the_client_is(tmp_path: Path, hide: bool) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path, hide_client=hide)
        await sent(talk, b"Subject: x\r\n\r\nbody\r\n")
        ((envelope, data),) = talk.intake.taken
        assert (b"laptop.test" in data) is (b"[192.0.2.25]" in data) is not hide
        assert b"with ESMTPSA" in data and envelope.peer.ip == "192.0.2.25"  # the operator knows
        await talk.end()

    run(main())


# FUTURERELEASE (RFC 4865).

NOW = datetime.fromtimestamp(1_800_000_000, UTC)


@pytest.mark.parametrize(
    ("parameter", "seconds"),
    [
        ("HOLDFOR=3600", 3600),
        ("HOLDUNTIL=2027-01-16T08:00:00Z", 86400),
        ("HOLDUNTIL=2027-01-15T12:00:00+02:00", 7200),
        ("HOLDFOR=2592000", 2592000),
    ],
)
def test_a_message_rests_until_it_is_due(tmp_path: Path, parameter: str, seconds: int) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        assert (await sent(talk, b"Subject: later\r\n\r\nx\r\n", parameter)).startswith(b"250 2.0.0 Ok: queued as ")
        assert not talk.intake.taken
        ((envelope, data),) = talk.spool.held
        assert envelope.attempt.due == envelope.arrived == NOW.timestamp() + seconds and envelope.attempt.count == 0
        assert b"Subject: later" in data and talk.log.of("smtp.accepted")[0]["due"] == envelope.attempt.due
        await talk.end()

    run(main())


def test_a_time_that_has_passed_is_now(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        assert (await sent(talk, b"Subject: x\r\n\r\nx\r\n", "HOLDUNTIL=2026-01-01T00:00:00Z")).startswith(b"250")
        assert len(talk.intake.taken) == 1 and not talk.spool.held
        await talk.end()

    run(main())


@pytest.mark.parametrize(
    ("parameter", "wanted"),
    [
        ("HOLDFOR=2592001", b"501 5.5.4 That is longer"),
        ("HOLDUNTIL=2028-01-01T00:00:00Z", b"501 5.5.4 That is longer"),
        ("HOLDFOR=0", b"501 5.5.4 Bad value"),
        ("HOLDFOR=-1", b"501 5.5.4 Bad value"),
        ("HOLDFOR=1 HOLDUNTIL=2027-01-16T08:00:00Z", b"501 5.5.4 Bad value"),
        ("HOLDUNTIL=2027-02-31T08:00:00Z", b"501 5.5.4 Bad value"),
        ("HOLDUNTIL=tomorrow", b"501 5.5.4 Bad value"),
        ("HOLDUNTIL=2027-01-16T08:00:00", b"501 5.5.4 Bad value"),
    ],
)
def test_times_that_are_refused(tmp_path: Path, parameter: str, wanted: bytes) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        assert (await talk.say(f"MAIL FROM:<{ALICE}> {parameter}")).startswith(wanted)
        await talk.end()

    run(main())


def test_it_is_offered_where_people_submit_only(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        assert b"250-FUTURERELEASE 2592000 2027-02-14T08:00:00Z\r\n" in await talk.say("EHLO x.test")
        await talk.end()
        talk = await logged_in(tmp_path, hold_days=0)
        assert b"FUTURERELEASE" not in await talk.say("EHLO x.test")
        assert (await talk.say(f"MAIL FROM:<{ALICE}> HOLDFOR=1")).startswith(b"555 5.5.4")
        await talk.end()
        talk = Talk(tmp_path)
        await talk.connect()
        assert b"FUTURERELEASE" not in await talk.say("EHLO x.test")
        assert (await talk.say("MAIL FROM:<a@b.test> HOLDFOR=1")).startswith(b"555 5.5.4")
        await talk.end()

    run(main())


def test_a_full_disk_holds_nothing_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        talk.spool.error = DiskError("full", full=True)
        assert (await sent(talk, b"Subject: x\r\n\r\nx\r\n", "HOLDFOR=60")).startswith(b"452 4.3.1")
        await talk.end()

    run(main())


# Rates.


def test_a_login_sends_so_many_messages_an_hour(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path, rates={"login_messages": 2})
        for _ in range(2):
            assert (await sent(talk, b"Subject: x\r\n\r\nx\r\n")).startswith(b"250")
        assert await talk.say(f"MAIL FROM:<{ALICE}>") == b"450 4.7.1 Too many messages from this login; try again in 1801 seconds\r\n"
        for _ in range(7):
            await talk.turn(260)
            await talk.say("NOOP")
        assert (await talk.say(f"MAIL FROM:<{ALICE}>")).startswith(b"250")
        await talk.end()

    run(main())


def test_so_many_recipients_whatever_the_messages(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path, rates={"login_recipients": 3})
        await talk.say(f"MAIL FROM:<{ALICE}>")
        said = await talk.say(*[f"RCPT TO:<r{n}@away.test>" for n in range(5)])
        assert said.count(b"250 2.1.5") == 3 and said.count(b"450 4.7.1 Too many recipients from this login") == 2
        assert (await talk.say("RCPT TO:<nobody@example.test>")).startswith(b"550 5.1.1")  # for good comes before for now
        await talk.end()

    run(main())


def test_an_address_may_be_bound_too_and_its_neighbours_by_ipv6(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path, rates={"login_messages": 0, "address_messages": 1})
        assert (await talk.say(f"MAIL FROM:<{ALICE}>", "RSET")).startswith(b"250")
        assert (await talk.say(f"MAIL FROM:<{ALICE}>")).startswith(b"450 4.7.1 Too many messages from this address")
        await talk.end()

    run(main())


YAML = """server: mail.example.test
plugins:
  tab: {}
  store: {}
  postoffice: {}
  smtp: {listen: [{port: 0}]}
providers: {default: tab}
"""


@pytest.mark.long
@pytest.mark.parametrize("octets", [100, 400_000])
def test_held_in_a_real_queue_over_a_restart(tmp_path: Path, octets: int) -> None:
    """The pair is due when its sender said, is claimed then, and a start in between changes nothing."""
    clock = HandClock()
    due = clock.now() + 86400

    async def main() -> None:
        async with site_in(tmp_path, YAML, clock=clock) as parts:
            connector = parts.connectors["SMTP"]
            house = House.of(parts.site, SmtpSettings())
            content = house.content("A" * 32, b"Received: x\r\n")
            content.add(b"Subject: later\r\n\r\n" + b"x" * octets)
            mail = Transaction(Mail(smtp(ALICE), hold_for=86400), 0.0, due)
            mail.recipients[("SMTP", "bob@example.test")] = Recipient(smtp("bob@example.test"))
            said = await house.take(Commit(mail.envelope(content, Peer(user=ALICE), clock.now()), content, 0.0))
            assert said.startswith(b"250 2.0.0 Ok: queued as A") and connector.acronym == "SMTP"
            assert [when for _, when in parts.site.spool["SMTP"].inbound.items()] == [due]
        async with site_in(tmp_path, YAML, clock=clock) as parts:
            spool = parts.site.spool
            await clock.advance(86399)
            assert not list(due_items(spool, clock.now()))
            await clock.advance(1)
            ((queue, item),) = due_items(spool, clock.now())
            claim = spool.claim(queue, item)
            assert claim is not None and claim.envelope.peer.user == ALICE
            assert (await claim.message.read()).endswith(b"x" * octets) and claim.envelope.arrived == due
            claim.drop()

    run(main())
