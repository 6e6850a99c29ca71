from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from postroom.errors import DiskError
from postroom_pop3.errands import PIECE
from tests.plugins_pop3.house import FIRST, Inbox, Pop3, serve


def run(test: Callable[[Pop3], Coroutine[Any, Any, None]], folder: Path, **settings: Any) -> None:
    async def main() -> None:
        pop3 = serve(folder, **settings)
        await test(pop3)
        await pop3.close()

    asyncio.run(main())


def test_a_batch_is_answered_in_one_write(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.inbox.add(*[b"Subject: x\r\n\r\nbody\r\n"] * 97)
        client = pop3.connect()
        await client.log_in()
        client.connection.data_received(b"".join(b"RETR %d\r\n" % n for n in range(1, 101)))
        while client.connection._task is not None:
            await asyncio.wait([client.connection._task])
        assert len(client.wire.writes) == 1
        assert client.wire.writes[0].count(b"\r\n.\r\n") == 100

    run(test, tmp_path)


@pytest.mark.parametrize("suspends", [False, True])
def test_commands_that_come_while_one_is_carried_out_wait_in_order(suspends: bool, tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.inbox.suspends = suspends
        client = pop3.connect()
        await client.log_in()
        for piece in (b"RETR 3\r\nNO", b"OP\r\nRETR", b" 3\r\nDELE 3\r\nSTAT\r\n"):
            client.connection.data_received(piece)
        text = b"+OK 18 octets\r\nSubject: three\r\n\r\n.\r\n"
        assert await client.heard() == text + b"+OK\r\n" + text + b"+OK marked\r\n+OK 2 86\r\n"

    run(test, tmp_path)


def test_who_sends_more_than_can_wait_is_not_read_for_a_while(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        await client.log_in()
        pop3.inbox.suspends = True
        client.connection.data_received(b"RETR 3\r\n")
        client.connection.data_received(b"NOOP\r\n" * 2000)
        assert client.wire.paused
        assert (await client.heard()).count(b"+OK\r\n") == 2000
        assert not client.wire.paused

    run(test, tmp_path)


BIG = b"Subject: big\r\n\r\n" + b".line that begins with a dot\r\n" * 30_000


@pytest.mark.parametrize("cut", [0, 2, 5])
def test_a_big_message_comes_in_pieces_and_whole(cut: int, tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        text = BIG[: len(BIG) - cut]
        pop3.store.inboxes["po", "bob"] = inbox = Inbox().add(text)
        client = pop3.connect()
        await client.log_in()
        said = await client.say(b"RETR 1\r\n")
        whole = text if not cut else text + b"\r\n"
        first, _, rest = said.partition(b"\r\n")
        assert first == b"+OK %d octets" % len(whole)
        assert rest == whole.replace(b"\n.", b"\n..") + b".\r\n"
        assert inbox.reads == 1 + -(-len(text) // PIECE)

    run(test, tmp_path)


def test_top_of_a_big_message_reads_its_head_only(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.store.inboxes["po", "bob"] = inbox = Inbox().add(BIG)
        client = pop3.connect()
        await client.log_in()
        assert await client.say(b"TOP 1 1\r\n") == b"+OK\r\nSubject: big\r\n\r\n..line that begins with a dot\r\n.\r\n"
        assert inbox.reads == 1
        said = await client.say(b"TOP 1 9999999\r\n")
        assert said == b"+OK\r\n" + BIG.replace(b"\n.", b"\n..") + b".\r\n"

    run(test, tmp_path)


def test_a_peer_that_does_not_read_is_waited_for_with_little_in_memory(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.inbox.add(*[BIG] * 20)
        client = pop3.connect()
        await client.log_in()
        client.wire.narrow = True
        client.connection.data_received(b"".join(b"RETR %d\r\n" % n for n in range(4, 24)))
        most = 0
        while client.connection._task is not None:
            for _ in range(5):
                await asyncio.sleep(0)
            most = max(most, sum(map(len, client.wire.writes)))
            client.wire.writes.clear()
            client.connection.resume_writing()
        assert 0 < most < 3 * PIECE

    run(test, tmp_path)


def test_a_peer_that_never_reads_is_cut_off(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.inbox.add(*[BIG] * 20)
        client = pop3.connect()
        await client.log_in()
        client.wire.narrow = True
        client.connection.data_received(b"".join(b"RETR %d\r\n" % n for n in range(4, 24)))
        for _ in range(10):
            await asyncio.sleep(0)
        pop3.clock.at += 601
        pop3.house.wheel.turn()
        await client.heard()
        assert client.wire.aborted and not pop3.house.open
        assert pop3.log.of("pop3.session")[0]["ended"] == "idle"

    run(test, tmp_path)


def test_a_long_listing_lets_others_in_between(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.store.inboxes["po", "bob"] = Inbox().add(*[b"x\r\n"] * 5000)
        client, other = pop3.connect(), pop3.connect()
        await client.log_in()
        other.wire.writes.clear()
        client.connection.data_received(b"DELE 7\r\nUIDL\r\nLIST\r\n")
        await asyncio.sleep(0)
        other.connection.data_received(b"CAPA\r\n")
        assert other.wire.writes and client.connection._task is not None
        said = (await client.heard()).split(b"\r\n")
        assert len(said) == 1 + 2 * (4999 + 2) + 1
        assert said[6:9] == [b"5 %032X" % 5, b"6 %032X" % 6, b"8 %032X" % 8]
        assert said[-3:] == [b"5000 3", b".", b""]

    run(test, tmp_path)


@pytest.mark.parametrize("how", ["lost", "eof", "idle"])
def test_a_session_that_breaks_off_removes_nothing_and_gives_the_lock_back(how: str, tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        await client.log_in()
        assert await client.say(b"DELE 1\r\nDELE 2\r\n") == b"+OK marked\r\n" * 2
        other = pop3.connect()
        assert b"[IN-USE]" in await other.log_in()
        if how == "lost":
            client.connection.connection_lost(ConnectionResetError())
        elif how == "eof":
            if not client.connection.eof_received():
                client.wire.close()
        else:
            pop3.clock.at += 601
            pop3.house.wheel.turn()
        await client.heard()
        assert len(pop3.inbox.texts) == 3
        assert b"+OK 3 messages" in await pop3.connect().log_in()

    run(test, tmp_path)


def test_half_a_close_behind_the_last_command_ends_it_first(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.inbox.suspends = True
        client = pop3.connect()
        await client.log_in()
        client.connection.data_received(b"RETR 3\r\nDELE 3\r\nQUIT\r\n")
        assert client.connection.eof_received()
        assert (await client.heard()).endswith(b"+OK marked\r\n+OK bye\r\n")
        assert client.wire.closed and len(pop3.inbox.texts) == 2

    run(test, tmp_path)


def test_an_update_is_carried_out_for_a_client_that_hangs_up_behind_quit(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.inbox.expunging = asyncio.Event()
        client = pop3.connect()
        await client.log_in()
        client.connection.data_received(b"DELE 1\r\nQUIT\r\n")
        await asyncio.sleep(0)
        client.connection.connection_lost(None)
        assert pop3.house.open
        pop3.inbox.expunging.set()
        await client.heard()
        assert list(pop3.inbox.texts) == [2, 3] and not pop3.house.open

    run(test, tmp_path)


def test_ok_to_quit_comes_after_the_removal_and_the_lock_is_free_by_then(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.inbox.expunging = asyncio.Event()
        client = pop3.connect()
        await client.log_in()
        client.wire.writes.clear()
        client.connection.data_received(b"DELE 1\r\nQUIT\r\n")
        for _ in range(5):
            await asyncio.sleep(0)
        assert client.wire.writes == [] and len(pop3.inbox.texts) == 3
        pop3.inbox.expunging.set()
        await client.heard()
        assert pop3.log.of("pop3.session")[0]["deleted"] == 1
        assert b"+OK 2 messages" in await pop3.connect().log_in()

    run(test, tmp_path)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"RETR 1", b"-ERR [SYS/TEMP] this message cannot be read now; try again later\r\n"),
        (b"TOP 1 1", b"-ERR [SYS/TEMP] this message cannot be read now; try again later\r\n"),
        (b"DELE 1\r\nQUIT", b"+OK marked\r\n-ERR [SYS/TEMP] some deleted messages were not removed\r\n"),
    ],
)
def test_a_disk_that_refuses_is_told_as_temporary(command: bytes, reply: bytes, tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        await client.log_in()
        pop3.inbox.broken = DiskError("the disk is gone")
        assert await client.say(command + b"\r\n") == reply
        assert len(pop3.inbox.texts) == 3

    run(test, tmp_path)


def test_a_mailbox_that_cannot_be_opened_is_told_as_temporary(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        pop3.store.broken = DiskError("the disk is gone")
        client = pop3.connect()
        assert b"-ERR [SYS/TEMP] the mailbox cannot be opened now" in await client.log_in()
        pop3.store.broken = None
        assert b"+OK 3 messages" in await client.log_in()

    run(test, tmp_path)


def test_a_disk_that_fails_within_a_message_ends_the_connection(tmp_path: Path) -> None:
    """A reply cannot be taken back: a message cut short must not look like a whole one."""

    async def test(pop3: Pop3) -> None:
        pop3.store.inboxes["po", "bob"] = inbox = Inbox().add(BIG * 2)
        client = pop3.connect()
        await client.log_in()
        client.wire.narrow = True
        client.connection.data_received(b"RETR 1\r\n")
        for _ in range(5):
            await asyncio.sleep(0)
        inbox.broken = DiskError("the disk is gone")
        client.connection.resume_writing()
        said = await client.heard()
        assert client.wire.aborted and b"\r\n.\r\n" not in said

    run(test, tmp_path)


def test_our_own_mistake_ends_one_session_and_is_told(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client, other = pop3.connect(), pop3.connect()
        await client.log_in()
        pop3.inbox.broken = ZeroDivisionError("ours")
        await client.say(b"RETR 1\r\n")
        assert client.wire.aborted and "ZeroDivisionError" in str(pop3.log.of("pop3.broken")[0]["error"])
        assert (await other.say(b"CAPA\r\n")).endswith(b".\r\n")

    run(test, tmp_path)


def test_silence_before_login_is_shorter_than_after(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client, other = pop3.connect(), pop3.connect()
        await client.log_in()
        pop3.clock.at += 121
        pop3.house.wheel.turn()
        assert other.wire.aborted and not client.wire.aborted
        for _ in range(3):
            await client.say(b"NOOP\r\n")
            pop3.clock.at += 590
            pop3.house.wheel.turn()
        assert not client.wire.aborted

    run(test, tmp_path)


def test_too_many_connections_from_one_address_are_told(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        clients = [pop3.connect("192.0.2.7") for _ in range(3)]
        assert [client.wire.closed for client in clients] == [False, False, True]
        assert b"-ERR [SYS/TEMP] too many connections" in await clients[2].heard()
        assert not pop3.connect("127.0.0.1").wire.closed and not pop3.connect("192.0.2.8").wire.closed
        clients[0].wire.close()
        await clients[0].heard()
        assert not pop3.connect("192.0.2.7").wire.closed

    run(test, tmp_path, connections_per_ip=2)


@pytest.mark.parametrize(
    ("plaintext", "peer", "offered"),
    [
        (False, "127.0.0.1", False),
        ("loopback", "127.0.0.1", True),
        ("loopback", "::1", True),
        ("loopback", "192.0.2.1", False),
        (True, "192.0.2.1", True),
        ("loopback", "", False),
    ],
)
def test_where_passwords_may_go_without_tls(plaintext: object, peer: str, offered: bool, tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        said = await pop3.connect(peer).say(b"CAPA\r\n")
        assert (b"USER\r\nSASL PLAIN" in said) is offered

    run(test, tmp_path, plaintext=plaintext)


def test_a_line_that_never_ends_costs_one_mistake_and_no_memory(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        await client.heard()
        for _ in range(100):
            client.connection.data_received(b"x" * 65_536)
        assert await client.say(b"\r\nQUIT\r\n") == b"-ERR the line is too long\r\n+OK bye\r\n"

    run(test, tmp_path)


def test_apop(tmp_path: Path) -> None:
    import hashlib

    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        stamp = (await client.heard()).split()[-1]
        assert stamp.startswith(b"<") and stamp.endswith(b"@mail.test>")
        wrong = hashlib.md5(stamp + b"wrong").hexdigest().encode()
        assert await client.say(b"APOP bob@po " + wrong + b"\r\n") == b"-ERR [AUTH] login failed\r\n"
        right = hashlib.md5(stamp + b"secret").hexdigest().encode()
        assert await client.say(b"APOP bob@po " + right + b"\r\n") == b"+OK 3 messages (104 octets)\r\n"

    run(test, tmp_path, apop=True)


def test_guessing_is_throttled(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        said = b""
        for n in range(30):
            said = await pop3.connect("192.0.2.66").say(b"USER bob@po\r\nPASS guess%d\r\n" % n)
        assert b"-ERR [SYS/TEMP] too many wrong passwords; try again in" in said
        assert max(pop3.clock.slept) == 15.0

    run(test, tmp_path, connections_per_ip=100)


def test_the_log_names_sessions_and_refusals_but_no_password(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        await client.say(b"USER bob@po\r\nPASS geheim\r\n")
        await client.log_in()
        await client.say(b"RETR 1\r\nDELE 2\r\nQUIT\r\n")
        (refused,), (session,) = pop3.log.of("pop3.login_refused"), pop3.log.of("pop3.session")
        assert refused == {"login": "bob@po", "peer": "192.0.2.1", "reason": "bad"}
        assert session["login"] == "bob@po" and session["ended"] == "quit" and session["octets"] == len(FIRST)
        assert session["retrieved"] == session["deleted"] == 1
        assert "geheim" not in str(pop3.log.lines) and "secret" not in str(pop3.log.lines)

    run(test, tmp_path)


def test_retrieved_messages_are_marked_as_read_where_that_is_wished(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        await client.log_in()
        await client.say(b"RETR 1\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n")
        assert pop3.inbox.seen == {1}

    run(test, tmp_path, mark_read=True)


@pytest.mark.parametrize("command", [b"LIST", b"UIDL", b"CAPA"])
def test_who_asks_on_and_on_and_never_reads_costs_little_memory(command: bytes, tmp_path: Path) -> None:
    """Each of his packets was answered into the transport's buffer: six octets bought ten thousand."""

    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        if command != b"CAPA":
            pop3.store.inboxes["po", "bob"] = Inbox().add(*[b"x\r\n"] * 900)
            await client.log_in()
        client.wire.writes.clear()
        client.wire.narrow = True
        for _ in range(4000):
            if not client.wire.paused:
                client.connection.data_received((command + b"\r\n") * 10)
            await asyncio.sleep(0)
        assert sum(map(len, client.wire.writes)) < 3 * PIECE
        assert client.wire.paused
        client.wire.narrow = False
        client.connection.resume_writing()
        said = await client.heard()
        assert said.endswith(b"\r\n.\r\n") and not client.wire.paused, "who reads again is answered"

    run(test, tmp_path)


@pytest.mark.parametrize("command", [b"CAPA", b"TOP 3 0", b"RETR 3"])
def test_a_packet_full_of_commands_lets_others_in_between(command: bytes, tmp_path: Path) -> None:
    """Tens of thousands of commands fit into what is read at once: the loop stood still until the last was answered."""

    async def test(pop3: Pop3) -> None:
        client, other = pop3.connect(), pop3.connect()
        await client.log_in()
        other.wire.writes.clear()
        client.connection.data_received((command + b"\r\n") * 5000)
        turns = 0
        while client.connection._task is not None:
            turns += 1
            await asyncio.sleep(0)
        assert turns >= 5000 // 250
        assert b"".join(client.wire.writes).count(b"\r\n.\r\n") == 5000

    run(test, tmp_path)


def test_long_lines_that_come_while_one_is_carried_out_are_bounded_too(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        await client.log_in()
        pop3.inbox.suspends = True
        client.connection.data_received(b"RETR 3\r\n")
        lines = 0
        while not client.wire.paused:
            client.connection.data_received(b"AUTH " + b"x" * 12_000 + b"\r\n")
            lines += 1
        assert 3 < lines < 10
        await client.heard()

    run(test, tmp_path)


def test_who_keeps_talking_must_have_logged_in_in_time_all_the_same(tmp_path: Path) -> None:
    """A command a minute held a connection for ever."""

    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        for _ in range(5):
            if not client.wire.closed:
                await client.say(b"CAPA\r\n")
            pop3.clock.at += 30
            pop3.house.wheel.turn()
        assert client.wire.aborted
        slow = pop3.connect()
        pop3.clock.at += 110
        await slow.log_in()
        for _ in range(3):
            pop3.clock.at += 590
            pop3.house.wheel.turn()
            assert not slow.wire.aborted
            await slow.say(b"NOOP\r\n")

    run(test, tmp_path)


@pytest.mark.parametrize("command", [b"RETR 1", b"TOP 1 1"])
def test_another_folder_in_the_place_of_inbox_is_nobodys_to_read(command: bytes, tmp_path: Path) -> None:
    """Its UIDs mean other messages: who was logged in got them under the old numbers, and removed them at the end."""

    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        await client.log_in()
        await client.say(b"DELE 2\r\n")
        pop3.inbox.uidvalidity += 1
        assert await client.say(command + b"\r\n") == b"-ERR this message was removed meanwhile\r\n"
        assert await client.say(b"QUIT\r\n") == b"-ERR [SYS/TEMP] some deleted messages were not removed\r\n"
        assert len(pop3.inbox.texts) == 3

    run(test, tmp_path)


def test_what_was_done_is_counted(tmp_path: Path) -> None:
    async def test(pop3: Pop3) -> None:
        client = pop3.connect()
        await client.say(b"USER bob@po\r\nPASS wrong\r\n")
        await client.log_in("shut@po")
        await client.log_in()
        other = pop3.connect()
        await other.log_in()  # in use
        await client.say(b"RETR 1\r\nRETR 3\r\nTOP 2 0\r\nDELE 2\r\nQUIT\r\n")
        told = {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in pop3.metrics.exposition().splitlines())
            if name[0] != "#"
        }
        assert told == {
            "postroom_pop3_connections_total": 2,
            'postroom_pop3_logins_total{outcome="ok"}': 1,
            'postroom_pop3_logins_total{outcome="refused"}': 3,
            "postroom_pop3_retrieved_messages_total": 2,
            "postroom_pop3_retrieved_octets_total": len(FIRST) + 18 + 16,
            "postroom_pop3_deleted_messages_total": 1,
        }

    run(test, tmp_path)
