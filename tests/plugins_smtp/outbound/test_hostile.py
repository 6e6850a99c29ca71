"""What a server may say that is wrong, odd or meant to harm, and what must not follow from it. Each test is named for what was wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from postroom.address import smtp
from postroom.envelope import Recipient
from postroom.message import MemoryMessage
from postroom.outcome import Deferred
from postroom_smtp.outbound.dialogue import Dialogue, Move
from postroom_smtp.outbound.reply import LINES, ReplyError, ReplyReader, _offers, offers
from postroom_smtp.outbound.tlspolicy import Opportunistic, Unfit, Wanted
from tests.plugins_smtp.outbound.test_dialogue import KINDS
from tests.plugins_smtp.outbound.world import MODERN, OLD_PIPELINES, TEXT, Line, Server, World, envelope, reply_of, run, words

TWO = ("bob@b.test", "eve@b.test")


def deliver(world: World, *to: str, **more: Any) -> list[str]:
    return words(run(world, lambda: world.deliver(*to, **more)))


# ---------------------------------------------------------------- replies out of step


@pytest.mark.parametrize("offers", [OLD_PIPELINES, ()])
def test_an_answer_that_came_before_the_message_left_was_taken_for_the_message_s(offers: tuple[str, ...]) -> None:
    """354 and 250 in one packet: the 250 cannot be of a message that was not sent yet, and now it must not be sent any more."""
    world = World(Server(offers, {"DATA": "354 Go on\r\n250 2.0.0 Queued"}))
    (outcome,) = run(world, world.deliver)
    assert words([outcome]) == ["deferred 451 4.5.0"] and "before it was asked" in reply_of(outcome)
    assert not world.server.taken


def test_a_greeting_with_a_second_reply_behind_it_put_all_answers_out_of_step() -> None:
    world = World(Server(says={"GREETING": "220 x\r\n250 y"}))
    assert deliver(world) == ["deferred 451 4.5.0"]
    assert not world.server.taken and world.server.heard == []


@pytest.mark.parametrize(
    ("behind", "wanted"), [("554 5.7.1 No", "failed 554 5.7.1"), ("451 4.3.0 No", "deferred 451 4.3.0"), ("250 2.0.0 Ok", "delivered")]
)
@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
def test_a_refusal_behind_the_answer_to_the_message_was_not_heard(offers: tuple[str, ...], behind: str, wanted: str) -> None:
    """A server that answers once for each recipient, as LMTP does, or is one answer ahead of us: the last word counts."""
    world = World(Server(offers, {"FINAL": f"250 2.0.0 Ok\r\n{behind}"}))
    assert deliver(world, *TWO) == [wanted] * 2
    assert world.server.open_lines == 0


def test_a_goodbye_behind_the_answer_takes_nothing_back() -> None:
    assert deliver(World(Server(says={"FINAL": "250 2.0.0 Ok\r\n421 4.3.2 Bye"}))) == ["delivered"]


@pytest.mark.parametrize("offers", [MODERN, OLD_PIPELINES, ()])
def test_a_server_that_refuses_rset_had_the_next_mail_bounced(offers: tuple[str, ...]) -> None:
    """It thinks that a transaction is under way, so MAIL meets 503: that is a matter of this connection, not of the mail."""
    server = Server(offers, {"RCPT TO:<eve": "550 5.1.1 No", "RSET": "502 5.5.1 No RSET", "MAIL": ["250 Ok", "503 5.5.1 Nested MAIL"]})
    world = World(server)

    async def test() -> None:
        await world.keep()
        assert words(await world.deliver("eve@b.test")) == ["failed 550 5.1.1"]
        assert words(await world.deliver("bob@b.test")) == ["delivered"]
        assert len(server.lines) == 2 and len(server.taken) == 1

    run(world, test)


def test_a_server_that_has_no_rset_and_needs_none() -> None:
    world = World(Server(says={"RCPT TO:<eve": "550 5.1.1 No", "RSET": "502 5.5.1 No RSET"}))

    async def test() -> None:
        await world.keep()
        await world.deliver("eve@b.test")
        assert words(await world.deliver("bob@b.test")) == ["delivered"]
        assert len(world.server.lines) == 1

    run(world, test)


@pytest.mark.parametrize(
    "says", [{"GREETING": "250 hello"}, {"GREETING": "354 hello"}, {"EHLO": "354 what"}, {"EHLO": "500 what", "HELO": "354 what"}]
)
def test_mail_was_deferred_with_a_reply_that_says_it_went_well(says: dict[str, str]) -> None:
    world = World(Server(says=says))
    assert deliver(world) == ["deferred 451 4.5.0"]


def test_a_login_without_end_held_its_connection_for_ever() -> None:
    """334 to everything, to our "*" too."""
    smart = {"host": "192.0.2.1", "user": "me", "password": "x", "tls": "none"}
    world = World(Server((*MODERN, "AUTH PLAIN"), {"AUTH": "334 more", "*": "334 more"}), dns={}, smart_host=smart)
    assert deliver(world) == ["deferred 451 4.5.0"]
    assert world.server.heard[-2:] == ["AUTH PLAIN AG1lAHg=", "*"]


@pytest.mark.parametrize("offers", [MODERN, OLD_PIPELINES, ("CHUNKING",), ()])
@pytest.mark.parametrize("place", ["MAIL", "RCPT TO:<bob", "RCPT TO:<eve", "DATA", "FINAL"])
def test_a_server_that_hangs_up_after_an_answer_has_not_delivered(offers: tuple[str, ...], place: str) -> None:
    """After each good answer in turn the connection is closed in order, without a word. Said delivered: only what was taken."""
    world = World(Server(offers))
    say = Line.say

    async def test() -> None:
        waiting = asyncio.ensure_future(world.deliver(*TWO))
        while not waiting.done():
            for line in world.server.lines:
                if any(heard.startswith(place) for heard in world.server.heard) or (place == "FINAL" and world.server.taken):
                    line.close()
            await asyncio.sleep(0)
        outcomes = words(await waiting)
        assert outcomes == ["delivered"] * 2 if world.server.taken and outcomes[0] == "delivered" else ["deferred 421 4.4.2"] * 2

    run(world, test)
    assert Line.say is say


# ---------------------------------------------------------------- time, memory, the loop


def test_a_flood_of_replies_kept_the_loop_busy() -> None:
    """A packet of 50,000 replies took 120 ms; more than were asked for are an error before they are read."""
    reader = ReplyReader()
    with pytest.raises(ReplyError, match="more replies"):
        reader.read(b"250 \n" * 50_000)
    assert len(ReplyReader().read(b"250 x\r\n" * 110)) == 110


def test_a_reply_let_out_octet_by_octet_has_the_time_of_one_reply() -> None:
    """Any octet gave the server all its time again: 100 lines of 4096 octets, one in five minutes, are four years."""
    world = World(Server((), {"MAIL": ""}), command_timeout=40)

    async def test() -> None:
        waiting = asyncio.ensure_future(world.deliver())
        while not any(heard.startswith("MAIL") for heard in world.server.heard):
            await asyncio.sleep(0)
        for _ in range(45):
            world.server.lines[0].say(b"2")
            await world.clock.advance(1)
        (outcome,) = await asyncio.wait_for(waiting, 1)
        assert isinstance(outcome, Deferred) and "did not answer in time (command)" in outcome.reply.text

    run(world, test)


def test_large_answers_to_ehlo_were_remembered_without_end() -> None:
    _offers.cache_clear()
    for number in range(5):
        lines = (b"mx.b.test", *(b"X-%d %b" % (number, b"y" * 4000) for _ in range(LINES - 2)), b"PIPELINING")
        assert offers(lines).pipelining
    assert _offers.cache_info().currsize == 0
    assert offers((b"mx.b.test", b"PIPELINING")) is offers((b"mx.b.test", b"PIPELINING"))


def test_a_domain_of_a_thousand_hosts_kept_a_message_busy_for_hours() -> None:
    """Each host is two questions to DNS, and a name server of the domain's may take its time with each."""
    hosts = [f"{number} h{number}.b.test." for number in range(1000)]
    world = World(dns={"MX b.test": hosts} | {f"A h{number}.b.test": "192.0.2.1" for number in range(1000)})
    assert deliver(world) == ["delivered"]
    assert len(world.dns.asked) < 60


