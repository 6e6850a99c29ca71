"""What RFCs ask for by the letter, each of it once answered otherwise."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from postroom.errors import DiskError
from postroom.mailstore import DELETED
from postroom_imap4 import doing_search, pace, sections
from postroom_imap4.commands import EventGroup, Source
from postroom_imap4.notifying import Wishes
from postroom_testing.clock import HandClock
from tests.plugins_imap4.house import LOGIN, PASSWORD, PATIENCE, Served
from tests.plugins_imap4.memory import Believer
from tests.plugins_imap4.test_connection import driven, turns
from tests.plugins_imap4.test_conversations import served
from tests.plugins_imap4.test_limits import by_hand


def test_a_disk_that_fails_within_a_literal_ends_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The NO of the command was the literal's next octets, and the client waited for the others, or took later answers for them."""
    true, reads = sections.OnDisk.read, 0

    def failing(source: sections.OnDisk, start: int, end: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 3:
            raise DiskError("input/output error")
        return true(source, start, end)

    async def test(at: Served) -> None:
        await at.deliver(1, body=("x" * 76 + "\r\n") * 20_000)
        client = await at.client("INBOX")
        monkeypatch.setattr(sections.OnDisk, "read", failing)
        client.send(b"a FETCH 1 BODY.PEEK[]\r\n")
        async with asyncio.timeout(PATIENCE):
            heard = await client.reader.read()
        assert heard.startswith(b"* 1 FETCH (BODY[] {") and b"a NO" not in heard
        assert [event for level, event, _ in at.log.told if level == "error"] == ["imap4.broken"]
        at.log.told.clear()
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize(("command", "answer"), [("SEARCH 2", b"* SEARCH 2\r\n"), ("SEARCH UNSEEN NOT (1 KEYWORD x) 2", b"* SEARCH 2\r\n"),
    ("SORT (ARRIVAL) UTF-8 2:3", b"* SORT 2 3\r\n"), ("THREAD REFS UTF-8 2", b"* THREAD (2)\r\n")])  # fmt: skip
def test_numbers_among_the_keys_of_uid_search_mean_what_the_client_means(tmp_path: Path, command: str, answer: bytes) -> None:
    """An EXPUNGE that others had done was told first, and the numbers then meant the next messages: the UID of another one was answered."""

    async def test(at: Served) -> None:
        await at.deliver(3)
        client = await at.client("INBOX")
        await (await at.folder()).expunge([1])
        assert await client.ok(f"UID {command}") == [answer]
        assert await client.ok("UID SEARCH UID 2") == [b"* 1 EXPUNGE\r\n", b"* SEARCH 2\r\n"]
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize("word", ["SEARCH RETURN (SAVE)", "ESEARCH RETURN (SAVE)", "SORT RETURN (SAVE) (DATE)"])
def test_a_search_that_ends_with_no_saves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """RFC 5182 section 2.1: what was saved before stayed, and a STORE or MOVE of "$" behind it in the pipeline meant those messages."""

    async def failing(*of: object) -> list[int]:
        raise DiskError("input/output error")

    async def test(at: Served) -> None:
        await at.deliver(3)
        client = await at.client("INBOX")
        charset = "" if word.startswith("SORT") else "CHARSET "
        await client.ok("SEARCH RETURN (SAVE) ALL")
        assert (await client.say("SEARCH CHARSET X-NONE TEXT x"))[-1].startswith(b"T NO")
        assert (await client.say(f"{word} {charset}UTF-8 NONSENSE"))[-1].startswith(b"T BAD")
        assert await client.ok("SEARCH $") == [b"* SEARCH 1 2 3\r\n"]
        assert (await client.say(f"{word} {charset}X-NONE TEXT x"))[-1].startswith(b"T NO [BADCHARSET")
        assert await client.ok("FETCH $ UID") == []
        await client.ok("SEARCH RETURN (SAVE) ALL")
        with monkeypatch.context() as patch:
            patch.setattr(doing_search, "rows_found", failing)
            assert (await client.say(f"{word} {charset}UTF-8 TEXT x"))[-1].startswith(b"T NO")
        assert await client.ok("FETCH $ UID") == []
        await client.close()

    served(tmp_path, test)


def test_esearch_that_finds_nothing_saves_nothing(tmp_path: Path) -> None:
    """What was saved before stayed, and was what "$" meant next."""

    async def test(at: Served) -> None:
        await at.deliver(3)
        client = await at.client("INBOX")
        await client.ok("SEARCH RETURN (SAVE) ALL")
        assert await client.ok("ESEARCH RETURN (SAVE) FLAGGED") == []
        assert await client.ok("FETCH $ UID") == []
        assert await client.ok("ESEARCH RETURN (SAVE) UID 2:3") == []
        assert await client.ok("FETCH $ UID") == [b"* 2 FETCH (UID 2)\r\n", b"* 3 FETCH (UID 3)\r\n"]
        (line,) = await client.ok("ESEARCH RETURN (COUNT) $ UID 3:*")
        assert line.endswith(b" UID COUNT 1\r\n")
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize(
    "command", ["IN (selected-delayed) ALL", "IN (mailboxes INBOX) RETURN (SAVE) ALL", "IN (selected subscribed) RETURN (SAVE) ALL"]
)
def test_esearch_refuses_what_it_cannot_save_or_look_into(tmp_path: Path, command: str) -> None:
    """RFC 7377 section 2.2."""

    async def test(at: Served) -> None:
        await at.deliver(1)
        client = await at.client("INBOX")
        lines = await client.say(f"ESEARCH {command}")
        assert len(lines) == 1 and lines[0].startswith(b"T BAD")
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize(
    ("items", "saved"),
    [("PARTIAL 2:3", b" 2 3"), ("PARTIAL 2:3 MAX", b" 2 3 5"), ("MIN PARTIAL -1:-2 MAX", b" 1 4 5"), ("MIN PARTIAL 8:9", b" 1")],
)
def test_min_and_max_are_saved_beside_a_part(tmp_path: Path, items: str, saved: bytes) -> None:
    """RFC 9394 section 3.2, table 1: of several the part alone was saved."""

    async def test(at: Served) -> None:
        await at.deliver(5)
        client = await at.client("INBOX")
        for word in ("SEARCH", "SORT"):
            await client.ok(f"UID {word} RETURN (SAVE {items}) " + ("(ARRIVAL) UTF-8 ALL" if word == "SORT" else "ALL"))
            assert await client.ok("UID SEARCH $") == [b"* SEARCH" + saved + b"\r\n"]
        await client.close()

    served(tmp_path, test)


def test_a_part_is_of_all_messages_and_not_of_those_that_changed(tmp_path: Path) -> None:
    """RFC 9394 section 3.4: "first select the last 30 messages and then only return flag changes for a subset of those"."""

    async def test(at: Served) -> None:
        await at.deliver(5)
        client = await at.client("INBOX")
        since = (await at.folder()).view().status.modseq
        await client.ok("STORE 1,2,5 +FLAGS.SILENT (\\Seen)")
        lines = await client.ok(f"UID FETCH 1:* (UID) (CHANGEDSINCE {since} PARTIAL -1:-2)")
        assert [line.split()[1] for line in lines if b" FETCH (" in line] == [b"5"]
        await client.close()

    served(tmp_path, test)


def test_who_logged_out_has_time_and_octets_to_log_in_again(tmp_path: Path) -> None:
    """RFC 8437: the time for the login had begun with the connection, and its octets were counted together, so a connection that was used
    again and again, as is meant, was hung up on."""

    async def test(at: Served, clock: HandClock) -> None:
        client, late = await at.client("INBOX"), await at.client("INBOX")
        for _ in range(5):
            await clock.advance(100)
            await client.ok(f'ID ("os" "{"x" * 900}")')
            await client.ok("UNAUTHENTICATE")
            await clock.advance(100)
            await client.ok(f'ID ("os" "{"x" * 900}")')
            await client.ok(f"LOGIN {LOGIN} {PASSWORD}")
        await late.ok("UNAUTHENTICATE")
        await clock.advance(125)
        assert (await late.line()).startswith(b"* BYE") and await late.line() == b""
        await client.ok("NOOP")
        for one in (client, late):
            await one.close()

    by_hand(tmp_path, test, "plaintext: loopback, login_octets: 4096")


def test_a_modseq_beyond_an_expunge_that_is_not_told_is_taken_back(tmp_path: Path) -> None:
    """RFC 7162 sections 3.2 and 6: a client that lost its connection then resynchronized from a MODSEQ behind the expunge, and never heard of it."""

    async def test(at: Served) -> None:
        await at.deliver(3)
        client = await at.client()
        await client.ok("ENABLE QRESYNC")
        await client.ok("SELECT INBOX")
        before = (await at.folder()).view().status.modseq
        await (await at.folder()).expunge([3])
        taken_back = b"* OK [HIGHESTMODSEQ %d] expunged messages are not told yet\r\n" % before
        told, line = await client.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
        assert told == b"* 1 FETCH (UID 1 MODSEQ (%d))\r\n" % (before + 2) and line == taken_back
        await (await at.folder()).expunge([2])
        await (await at.folder()).change_flags([1], add=DELETED)
        assert (await client.ok("FETCH 1 MODSEQ"))[-1] == taken_back
        assert await client.ok("NOOP") == [b"* VANISHED 2:3\r\n"]
        assert await client.ok("FETCH 1 UID") == [b"* 1 FETCH (UID 1)\r\n"]
        await client.close()

    served(tmp_path, test)


def test_numbers_beyond_the_last_message_find_nothing_and_are_no_mistake(tmp_path: Path) -> None:
    """RFC 7377 section 2: "with any SEARCH or UID SEARCH command, it MUST NOT be considered an error". Clients walk a folder by windows."""

    async def test(at: Served) -> None:
        client = await at.client("INBOX")
        assert await client.ok("SEARCH *") == [b"* SEARCH\r\n"] == await client.ok("SEARCH 1:*")
        await at.deliver(3)
        await client.ok("NOOP")
        assert await client.ok("SEARCH 2:100") == [b"* SEARCH 2 3\r\n"]
        assert await client.ok("UID SEARCH 101:200") == [b"* SEARCH\r\n"]
        assert await client.ok("SEARCH NOT 9:*") == [b"* SEARCH 1 2\r\n"]
        assert await client.ok("THREAD REFS UTF-8 4") == [b"* THREAD\r\n"]
        assert (await client.say("FETCH 4 UID"))[-1].startswith(b"T BAD")
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize("pattern", ["INB*", "*BOX", "%X", "I%B*", "inbox", "*"])
def test_a_pattern_that_matches_inbox_in_capitals_lists_it(tmp_path: Path, pattern: str) -> None:
    """RFC 3501 section 6.3.8. Patterns were matched with the name the store has, which no client sees."""

    async def test(at: Served) -> None:
        client = await at.client()
        await client.ok("SUBSCRIBE INBOX")
        for word in ("LIST", "LSUB"):
            assert any(line.endswith(b' "INBOX"\r\n') for line in await client.ok(f'{word} "" "{pattern}"'))
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize("names", ["CONDSTORE", "QRESYNC", "QRESYNC CONDSTORE"])
def test_enable_of_condstore_tells_the_highest_modseq(tmp_path: Path, names: str) -> None:
    """RFC 7162 section 3.1: "A first CONDSTORE enabling command executed in the session with a mailbox selected MUST cause the server to return
    HIGHESTMODSEQ"."""

    async def test(at: Served) -> None:
        await at.deliver(1)
        client, none = await at.client("INBOX"), await at.client()
        highest = b"* OK [HIGHESTMODSEQ %d] noted\r\n" % (await at.folder()).view().status.modseq
        told = b"* ENABLED %b\r\n" % names.encode()
        assert await client.ok(f"ENABLE {names}") == [told, highest]
        assert await client.ok("ENABLE CONDSTORE QRESYNC X") in (
            [b"* ENABLED\r\n"],
            [b"* ENABLED CONDSTORE\r\n"],
            [b"* ENABLED QRESYNC\r\n"],
        )
        assert await none.ok(f"ENABLE {names}") == [told]
        for one in (client, none):
            await one.close()

    served(tmp_path, test)


def test_with_uidonly_select_neither_tells_nor_takes_numbers(tmp_path: Path) -> None:
    """RFC 9586: "Message numbers are not returned in responses and cannot be used in requests"."""

    async def test(at: Served) -> None:
        await at.deliver(2)
        client = await at.client()
        await client.ok("ENABLE UIDONLY QRESYNC")
        assert not any(b"[UNSEEN" in line for line in await client.ok("SELECT INBOX"))
        status = (await at.folder()).view().status
        sync = f"SELECT INBOX (QRESYNC ({status.uidvalidity} 1 1:2"
        assert (await client.say(f"{sync} (1:2 1:2)))")) == [b"T BAD [UIDREQUIRED] message numbers are off, say it with UID\r\n"]
        await client.ok(f"{sync}))")
        await client.close()

    served(tmp_path, test)


def test_a_notice_is_not_lost_with_the_done_of_an_idle(tmp_path: Path) -> None:
    """What was hinted while the client did not read was forgotten with DONE, and told with the next change of something else, or never."""

    async def test(at: Served, client: Believer) -> None:
        await client.say("NOTIFY SET (personal (MessageNew MessageExpunge))")
        await client.say("IDLE")
        await turns()
        client.connection.pause_writing()
        await at.deliver()
        await turns()
        await client.done()
        client.connection.resume_writing()
        async with asyncio.timeout(PATIENCE):
            assert (await client.line()).startswith(b'* STATUS "INBOX" (MESSAGES 1')

    driven(tmp_path, test)


def test_move_and_replace_tell_the_highest_modseq(tmp_path: Path) -> None:
    """RFC 6851 section 4.4 and RFC 8508 section 4.5: without it the client resynchronized from before them."""

    async def test(at: Served) -> None:
        await at.deliver(4)
        client, plain = await at.client(), await at.client("INBOX")
        await client.ok("ENABLE QRESYNC")
        await client.ok("CREATE Elsewhere")
        await client.ok("SELECT INBOX")
        commands = (
            b"MOVE 1 Elsewhere",
            b"UID MOVE 2 Elsewhere",
            b"REPLACE 1 Elsewhere {5+}\r\na: b\n",
            b"UID REPLACE 4 INBOX {5+}\r\na: b\n",
        )
        for number, command in enumerate(commands, 1):
            *untagged, last = await client.say(command)
            assert b"* VANISHED %d\r\n" % number in untagged
            modseq = (await at.folder()).view().status.modseq
            assert last.startswith(b"T OK [HIGHESTMODSEQ %d] " % modseq), last
        await plain.ok("NOOP")
        assert (await plain.say("MOVE 1 Elsewhere"))[-1] == b"T OK done\r\n"
        for one in (client, plain):
            await one.close()

    served(tmp_path, test)


def test_an_address_whose_coded_name_is_empty_sorts_by_the_address(tmp_path: Path) -> None:
    """RFC 5957 section 3: "If the resulting octet string is not the empty string, use it". It came before all others."""

    async def test(at: Served) -> None:
        client = await at.client("INBOX")
        for to in (b"=?utf-8?q??= <q@example.com>", b"m@example.com"):
            await client.ok(b"APPEND INBOX {%d+}\r\nTo: %b\r\n\r\n" % (len(to) + 8, to))
        await client.ok("NOOP")
        assert await client.ok("SORT (DISPLAYTO) UTF-8 ALL") == [b"* SORT 2 1\r\n"]
        await client.close()

    served(tmp_path, test)


def test_childinfo_says_by_which_option_something_below_is_selected(tmp_path: Path) -> None:
    """RFC 5258 section 3.5. With SPECIAL-USE alone what lies above was left out, or told with SUBSCRIBED, which nobody had asked."""

    async def test(at: Served) -> None:
        client = await at.client()
        await client.ok("CREATE A/B (USE (\\Junk))")
        await client.ok("CREATE C/D")
        await client.ok("SUBSCRIBE C/D")
        above = b'* LIST (\\HasChildren%b) "/" "%b" ("CHILDINFO" ("%b"))\r\n'
        assert await client.ok('LIST (SPECIAL-USE RECURSIVEMATCH) "" "%"') == [above % (b"", b"A", b"SPECIAL-USE")]
        assert await client.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"') == [above % (b"", b"C", b"SUBSCRIBED")]
        assert await client.ok('LIST (SUBSCRIBED SPECIAL-USE RECURSIVEMATCH) "" "%"') == []
        await client.ok("SUBSCRIBE A/B")
        assert await client.ok('LIST (SUBSCRIBED SPECIAL-USE RECURSIVEMATCH) "" "%"') == [above % (b"", b"A", b'SUBSCRIBED" "SPECIAL-USE')]
        await client.close()

    served(tmp_path, test)


def test_many_long_patterns_keep_nobody_else_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each was taken apart for each name: 300 of them and 400 names held all sessions for 46 seconds, by one command of 290 KB."""
    turns = 0

    class Counting:
        @staticmethod
        async def sleep(seconds: float) -> None:
            nonlocal turns
            turns += 1
            await asyncio.sleep(seconds)

    async def test(at: Served) -> None:
        client = await at.client()
        for number in range(20):
            await client.ok(f"CREATE F{number}/{'abcdefgh' * 10}")
        monkeypatch.setattr(pace, "asyncio", Counting)
        patterns = b" ".join(b"{%d+}\r\n%b" % (983, b"*a" * 490 + b"%03d" % number) for number in range(250))
        assert await client.ok(b'LIST "" (%b)' % patterns) == []
        assert turns >= 40  # one behind each name
        await client.close()

    served(tmp_path, test)


def test_folders_are_looked_up_among_many_names_and_not_compared_with_each() -> None:
    """A NOTIFY or ESEARCH that named 60,000 folders held all sessions for 16 and 37 ms for each folder there is: for a thousand, half a minute."""
    names = tuple(f"x{number}" for number in range(1000))
    wishes = Wishes([EventGroup("subtree", names, ("MessageNew", "MessageExpunge"))] * 100)
    begun = time.process_time()
    for number in range(100):
        assert not wishes.of(f"folder{number}/a", is_subscribed=False) and wishes.of(f"X{number}/a/b", is_subscribed=False)
    for which in ("subtree", "subtree-one", "mailboxes"):
        sources = [Source(which, names)] * 30
        found = [
            doing_search.meant(source, [f"folder{number}", f"X{number}", f"x{number}/a/b"]) for source in sources for number in range(30)
        ]
        assert len(found) == 900 and found[0] == (["X0", "x0/a/b"] if which == "subtree" else ["X0"])
    assert time.process_time() - begun < 2  # it was several
