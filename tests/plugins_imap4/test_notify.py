"""NOTIFY (RFC 5465): what a client that only listens is told, event by event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroom.mailstore import DELETED, FLAGGED, SEEN
from postroom_testing.clock import HandClock
from tests.plugins_imap4.house import Client, Served, letter, serving

Test = Callable[[Served], Awaitable[None]]
MESSAGES = "MessageNew MessageExpunge"


def served(folder: Path, test: Test, more: str = "plaintext: loopback") -> None:
    async def main() -> None:
        async with serving(folder, more) as one:
            await test(one)

    asyncio.run(main())


async def listener(at: Served, wishes: str, folder: str = "", *enable: str) -> Client:
    """Somebody who listens, and says nothing more."""
    client = await at.client()
    for name in enable:
        await client.ok(f"ENABLE {name}")
    if folder:
        await client.ok(f"SELECT {folder}")
    assert await client.ok(f"NOTIFY SET {wishes}") == []
    return client


async def heard(client: Client, *lines: bytes) -> None:
    """These lines and no others: what the server says to a word of the client's comes behind them."""
    assert [await client.line() for _ in lines] == list(lines)


async def quiet(client: Client) -> None:
    """Nothing is told, even with a command."""
    assert await client.ok("NOOP") == []


async def append(client: Client, folder: str) -> bytes:
    text = letter()
    return (await client.say(b"APPEND %b {%d+}\r\n%b" % (folder.encode(), len(text), text)))[-1]


# The selected folder


