from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest

from postroom_net import resolver as resolving
from postroom_net.resolver import Resolver, Temporary
from tests.kernel_net.ticking import Ticking
from tests.nameserver import NameServer

ZONE = """
example.test.      300 IN MX  20 backup.example.test.
example.test.      300 IN MX  10 Mail.example.test.
null.test.         300 IN MX  0 .
mail.example.test. 60  IN A    192.0.2.1
mail.example.test. 60  IN AAAA 2001:db8::1
v4.example.test.   60  IN A    192.0.2.4
alias.example.test. 10 IN CNAME v4.example.test.
example.test.      300 IN TXT "v=spf1 " "-all"
1.2.0.192.in-addr.arpa. 60 IN PTR Mail.example.test.
brief.test.        0   IN A    192.0.2.9
"""
SOA = "ns.test. root.test. 1 2 3 4 60"


class Datagrams(asyncio.DatagramProtocol):
    """Answers from ZONE; `fail.test` is SERVFAIL, `mute.test` gets no answer."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.hold = False
        self.reached = asyncio.Event()
        self.records: dict[tuple[dns.name.Name, int], dns.rrset.RRset] = {}
        for line in ZONE.strip().splitlines():
            name, ttl, _, kind, data = line.split(None, 4)
            made = dns.rrset.from_text(name, int(ttl), "IN", kind, data)
            known = self.records.setdefault((made.name, made.rdtype), made)
            for record in made:
                known.add(record)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: tuple[str | Any, int]) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name
        self.asked[name.to_text()] += 1
        if name.to_text() == "mute.test.":
            return
        self.reached.set()
        if not self.hold:
            self.transport.sendto(self.answer(query).to_wire(), peer)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        reply = dns.message.make_response(query, recursion_available=True)
        if question.name.to_text() == "fail.test.":
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply
        reply.flags |= dns.flags.AD
        name = question.name
        while alias := self.records.get((name, dns.rdatatype.CNAME)):
            reply.answer.append(alias)
            name = cast(Any, alias[0]).target
        if found := self.records.get((name, question.rdtype)):
            reply.answer.append(found)
        else:
            reply.authority.append(dns.rrset.from_text("test.", 900, "IN", "SOA", SOA))
            if not any(known == name for known, _ in self.records):
                reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply


def run(test: Callable[[Resolver, Datagrams, Ticking], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        clock = Ticking()
        resolver = Resolver(clock, ["127.0.0.1"], transport.get_extra_info("sockname")[1], **options)
        try:
            await test(resolver, server, clock)
        finally:
            await resolver.close()
            transport.close()
            await asyncio.sleep(0)

    asyncio.run(main())


def test_records() -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        assert await resolver.mx("Example.TEST.") == [(10, "mail.example.test"), (20, "backup.example.test")]
        assert await resolver.mx("null.test") == [(0, "")]
        assert await resolver.mx("v4.example.test") == []
        assert await resolver.addresses("mail.example.test") == ["2001:db8::1", "192.0.2.1"]
        assert await resolver.addresses("alias.example.test") == ["192.0.2.4"]
        assert await resolver.addresses("none.test") == []
        assert await resolver.txt("example.test") == [b"v=spf1 -all"]
        assert await resolver.names("192.0.2.1") == ["mail.example.test"]
        answer = await resolver.query("example.test", "mx")
        assert answer.secure and answer.exists

    run(test)


def test_an_answer_lives_as_long_as_its_records() -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        for passed, asked in ((0, 1), (9, 1), (2, 2)):  # the alias lives 10 s, what it names 60
            clock.at += passed
            await resolver.query("alias.example.test", "A")
            assert server.asked["alias.example.test."] == asked

    run(test)


def test_a_no_lives_as_long_as_its_zone_says() -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        for passed, asked in ((0, 1), (59, 1), (2, 2)):
            clock.at += passed
            assert not (await resolver.query("none.test", "A")).exists
            assert server.asked["none.test."] == asked
        nodata = await resolver.query("v4.example.test", "TXT")
        assert nodata.exists and nodata.records == () and nodata.expires == clock.at + 60

    run(test)


def test_a_zero_ttl_is_asked_once_in_a_while() -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        for _ in range(10):
            await resolver.query("brief.test", "A")
        assert server.asked["brief.test."] == 1

    run(test)


def test_a_failure_is_temporary_and_kept_for_half_a_minute() -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        for passed in (0, 29):
            clock.at += passed
            with pytest.raises(Temporary, match=r"fail\.test"):
                await resolver.query("fail.test", "A")
            assert resolver.asked == 1
        clock.at += 2
        with pytest.raises(Temporary):
            await resolver.addresses("fail.test")
        assert resolver.asked == 3

    run(test)


def test_silence_is_temporary() -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        with pytest.raises(Temporary, match=r"mute\.test"):
            await resolver.query("mute.test", "A")

    run(test, timeout=0.05)


def test_one_question_for_all_who_ask_it() -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        asking = [asyncio.create_task(resolver.mx("example.test")) for _ in range(20)]
        await asyncio.sleep(0)
        asking[0].cancel()  # who leaves takes nothing from the others
        answers = await asyncio.gather(*asking[1:])
        assert all(answer == answers[0] for answer in answers) and server.asked["example.test."] == 1

    run(test)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".test", ".".join(["y" * 60] * 5)])
def test_what_cannot_be_in_dns_does_not_exist(name: str) -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        assert not (await resolver.query(name, "A")).exists
        assert not server.asked

    run(test)


def test_what_is_known_is_bounded() -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        for n in range(12):
            await resolver.query(f"n{n}.test", "A")
        assert len(resolver._known) == 5

    run(test, size=5)


def test_a_large_answer_is_read_beside_the_loop_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 KiB, which anybody's name server may say, took dnspython 200 ms to read, and 2 MB to keep."""
    read, where = dns.message.from_wire, []

    def noted(octets: bytes, *more: Any, **others: Any) -> dns.message.Message:
        where.append((len(octets), threading.current_thread() is threading.main_thread()))
        return read(octets, *more, **others)

    async def main() -> None:
        records = {"A small.test": ["192.0.2.1"] * 1, "A large.test": [f"10.0.{n // 250}.{n % 250}" for n in range(3000)]}
        async with NameServer(records | {"TXT long.test": " ".join(['"' + "x" * 250 + '"'] * 8)}, secure=True) as server:
            monkeypatch.setattr(dns.message, "from_wire", noted)
            resolver = Resolver(Ticking(), ["127.0.0.1"], server.port)
            answer = await resolver.query("large.test", "A")
            assert len(answer.records) == 500 and answer.secure
            assert max(where)[0] > 48_000 and not max(where)[1]
            assert await resolver.txt("long.test") == [b"x" * 2000]
            assert await resolver.addresses("small.test") == ["192.0.2.1"]
            await resolver.close()

    asyncio.run(main())


def test_octets_that_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_MEMORY", 3000)

    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        for n in range(12):
            await resolver.query(f"n{n}.test", "A")
            await resolver.query("example.test", "MX")
            assert resolver._held == sum(map(resolving._octets, resolver._known.values())) <= 3000
        clock.at += 1000
        await resolver.query("n11.test", "A")  # in the place of what has expired
        assert resolver._held == sum(map(resolving._octets, resolver._known.values()))

    run(test)


def test_close_ends_what_is_under_way() -> None:
    async def test(resolver: Resolver, server: Datagrams, clock: Ticking) -> None:
        server.hold = True
        asking = asyncio.create_task(resolver.mx("example.test"))
        await server.reached.wait()
        await resolver.close()
        assert isinstance((await asyncio.gather(asking, return_exceptions=True))[0], asyncio.CancelledError)

    run(test)