def test_hosts_beyond_the_limit_still_tell_that_we_are_one_of_them() -> None:
    """RFC 5321 section 5.1: what is no better than ourselves is not tried, wherever in the list we are."""
    hosts = ["1 mail.a.test.", *(f"{number} h{number}.b.test." for number in range(1, 1000))]
    assert deliver(World(dns={"MX b.test": hosts})) == ["failed 554 5.4.6"]


def test_a_host_with_many_ipv6_addresses_was_never_tried_by_ipv4() -> None:
    dns = {"MX b.test": "10 mx.b.test.", "AAAA mx.b.test": [f"2001:db8::{number}" for number in range(1, 9)], "A mx.b.test": "192.0.2.1"}
    world = World(dns=dns)
    world.servers |= {f"2001:db8::{number}": OSError(101, "Network is unreachable") for number in range(1, 9)}
    assert deliver(world) == ["delivered"]
    assert world.dialled == [("2001:db8::1", 25), ("192.0.2.1", 25)]


# ---------------------------------------------------------------- what we say


@pytest.mark.parametrize(
    ("original", "wanted"),
    [
        ("rfc822;bob@x.test", " ORCPT=rfc822;bob@x.test"),
        ("rfc822;b b+@x.test\r\nRSET", " ORCPT=rfc822;b+20b+2B@x.test+0D+0ARSET"),
        ("rfc822\r\nRSET;bob@x.test", ""),
        ("rfc 822 NOTIFY=NEVER;bob@x.test", ""),
        (";bob@x.test", ""),
        ("bob@x.test", ""),
        ("rfc822;" + "x" * 600, ""),
    ],
)
def test_the_type_of_an_original_recipient_could_be_a_command(original: str, wanted: str) -> None:
    """A command file that another program dropped in may say anything."""
    world = World(Server((*MODERN, "DSN")))
    sent = envelope([Recipient(smtp("bob@b.test"), original, frozenset({"FAILURE"}))])
    assert words(run(world, lambda: world.attempt(sent, MemoryMessage("A" * 32, TEXT)))) == ["delivered"]
    assert world.server.heard[2] == f"RCPT TO:<bob@b.test> NOTIFY=FAILURE{wanted}" and "RSET" not in world.server.heard


