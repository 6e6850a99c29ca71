"""Who has a message by the server's word is not sent it again, whatever went wrong around that word."""

from __future__ import annotations

import asyncio

import pytest

from postroom_smtp.outbound.tlspolicy import Opportunistic, Wanted
from tests.plugins_smtp.outbound.test_agent import TWO
from tests.plugins_smtp.outbound.test_dialogue import KINDS
from tests.plugins_smtp.outbound.world import MODERN, Line, Server, World, run, words


@pytest.mark.parametrize("more", ["\r\n", "Bye\r\n", "250-" + "x" * 5000, "250-a\r\n" * 100], ids=["blank", "word", "line", "lines"])
@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
def test_a_good_answer_was_forgotten_for_nonsense_behind_it_in_the_same_packet(offers: tuple[str, ...], more: str) -> None:
    """And the message sent again at every attempt."""
    world = World(Server(offers, {"FINAL": f"250 2.0.0 Queued\r\n{more}"}))
    assert words(run(world, lambda: world.deliver("bob@b.test", "eve@b.test"))) == ["delivered"] * 2


def test_a_refusal_was_forgotten_for_nonsense_behind_it_in_the_same_packet() -> None:
    world = World(Server(MODERN, {"FINAL": "554 5.7.1 Spam\r\n\r\n"}))
    assert words(run(world, world.deliver)) == ["failed 554 5.7.1"]


@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
def test_a_thousand_recipients_were_sent_it_again_because_their_answers_came_in_one_packet(
    offers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As our own server answers."""
    held: list[bytes] = []

    def all_at_once(line: Line) -> None:
        data = b"".join(held)
        held.clear()
        line.protocol.data_received(data)

    def deliver(self: Line, data: bytes) -> None:
        if not held:
            asyncio.get_running_loop().call_soon(all_at_once, self)
        held.append(data)

    monkeypatch.setattr(Line, "_deliver", deliver)
    world = World(Server((*offers, "LIMITS RCPTMAX=1000")))
    to = [f"u{number}@b.test" for number in range(1000)]
    assert words(run(world, lambda: world.deliver(*to))) == ["delivered"] * 1000
    assert len(world.server.taken) == 1


class Stumbles(Opportunistic):
    """What nobody foresaw meets whoever asks about the second host."""

    async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        if host.startswith("two"):
            raise ZeroDivisionError
        return await super().wanted(domain, host, port, mx_secure)


def test_an_unforeseen_error_at_the_second_host_took_away_what_the_first_had_said() -> None:
    world = World(Server(says={"RCPT TO:<eve": "450 4.2.0 Not now"}), dns=TWO, policy=Stumbles())
    assert words(run(world, lambda: world.deliver("bob@b.test", "eve@b.test"))) == ["delivered", "deferred 450 4.2.0"]
    assert [event for _, event, _ in world.log.told if event == "smtp.trip_failed"]


def test_an_unforeseen_error_on_one_route_took_away_what_was_said_on_another() -> None:
    world = World(dns=TWO | {"MX c.test": "10 two.b.test."}, policy=Stumbles())
    assert words(run(world, lambda: world.deliver("bob@b.test", "kim@c.test"))) == ["delivered", "deferred 451 4.3.0"]


def test_an_unforeseen_error_before_anybody_was_asked_is_told_as_one() -> None:
    world = World(dns={"MX b.test": "10 two.b.test.", "A two.b.test": "192.0.2.1"}, policy=Stumbles())
    assert words(run(world, world.deliver)) == ["deferred 451 4.3.0"]


def test_an_outcome_waited_for_the_server_to_say_goodbye() -> None:
    """For ten seconds, in which a crash sent the message again."""
    world = World(Server(says={"QUIT": ""}), idle=0)

    async def test() -> None:
        await world.keep()
        assert words(await world.deliver()) == ["delivered"]
        assert world.server.open_lines == 1

    run(world, test)
