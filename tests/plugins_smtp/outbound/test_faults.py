"""The connection breaks at each octet, heard or said: nothing is said delivered that was not, nothing refused that was not, and what is
left is delivered by the next attempt."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from postroom.address import smtp
from postroom.envelope import Recipient
from postroom.errors import DiskError
from postroom.message import SMALL, FileMessage
from postroom.outcome import Deferred, Delivered, Failed
from tests.plugins_smtp.outbound.test_dialogue import KINDS
from tests.plugins_smtp.outbound.world import MODERN, TEXT, Line, Server, World, envelope, reply_of, run, words

pytestmark = pytest.mark.long

NO = {"RCPT TO:<eve": "550 5.1.1 No"}
TO = ("bob@b.test", "eve@b.test", "kim@b.test")


def octets_of(offers: tuple[str, ...]) -> tuple[int, int]:
    """How many octets a whole conversation has from us and from the server."""
    world = World(Server(offers, dict(NO)))
    run(world, lambda: world.deliver(*TO))
    return sum(map(len, world.server.packets)), world.server.said


@pytest.mark.parametrize("way", ["drop_in", "drop_out"])
@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
def test_a_break_at_each_octet(offers: tuple[str, ...], way: str) -> None:
    heard, said = octets_of(offers)
    for place in range(1, (heard if way == "drop_in" else said) + 1):
        world = World(Server(offers, dict(NO)))
        setattr(world.server, way, place)

        async def test(world: World = world, place: int = place) -> None:
            first = await world.deliver(*TO)
            taken = [rcpts for _, rcpts, _ in world.server.taken]
            assert all(text == TEXT for _, _, text in world.server.taken)
            for name, outcome in zip(TO, first, strict=True):
                assert isinstance(outcome, Delivered | Deferred | Failed)
                if isinstance(outcome, Delivered):
                    assert any(f"RCPT TO:<{name}>" in rcpts for rcpts in taken), (place, name)
                if isinstance(outcome, Failed):
                    assert name == "eve@b.test" and outcome.reply.code == 550, (place, outcome)
                if isinstance(outcome, Deferred) and taken and name != "eve@b.test":
                    assert "may arrive twice" in outcome.reply.text, (place, outcome)
            left = [name for name, outcome in zip(TO, first, strict=True) if isinstance(outcome, Deferred)]
            world.server.drop_in = world.server.drop_out = -1
            await world.clock.advance(61)  # a server that broke off at connect rests a while
            if left:
                again = await world.deliver(*left)
                assert words(again) == ["failed 550 5.1.1" if name == "eve@b.test" else "delivered" for name in left], place

        run(world, test)


@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
def test_every_split_of_the_servers_octets_is_the_same(offers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def deliver(self: Line, data: bytes) -> None:
        for at in range(len(data)):
            self.protocol.data_received(data[at : at + 1])

    monkeypatch.setattr(Line, "_deliver", deliver)
    world = World(Server(offers, dict(NO)))
    assert words(run(world, lambda: world.deliver(*TO))) == ["delivered", "failed 550 5.1.1", "delivered"]


class Half:
    """A message whose second half our disk will not give."""

    id, size = "A" * 32, 2 * SMALL

    def peek(self) -> None:
        return None

    async def read(self, offset: int = 0, n: int = -1) -> bytes:
        if offset:
            raise DiskError("the disk is broken")
        return b"x" * 62 + b"\r\n" + b"y" * (n - 64)


@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
def test_a_message_our_disk_does_not_give_is_not_half_sent(offers: tuple[str, ...]) -> None:
    world = World(Server(offers))
    message: Any = Half()
    (outcome,) = run(world, lambda: world.attempt(envelope([Recipient(smtp("bob@b.test"))]), message))
    assert reply_of(outcome).startswith("451 4.3.0") and "disk is broken" in reply_of(outcome)
    assert not world.server.taken


def large(folder: Path, octets: int = 3 * SMALL + 12345) -> FileMessage:
    """Lines of many lengths, some that begin with a dot, some with a bare CR or LF."""
    lines, size = [b"Return-Path: <x@y.test>", b"Subject: large", b""], 0
    while size < octets:
        lines.append((b".%d" % size if size % 7 == 0 else b"%d" % size) + b"z" * (size % 120) + (b"\rq\nr" if size % 11 == 0 else b""))
        size += len(lines[-1]) + 2
    text = b"\r\n".join(lines) + b"\r"
    path = folder / "message"
    path.write_bytes(text)
    return FileMessage("A" * 32, path, len(text))


def sent_text(message: FileMessage) -> bytes:
    """What a server must get."""
    text = message.path.read_bytes().partition(b"\r\n")[2]
    unbare = text[:-1].replace(b"\rq\nr", b" q\r\nr")
    return unbare + b" \r\n"


@pytest.mark.parametrize("offers", KINDS.values(), ids=KINDS)
def test_a_large_message_goes_block_by_block(offers: tuple[str, ...], tmp_path: Path) -> None:
    world, message = World(Server(offers)), large(tmp_path)
    (outcome,) = run(world, lambda: world.attempt(envelope([Recipient(smtp("bob@b.test"))]), message))
    assert words([outcome]) == ["delivered"]
    assert world.server.taken[0][2] == sent_text(message)
    if "CHUNKING" in offers:
        assert sum(line.startswith("BDAT") for line in world.server.heard) >= 4
        assert max(map(len, world.server.packets)) < SMALL + 4096


@pytest.mark.parametrize("offers", [MODERN, ("CHUNKING",)])
def test_a_chunk_that_is_refused_ends_the_transaction(offers: tuple[str, ...], tmp_path: Path) -> None:
    world, message = World(Server(offers, {"CHUNK": ["250 2.0.0 ok", "552 5.3.4 Enough"]})), large(tmp_path)

    async def test() -> None:
        await world.keep()
        assert words(await world.attempt(envelope([Recipient(smtp("bob@b.test"))]), message)) == ["failed 552 5.3.4"]
        assert words(await world.deliver()) == ["delivered"]

    run(world, test)
    assert "RSET" in world.server.heard and len(world.server.taken) == 1


def test_a_message_nobody_wants_is_not_sent(tmp_path: Path) -> None:
    for offers in KINDS.values():
        world = World(Server(offers, {"RCPT": "550 5.1.1 No"}))
        assert words(run(world, lambda: world.attempt(envelope([Recipient(smtp("bob@b.test"))]), large(tmp_path)))) == ["failed 550 5.1.1"]  # noqa: B023
        assert sum(map(len, world.server.packets)) < 1000


def test_an_early_refusal_of_a_large_message_is_heard(tmp_path: Path) -> None:
    """A server that has enough before the end says so and hangs up (RFC 5321 section 3.8 asks otherwise)."""
    world, message = World(Server(("PIPELINING",))), large(tmp_path)

    async def test() -> None:
        task = asyncio.ensure_future(world.attempt(envelope([Recipient(smtp("bob@b.test"))]), message))
        while not world.server.lines or not world.server.lines[0]._in_data or len(world.server.packets) < 4:
            await asyncio.sleep(0)
        world.server.lines[0].say("552 5.3.4 Enough")
        (outcome,) = await task
        assert words([outcome]) == ["failed 552 5.3.4"]

    run(world, test)


@pytest.mark.parametrize(
    ("says", "settings", "seconds", "wanted"),
    [
        ({"GREETING": ""}, {"greeting_timeout": 50}, 52, "did not answer in time (greeting)"),
        ({"MAIL": ""}, {"command_timeout": 40}, 42, "did not answer in time (command)"),
        ({"DATA": ""}, {"data_timeout": 30}, 32, "did not answer in time (data)"),
        ({"FINAL": ""}, {"final_timeout": 20}, 22, "may arrive twice"),
    ],
)
def test_each_wait_has_its_time(says: dict[str, str], settings: dict[str, Any], seconds: float, wanted: str) -> None:
    """RFC 5321 section 4.5.3.2, by the house's clock."""
    world = World(Server((), says), **settings)
    (outcome,) = run(world, world.deliver, seconds)
    assert isinstance(outcome, Deferred) and wanted in outcome.reply.text
    assert seconds - 3 <= world.clock.monotonic() <= seconds


def test_a_server_that_does_not_read_is_given_up(tmp_path: Path) -> None:
    world, message = World(Server(("PIPELINING",)), block_timeout=60), large(tmp_path)

    async def test() -> None:
        task = asyncio.ensure_future(world.attempt(envelope([Recipient(smtp("bob@b.test"))]), message))
        while len(world.server.packets) < 3:
            await asyncio.sleep(0)
        world.server.takes_nothing = True
        for _ in range(65):
            await world.clock.advance(1)
        (outcome,) = await task
        assert isinstance(outcome, Deferred) and "did not take our octets" in outcome.reply.text

    run(world, test)


def test_a_server_that_cannot_be_reached_meets_its_deadline() -> None:
    world = World(connect_timeout=30)
    world.servers["192.0.2.1"] = None
    (outcome,) = run(world, world.deliver, 32)
    assert reply_of(outcome) == "451 4.4.1 mx.b.test [192.0.2.1]:25 cannot be reached: no connection in 30 seconds"