def test_the_selected_folder_is_told_at_once(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await listener(at, f"(selected ({MESSAGES} FlagChange))", "INBOX")
        for number in (1, 2):
            await at.deliver()
            await heard(client, b"* %d EXISTS\r\n" % number)
        await (await at.folder()).change_flags([2], add=SEEN)
        await heard(client, b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n")
        await (await at.folder()).expunge([1])
        await heard(client, b"* 1 EXPUNGE\r\n")
        await client.close()

    served(tmp_path, test)


def test_new_messages_are_told_with_what_was_asked_for_and_stay_unread(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await listener(at, "(selected (MessageNew (UID BODY[HEADER.FIELDS (Subject)]) MessageExpunge))", "INBOX")
        await at.deliver()
        await heard(client, b"* 1 EXISTS\r\n", b"* 1 FETCH (UID 1 BODY[HEADER.FIELDS (Subject)] {20}\r\nSubject: hello 0\r\n\r\n)\r\n")
        assert (await at.folder()).view().flags[0] == 0
        assert b"* 2 EXISTS\r\n" in (await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(letter()), letter())))
        await quiet(client)  # what it put there itself is not fetched
        assert await client.ok("UID COPY 1 INBOX") == [b"* 3 EXISTS\r\n"]
        await client.close()

    served(tmp_path, test)


def test_flags_that_nobody_asked_for_are_not_told(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await at.deliver()
        client = await listener(at, f"(selected ({MESSAGES}))", "INBOX")
        await (await at.folder()).change_flags([1], add=SEEN)
        await quiet(client)
        assert await client.ok("UID STORE 1 +FLAGS (\\Flagged)") == [b"* 1 FETCH (UID 1 FLAGS (\\Seen \\Flagged))\r\n"]
        await client.close()

    served(tmp_path, test)


def test_delayed_an_expunge_waits_for_a_command_that_allows_it(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await at.deliver(2)
        client = await listener(at, f"(selected-delayed ({MESSAGES} FlagChange))", "INBOX")
        await (await at.folder()).expunge([1])
        await at.deliver()
        await heard(client, b"* 3 EXISTS\r\n")
        assert await client.ok("FETCH 2 UID") == [b"* 2 FETCH (UID 2)\r\n"]
        assert await client.ok("NOOP") == [b"* 1 EXPUNGE\r\n"]
        await (await at.folder()).expunge([2])
        client.send(b"i IDLE\r\n")  # allows it too (section 6.1.2)
        await heard(client, b"+ idling\r\n", b"* 1 EXPUNGE\r\n")
        await (await at.folder()).expunge([3])
        await heard(client, b"* 1 EXPUNGE\r\n")
        client.send(b"DONE\r\n")
        await heard(client, b"i OK done\r\n")
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize("command", ["NOTIFY NONE", "NOTIFY SET (selected NONE)", "NOTIFY SET (mailboxes Other (MailboxName))"])
def test_who_asks_for_nothing_has_a_folder_that_stands_still(tmp_path: Path, command: str) -> None:
    """Section 3.1: without SELECTED nothing is told of the selected folder, but what the client's own commands do."""

    async def test(at: Served) -> None:
        await at.deliver(2)
        client = await at.client("INBOX")
        await at.deliver()
        assert await client.ok(command) == [b"* 3 EXISTS\r\n"]  # an implicit NOOP comes first
        await at.deliver()
        folder = await at.folder()
        await folder.change_flags([2], add=DELETED)
        await quiet(client)
        assert await client.ok("SEARCH DELETED") == [b"* SEARCH\r\n"]
        client.send(b"i IDLE\r\n")
        await heard(client, b"+ idling\r\n")
        await at.deliver()
        client.send(b"DONE\r\n")
        await heard(client, b"i OK done\r\n")
        told = await client.ok(
            "UID STORE 1 +FLAGS (\\Flagged)"
        )  # what changes the folder brings the news with it: EXPUNGE has true numbers
        assert b"* 1 FETCH (UID 1 FLAGS (\\Flagged))\r\n" in told and b"* 5 EXISTS\r\n" in told
        assert await client.ok("EXPUNGE") == [b"* 2 EXPUNGE\r\n"]
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize(
    ("enable", "line"), [("QRESYNC", b"* VANISHED 1\r\n"), ("UIDONLY", b"* VANISHED 1\r\n"), ("CONDSTORE", b"* 1 EXPUNGE\r\n")]
)
def test_expunged_messages_vanish_where_the_client_says_so(tmp_path: Path, enable: str, line: bytes) -> None:
    async def test(at: Served) -> None:
        await at.deliver(2)
        client = await listener(at, f"(selected ({MESSAGES} FlagChange))", "INBOX", enable)
        await (await at.folder()).expunge([1])
        await heard(client, line)
        change = await (await at.folder()).change_flags([2], add=FLAGGED)
        number, verb = (2, b"UIDFETCH") if enable == "UIDONLY" else (1, b"FETCH")
        if enable == "UIDONLY":
            await heard(client, b"* 2 UIDFETCH (FLAGS (\\Flagged))\r\n")
        else:
            await heard(client, b"* %d %b (UID 2 FLAGS (\\Flagged) MODSEQ (%d))\r\n" % (number, verb, change.modseq))
        await client.close()

    served(tmp_path, test)


def test_the_wishes_hold_for_whatever_folder_is_selected(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await listener(at, f"(selected ({MESSAGES} FlagChange)) (personal ({MESSAGES}))")
        other = await at.client()
        await other.ok("CREATE Other")
        await client.ok("SELECT Other")
        assert (await append(other, "Other")).startswith(b"T OK")
        await heard(client, b"* 1 EXISTS\r\n")
        await client.ok("SELECT INBOX")
        await append(other, "Other")
        await heard(client, b'* STATUS "Other" (MESSAGES 2 UIDNEXT 3)\r\n')
        await client.ok("CLOSE")
        await at.deliver()
        await heard(client, b'* STATUS "INBOX" (MESSAGES 1 UIDNEXT 2)\r\n')
        for one in (client, other):
            await one.close()

    served(tmp_path, test)


# Other folders


def test_status_is_told_first_where_it_is_asked_for(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await at.deliver(2)
        client = await at.client()
        await client.ok("CREATE Lists/One")
        lines = await client.ok(
            f"NOTIFY SET STATUS (mailboxes INBOX ({MESSAGES})) (subtree Lists ({MESSAGES} FlagChange)) (personal (MailboxName))"
        )
        assert [line.split(b" UIDVALIDITY ")[0] for line in lines] == [
            b'* STATUS "INBOX" (MESSAGES 2 UIDNEXT 3',
            b'* STATUS "Lists" (MESSAGES 0 UIDNEXT 1',
            b'* STATUS "Lists/One" (MESSAGES 0 UIDNEXT 1',
        ]
        assert b"HIGHESTMODSEQ" not in lines[0] and b" UNSEEN 0 HIGHESTMODSEQ 1)" in lines[1]
        await client.ok("SELECT INBOX")
        assert await client.ok(f"NOTIFY SET STATUS (selected ({MESSAGES})) (inboxes ({MESSAGES}))") != []
        assert not [line for line in await client.ok(f"NOTIFY SET STATUS (inboxes ({MESSAGES}))") if b'"INBOX"' in line]  # it is selected
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize("condstore", [False, True])
def test_messages_elsewhere_are_told_by_status(tmp_path: Path, condstore: bool) -> None:
    async def test(at: Served) -> None:
        await at.deliver(2)
        client = await listener(at, f"(personal ({MESSAGES} FlagChange))", "", *(["CONDSTORE"] if condstore else []))
        folder = await at.folder()

        async def told(plain: bytes, more: bytes) -> None:
            status = folder.view().status
            more = more % {b"v": status.uidvalidity, b"m": status.modseq} if condstore else b""
            await heard(client, b'* STATUS "INBOX" (%b%b)\r\n' % (plain, more))

        await at.deliver()
        await told(b"MESSAGES 3 UIDNEXT 4 UNSEEN 3", b" UIDVALIDITY %(v)d HIGHESTMODSEQ %(m)d")
        await folder.change_flags([1], add=SEEN)
        await told(b"UNSEEN 2", b" UIDVALIDITY %(v)d HIGHESTMODSEQ %(m)d")
        if condstore:
            await folder.change_flags([1], add=FLAGGED)
            await told(b"", b"UIDVALIDITY %(v)d HIGHESTMODSEQ %(m)d")
        await folder.expunge([1, 2])
        await told(b"MESSAGES 1 UIDNEXT 4 UNSEEN 1", b" UIDVALIDITY %(v)d HIGHESTMODSEQ %(m)d")
        await client.close()

    served(tmp_path, test)


def test_flags_elsewhere_are_not_told_to_who_asked_for_messages(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await at.deliver()
        client = await listener(at, f"(personal ({MESSAGES}))", "", "CONDSTORE")
        await (await at.folder()).change_flags([1], add=SEEN)
        await quiet(client)
        await client.close()

    served(tmp_path, test)


def test_what_the_client_does_itself_is_not_told(tmp_path: Path) -> None:
    """Section 5. Where others were at it too, it is."""

    async def test(at: Served) -> None:
        await at.deliver(2)
        await (await at.box()).create("Other")
        client = await listener(
            at,
            f"(selected ({MESSAGES} FlagChange)) (personal ({MESSAGES} FlagChange MailboxName SubscriptionChange MailboxMetadataChange "
            "ServerMetadataChange))",
            "INBOX",
        )
        await append(client, "Other")
        assert await client.ok("UID MOVE 1 Other") and await client.ok("UID COPY 2 Other") == []
        for command in (
            "CREATE New/Deep/er",
            "RENAME New Newer",
            "DELETE Newer/Deep/er",
            "SUBSCRIBE Newer",
            "UNSUBSCRIBE Newer",
            'SETMETADATA Other (/private/comment "x")',
            'SETMETADATA "" (/private/comment "x")',
            "CREATE Sent (USE (\\Sent))",
            "RENAME INBOX Old",
            "CREATE Temporary",
            "DELETE Temporary",
        ):
            told = await client.ok(command)
            assert not [line for line in told if b" LIST " in line or b"METADATA" in line or b"STATUS" in line], (command, told)
        await quiet(client)
        await (await at.folder("Other")).expunge([1])
        await heard(client, b'* STATUS "Other" (MESSAGES 2 UIDNEXT 4 UNSEEN 2)\r\n')
        await client.close()

    served(tmp_path, test)


# Names


def test_folders_that_come_and_go_are_told_with_their_parents(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await listener(at, "(personal (MailboxName))")
        box = await at.box()
        await box.create("A")
        await heard(client, b'* LIST (\\HasNoChildren) "/" "A"\r\n')
        await box.create("A/b*")
        await heard(client, b'* LIST (\\HasNoChildren) "/" "A/b*"\r\n', b'* LIST (\\HasChildren) "/" "A"\r\n')
        await box.delete("A")
        await heard(client, b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" "A"\r\n')
        await box.delete("A/b*")
        await heard(client, b'* LIST (\\NonExistent \\Noselect \\HasNoChildren) "/" "A/b*"\r\n')
        await client.close()

    served(tmp_path, test)


def test_a_renamed_folder_is_told_once_with_its_old_name_and_goes_on(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        box = await at.box()
        for name in ("A", "A/b", "A/b/c"):
            await box.create(name)
        client = await listener(at, f"(personal (MailboxName {MESSAGES}))", "A/b")
        await box.rename("A", "Z/y")
        await heard(
            client,
            b'* LIST (\\HasChildren) "/" "Z/y" ("OLDNAME" ("A"))\r\n',
            b'* LIST (\\HasChildren) "/" "Z"\r\n',
        )
        other = await at.client()
        await append(other, "Z/y/b/c")
        await heard(client, b'* STATUS "Z/y/b/c" (MESSAGES 1 UIDNEXT 2)\r\n')
        await append(other, "Z/y/b")
        await client.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
        assert await client.ok("UID FETCH 1 UID") == [b"* 1 FETCH (UID 1)\r\n"]  # it is still selected
        for one in (client, other):
            await one.close()

    served(tmp_path, test)


def test_another_folder_under_an_old_name_is_told_with_its_uidvalidity(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        box = await at.box()
        await box.create("A")
        client = await listener(at, f"(mailboxes A ({MESSAGES} FlagChange MailboxName))")
        await box.delete("A")
        folder = await box.create("A")
        status = folder.view().status
        lines = [await client.line()]
        while b"UIDVALIDITY" not in lines[-1]:
            lines.append(await client.line())
        assert lines[-1] == b'* STATUS "A" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY %d UNSEEN 0 HIGHESTMODSEQ %d)\r\n' % (
            status.uidvalidity,
            status.modseq,
        ), lines
        await client.close()

    served(tmp_path, test)


def test_a_folder_that_a_delivery_makes_is_told_with_what_is_in_it(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await listener(at, f"(personal (MailboxName {MESSAGES}))")
        other = await at.client()
        await other.ok("CREATE New")
        await append(other, "New")
        await heard(client, b'* LIST (\\HasNoChildren) "/" "New"\r\n')
        assert (await client.line()).startswith(b'* STATUS "New" (MESSAGES 1 UIDNEXT 2')
        for one in (client, other):
            await one.close()

    served(tmp_path, test)


def test_subscriptions(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        box = await at.box()
        await box.create("A")
        client = await listener(at, f"(personal (SubscriptionChange)) (subscribed ({MESSAGES}))")
        await box.subscribe("A")
        await heard(client, b'* LIST (\\HasNoChildren \\Subscribed) "/" "A"\r\n')
        other = await at.client()
        await append(other, "A")
        await heard(client, b'* STATUS "A" (MESSAGES 1 UIDNEXT 2)\r\n')
        await box.subscribe("A", False)
        await heard(client, b'* LIST (\\HasNoChildren) "/" "A"\r\n')
        await append(other, "A")
        await quiet(client)
        for one in (client, other):
            await one.close()

    served(tmp_path, test)


# Annotations


def test_annotations_are_told_by_name(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await listener(at, "(personal (MailboxMetadataChange ServerMetadataChange))", "INBOX")
        other = await at.client()
        await other.ok('SETMETADATA INBOX (/private/comment "x" /shared/comment "y")')
        await heard(client, b'* METADATA "INBOX" /private/comment /shared/comment\r\n')
        await other.ok("SETMETADATA INBOX (/private/comment NIL)")
        await heard(client, b'* METADATA "INBOX" /private/comment\r\n')
        await other.ok('SETMETADATA "" (/private/comment "x")')
        await heard(client, b'* METADATA "" /private/comment\r\n')
        await quiet(client)
        for one in (client, other):
            await one.close()

    served(tmp_path, test)


# What is refused, limits


def test_a_notify_that_is_refused_leaves_the_one_before_in_force(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await (await at.box()).create("A")
        client = await listener(at, f"(mailboxes A ({MESSAGES}))")
        for command, answer in (
            ("NOTIFY SET (personal (AnnotationChange MessageNew MessageExpunge))", b"T NO [BADEVENT (MessageNew "),
            (f"NOTIFY SET (personal ({MESSAGES}))", b"T NO [NOTIFICATIONOVERFLOW] "),
            ("NOTIFY SET (selected NONE) (selected-delayed NONE)", b"T BAD "),
        ):
            assert (await client.say(command))[-1].startswith(answer), command
        other = await at.client()
        await append(other, "A")
        await heard(client, b'* STATUS "A" (MESSAGES 1 UIDNEXT 2)\r\n')
        for one in (client, other):
            await one.close()

    served(tmp_path, test, "plaintext: loopback, notify_folders: 1")


def test_too_many_folders_later_end_all_notices(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await listener(at, f"(selected ({MESSAGES})) (personal ({MESSAGES}))", "INBOX")
        box = await at.box()
        await box.create("A")
        await quiet(client)
        await box.create("B")
        assert (await client.line()).startswith(b"* OK [NOTIFICATIONOVERFLOW] ")
        await at.deliver()
        await quiet(client)  # as after NOTIFY NONE
        await client.close()

    served(tmp_path, test, "plaintext: loopback, notify_folders: 2")


def test_names_that_are_not_there_are_watched_as_soon_as_they_are(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await listener(at, f'(mailboxes (A "*") ({MESSAGES} MailboxName))')
        box = await at.box()
        await box.create("B")
        await box.create("A")
        await heard(client, b'* LIST (\\HasNoChildren) "/" "A"\r\n')
        await client.close()

    served(tmp_path, test)


def test_news_do_not_lengthen_the_time_a_client_may_be_silent(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        async with serving(tmp_path, clock=clock) as at:
            client = await listener(at, f"(selected ({MESSAGES}))", "INBOX")
            for number in range(1, 3):
                await clock.advance(1000)
                await at.deliver()
                if number == 1:
                    await heard(client, b"* 1 EXISTS\r\n")
            while (line := await client.line()).startswith(b"* 2 EXISTS"):
                pass
            assert line.startswith(b"* BYE ")
            await client.close()

    asyncio.run(main())


def test_a_lost_hint_is_made_good_at_a_later_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        clock = HandClock()
        async with serving(tmp_path, clock=clock) as at:
            client = await listener(at, f"(personal ({MESSAGES}))")
            with monkeypatch.context() as patched:
                patched.setattr("postroom_store.news.News.tell", lambda news, key: None)
                await at.deliver()
            await quiet(client)
            await clock.advance(301)
            await quiet(client)
            await heard(client, b'* STATUS "INBOX" (MESSAGES 1 UIDNEXT 2)\r\n')
            await client.close()

    asyncio.run(main())


def test_nobody_is_hinted_after_the_end(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await listener(at, f"(personal ({MESSAGES}))")
        await client.ok("UNAUTHENTICATE")
        await at.deliver()
        assert await client.ok("NOOP") == []
        await client.log_in()
        await quiet(client)
        await client.ok(f"NOTIFY SET (personal ({MESSAGES}))")
        await client.ok("NOTIFY NONE")
        await at.deliver()
        await quiet(client)
        await client.close()

    served(tmp_path, test)
