"""postroom_smtp.outbound.dialogue and .sending by whole attempts: what is said to which server, and what follows from its answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from postroom.address import smtp
from postroom.envelope import Recipient
from postroom.message import MemoryMessage
from postroom.notice import compose
from postroom.outcome import Delivered
from postroom_smtp.outbound.reply import Answer
from tests.plugins_smtp.outbound.world import MODERN, OLD_PIPELINES, TEXT, Server, World, envelope, reply_of, run, words

KINDS: dict[str, tuple[str, ...]] = {
    "pipelining and chunking": MODERN,
    "pipelining": OLD_PIPELINES,
    "chunking": ("CHUNKING", "8BITMIME"),
    "nothing": (),
}


def deliver(world: World, *to: str, **more: Any) -> list[str]:
    return words(run(world, lambda: world.deliver(*to, **more)))


def test_a_small_message_leaves_in_one_write() -> None:
    world = World()
    assert deliver(world) == ["delivered"]
    hello, envelope_and_message, parting = world.server.packets
    assert hello == b"EHLO mail.a.test\r\n" and parting == b"QUIT\r\n"
    size = len(TEXT)
    assert envelope_and_message == (b"MAIL FROM:<ann@a.test> SIZE=%d\r\nRCPT TO:<bob@b.test>\r\nBDAT %d LAST\r\n%b" % (size, size, TEXT))


def test_without_chunking_the_envelope_leaves_in_one_write_and_the_message_in_another() -> None:
    world = World(Server(OLD_PIPELINES))
    assert deliver(world) == ["delivered"]
    assert world.server.packets[1:3] == [
        b"MAIL FROM:<ann@a.test>\r\nRCPT TO:<bob@b.test>\r\nDATA\r\n",
        b"Subject: hello\r\n\r\nA line.\r\n..a dot\r\n.\r\n",
    ]


@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
def test_every_kind_of_server_gets_the_same_message(offers: tuple[str, ...]) -> None:
    world = World(Server(offers))
    assert deliver(world, "bob@b.test", "eve@b.test") == ["delivered"] * 2
    ((mail, rcpts, text),) = world.server.taken
    assert text == TEXT and mail.startswith("MAIL FROM:<ann@a.test>")
    assert rcpts == ["RCPT TO:<bob@b.test>", "RCPT TO:<eve@b.test>"]
    if "PIPELINING" not in offers:
        assert all(packet.count(b"\r\n") == 1 or packet.startswith((b"BDAT", b"Subject")) for packet in world.server.packets)


@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        ({"RCPT TO:<eve": "550 5.1.1 Who is that"}, ["delivered", "failed 550 5.1.1"]),
        ({"RCPT TO:<bob": "450 4.2.0 Greylisted"}, ["deferred 450 4.2.0", "delivered"]),
        ({"RCPT": "550 no code"}, ["failed 550 5.0.0"] * 2),
        ({"MAIL": "550 5.7.1 Not you"}, ["failed 550 5.7.1"] * 2),
        ({"MAIL": "451 4.7.1 Not now"}, ["deferred 451 4.7.1"] * 2),
        ({"DATA": "451 4.3.0 Not now", "FINAL": "451 4.3.0 Not now"}, ["deferred 451 4.3.0"] * 2),
        ({"FINAL": "554 5.7.1 Spam"}, ["failed 554 5.7.1"] * 2),
        ({"FINAL": "452 4.3.1 Full"}, ["deferred 452 4.3.1"] * 2),
        ({"FINAL": "421 4.3.2 Going down"}, ["deferred 421 4.3.2"] * 2),
        ({"MAIL": "421 4.3.2 Going down"}, ["deferred 421 4.3.2"] * 2),
        ({"RCPT TO:<eve": "421 4.3.2 Going down"}, ["deferred 421 4.3.2"] * 2),
        ({"RCPT TO:<bob": "552 5.2.2 Mailbox full"}, ["failed 552 5.2.2", "delivered"]),
        ({"FINAL": "354 What"}, ["deferred 451 4.5.0"] * 2),
        ({"MAIL": "nonsense"}, ["deferred 451 4.5.0"] * 2),
        ({"FINAL": "250-One line\r\n250-and another\r\n250 and the last"}, ["delivered"] * 2),
    ],
)
def test_an_outcome_for_each_recipient(offers: tuple[str, ...], says: dict[str, str], wanted: list[str]) -> None:
    world = World(Server(offers, dict(says)))
    assert deliver(world, "bob@b.test", "eve@b.test") == wanted


@pytest.mark.parametrize("offers", [MODERN, OLD_PIPELINES])
def test_a_server_that_wants_a_message_for_nobody_gets_an_empty_one(offers: tuple[str, ...]) -> None:
    """RFC 2920 section 3.1: a 354 though no recipient was taken."""
    world = World(Server(offers, {"RCPT": "550 5.1.1 No", "DATA": "354 Go on", "FINAL": "250 2.0.0 Thanks"}))
    assert deliver(world) == ["failed 550 5.1.1"]
    assert world.server.taken == []


def test_what_a_server_says_is_quoted_with_its_name() -> None:
    world = World(Server(says={"RCPT": "550-5.1.1 Who\x07\r\n550-5.1.1 is\r\n550 5.1.1 that?"}))
    (outcome,) = run(world, world.deliver)
    assert reply_of(outcome) == "550 5.1.1 Who? is that?" and outcome.remote == "mx.b.test [192.0.2.1]"  # type: ignore[union-attr]
    later = World(Server(says={"RCPT": "450 4.2.0 Not now"}))
    (outcome,) = run(later, later.deliver)
    assert reply_of(outcome) == "450 4.2.0 mx.b.test [192.0.2.1] said: Not now"  # all that a queue shows


def test_ehlo_falls_back_to_helo() -> None:
    world = World(Server(says={"EHLO": "502 5.5.1 What"}))
    assert deliver(world) == ["delivered"]
    assert world.server.heard[:3] == ["EHLO mail.a.test", "HELO mail.a.test", "MAIL FROM:<ann@a.test>"]


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        ({"GREETING": "554 5.7.1 Go away"}, "deferred 554 5.7.1"),
        ({"GREETING": "421 4.7.0 Busy"}, "deferred 421 4.7.0"),
        ({"EHLO": "421 4.7.0 Busy"}, "deferred 421 4.7.0"),
        ({"EHLO": "502 What", "HELO": "550 5.7.1 Not you"}, "deferred 550 5.7.1"),
        ({"GREETING": "SSH-2.0-OpenSSH"}, "deferred 451 4.5.0"),
        ({"GREETING": "220 x\r\n220 y\r\n250 z"}, "deferred 451 4.5.0"),
    ],
)
def test_a_server_that_turns_us_away_is_tried_again_later(says: dict[str, str], wanted: str) -> None:
    assert deliver(World(Server(says=says))) == [wanted]


def test_a_server_with_our_own_name_is_a_loop() -> None:
    assert deliver(World(Server(name="Mail.A.test"))) == ["failed 554 5.4.6"]


def test_dot_stuffing_and_line_ends() -> None:
    """Case 19: bare CR and LF are mended before they are sent, dots doubled on every line, the last line ended."""
    text = b"Subject: x\n\n.one\r\n.\n..two\rmid\r\r\n.\r\nend"
    mended = b"Subject: x\r\n\r\n.one\r\n.\r\n..two mid \r\n.\r\nend\r\n"
    for offers in KINDS.values():
        world = World(Server(offers))
        assert deliver(world, text=text) == ["delivered"]
        assert world.server.taken[0][2] == mended


def test_an_empty_message() -> None:
    for offers in KINDS.values():
        world = World(Server(offers))
        assert deliver(world, text=b"") == ["delivered"]
        assert world.server.taken[0][2] == b""


def test_our_return_path_stays_here() -> None:
    for text in (b"Return-Path: <ann@a.test>\r\n" + TEXT, b"DKIM-Signature: v=1;\r\n b\r\nReturn-Path: <ann@a.test>\r\n" + TEXT):
        world = World()
        assert deliver(world, text=text) == ["delivered"]
        assert world.server.taken[0][2] == text.replace(b"Return-Path: <ann@a.test>\r\n", b"")


def test_size_is_told_and_obeyed() -> None:
    world = World(Server((*MODERN[:3], "SIZE 20")))
    (outcome,) = run(world, world.deliver)
    assert reply_of(outcome).startswith("552 5.3.4 mx.b.test [192.0.2.1]: The message is larger than the next server takes: 35 octets")
    assert not world.server.taken


@pytest.mark.parametrize(("offers", "wanted"), [(("SMTPUTF8", *MODERN), ["delivered"] * 2), (MODERN, ["failed 553 5.6.7", "delivered"])])
def test_smtputf8_is_asked_for_where_it_is_needed(offers: tuple[str, ...], wanted: list[str]) -> None:
    world = World(Server(offers))
    assert deliver(world, "bögl@b.test", "bob@b.test", utf8=True) == wanted
    assert ("SMTPUTF8" in world.server.taken[0][0]) == ("SMTPUTF8" in offers)


def test_a_message_said_to_be_utf8_that_is_ascii_needs_nothing() -> None:
    assert deliver(World(), utf8=True) == ["delivered"]
    assert deliver(World(), utf8=True, text="Subject: ü\r\n\r\n".encode()) == ["failed 553 5.6.7"]
    assert deliver(World(), utf8=True, sender="änn@a.test") == ["failed 553 5.6.7"]


def test_eight_bit_octets_are_declared() -> None:
    world = World()
    assert deliver(world, text="Subject: x\r\n\r\nü\r\n".encode(), body="8BITMIME") == ["delivered"]
    assert world.server.heard[1] == "MAIL FROM:<ann@a.test> SIZE=18 BODY=8BITMIME"


def test_binary_octets_go_untouched_to_who_takes_them() -> None:
    octets = b"Subject: x\r\n\r\n\n\r\x00\xff.\n"
    world = World(Server((*MODERN, "BINARYMIME")))
    assert deliver(world, text=octets, body="BINARYMIME") == ["delivered"]
    assert world.server.taken[0][2] == octets and "BODY=BINARYMIME" in world.server.heard[1]


DSN = Recipient(smtp("bob@b.test"), "rfc822;b+ob@orig.test", frozenset({"SUCCESS", "FAILURE"}))


def test_dsn_is_passed_on_and_the_report_with_it() -> None:
    """RFC 3461 section 5.2.1: who took the wish tells of success; we must not do so too."""
    world = World(Server((*MODERN, "DSN")))
    sent = envelope([DSN], ret="HDRS", envid="a=b c")
    (outcome,) = run(world, lambda: world.attempt(sent, MemoryMessage("A" * 32, TEXT)))
    assert world.server.heard[1:3] == [
        "MAIL FROM:<ann@a.test> SIZE=35 RET=HDRS ENVID=a+3Db+20c",
        "RCPT TO:<bob@b.test> NOTIFY=FAILURE,SUCCESS ORCPT=rfc822;b+2Bob@orig.test",
    ]
    assert isinstance(outcome, Delivered) and "SUCCESS" not in outcome.recipient.notify


def test_without_dsn_the_success_is_ours_to_tell() -> None:
    world = World()
    (outcome,) = run(world, lambda: world.attempt(envelope([DSN], ret="HDRS", envid="x"), MemoryMessage("A" * 32, TEXT)))
    assert world.server.heard[1:3] == ["MAIL FROM:<ann@a.test> SIZE=35", "RCPT TO:<bob@b.test>"]
    assert isinstance(outcome, Delivered) and "SUCCESS" in outcome.recipient.notify


def quiet(name: str, *notify: str) -> Recipient:
    return Recipient(smtp(f"{name}@b.test"), "", frozenset(notify))


@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
def test_who_wants_no_report_has_no_sender_where_dsn_is_not_known(offers: tuple[str, ...]) -> None:
    """RFC 3461 section 5.2.2: the server would report a failure to the sender, whatever was wished."""
    world = World(Server(offers, {"RCPT TO:<dan": "550 5.1.1 No"}))
    to = [quiet("ann", "NEVER"), quiet("bob"), quiet("cat", "NEVER"), quiet("dan", "NEVER"), quiet("eve", "FAILURE")]
    outcomes = run(world, lambda: world.attempt(envelope(to, ret="HDRS", envid="x"), MemoryMessage("A" * 32, TEXT)))
    assert words(outcomes) == ["delivered", "delivered", "delivered", "failed 550 5.1.1", "delivered"]
    told, untold = world.server.taken
    assert told[0].startswith("MAIL FROM:<ann@a.test>") and told[1] == ["RCPT TO:<bob@b.test>", "RCPT TO:<eve@b.test>"]
    assert untold[0].startswith("MAIL FROM:<>") and untold[1] == ["RCPT TO:<ann@b.test>", "RCPT TO:<cat@b.test>"]


def test_who_wants_no_report_keeps_the_sender_where_dsn_is_known() -> None:
    world = World(Server((*MODERN, "DSN")))
    run(world, lambda: world.attempt(envelope([quiet("ann", "NEVER"), quiet("bob")]), MemoryMessage("A" * 32, TEXT)))
    assert world.server.heard[1:4] == ["MAIL FROM:<ann@a.test> SIZE=35", "RCPT TO:<ann@b.test> NOTIFY=NEVER", "RCPT TO:<bob@b.test>"]


@pytest.mark.parametrize("place", ["MAIL", "RCPT", "FINAL"])
def test_a_break_between_those_who_want_reports_and_those_who_do_not(place: str) -> None:
    world = World(Server(says={place: ["250 2.0.0 Ok", "421 4.3.2 Bye"]}))
    to = [quiet("ann", "NEVER"), quiet("bob")]
    outcomes = run(world, lambda: world.attempt(envelope(to), MemoryMessage("A" * 32, TEXT)))
    assert words(outcomes) == ["deferred 421 4.3.2", "delivered"]


@pytest.mark.parametrize(("offers", "reports"), [(MODERN, ["relayed"]), ((*MODERN, "DSN"), [])])
def test_a_success_that_nobody_else_reports_is_reported_as_relayed(offers: tuple[str, ...], reports: list[str]) -> None:
    """RFC 3461 sections 5.2.1 and 5.2.2, as far as the notice the sender gets."""
    world, sent = World(Server(offers)), envelope([DSN], user="ann")

    async def test() -> list[bytes]:
        outcomes = await world.attempt(sent, message := MemoryMessage("A" * 32, TEXT))
        return [text.data async for _, text in compose(sent, outcomes, message, host="mail.a.test", now=0.0)]

    told = run(world, test)
    assert [text.count(b"Action: relayed\r\n") for text in told] == [1] * len(reports)


def test_a_hostile_address_never_becomes_a_command() -> None:
    world = World()
    bad = ["x>\r\nRSET@b.test", "a b@b.test", "\x00@b.test", "bob@b.test>\r\nDATA", "no-domain", "", "a" * 400 + "@b.test"]
    assert deliver(world, *bad, "bob@b.test") == ["failed 553 5.1.3"] * len(bad) + ["delivered"]
    assert deliver(World(), sender="x>\r\nRSET@a.test") == ["failed 553 5.1.7"]


def test_the_null_sender() -> None:
    world = World()
    assert deliver(world, sender="") == ["delivered"]
    assert world.server.heard[1].startswith("MAIL FROM:<> ")


@pytest.mark.parametrize("limit", ["RCPTMAX=2", "RCPTMAX=2 MAILMAX=x"])
def test_limits_on_recipients_are_obeyed(limit: str) -> None:
    """RFC 9422."""
    world = World(Server((*MODERN, f"LIMITS {limit}")))
    assert deliver(world, *[f"u{n}@b.test" for n in range(5)]) == ["delivered"] * 5
    assert [len(rcpts) for _, rcpts, _ in world.server.taken] == [2, 2, 1]


def test_a_hundred_recipients_a_transaction_where_no_limit_is_told() -> None:
    world = World()
    assert deliver(world, *[f"u{n}@b.test" for n in range(150)]) == ["delivered"] * 150
    assert [len(rcpts) for _, rcpts, _ in world.server.taken] == [100, 50]


def test_one_too_many_comes_in_another_transaction() -> None:
    """RFC 5321 section 4.5.3.1.10."""
    world = World(Server(says={"RCPT TO:<u2": ["452 4.5.3 Too many"], "RCPT TO:<u3": ["452 4.5.3 Too many", "550 5.1.1 No"]}))
    assert deliver(world, "u1@b.test", "u2@b.test", "u3@b.test") == ["delivered", "delivered", "failed 550 5.1.1"]
    assert [rcpts for _, rcpts, _ in world.server.taken] == [["RCPT TO:<u1@b.test>"], ["RCPT TO:<u2@b.test>"]]


def test_rset_only_where_it_is_needed() -> None:
    """A transaction that ended well, or never began, leaves nothing to reset."""
    world = World(Server(OLD_PIPELINES, {"RCPT TO:<eve": "550 5.1.1 No"}))

    async def test() -> None:
        await world.keep()
        assert words(await world.deliver()) == ["delivered"]
        assert words(await world.deliver()) == ["delivered"]
        assert "RSET" not in world.server.heard
        assert words(await world.deliver("eve@b.test")) == ["failed 550 5.1.1"]
        assert words(await world.deliver()) == ["delivered"]

    run(world, test)
    assert world.server.heard.count("RSET") == 1 and len(world.server.lines) == 1
    assert world.server.heard[world.server.heard.index("RSET") - 1] == "DATA"


def test_what_a_server_said_is_in_the_log_and_no_message_is() -> None:
    world = World()
    assert deliver(world) == ["delivered"]
    ((level, event, facts),) = world.log.told
    assert (level, event) == ("info", "smtp.sent")
    assert facts["host"] == "mx.b.test" and facts["ip"] == "192.0.2.1" and facts["to"] == "b.test" and facts["port"] == 25
    assert facts["reply"] == "250 2.0.0 Queued" and facts["tls"] == "" and facts["delivered"] == 1 and facts["kept"] is False
    assert "A line" not in str(facts)


def test_answers_are_good_by_their_class() -> None:
    assert Answer(250, (b"",)).is_good and not Answer(354, (b"",)).is_good and not Answer(550, (b"",)).is_good


def test_an_agent_that_is_cancelled_leaves_no_connection() -> None:
    world = World(Server(says={"FINAL": ""}))

    async def test() -> None:
        task = asyncio.ensure_future(world.deliver())
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        assert task.cancelled() and world.server.open_lines == 0

    run(world, test)