@pytest.mark.parametrize("ret", ["FULL\r\nRSET", "FULL X=Y", "full"])
def test_what_is_to_be_returned_could_be_a_command(ret: str) -> None:
    world = World(Server((*MODERN, "DSN")))
    sent = envelope([Recipient(smtp("bob@b.test"), "", frozenset({"FAILURE\r\nRSET", "DELAY"}))], ret=ret)
    run(world, lambda: world.attempt(sent, MemoryMessage("A" * 32, TEXT)))
    assert world.server.heard[1:3] == ["MAIL FROM:<ann@a.test> SIZE=35", "RCPT TO:<bob@b.test> NOTIFY=DELAY"]


def test_two_names_of_one_mailbox_got_one_outcome() -> None:
    """Quoted and not they are the same on the wire; each recipient must hear of its own."""
    world = World(Server(says={"RCPT": "450 4.2.0 Not now"}))
    to = [Recipient(smtp("bob@b.test")), Recipient(smtp('"bob"@b.test'))]

    async def test() -> None:
        outcomes = await world.agent.deliver(envelope(to), MemoryMessage("A" * 32, TEXT))
        assert {outcome.recipient for outcome in outcomes} == set(to)

    run(world, test)


def test_an_etrn_that_is_no_name_is_a_settings_error() -> None:
    with pytest.raises(ValueError, match="etrn"):
        World(etrn={"mx.b.test": ["b.test\r\nMAIL FROM:<>"]})


# ---------------------------------------------------------------- policies


