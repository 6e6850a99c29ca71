"""postroom_smtp.outbound.agent, .trip, .finder, .pool and .lane together: routes, the next host, kept connections, hosts that are down or slow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from postroom.address import smtp
from postroom.envelope import Peer, Recipient
from postroom.errors import DiskError
from postroom.message import MemoryMessage
from postroom.outcome import Deferred, Delivered
from postroom.records import DomainRecord
from postroom.retry import RetryPolicy
from postroom_smtp.outbound.finder import Ourselves, _is_local
from postroom_smtp.outbound.lane import Lane, NoWay
from tests.plugins_smtp.outbound.world import DNS, MODERN, Server, World, envelope, reply_of, run, words

TWO = {"MX b.test": ["10 one.b.test.", "20 two.b.test."], "A one.b.test": "192.0.2.1", "A two.b.test": "192.0.2.2"}
REFUSED = ConnectionRefusedError(111, "Connection refused")


def two(first: Server | Exception | None, second: Server | Exception | None = None, **more: Any) -> World:
    world = World(dns=TWO, **more)
    world.servers = {"192.0.2.1": first, "192.0.2.2": second or Server(name="two.b.test")}
    return world


def deliver(world: World, *to: str, **more: Any) -> list[str]:
    return words(run(world, lambda: world.deliver(*to, **more)))


# ---------------------------------------------------------------- where to


@pytest.mark.parametrize(
    ("dns", "wanted"),
    [
        ({}, "failed 550 5.1.2"),
        ({"TXT b.test": "x"}, "failed 550 5.4.4"),
        ({"MX b.test": "0 ."}, "failed 556 5.1.10"),
        ({"MX b.test": "10 mail.a.test."}, "failed 554 5.4.6"),
        ({"MX b.test": "10 gone.b.test."}, "failed 550 5.4.4"),
        ({"A b.test": "192.0.2.1"}, "delivered"),
        ({"MX b.test": ["10 gone.b.test.", "20 mx.b.test."], "A mx.b.test": "192.0.2.1"}, "delivered"),
    ],
)
def test_what_dns_says(dns: dict[str, Any], wanted: str) -> None:
    assert deliver(World(dns=dns)) == [wanted]


@pytest.mark.parametrize("name", ["b.test", "mx.b.test"])
def test_case_14_dns_that_fails_defers_and_says_why(name: str) -> None:
    world = World()
    world.dns.failing.add(name)
    (outcome,) = run(world, world.deliver)
    assert isinstance(outcome, Deferred) and "451 4.4.3" in reply_of(outcome) and "SERVFAIL" in reply_of(outcome)


def test_one_family_that_dns_cannot_tell_does_not_hide_the_other() -> None:
    world = World()
    query = world.dns.query

    async def half(name: str, kind: str) -> Any:
        if kind == "AAAA":
            world.dns.failing.add(name)
        try:
            return await query(name, kind)
        finally:
            world.dns.failing.clear()

    world.dns.query = half  # type: ignore[method-assign]
    assert deliver(world) == ["delivered"]


def test_ipv6_comes_first_and_ipv4_next() -> None:
    world = World(dns=DNS | {"AAAA mx.b.test": "2001:db8::1"})
    world.servers["2001:db8::1"] = OSError(101, "Network is unreachable")
    assert deliver(world) == ["delivered"]
    assert world.dialled == [("2001:db8::1", 25), ("192.0.2.1", 25)]
    only = World(dns=DNS | {"AAAA mx.b.test": "2001:db8::1"}, families="ipv4")
    assert deliver(only) == ["delivered"] and only.dialled == [("192.0.2.1", 25)]


def test_literals() -> None:
    world = World()
    assert deliver(world, "bob@[192.0.2.1]") == ["delivered"]
    assert world.dns.asked == []


def test_an_internationalized_domain_is_asked_for_as_dns_has_it() -> None:
    world = World(dns={"A xn--bcher-kva.test": "192.0.2.1"})
    assert deliver(world, "bob@Bücher.test") == ["delivered"]


def test_redirect_hosts_in_the_order_of_the_row() -> None:
    row = DomainRecord(domain="B.test", redirect_status=1, redirect_hosts="192.0.2.9:26;192.0.2.1")
    world = World(dns={}, domains=[row])
    world.servers["192.0.2.9"] = REFUSED
    assert deliver(world) == ["delivered"]
    assert world.dialled == [("192.0.2.9", 26), ("192.0.2.1", 25)]


@pytest.mark.parametrize(("user", "wanted"), [("", "failed 550 5.1.2"), ("ann@a", "delivered")])
def test_redirection_2_is_for_mail_of_people_who_logged_in(user: str, wanted: str) -> None:
    row = DomainRecord(domain="b.test", redirect_status=2, redirect_hosts="192.0.2.1")
    assert deliver(World(dns={}, domains=[row]), peer=Peer(user=user)) == [wanted]


@pytest.mark.parametrize("hosts", ["a b c", "mail.a.test", ":"])
def test_a_row_that_leads_nowhere_defers(hosts: str) -> None:
    row = DomainRecord(domain="b.test", redirect_status=1, redirect_hosts=hosts)
    assert deliver(World(domains=[row])) == ["deferred 451 4.3.5"]


def test_a_row_counts_from_the_moment_it_changes() -> None:
    world = World(dns=DNS)

    async def test() -> None:
        assert words(await world.deliver()) == ["delivered"]
        world.domains.become(DomainRecord(domain="b.test", redirect_status=1, redirect_hosts="192.0.2.1:99"))
        assert words(await world.deliver()) == ["delivered"]
        assert [port for _, port in world.dialled] == [25, 99]

    run(world, test)


def test_a_domain_table_out_of_reach_defers() -> None:
    world = World()

    def broken() -> Any:
        raise DiskError("the table is on a disk that is gone")

    world.domains.snapshot = broken  # type: ignore[method-assign]
    assert deliver(world) == ["deferred 451 4.3.0"]


SMART = {"host": "192.0.2.1", "port": 587, "tls": "none"}


def test_a_smart_host_takes_all_and_recipients_share_a_transaction() -> None:
    world = World(dns={}, smart_host=SMART)
    assert world.agent.hop(smtp("x@one.test")) == world.agent.hop(smtp("x@two.test")) == "192.0.2.1"
    assert deliver(world, "x@one.test", "y@two.test") == ["delivered", "delivered"]
    assert len(world.server.taken) == 1 and world.dialled == [("192.0.2.1", 587)]


@pytest.mark.parametrize("host", ["smart.isp.test", "Smart.ISP.test."])
def test_retry_times_of_a_smart_host_are_found_by_its_name(host: str) -> None:
    """Its port was in the way. What an operator set for a domain behind it does not count: that server is not who we wait for."""
    agent = World(smart_host=dict(SMART, host=host)).agent
    slow, quick = RetryPolicy(delays=(7200.0,)), RetryPolicy(delays=(60.0,))
    policy = RetryPolicy(hops={"smart.isp.test": quick, "two.test": slow})
    assert policy.of(agent.hop(smtp("x@one.test"))) is policy.of(agent.hop(smtp("x@two.test"))) is quick
    row = DomainRecord(domain="two.test", redirect_status=1, redirect_hosts="192.0.2.1")
    assert policy.of(World(smart_host=SMART, domains=[row]).agent.hop(smtp("x@two.test"))) is slow
    assert policy.of(World(smart_hosts={"a.test": SMART}).agent.hop(smtp("x@two.test"))) is slow


def test_smart_hosts_by_sender() -> None:
    world = World(
        dns={}, smart_host={"host": "192.0.2.3"}, smart_hosts={"a.test": {"host": "192.0.2.2"}, "Ann@a.test": dict(SMART, port=26)}
    )
    world.servers |= {"192.0.2.2": REFUSED, "192.0.2.3": REFUSED}

    async def test() -> None:
        for sender, wanted in (("ann@A.test", ("192.0.2.1", 26)), ("bob@a.test", ("192.0.2.2", 587)), ("x@c.test", ("192.0.2.3", 587))):
            await world.deliver(sender=sender)
            assert world.dialled[-1] == wanted

    run(world, test)
    assert world.agent.hop(smtp("x@one.test")) == "one.test"


def test_a_row_that_redirects_comes_before_the_smart_host() -> None:
    row = DomainRecord(domain="b.test", redirect_status=1, redirect_hosts="192.0.2.1")
    world = World(dns={}, domains=[row], smart_host={"host": "192.0.2.7"})
    assert world.agent.hop(smtp("x@b.test")) == "b.test"
    assert deliver(world) == ["delivered"]


def test_an_envelope_made_under_other_settings_is_split_by_those_of_now() -> None:
    world = World(dns=DNS | {"A c.test": "192.0.2.2"})
    world.servers["192.0.2.2"] = Server(name="c.test")
    assert deliver(world, "x@b.test", "y@c.test", "z@none.test", hop="old:587") == ["delivered", "delivered", "failed 550 5.1.2"]


LOGIN = {"host": "192.0.2.1", "user": "me", "password": "s3cret", "tls": "none"}


@pytest.mark.parametrize(
    ("offered", "says", "wanted"),
    [
        ("AUTH PLAIN", {"AUTH PLAIN": "235 2.7.0 Ok"}, ["AUTH PLAIN AG1lAHMzY3JldA=="]),
        (
            "AUTH LOGIN",
            {"AUTH LOGIN": "334 VXNlcm5hbWU6", "bWU=": "334 UGFzc3dvcmQ6", "czNjcmV0": "235 Ok"},
            ["AUTH LOGIN", "bWU=", "czNjcmV0"],
        ),
        (
            "AUTH CRAM-MD5",
            {"AUTH CRAM-MD5": "334 PDEuMkBteC5iLnRlc3Q+", "bWUg": "235 Ok"},
            ["AUTH CRAM-MD5", "bWUgMmMyMjdjN2Y2YzFiMDIwN2Q5MTNhN2U3ODNiNzYxYTE="],
        ),
    ],
)
def test_logging_in(offered: str, says: dict[str, str], wanted: list[str]) -> None:
    world = World(Server((*MODERN, offered), says), dns={}, smart_host=LOGIN)
    said = deliver(world)
    assert world.server.heard[1 : 1 + len(wanted)] == wanted
    assert said == ["delivered"]
    assert "s3cret" not in str(world.log.told)


@pytest.mark.parametrize(
    ("offers", "says", "wanted"),
    [
        ((*MODERN, "AUTH PLAIN"), {"AUTH": "535 5.7.8 Wrong"}, "deferred 535 5.7.8"),
        ((*MODERN, "AUTH GSSAPI"), {}, "deferred 454 4.7.0"),
        (MODERN, {}, "deferred 454 4.7.0"),
        (
            (*MODERN, "AUTH LOGIN"),
            {"AUTH": "334 x", "bWU=": "334 y", "czNjcmV0": "334 z", "*": "501 5.7.0 Cancelled"},
            "deferred 501 5.7.0",
        ),
    ],
)
def test_a_login_that_fails_waits_for_the_operator(offers: tuple[str, ...], says: dict[str, str], wanted: str) -> None:
    world = World(Server(offers, says), dns={}, smart_host=LOGIN)
    (outcome,) = run(world, world.deliver)
    assert words([outcome]) == [wanted] and "s3cret" not in reply_of(outcome)


# ---------------------------------------------------------------- the next host


@pytest.mark.parametrize(
    "first",
    [
        REFUSED,
        Server(says={"GREETING": "554 5.7.1 No"}),
        Server(says={"GREETING": "421 4.7.0 Busy"}),
        Server(says={"EHLO": "550 No", "HELO": "550 No"}),
        Server(says={"MAIL": "451 4.3.0 Not now"}),
        Server(says={"RCPT": "450 4.2.0 Not now"}),
        Server(says={"FINAL": "451 4.3.0 Not now"}),
        Server(name="mail.a.test"),
    ],
)
def test_what_one_host_does_not_take_the_next_may(first: Server | Exception) -> None:
    world = two(first)
    assert deliver(world) == ["delivered"]
    assert [ip for ip, _ in world.dialled] == ["192.0.2.1", "192.0.2.2"]


def test_what_a_host_refuses_for_good_is_refused() -> None:
    world = two(Server(says={"RCPT": "550 5.1.1 No"}))
    assert deliver(world) == ["failed 550 5.1.1"] and len(world.dialled) == 1


def test_only_who_is_left_goes_to_the_next_host() -> None:
    second = Server(name="two.b.test")
    world = two(Server(says={"RCPT TO:<eve": "450 4.2.0 Not now", "RCPT TO:<kim": "550 5.1.1 No"}), second)
    assert deliver(world, "bob@b.test", "eve@b.test", "kim@b.test") == ["delivered", "delivered", "failed 550 5.1.1"]
    assert second.taken[0][1] == ["RCPT TO:<eve@b.test>"]


def test_a_message_that_may_be_there_goes_nowhere_else() -> None:
    """RFC 1047: the connection broke behind the last octet, before the answer."""
    world = two(Server(("PIPELINING",), {"FINAL": ""}), final_timeout=10)
    (outcome,) = run(world, world.deliver, 12)
    assert "may arrive twice" in reply_of(outcome) and len(world.dialled) == 1


def test_no_more_addresses_than_said_and_two_hosts_hear_the_envelope() -> None:
    many = {"MX b.test": "1 mx.b.test.", "A mx.b.test": [f"192.0.2.{n}" for n in range(1, 9)]}
    world = World(dns=many, addresses=3)
    world.servers = {f"192.0.2.{n}": REFUSED for n in range(1, 9)}
    assert deliver(world) == ["deferred 451 4.4.1"] and len(world.dialled) == 3
    busy = World(dns=many)
    busy.servers = {f"192.0.2.{n}": Server(says={"RCPT": "450 4.2.1 Not now"}) for n in range(1, 9)}
    assert deliver(busy) == ["deferred 450 4.2.1"] and len(busy.dialled) == 2


def test_hosts_of_equal_preference_share_the_load() -> None:
    dns = {"MX b.test": ["10 one.b.test.", "10 two.b.test."], "A one.b.test": "192.0.2.1", "A two.b.test": "192.0.2.2"}
    world = World(dns=dns)
    world.servers["192.0.2.2"] = Server(name="two.b.test")

    async def test() -> None:
        for _ in range(30):
            assert words(await world.deliver()) == ["delivered"]

    run(world, test)
    assert {ip for ip, _ in world.dialled} == {"192.0.2.1", "192.0.2.2"}


def test_never_a_host_at_our_own_address_nor_one_behind_it() -> None:
    """RFC 5321 section 5.1; an address of this machine counts only at a port where we listen."""
    assert _is_local("127.0.0.1") and not _is_local("192.0.2.1")
    dns: dict[str, Any] = {"MX b.test": ["10 here.b.test.", "10 same.b.test.", "20 behind.b.test.", "5 before.b.test."]}
    dns |= {"A here.b.test": "127.0.0.1", "A same.b.test": "192.0.2.3", "A behind.b.test": "192.0.2.4", "A before.b.test": "192.0.2.5"}
    for before, wanted in ((Server(name="x.test"), "delivered"), (REFUSED, "deferred 451 4.4.1")):
        world = World(dns=dns)
        world.agent.finder.ourselves = Ourselves({"mail.a.test"}, lambda: {("0.0.0.0", 25)})
        world.servers = {"192.0.2.5": before}
        assert deliver(world) == [wanted]
        assert [ip for ip, _ in world.dialled] == ["192.0.2.5"]
    alone = World(dns={"A b.test": "127.0.0.1"})
    alone.agent.finder.ourselves = Ourselves({"mail.a.test"}, lambda: {("0.0.0.0", 25)})
    assert deliver(alone) == ["failed 554 5.4.6"] and not alone.dialled


# ---------------------------------------------------------------- kept connections


def test_a_connection_is_kept_for_the_next_message_and_no_longer_than_said() -> None:
    world = World(idle=20)

    async def test() -> None:
        await world.keep()
        for _ in range(3):
            assert words(await world.deliver()) == ["delivered"]
            await world.clock.advance(15)
        assert len(world.server.lines) == 1 and world.server.open_lines == 1
        assert [facts["kept"] for facts in world.attempts()] == [False, True, True]
        await world.clock.advance(25)
        assert world.server.open_lines == 0 and world.server.heard[-1] == "QUIT"
        assert world.agent.pool.lane("192.0.2.1", 25).live == 0

    run(world, test)


def test_domains_of_one_host_share_its_connections() -> None:
    world = World(dns=DNS | {"MX c.test": "10 mx.b.test."})

    async def test() -> None:
        await world.keep()
        await world.deliver("x@b.test")
        await world.deliver("x@c.test")
        assert len(world.server.lines) == 1

    run(world, test)


@pytest.mark.parametrize(("settings", "offers"), [({"per_connection": 2}, MODERN), ({}, (*MODERN, "LIMITS MAILMAX=2"))])
def test_so_many_messages_by_one_connection(settings: dict[str, Any], offers: tuple[str, ...]) -> None:
    world = World(Server(offers), **settings)

    async def test() -> None:
        await world.keep()
        for _ in range(5):
            assert words(await world.deliver()) == ["delivered"]
        assert len(world.server.lines) == 3

    run(world, test)


@pytest.mark.parametrize("how", ["cut", "421", "cut when used"])
def test_a_kept_connection_that_ended_costs_no_attempt(how: str) -> None:
    world = World()

    async def test() -> None:
        await world.keep()
        await world.deliver()
        (line,) = world.server.lines
        if how == "421":
            line.say("421 4.4.2 Idle too long")
        elif how == "cut":
            line.cut()
        else:
            line.write = lambda data: line.cut()  # type: ignore[method-assign]
        if how != "cut when used":
            await world.clock.advance(1)
        assert words(await world.deliver()) == ["delivered"]
        assert len(world.server.lines) == 2 and len(world.server.taken) == 2
        lane = world.agent.pool.lane("192.0.2.1", 25)
        assert lane.live == 1 and lane.busy == 0 and lane.window >= 3

    run(world, test)


def test_what_went_by_a_kept_connection_before_it_ended_does_not_go_again() -> None:
    """Two transactions by one kept connection, which breaks in the second: only those of the second are left."""
    world = World(Server((*MODERN, "LIMITS RCPTMAX=1")))

    async def test() -> None:
        await world.keep()
        await world.deliver()
        (line,) = world.server.lines
        write = line.write

        def cut_at_two(data: bytes) -> None:
            line.cut() if b"<two@" in data else write(data)

        line.write = cut_at_two  # type: ignore[method-assign]
        said = words(await world.deliver("one@b.test", "two@b.test"))
        assert said == ["delivered", "deferred 421 4.4.2"]
        assert [rcpts for _, rcpts, _ in world.server.taken].count(["RCPT TO:<one@b.test>"]) == 1

    run(world, test)


def test_one_s_wrong_password_or_wish_for_tls_bars_nobody_else() -> None:
    server = Server((*MODERN, "AUTH PLAIN"), {"AUTH PLAIN AG1l": "535 5.7.8 Wrong", "AUTH PLAIN AHlvd": "235 Ok"})
    mine = {"host": "192.0.2.1", "user": "me", "password": "x", "tls": "none"}
    world = World(
        server,
        dns={},
        smart_hosts={"me@a.test": mine, "you@a.test": dict(mine, user="you"), "c.test": dict(mine, user="me", tls="required")},
    )

    async def test() -> None:
        for _ in range(3):
            assert words(await world.deliver(sender="me@a.test")) == ["deferred 535 5.7.8"]
            assert words(await world.deliver(sender="x@c.test")) == ["deferred 454 4.7.4"]
            assert words(await world.deliver(sender="you@a.test")) == ["delivered"]
        assert sum(line.startswith("AUTH PLAIN AG1l") for line in server.heard) == 1
        await world.clock.advance(61)
        await world.deliver(sender="me@a.test")
        assert sum(line.startswith("AUTH PLAIN AG1l") for line in server.heard) == 2

    run(world, test)


def test_a_retry_was_answered_with_the_old_refusal_without_asking_the_server_again() -> None:
    """`queue retry` after the password, the certificate or the host was mended: somebody knows better than the pause."""
    server = Server((*MODERN, "AUTH PLAIN"), {"AUTH": ["535 5.7.8 Wrong", "235 Ok"]})
    mine = {"host": "192.0.2.1", "user": "me", "password": "x", "tls": "none"}
    world = World(server, dns={}, smart_hosts={"me@a.test": mine, "b.test": {"host": "192.0.2.2", "tls": "none"}}, down=60)
    world.servers["192.0.2.2"] = ConnectionRefusedError("stopped")

    async def test() -> None:
        for _ in range(3):
            assert words(await world.deliver(sender="me@a.test")) == ["deferred 535 5.7.8"]
            assert words(await world.deliver(sender="x@b.test")) == ["deferred 451 4.4.1"]
        assert len(world.dialled) == 2
        world.servers["192.0.2.2"] = Server()
        world.told["retry"](b"")
        assert words(await world.deliver(sender="me@a.test")) == ["delivered"]
        assert words(await world.deliver(sender="x@b.test")) == ["delivered"]

    run(world, test)


@pytest.mark.parametrize(
    ("listens", "ip", "wanted"),
    [("0.0.0.0", "127.0.0.3", True), ("::", "127.0.0.3", True), ("127.0.0.2", "127.0.0.2", True), ("127.0.0.2", "127.0.0.3", False),
     ("0.0.0.0", "192.0.2.1", False)],
)  # fmt: skip
def test_a_neighbour_on_another_address_of_this_machine_was_taken_for_ourselves(listens: str, ip: str, wanted: bool) -> None:
    """Two sites on one machine, each with its own address and the same port: 554 5.4.6, for good."""
    ourselves = Ourselves({"mail.a.test"}, lambda: {(listens, 25), ("0.0.0.0", 587)})
    assert ourselves.is_at(ip, 25) is wanted
    assert not ourselves.is_at(ip, 26)


def test_the_agent_parts_when_it_drains_and_cuts_when_it_ends() -> None:
    world = World()

    async def test() -> None:
        await world.keep()
        await world.deliver()
        await world.agent.drain()
        await world.clock.advance(1)
        assert world.server.open_lines == 0 and world.server.heard[-1] == "QUIT"
        assert words(await world.deliver()) == ["delivered"]
        assert world.server.open_lines == 0
        tasks = asyncio.all_tasks()
        await world.end()
        assert len(asyncio.all_tasks()) < len(tasks)

    run(world, test)


def test_there_are_no_more_connections_than_said() -> None:
    names = {f"A d{n}.test": f"198.51.100.{n}" for n in range(10)}
    world = World(dns=names, connections=4)
    world.servers = {f"198.51.100.{n}": Server(name=f"d{n}.test") for n in range(10)}

    async def test() -> None:
        await world.keep()
        for n in range(10):
            assert words(await world.deliver(f"x@d{n}.test")) == ["delivered"]
        await world.clock.advance(0)
        assert sum(server.open_lines for server in world.servers.values() if isinstance(server, Server)) == 4

    run(world, test)


def test_metrics_have_no_label_that_grows() -> None:
    world = World()
    deliver(world)
    told = world.metrics.exposition()
    assert 'postroom_smtp_outbound_recipients_total{outcome="delivered"} 1.0' in told
    assert 'postroom_smtp_outbound_connections_total{outcome="made"} 1.0' in told
    assert "b.test" not in told


# ---------------------------------------------------------------- down, slow, crowded


def test_a_thousand_messages_to_a_dead_host_do_not_each_wait() -> None:
    world = World(connect_timeout=30, down=60)
    world.servers["192.0.2.1"] = None  # packets vanish

    async def test() -> None:
        first = [asyncio.ensure_future(world.deliver()) for _ in range(100)]
        for _ in range(32):
            await world.clock.advance(1)
        assert all(words(task.result()) in (["deferred 451 4.4.1"], ["deferred 451 4.4.5"]) for task in first)
        assert len(world.dialled) == 2  # the window of an address that nothing is known of
        began = world.clock.monotonic()
        for _ in range(900):
            (outcome,) = await world.deliver()
            assert "no connection in 30 seconds" in reply_of(outcome)
        assert world.clock.monotonic() == began and len(world.dialled) == 2
        await world.clock.advance(61)  # one alone tries again
        some = [asyncio.ensure_future(world.deliver()) for _ in range(50)]
        await world.clock.advance(1)
        assert len(world.dialled) == 3 and sum(task.done() for task in some) == 49
        for _ in range(32):
            await world.clock.advance(1)
        assert all(task.done() for task in some)
        await world.clock.advance(61)
        assert words(await world.deliver()) == ["deferred 451 4.4.1"] and len(world.dialled) == 3  # twice as long this time
        world.servers["192.0.2.1"] = Server()
        await world.clock.advance(60)
        assert words(await world.deliver()) == ["delivered"]
        assert words(await world.deliver()) == ["delivered"]

    run(world, test)


def test_a_dead_host_holds_nobody_else_up() -> None:
    world = World(dns=DNS | {"A c.test": "192.0.2.2"})
    world.servers = {"192.0.2.1": None, "192.0.2.2": Server(name="c.test")}

    async def test() -> None:
        stuck = [asyncio.ensure_future(world.deliver()) for _ in range(50)]
        await asyncio.sleep(0)
        for _ in range(20):
            assert words(await world.deliver("x@c.test")) == ["delivered"]
        assert not any(task.done() for task in stuck) and world.clock.monotonic() == 0
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        lane = world.agent.pool.lane("192.0.2.1", 25)
        assert (lane.live, lane.busy, len(lane.waiters), lane.called) == (0, 0, 0, 0)

    run(world, test)


def test_a_slow_host_makes_nobody_wait_longer_than_a_message_has_patience() -> None:
    world = World(Server(("PIPELINING",), {"FINAL": ""}), patience=10, connections_per_host=2, final_timeout=600)

    async def test() -> None:
        waiting = [asyncio.ensure_future(world.deliver()) for _ in range(10)]
        for _ in range(12):
            await world.clock.advance(1)
        done = [task.result()[0] for task in waiting if task.done()]
        assert len(done) == 8 and all("is slow" in reply_of(outcome) for outcome in done)
        (outcome,) = await world.deliver()  # and who comes now does not begin to wait
        assert "is slow" in reply_of(outcome)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    run(world, test)


def test_who_waited_first_goes_first_and_the_window_grows() -> None:
    world = World(connections_per_host=5)
    order: list[int] = []

    async def one(number: int) -> None:
        assert words(await world.deliver(f"u{number}@b.test")) == ["delivered"]
        order.append(number)

    async def test() -> None:
        await world.keep()
        await asyncio.gather(*(one(number) for number in range(60)))
        assert len(world.server.lines) == 5
        assert all(abs(number - place) <= 6 for place, number in enumerate(order)), order
        assert world.agent.pool.lane("192.0.2.1", 25).window == 5

    run(world, test)


def test_a_server_that_takes_no_more_connections_is_not_down() -> None:
    """421 to the third connection while two are served: the message goes by one of those."""
    world = World(Server(says={"GREETING": ["220 mx.b.test", "220 mx.b.test", *["421 4.7.0 Too many connections"] * 50]}))

    async def test() -> None:
        await world.keep()
        done = await asyncio.gather(*(world.deliver(f"u{number}@b.test") for number in range(30)))
        assert [words(one) for one in done] == [["delivered"]] * 30
        assert world.agent.pool.lane("192.0.2.1", 25).failures == 0

    run(world, test)


def test_a_421_halves_the_window() -> None:
    world = World(Server(says={"MAIL": ["250 Ok"] * 6 + ["421 4.7.0 Slow down"]}))

    async def test() -> None:
        await world.keep()
        for _ in range(6):
            await world.deliver()
        lane = world.agent.pool.lane("192.0.2.1", 25)
        assert lane.window == 8
        world.server.lines[-1].say("")
        world.agent.pool.let_go()
        await world.deliver()
        assert lane.window == 4

    run(world, test)


def test_a_lane_that_is_cancelled_while_its_turn_came_passes_it_on() -> None:
    world = World(connections_per_host=1)

    async def test() -> None:
        lane: Lane = world.agent.pool.lane("192.0.2.1", 25)
        assert await lane.take("k") is None
        waiting = [asyncio.ensure_future(lane.take("k")) for _ in range(3)]
        await asyncio.sleep(0)
        lane.drop()
        waiting[0].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [task.done() for task in waiting] == [True, True, False]
        lane.drop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert waiting[2].result() is None
        lane.drop()
        assert (lane.live, lane.busy, lane.called) == (0, 0, 0)

    run(world, test)


@pytest.mark.long
def test_many_destinations_leave_nothing_behind() -> None:
    world = World(dns={f"A d{n}.test": f"198.51.{n // 250}.{n % 250}" for n in range(2600)})
    world.servers = {f"198.51.{n // 250}.{n % 250}": Server(name=f"d{n}.test") for n in range(2600)}

    async def test() -> None:
        for n in range(2600):
            assert words(await world.deliver(f"x@d{n}.test")) == ["delivered"]
        pool = world.agent.pool
        assert len(pool._lanes) < 1300 and not pool._channels and not pool._open_now and not len(pool.wheel)

    run(world, test)


def test_requiretls_needs_a_name_that_can_be_trusted() -> None:
    """RFC 8689 section 4.2.1: without DNSSEC or a policy nobody knows who that host is."""
    world = World(Server((*MODERN, "STARTTLS", "REQUIRETLS")))
    assert deliver(world, require_tls=True) == ["failed 550 5.7.30"]
    assert world.dialled == []


def test_delivered_says_where() -> None:
    world = World()
    (outcome,) = run(world, lambda: world.attempt(envelope([Recipient(smtp("b@b.test"))]), MemoryMessage("A" * 32, b"x: y\r\n")))
    assert isinstance(outcome, Delivered) and outcome.where == "mx.b.test [192.0.2.1]: 250 2.0.0 Queued"


def test_no_way_has_its_reason() -> None:
    from postroom.outcome import Reply

    assert str(NoWay(Reply(451, "4.4.1", "x"))) == "451 4.4.1 x"
