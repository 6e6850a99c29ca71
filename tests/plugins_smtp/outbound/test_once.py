"""Who has a message by the server's word is not sent it again, whatever went wrong around that word."""

from __future__ import annotations

import asyncio

import pytest

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

    def deliver(self: Line, data: bytes) -> None:
        if not held:
            asyncio.get_running_loop().call_soon(lambda: (self.protocol.data_received(b"".join(held)), held.clear()))
        held.append(data)

    monkeypatch.setattr(Line, "_deliver", deliver)
    world = World(Server((*offers, "LIMITS RCPTMAX=1000")))
    to = [f"u{number}@b.test" for number in range(1000)]
    assert words(run(world, lambda: world.deliver(*to))) == ["delivered"] * 1000
    assert len(world.server.taken) == 1
