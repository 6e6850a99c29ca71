"""Time and number: autologout, signs of life, what one command may touch; and clients to whom numbers say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroom.mailstore import Folder, View
from postroom_imap4 import doing_search
from postroom_imap4.commands import SearchKey
from postroom_imap4.progress import Progress
from postroom_imap4.searching import Asked
from postroom_testing.clock import HandClock
from tests.plugins_imap4.house import Served, serving


def by_hand(folder: Path, test: Callable[[Served, HandClock], Awaitable[None]], more: str = "plaintext: loopback") -> None:
    async def main() -> None:
        clock = HandClock()
        async with serving(folder, more, clock=clock) as served:
            await test(served, clock)

    asyncio.run(main())


def test_who_is_silent_for_half_an_hour_is_logged_out(tmp_path: Path) -> None:
    """RFC 9051 section 5.4; idling clients renew their IDLE before."""

    async def test(at: Served, clock: HandClock) -> None:
        client, idle = await at.client("INBOX"), await at.client("INBOX")
        idle.send(b"i IDLE\r\n")
        await idle.line()
        await clock.advance(1700)
        await client.ok("NOOP")
        await clock.advance(110)
        assert (await idle.line()).startswith(b"* BYE") and await idle.line() == b""
        await client.ok("NOOP")
        for one in (client, idle):
            await one.close()

    by_hand(tmp_path, test)


def test_case_28_who_does_not_log_in_in_time_is_hung_up_on(tmp_path: Path) -> None:
    """Neither what it says nor a SASL exchange it never ends gives it more time."""

    async def test(at: Served, clock: HandClock) -> None:
        client, exchange = await at.connect(), await at.connect()
        exchange.send(b"a AUTHENTICATE PLAIN\r\n")
        assert await exchange.line() == b"+ \r\n"
        await clock.advance(100)
        await client.ok("NOOP")
        await clock.advance(25)
        for one in (client, exchange):
            assert (await one.line()).startswith(b"* BYE") and await one.line() == b""
        for one in (client, exchange):
            await one.close()

    by_hand(tmp_path, test)


@pytest.mark.parametrize(
    ("tag", "progress", "told"),
    [
        (b"s", None, b'("s" NIL NIL)'),
        (b"s", (454, 1000), b'("s" 454 1000)'),
        (b"s", (1000, 1000), b'("s" NIL NIL)'),  # then it is at something else
        (b"s]", (0, 2), b"(NIL 0 2)"),
    ],
)
def test_what_a_sign_of_life_says(tag: bytes, progress: tuple[int, int] | None, told: bytes) -> None:
    """RFC 9585 section 4."""
    one = Progress()
    assert one.sign() == b""
    one.begin(tag, slow=True)
    if progress is not None:
        one.went_on(*progress)
    assert one.sign() == b"* OK [INPROGRESS %b] still at it\r\n" % told
    with one.silent():
        assert one.sign() == b""
    assert one.sign()
    one.silence()
    assert one.sign() == b""


def test_a_search_in_texts_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(Progress, "went_on", lambda progress, done, goal: told.append((done, goal)))

    async def test(at: Served, clock: HandClock) -> None:
        await at.deliver(120)
        client = await at.client("INBOX")
        await client.ok("SEARCH TEXT nowhere-to-be-found")
        await client.close()

    by_hand(tmp_path, test)
    assert len(told) > 1 and told == sorted(told) and told[-1] == (120, 120)


def test_a_long_search_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9585."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(folder: Folder, view: View, key: SearchKey, asked: Asked) -> list[int]:
        assert asked.progress is not None
        asked.progress(1, 3)
        begun.set()
        await go_on.wait()
        return [0]

    async def test(at: Served, clock: HandClock) -> None:
        monkeypatch.setattr(doing_search, "rows_found", slow)
        await at.deliver()
        client = await at.client("INBOX")
        client.send(b"s SEARCH ALL\r\n")
        await begun.wait()
        for _ in range(2):
            await clock.advance(16)
            assert await client.line() == b'* OK [INPROGRESS ("s" 1 3)] still at it\r\n'
        go_on.set()
        assert await client.until(b"s") == [b"* SEARCH 1\r\n", b"s OK that is all\r\n"]
        await client.close()

    by_hand(tmp_path, test)


def test_one_command_touches_no_more_than_it_may(tmp_path: Path) -> None:
    """RFC 9738: the last messages, and the lowest UID among them; COPY does not go half-way."""

    async def test(at: Served, clock: HandClock) -> None:
        await at.deliver(6)
        client = await at.client("INBOX")
        assert b" MESSAGELIMIT=2" in (await client.ok("CAPABILITY"))[0]
        lines = await client.say("FETCH 1:* UID")
        assert lines[:2] == [b"* 5 FETCH (UID 5)\r\n", b"* 6 FETCH (UID 6)\r\n"] and lines[2].startswith(b"T OK [MESSAGELIMIT 2 5]")
        lines = await client.say("SEARCH ALL")
        assert lines[0] == b"* SEARCH 5 6\r\n" and lines[1].startswith(b"T OK [MESSAGELIMIT 2 5]")
        assert (await client.say("COPY 1:3 INBOX"))[-1].startswith(b"T NO [MESSAGELIMIT 2 2]")
        assert (await client.say("UID STORE 1:* +FLAGS.SILENT (\\Deleted)"))[-1].startswith(b"T OK [MESSAGELIMIT 2 5]")
        await client.ok("UID STORE 1:2 +FLAGS.SILENT (\\Deleted)")
        assert (await client.say("EXPUNGE"))[-1].startswith(b"T OK [MESSAGELIMIT 2 5]")
        assert list((await at.folder()).view().uids) == [1, 2, 3, 4]
        await client.close()

    by_hand(tmp_path, test, "plaintext: loopback, message_limit: 2")


def test_with_uidonly_numbers_are_refused_and_never_told(tmp_path: Path) -> None:
    """RFC 9586."""

    async def test(at: Served, clock: HandClock) -> None:
        await at.deliver(3)
        client = await at.client("INBOX")
        assert await client.ok("ENABLE UIDONLY") == [b"* ENABLED UIDONLY\r\n"]
        for command in (
            "FETCH 1 FLAGS",
            "STORE 1 FLAGS ()",
            "COPY 1 INBOX",
            "MOVE 1 INBOX",
            "SEARCH ALL",
            "UID SEARCH NOT 1:2",
            "SORT (DATE) UTF-8 ALL",
        ):
            assert (await client.say(command))[-1].startswith(b"T BAD [UIDREQUIRED]"), command
        assert await client.ok("UID STORE 2 +FLAGS (\\Seen)") == [b"* 2 UIDFETCH (FLAGS (\\Seen))\r\n"]
        await (await at.folder()).expunge([1])
        assert await client.ok("NOOP") == [b"* VANISHED 1\r\n"]
        assert await client.ok("UID SEARCH ALL") == [b"* SEARCH 2 3\r\n"]
        await client.close()

    by_hand(tmp_path, test)
