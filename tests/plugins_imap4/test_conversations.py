"""Whole conversations over real sockets with the real store."""

from __future__ import annotations

import asyncio
import base64
import imaplib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroom.mailstore import DELETED, SEEN
from postroom_imap4 import contents, trigrams
from tests.plugins_imap4.house import LOGIN, PASSWORD, PATIENCE, Client, Served, letter, serving

Test = Callable[[Served], Awaitable[None]]


def served(folder: Path, test: Test, more: str = "plaintext: loopback", *, limit: int = -1) -> None:
    async def main() -> None:
        async with serving(folder, more, limit=limit) as one:
            await test(one)

    asyncio.run(main())


# Logging in.


def test_without_tls_nobody_logs_in(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.connect()
        (capabilities,) = await client.ok("CAPABILITY")
        assert b" STARTTLS" in capabilities and b" LOGINDISABLED" in capabilities and b"AUTH=PLAIN" not in capabilities
        assert (await client.say(f"LOGIN {LOGIN} {PASSWORD}"))[-1].startswith(b"T NO [PRIVACYREQUIRED]")
        assert (await client.say("AUTHENTICATE PLAIN"))[-1].startswith(b"T NO [PRIVACYREQUIRED]")
        assert (await client.say("SELECT INBOX"))[-1].startswith(b"T BAD")
        await client.close()

    served(tmp_path, test, "plaintext: false")


def test_case_21_what_stands_behind_starttls_is_not_obeyed(tmp_path: Path) -> None:
    """The octets in the same packet are purged, and the session begins anew."""

    async def test(at: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.ports["imap"])
        await reader.readline()
        writer.write(b"a STARTTLS\r\nb LOGIN bob@po.test secret\r\nc CAPABILITY\r\n")
        assert (await reader.readline()).startswith(b"a OK")
        await writer.start_tls(at.trust, server_hostname="localhost")
        client = Client(reader, writer)
        (capabilities,) = await client.ok("CAPABILITY")
        assert b"STARTTLS" not in capabilities and b"LOGINDISABLED" not in capabilities and b"AUTH=PLAIN" in capabilities
        assert (await client.say("STARTTLS"))[-1].startswith(b"T BAD")
        await client.log_in()
        await client.close()

    served(tmp_path, test, "plaintext: false")


@pytest.mark.parametrize("label", ["imap", "imaps"])
def test_mechanisms(tmp_path: Path, label: str) -> None:
    async def test(at: Served) -> None:
        token = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())
        for command, answers in (
            (b"AUTHENTICATE PLAIN " + token, []),  # RFC 4959
            (b"AUTHENTICATE PLAIN", [token]),
            (b"AUTHENTICATE LOGIN", [base64.b64encode(LOGIN.encode()), base64.b64encode(PASSWORD.encode())]),
        ):
            client = await at.connect(label)
            client.send(b"x %b\r\n" % command)
            for answer in answers:
                assert (await client.line()).startswith(b"+ ")
                client.send(answer + b"\r\n")
            assert (await client.until(b"x"))[-1].startswith(b"x OK [CAPABILITY ")
            await client.close()

    served(tmp_path, test)


