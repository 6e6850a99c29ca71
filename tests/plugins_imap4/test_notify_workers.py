"""What happens in one worker of a site, as clients of another one are told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postroom.mailstore import SEEN
from postroom_ops.bus import LocalBus
from postroom_store.folder import LocalFolder
from postroom_testing.waiting import PATIENCE
from tests.plugins_imap4.house import Client, Served, serving
from tests.plugins_imap4.test_notify import append, heard, listener, quiet

Test = Callable[[Served, Served], Awaitable[None]]
ALL = "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange"


def with_two(folder: Path, test: Test) -> None:
    async def main() -> None:
        async with serving(folder) as one, serving(folder, worker=1) as other:
            with on_bus(one), on_bus(other):
                await test(one, other)

    asyncio.run(main())


@contextmanager
def on_bus(at: Served) -> Iterator[None]:
    bus = at.site.bus
    assert isinstance(bus, LocalBus)
    bus.open()
    try:
        yield
    finally:
        bus.close()


def test_all_events_cross_from_one_worker_to_another(tmp_path: Path) -> None:
    async def test(here: Served, there: Served) -> None:
        await (await there.box()).create("A")
        client = await listener(here, f"(selected (MessageNew (FLAGS) MessageExpunge FlagChange)) (personal ({ALL}))", "INBOX")
        other = await there.client()
        await there.deliver()
        await heard(client, b"* 1 EXISTS\r\n", b"* 1 FETCH (UID 1 FLAGS ())\r\n")
        await (await there.folder()).change_flags([1], add=SEEN)
        await heard(client, b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n")
        await (await there.folder()).expunge([1])
        await heard(client, b"* 1 EXPUNGE\r\n")
        await append(other, "A")
        await heard(client, b'* STATUS "A" (MESSAGES 1 UIDNEXT 2 UNSEEN 1)\r\n')
        await other.ok("RENAME A B")
        await heard(client, b'* LIST (\\HasNoChildren) "/" "B" ("OLDNAME" ("A"))\r\n')
        await other.ok("SUBSCRIBE B")
        await heard(client, b'* LIST (\\HasNoChildren \\Subscribed) "/" "B"\r\n')
        await other.ok('SETMETADATA B (/private/comment "x")')
        await heard(client, b'* METADATA "B" /private/comment\r\n')
        await other.ok('SETMETADATA "" (/private/comment "x")')
        await heard(client, b'* METADATA "" /private/comment\r\n')
        await other.ok("DELETE B")
        await heard(client, b'* LIST (\\NonExistent \\Noselect \\HasNoChildren \\Subscribed) "/" "B"\r\n')
        for one in (client, other):
            await one.close()

    with_two(tmp_path, test)


# A rename by another worker ended a selection with BYE.


async def three_in(here: Served, there: Served) -> Client:
    box = await there.box()
    await box.create("A/b")
    folder = await there.folder("A/b")
    client = await here.client()
    for _ in range(3):
        assert (await append(client, "A/b")).startswith(b"T OK")
    assert folder.view().status.messages == 3
    await client.ok("SELECT A/b")
    return client


@pytest.mark.parametrize(
    "renames",
    [
        pytest.param([("A", "C"), ("C/b", "d")]),
        *(pytest.param(one, marks=pytest.mark.long) for one in ([("A", "C")], [("A/b", "A/c")], [("A/b", "x"), ("A", "A2")])),
    ],
)
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("FETCH 3 UID", [b"* 3 FETCH (UID 3)\r\n"]),
        ("UID FETCH 3 FLAGS", [b"* 3 FETCH (UID 3 FLAGS ())\r\n"]),
        ("STORE 3 +FLAGS (\\Seen)", [b"* 3 FETCH (UID 3 FLAGS (\\Seen))\r\n"]),
        ("SEARCH TEXT two", [b"* SEARCH 1 2 3\r\n"]),
        ("COPY 3 INBOX", []),
        ("NOOP", []),
    ],
)
def test_a_folder_that_another_worker_renames_stays_selected(
    tmp_path: Path, renames: list[tuple[str, str]], command: str, answer: list[bytes]
) -> None:
    async def test(here: Served, there: Served) -> None:
        client = await three_in(here, there)
        for old, new in renames:
            await (await there.box()).rename(old, new)
        assert await client.ok(command) == answer
        await client.close()

    with_two(tmp_path, test)


def test_what_happened_in_a_renamed_folder_meanwhile_is_told(tmp_path: Path) -> None:
    async def test(here: Served, there: Served) -> None:
        client = await three_in(here, there)
        await (await there.box()).rename("A/b", "c")
        await (await there.box()).create("A/b")  # another one in its place
        folder = await there.folder("c")
        await folder.expunge([1])
        await folder.change_flags([2], add=SEEN)
        assert await client.ok("UID FETCH 2:3 FLAGS") == [
            b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n",
            b"* 1 EXPUNGE\r\n",
            b"* 1 FETCH (UID 2 FLAGS (\\Seen))\r\n",
            b"* 2 FETCH (UID 3 FLAGS ())\r\n",
        ]
        await client.close()

    with_two(tmp_path, test)


@pytest.mark.parametrize("beside", [False, True])
def test_who_idles_in_a_renamed_folder_goes_on_idling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool) -> None:
    """Also where its own worker renames it: it was deaf from then on."""
    follow, followed = LocalFolder.follow, asyncio.Event()

    def seen(self: LocalFolder, changed: Callable[[], None]) -> Callable[[], None]:
        if self.name == "C/b":
            followed.set()
        return follow(self, changed)

    async def test(here: Served, there: Served) -> None:
        monkeypatch.setattr(LocalFolder, "follow", seen)
        client = await three_in(here, there)
        client.send(b"i IDLE\r\n")
        await heard(client, b"+ idling\r\n")
        await (await (there if beside else here).box()).rename("A", "C")
        await asyncio.wait_for(followed.wait(), PATIENCE)  # the session has heard of it
        other = await there.client()
        await append(other, "C/b")
        await heard(client, b"* 4 EXISTS\r\n")
        client.send(b"DONE\r\n")
        await heard(client, b"i OK done\r\n")
        for one in (client, other):
            await one.close()

    with_two(tmp_path, test)


@pytest.mark.parametrize("idles", [False, True])
def test_a_folder_that_another_worker_deletes_ends_the_session(tmp_path: Path, idles: bool) -> None:
    """RFC 2180 section 3.3 allows it; nothing the client knows is true any more."""

    async def test(here: Served, there: Served) -> None:
        client = await three_in(here, there)
        if idles:
            client.send(b"i IDLE\r\n")
            await heard(client, b"+ idling\r\n")
        await (await there.box()).delete("A/b")
        if not idles:
            client.send(b"x NOOP\r\n")
        assert (await client.line()).startswith(b"* BYE [UNAVAILABLE] ")
        await client.close()

    with_two(tmp_path, test)


def test_a_folder_that_is_watched_and_renamed_goes_on_telling(tmp_path: Path) -> None:
    async def test(here: Served, there: Served) -> None:
        client = await three_in(here, there)
        await client.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
        await (await there.box()).rename("A", "C")
        other = await there.client()
        await append(other, "C/b")
        await heard(client, b"* 4 EXISTS\r\n")
        await quiet(client)
        for one in (client, other):
            await one.close()

    with_two(tmp_path, test)