class Strict(Opportunistic):
    """A policy that leaves every host out."""

    async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        raise Unfit("it is not in the policy of b.test")

    async def least(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        return await super().wanted(domain, host, port, mx_secure)


def test_a_report_of_a_policy_that_names_no_host_could_not_be_sent() -> None:
    """`TLS-Required: No` waives the whole policy, its list of hosts too (RFC 8689 section 3, RFC 8460 section 5.3)."""
    assert deliver(World(policy=Strict())) == ["deferred 451 4.7.5"]
    assert deliver(World(policy=Strict()), text=b"Subject: x\r\nTLS-Required: No\r\n\r\n") == ["delivered"]


def test_a_certainty_of_dnssec_counts_only_where_the_resolver_is_believed() -> None:
    """RFC 8689 section 4.2.1 asks for validated MX records; anybody between us and a far resolver can set one bit."""
    for trusted, wanted in ((True, "deferred 454 4.7.4"), (False, "failed 550 5.7.30")):
        world = World(Server(MODERN), trusted=trusted)
        world.dns.secure = True
        assert deliver(world, require_tls=True) == [wanted]


def test_a_domain_s_policy_was_asked_about_hosts_the_operator_chose() -> None:
    """A row of DOMAIN.TAB leads elsewhere: MTA-STS of the domain speaks of its MX hosts (RFC 8461 section 4.1)."""
    from postroom.records import DomainRecord

    asked: list[tuple[str, str]] = []

    class Named(Opportunistic):
        async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
            asked.append((domain, host))
            return await super().wanted(domain, host, port, mx_secure)

    row = DomainRecord(domain="b.test", redirect_status=1, redirect_hosts="relay.a.test")
    world = World(dns={"A relay.a.test": "192.0.2.1"}, domains=[row], policy=Named())
    assert deliver(world) == ["delivered"]
    assert asked == [("relay.a.test", "relay.a.test")]


def test_a_name_of_ours_said_in_the_clear_where_tls_is_a_must_is_nobody_s_word() -> None:
    """Whoever sits on the line could have had the mail returned for good."""
    world = World(Server(name="mail.a.test"), tls="required")
    assert deliver(world) == ["deferred 454 4.7.4"]


@pytest.mark.parametrize("late", [b"250 x\r\n", b"421 x\r\n", b"25"])
def test_octets_in_the_clear_before_the_handshake_are_its_end(late: bytes) -> None:
    """They came in a packet of their own, while the handshake was prepared; the dialogue went on as if nothing had been said."""
    dialogue = Dialogue("a.test")
    for data in (b"220 x\r\n", b"250-x\r\n250 STARTTLS\r\n", b"220 go\r\n"):
        dialogue.receive(data)
        dialogue.out.clear()
    dialogue.receive(late)
    dialogue.secured("TLS")
    assert dialogue.is_over and not dialogue.out


def test_a_dialogue_that_is_over_says_nothing_more() -> None:
    said: Sequence[bytes] = (b"220 x\r\n", b"250-x\r\n250 PIPELINING\r\n250 y\r\n")
    dialogue = Dialogue("a.test")
    for data in said:
        dialogue.out.clear()
        dialogue.receive(data)
    assert dialogue.move is Move.OVER and not dialogue.out


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_for_a_name_nobody_vouched_for_was_enough_for_requiretls(trusted: bool) -> None:
    """The operator has names verified, but who says that the domain has that host (RFC 8689 section 4.2.1)?"""
    world = World(Server(MODERN), tls="verify")
    world.dns.secure = trusted
    assert deliver(world, require_tls=True) == ["deferred 454 4.7.4" if trusted else "failed 550 5.7.30"]


def test_addresses_that_are_known_to_be_down_used_up_the_tries() -> None:
    """The first three of six do not answer; nobody ever asked the fourth."""
    hosts = {"MX b.test": [f"{number} h{number}.b.test." for number in range(1, 7)]}
    world = World(dns=hosts | {f"A h{number}.b.test": f"192.0.2.{number}" for number in range(1, 7)}, addresses=3)
    world.servers = {f"192.0.2.{number}": ConnectionRefusedError(111, "Connection refused") for number in range(1, 4)}
    world.servers["192.0.2.4"] = Server(name="h4.b.test")

    async def test() -> None:
        assert words(await world.deliver()) == ["deferred 451 4.4.1"]
        assert words(await world.deliver()) == ["delivered"]
        assert [ip for ip, _ in world.dialled] == [f"192.0.2.{number}" for number in range(1, 5)]

    run(world, test)


def test_a_message_that_was_taken_and_then_refused_goes_to_no_other_host_now() -> None:
    dns = {"MX b.test": ["10 mx.b.test.", "20 two.b.test."], "A mx.b.test": "192.0.2.1", "A two.b.test": "192.0.2.2"}
    world = World(Server(says={"FINAL": "250 2.0.0 Ok\r\n451 4.3.0 No"}), dns=dns)
    world.servers["192.0.2.2"] = Server(name="two.b.test")
    assert deliver(world) == ["deferred 451 4.3.0"]
    assert len(world.dialled) == 1