def test_refused_logins(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.connect()
        client.send(b"a AUTHENTICATE PLAIN\r\n*\r\nb AUTHENTICATE PLAIN\r\n!!!\r\nc AUTHENTICATE NOSUCH\r\n")
        assert (await client.until(b"a"))[-1] == b"a BAD cancelled\r\n"
        assert (await client.until(b"b"))[-1].startswith(b"b BAD")
        assert (await client.until(b"c"))[-1].startswith(b"c NO [CANNOT]")
        for login in ("bob@po.test wrong", "nobody@po.test wrong"):
            assert (await client.say(f"LOGIN {login}"))[-1] == b"T NO [AUTHENTICATIONFAILED] login failed\r\n"
        await client.log_in()
        await client.close()
        assert "imap4.login_refused" in at.log.events("warning")

    served(tmp_path, test)


def test_a_login_too_many_ends_the_connection(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.connect()
        assert (await client.say("LOGIN bob@po.test wrong"))[-1].startswith(b"T NO")
        assert (await client.line()).startswith(b"* BYE") and await client.line() == b""
        await client.close()

    served(tmp_path, test, "plaintext: loopback, failed_logins: 1")


def test_case_28_who_has_not_logged_in_cannot_make_us_hold_much(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        for octets in (b"a" * 100_000, b"a LOGIN {90000+}\r\n" + b"x" * 100_000, b"a AUTHENTICATE PLAIN\r\n" + b"A" * 100_000):
            client = await at.connect()
            client.send(octets)
            async with asyncio.timeout(PATIENCE):
                said = await client.reader.read()
            assert said.splitlines()[-1].startswith(b"* BYE")
            await client.close()

    served(tmp_path, test)


def test_mistakes_in_a_row_end_the_connection(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        for _ in range(2):
            assert (await client.say("NONSENSE"))[-1].startswith(b"T BAD")
        await client.ok("NOOP")
        for _ in range(3):
            assert (await client.say("NONSENSE"))[-1].startswith(b"T BAD")
        assert (await client.line()).startswith(b"* BYE")
        await client.close()

    served(tmp_path, test, "plaintext: loopback, bad_commands: 3")


# News.


def test_idle_hears_of_everything_at_once(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await at.deliver(2)
        client, other = await at.client("INBOX"), await at.client("INBOX")
        client.send(b"i IDLE\r\n")
        assert await client.line() == b"+ idling\r\n"
        await at.deliver()
        assert await client.line() == b"* 3 EXISTS\r\n"
        await other.ok("STORE 1 +FLAGS (\\Seen)")
        assert await client.line() == b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n"
        await (await at.folder()).expunge([2])  # as POP3 does
        assert await client.line() == b"* 2 EXPUNGE\r\n"
        client.send(b"done\r\n")
        assert await client.line() == b"i OK done\r\n"
        client.send(b"j IDLE\r\nk NOOP\r\n")
        assert (await client.until(b"j"))[-1].startswith(b"j BAD")
        await client.ok("NOOP")
        for one in (client, other):
            await one.close()

    served(tmp_path, test)


def test_idling_costs_no_task(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client("INBOX")
        before = len(asyncio.all_tasks())
        client.send(b"i IDLE\r\n")
        await client.line()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == before
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize("idles", [True, False])
def test_a_folder_deleted_under_a_client_ends_its_session(tmp_path: Path, idles: bool) -> None:
    """RFC 2180 section 3.3; who deletes it is told CLOSED."""

    async def test(at: Served) -> None:
        await (await at.box()).create("Work")
        client, other = await at.client("Work"), await at.client("Work")
        if idles:
            client.send(b"i IDLE\r\n")
            await client.line()
        assert (await other.ok("DELETE Work"))[0].startswith(b"* OK [CLOSED]")
        await other.ok("NOOP")
        if not idles:
            client.send(b"n NOOP\r\n")
        assert (await client.line()).startswith(b"* BYE [UNAVAILABLE]") and await client.line() == b""
        for one in (client, other):
            await one.close()

    served(tmp_path, test)


def test_numbers_hold_through_pipelined_commands(tmp_path: Path) -> None:
    """Another client's expunge is told between commands that use no numbers, never within the others."""

    async def test(at: Served) -> None:
        await at.deliver(5)
        client = await at.client("INBOX")
        await (await at.folder()).expunge([2])
        client.send(b"a FETCH 1:5 UID\r\nb SEARCH ALL\r\nc STORE 3 +FLAGS (\\Seen)\r\nd UID SEARCH ALL\r\n")
        fetched = await client.until(b"a")
        assert fetched[-1].startswith((b"a OK [EXPUNGEISSUED]", b"a NO [EXPUNGEISSUED]"))
        assert b"* 5 FETCH (UID 5)\r\n" in fetched and not [line for line in fetched if b"EXPUNGE\r" in line]
        assert b"* 3 FETCH (UID 3 FLAGS (\\Seen))\r\n" in [*(await client.until(b"b")), *(await client.until(b"c"))]
        assert (await client.until(b"d"))[0] == b"* 2 EXPUNGE\r\n"
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize(("search", "name"), [("texts", ".texts"), ("index", ".index")])
def test_a_search_with_help_answers_as_one_in_the_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str, name: str) -> None:
    """The file beside the folder is made behind the third search of many messages, and then asked."""
    monkeypatch.setattr(contents, "PAUSE", 0)
    monkeypatch.setattr(trigrams, "MOST", 40)

    async def test(at: Served) -> None:
        await at.deliver(120, body="the needle\r\n")
        await at.deliver(3, body="nothing\r\n")
        client = await at.client("INBOX")
        first = await client.ok("SEARCH BODY needle")
        directory = Path((await at.folder()).path(1)).parent
        async with asyncio.timeout(20):
            while b"* SEARCH\r\n" not in await client.ok("SEARCH BODY absent") or not (directory / name).exists():
                await asyncio.sleep(0)
        assert await client.ok("SEARCH BODY needle") == first and first[0].split()[-1] == b"120"
        await client.close()

    served(tmp_path, test, f"plaintext: loopback, search: {search}")


# QRESYNC.


def test_a_client_catches_up_by_qresync(tmp_path: Path) -> None:
    """RFC 7162 section 3.2.5."""

    async def test(at: Served) -> None:
        await at.deliver(6)
        folder = await at.folder()
        before = folder.view().status
        await folder.expunge([2, 3, 6])
        change = await folder.change_flags([4], add=SEEN)
        await at.deliver()
        client = await at.client()
        assert (await client.say("SELECT INBOX (QRESYNC (1 1))"))[-1].startswith(b"T BAD")
        await client.ok("ENABLE QRESYNC")
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({before.uidvalidity} {before.modseq} 1:6))")
        assert lines[-2:] == [b"* VANISHED (EARLIER) 2:3,6\r\n", b"* 2 FETCH (UID 4 FLAGS (\\Seen) MODSEQ (%d))\r\n" % change.modseq]
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({before.uidvalidity} {before.modseq}))")
        assert b"* OK [CLOSED]" in lines[0] and lines[-1].startswith(b"* 4 FETCH (UID 7 ")
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({before.uidvalidity} {before.modseq} 1:6 (1 1)))")
        assert b"* VANISHED (EARLIER) 2:3,6\r\n" in lines
        lines = await client.ok(f"SELECT INBOX (QRESYNC ({before.uidvalidity + 1} {before.modseq}))")
        assert not [line for line in lines if b"VANISHED" in line or b"FETCH" in line]
        lines = await client.ok(f"UID FETCH 1:5 (FLAGS) (CHANGEDSINCE {before.modseq} VANISHED)")
        assert lines == [b"* VANISHED (EARLIER) 2:3\r\n", b"* 2 FETCH (UID 4 FLAGS (\\Seen) MODSEQ (%d))\r\n" % change.modseq]
        await folder.expunge([1])
        assert await client.ok("NOOP") == [b"* VANISHED 1\r\n"]
        await client.close()

    served(tmp_path, test)


# Storing.


def test_appends(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client("INBOX")
        text, large = letter(), letter("large", "0123456789\r\n" * 100_000)
        lines = await client.say(b"APPEND INBOX (\\Seen $One) {%d+}\r\n%b (\\Flagged) {%d+}\r\n%b" % (len(text), text, len(large), large))
        assert lines[-1].startswith(b"T OK [APPENDUID ") and lines[-1].split()[4] == b"1:2]"
        assert b"* 2 EXISTS\r\n" in lines
        folder = await at.folder()
        assert await folder.read(1) == text and await folder.read(2) == large
        assert (await client.say(b"APPEND Nope {%d+}\r\n%b" % (len(text), text)))[-1].startswith(b"T NO [TRYCREATE]")
        assert (await client.say(b"APPEND INBOX {2000000+}\r\n" + b"x" * 2_000_000))[-1].startswith(b"T NO [TOOBIG]")
        await client.ok("NOOP")  # the connection is in step
        assert (await client.say(b"APPEND INBOX {2000000}"))[-1].startswith(b"T NO [TOOBIG]")  # refused before it is sent
        assert not list((tmp_path / "run" / "imap4" / "0").iterdir())
        await client.close()

    served(tmp_path, test, "plaintext: loopback, append_limit: 1500000")


def test_of_several_messages_all_are_stored_or_none(tmp_path: Path) -> None:
    """RFC 3502; case 37: the mailbox is full in between."""

    async def test(at: Served) -> None:
        client = await at.client("INBOX")
        small, large = letter(), letter("large", "x" * 6000)
        lines = await client.say(b"APPEND INBOX {%d+}\r\n%b {%d+}\r\n%b" % (len(small), small, len(large), large))
        assert lines[-1].startswith(b"T NO [OVERQUOTA]")
        assert len((await at.folder()).view()) == 0
        assert (await client.ok("GETQUOTAROOT INBOX"))[-1] == b'* QUOTA "" (STORAGE 0 5)\r\n'
        await client.close()

    served(tmp_path, test, limit=5)


def test_case_37_appends_at_once_do_not_pass_the_quota(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        clients = [await at.client() for _ in range(6)]
        text = letter("full", "x" * 2000)
        said = await asyncio.gather(*(client.say(b"APPEND INBOX {%d+}\r\n%b" % (len(text), text)) for client in clients))
        stored = [lines[-1] for lines in said if lines[-1].startswith(b"T OK")]
        view = (await at.folder()).view()
        assert len(stored) == len(view) == 2 and view.status.octets <= 5 * 1024
        for client in clients:
            await client.close()

    served(tmp_path, test, limit=5)


def test_replace_and_catenate(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await at.deliver(1)
        client = await at.client("INBOX")
        lines = await client.ok(b'APPEND INBOX CATENATE (URL "/INBOX/;UID=1/;SECTION=HEADER" TEXT {5+}\r\nhello)')
        folder = await at.folder()
        assert (await folder.read(2)).endswith(b"\r\n\r\nhello") and lines == [b"* 2 EXISTS\r\n"]
        assert (await client.say(b'APPEND INBOX CATENATE (URL "/INBOX/;UID=9")'))[-1].startswith(b'T NO [BADURL "/INBOX/;UID=9"]')
        lines = await client.ok(b"UID REPLACE 1 INBOX (\\Draft) {5+}\r\nhello")
        assert lines[0].startswith(b"* OK [APPENDUID ") and lines[1:] == [b"* 1 EXPUNGE\r\n", b"* 2 EXISTS\r\n"]
        assert list(folder.view().uids) == [2, 3]
        await client.close()

    served(tmp_path, test)


def test_a_message_replaced_in_a_full_mailbox_or_elsewhere_or_not_there_any_more(tmp_path: Path) -> None:
    """RFC 8508; there was no room for the new one before the old one had gone."""

    async def test(at: Served) -> None:
        client, other = await at.client("INBOX"), await at.client("INBOX")
        text = letter("draft", "x" * 4000)
        await client.ok(b"APPEND INBOX (\\Draft) {%d+}\r\n%b" % (len(text), text))
        lines = await client.ok(b"REPLACE 1 INBOX (\\Draft) {%d+}\r\n%b" % (len(text), text))
        assert lines[1:] == [b"* 1 EXPUNGE\r\n", b"* 1 EXISTS\r\n"]
        await client.ok("CREATE Sent")
        lines = await client.ok(b"REPLACE 1 Sent (\\Seen) {%d+}\r\n%b" % (len(text), text))
        sent = (await at.folder("Sent")).view()
        assert lines[0].split()[2:4] == [b"[APPENDUID", b"%d" % sent.status.uidvalidity] and lines[1:] == [b"* 1 EXPUNGE\r\n"]
        assert (list(sent.flags), list(sent.octets)) == ([SEEN], [len(text)])
        await client.ok("SELECT Sent")
        await other.ok("SELECT Sent")
        await other.ok("STORE 1 +FLAGS (\\Deleted)")
        await other.ok("EXPUNGE")
        assert (await client.say(b"REPLACE 1 Sent {5+}\r\nhello"))[-1].startswith(b"T NO [EXPUNGEISSUED]")
        assert len((await at.folder("Sent")).view()) == 0
        await client.close()
        await other.close()

    served(tmp_path, test, limit=5)


def test_moves_and_expunges(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await at.deliver(6)
        client = await at.client("INBOX")
        await client.ok("CREATE Work")
        lines = await client.ok("MOVE 1:2 Work")
        assert b"[COPYUID " in lines[0] and lines[0].split()[4:6] == [b"1:2", b"1:2]"]
        assert lines[1:] == [b"* 2 EXPUNGE\r\n", b"* 1 EXPUNGE\r\n"]
        await client.ok("UID STORE 3:5 +FLAGS.SILENT (\\Deleted)")
        assert await client.ok("UID EXPUNGE 4:6") == [b"* 3 EXPUNGE\r\n", b"* 2 EXPUNGE\r\n"]
        assert list((await at.folder()).view().flags) == [DELETED, 0]
        await client.ok("CLOSE")
        assert list((await at.folder()).view().uids) == [6]
        assert len((await at.folder("Work")).view()) == 2
        await client.close()

    served(tmp_path, test)


# Life.


def test_a_peer_that_does_not_read_is_waited_for(tmp_path: Path) -> None:
    """A long answer is not made faster than it is read, and others are served meanwhile."""

    async def test(at: Served) -> None:
        await at.deliver(3, body="x" * 60 + "\r\n" + "y" * 5_000_000)
        slow, quick = await at.client("INBOX"), await at.client("INBOX")
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        slow.send(b"a FETCH 1:3 BODY.PEEK[]\r\n" * 5)
        for _ in range(20):
            await quick.ok("NOOP")
        (connection,) = [one for one in at.service.house.open if one._task is not None]
        assert connection.transport.get_write_buffer_size() < 2_000_000
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(5):
            assert sum(map(len, await slow.until(b"a"))) > 15_000_000
        for one in (slow, quick):
            await one.close()

    served(tmp_path, test)


def test_drain_says_bye_to_who_idles(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client("INBOX")
        client.send(b"i IDLE\r\n")
        await client.line()
        async with asyncio.timeout(PATIENCE):
            await at.service.drain()
        assert (await client.line()).startswith(b"* BYE [UNAVAILABLE]")
        await client.close()

    served(tmp_path, test)


def test_a_session_has_its_line_in_the_log(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client("INBOX", label="imaps")
        await client.ok('ID ("name" "tester" "version" "7")')
        assert (await client.ok("LOGOUT"))[0].startswith(b"* BYE")
        await client.close()
        async with asyncio.timeout(PATIENCE):
            while at.service.house.open:
                at.service.house.empty.clear()
                await at.service.house.empty.wait()
        (facts,) = [facts for _, event, facts in at.log.told if event == "imap4.session"]
        assert facts["login"] == LOGIN and facts["ended"] == "logout" and facts["client"] == "tester 7" and facts["tls"] is True

    served(tmp_path, test)


@pytest.mark.parametrize("label", ["imap", "imaps"])
def test_imaplib(tmp_path: Path, label: str) -> None:
    async def test(at: Served) -> None:
        await at.deliver(3)
        await asyncio.to_thread(visit, at.ports[label], at.trust, label == "imaps")

    served(tmp_path, test)


def visit(port: int, trust: ssl.SSLContext, is_sealed: bool) -> None:
    """What the standard library's client does."""
    if is_sealed:
        client: imaplib.IMAP4 = imaplib.IMAP4_SSL("localhost", port, ssl_context=trust)
    else:
        client = imaplib.IMAP4("localhost", port)
        client.starttls(trust)
    client.login(LOGIN, PASSWORD)
    assert client.create("Work")[0] == "OK" and client.list()[1][-1] == b'(\\HasNoChildren) "/" "Work"'
    assert client.select()[1] == [b"3"]
    assert client.search(None, "SUBJECT", '"hello 1"')[1] == [b"2"]
    text = letter("appended")
    assert client.append("INBOX", "(\\Seen)", None, text)[0] == "OK"
    ((_, body), _) = client.fetch("4", "(RFC822)")[1]  # type: ignore[misc]
    assert body == text
    assert client.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
    assert client.copy("2", "Work")[0] == "OK" and client.expunge()[1] == [b"1"]
    assert client.status("Work", "(MESSAGES)")[1] == [b'"Work" (MESSAGES 1)']
    assert client.uid("SORT", "(REVERSE SUBJECT)", "UTF-8", "ALL")[0] == "OK"
    client.close()
    client.logout()
