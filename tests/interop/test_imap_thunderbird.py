"""The way Thunderbird asks, as it is known to: its commands in its order and form, over a connection that only reads lines."""

from __future__ import annotations

import re

from bench.imap_client import Session
from tests.demo import Demo, letter
from tests.interop.imap_mail import ALICE, append, filled, mail

HEADERS = (
    "(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups "
    "In-Reply-To Content-Type Reply-To)])"
)
TEXTS = [mail("bird", number) for number in range(3)]


def said(session: Session, command: str) -> list[bytes]:
    """All lines up to the tagged one, which must be OK; octets of literals are lines too."""
    session.send(b"t " + command.encode() + b"\r\n")
    lines = []
    while not (line := session.line().rstrip(b"\r")).startswith(b"t "):
        lines.append(line)
    assert line.startswith(b"t OK"), line
    return lines


def test_opening_a_folder_and_waiting_for_mail(demo: Demo) -> None:
    owner = filled(demo, "Bird", TEXTS)
    session = Session(demo.endpoint("imaps")[1], trust=demo.trust())
    (capability,) = said(session, "CAPABILITY")
    assert {b"ID", b"AUTH=PLAIN"} <= set(capability.split())
    session.login(ALICE, demo.password(ALICE))
    (capability,) = said(session, "CAPABILITY")
    assert {b"IDLE", b"CONDSTORE", b"NAMESPACE", b"SPECIAL-USE", b"LIST-EXTENDED", b"UIDPLUS", b"MOVE"} <= set(capability.split())
    (identity,) = said(session, 'ID ("name" "Thunderbird" "version" "115.0")')
    assert identity.startswith(b"* ID (")
    assert said(session, "ENABLE CONDSTORE") == [b"* ENABLED CONDSTORE"]
    (space,) = said(session, "NAMESPACE")
    assert re.match(rb'\* NAMESPACE \(\("" "(.)"\)\)', space)
    listed = said(session, 'LIST "" "*" RETURN (SPECIAL-USE)')
    assert any(row.endswith((b"INBOX", b'"INBOX"')) for row in listed)
    said(session, 'LSUB "" "*"')

    opened = b"\n".join(said(session, 'SELECT "Bird" (CONDSTORE)'))
    assert b"* 3 EXISTS" in opened and b"[UIDVALIDITY " in opened and b"[HIGHESTMODSEQ " in opened and b"\\*" in opened
    rows = said(session, "UID FETCH 1:* (FLAGS)")
    uids = [int(found[1]) for row in rows if (found := re.search(rb"UID (\d+)", row))]
    assert len(uids) == 3
    headers = b"\r\n".join(said(session, f"UID FETCH {','.join(map(str, uids))} {HEADERS}"))
    for number in range(3):
        assert b"Message-ID: <bird-%d@example.org>\r\n" % number in headers
    assert b"To: alice@example.test\r\n" in headers and b"MIME-Version" not in headers
    body = b"\r\n".join(said(session, f"UID FETCH {uids[1]} (UID RFC822.SIZE BODY.PEEK[])"))
    assert TEXTS[1] in body and b"RFC822.SIZE %d" % len(TEXTS[1]) in body
    said(session, rf"UID STORE {uids[1]} +FLAGS (\Seen)")
    owner.noop()  # hears of it
    assert owner.search(None, "SEEN") == ("OK", [b"2"])

    session.idle()
    append(owner, "Bird", [mail("bird", 3)])
    assert session.line() == b"* 4 EXISTS\r"
    session.send(b"DONE\r\n")
    while not session.line().startswith(b"A"):
        pass
    assert b"bird-3@example.org" in b"".join(said(session, f"UID FETCH {uids[-1] + 1}:* {HEADERS}"))
    said(session, "CLOSE")
    said(session, "LOGOUT")
    session.close()
    owner.unselect()
    owner.delete("Bird")
    owner.logout()


def test_a_draft_is_saved_and_the_old_one_goes(demo: Demo) -> None:
    owner = filled(demo, "Bird-drafts", [])
    with demo.smtp() as sender:
        sender.send_message(letter("bird-draft"))
    append(owner, "Bird-drafts", [mail("draft", 1)])
    append(owner, "Bird-drafts", [mail("draft", 2)])
    session = Session(demo.endpoint("imaps")[1], trust=demo.trust()).login(ALICE, demo.password(ALICE))
    said(session, 'SELECT "Bird-drafts"')
    (found,) = said(session, "UID SEARCH HEADER Message-ID <draft-1@example.org>")
    uid = int(found.split()[-1])
    said(session, rf"UID STORE {uid} +FLAGS (\Deleted)")
    assert b"* 1 EXPUNGE" in said(session, f"UID EXPUNGE {uid}")
    owner.noop()  # hears of it
    assert owner.search(None, "ALL") == ("OK", [b"1"])
    session.close()
    owner.unselect()
    owner.delete("Bird-drafts")
    owner.logout()
