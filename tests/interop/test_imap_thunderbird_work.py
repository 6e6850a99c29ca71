"""What Thunderbird does all day, in its forms: special folders, bursts of STATUS, parts and pieces of messages, archiving, tags, coming back to a
folder that changed. What it gets is compared with what was put in."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from random import Random

import pytest

from bench.imap_client import Session
from tests.demo import Demo
from tests.interop.imap_mail import ALICE, append, contents, filled, mail, message_id
from tests.interop.test_imap_thunderbird import said

ATTACHED = Random(5).randbytes(70_000)
PIECE = 16_384  # octets it asks for at a time, of what is large


@pytest.fixture
def bird(demo: Demo) -> Iterator[Session]:
    """Logged in, with what it switches on."""
    session = Session(demo.endpoint("imaps")[1], trust=demo.trust()).login(ALICE, demo.password(ALICE))
    said(session, "ENABLE CONDSTORE")
    yield session
    session.do(b"LOGOUT")
    session.close()


def literals(lines: list[bytes]) -> list[bytes]:
    """The octets of each literal."""
    text, found = b"\r\n".join((*lines, b"")), []
    while announced := re.search(rb"\{(\d+)\}\r\n", text):
        end = announced.end() + int(announced[1])
        found.append(text[announced.end() : end])
        text = text[end:]
    return found


def uids(session: Session) -> list[int]:
    (found,) = said(session, "UID SEARCH ALL")
    return [int(word) for word in found.split()[2:]]


def code(session: Session, command: str) -> bytes:
    """The response code of the tagged line, which must be OK."""
    session.send(b"t " + command.encode() + b"\r\n")
    while not (line := session.line()).startswith(b"t "):
        pass
    found = re.match(rb"t OK \[([^\]]*)\]", line)
    assert found, line
    return found[1]


def test_special_folders_are_made_found_and_subscribed(bird: Session) -> None:
    names = {"Bird Sent": b"\\Sent", "Bird Papierkorb": b"\\Trash", "Bird Archiv": b"\\Archive"}
    for name, use in names.items():
        said(bird, f'CREATE "{name}" (USE ({use.decode()}))')
        said(bird, f'SUBSCRIBE "{name}"')
    listed = said(bird, 'LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)')
    for name, use in names.items():
        (row,) = [row for row in listed if row.endswith(b'"%b"' % name.encode())]
        assert {use, b"\\Subscribed"} <= set(row[row.index(b"(") + 1 : row.index(b")")].split())
    assert {row.rpartition(b' "')[2].strip(b'"').decode() for row in said(bird, 'LIST (SPECIAL-USE) "" "Bird*"')} == names.keys()
    for name in names:
        said(bird, f'UNSUBSCRIBE "{name}"')
        said(bird, f'DELETE "{name}"')
    assert not [row for row in said(bird, 'LSUB "" "*"') if b"Bird " in row]


def test_a_burst_of_status_is_answered_in_order(demo: Demo, bird: Session) -> None:
    """It looks at all folders for new mail without waiting for an answer."""
    owners = [filled(demo, f"Burst{number}", [mail("burst", n) for n in range(number)]) for number in range(8)]
    owners[5].store("1:3", "+FLAGS.SILENT", "(\\Seen)")
    bird.send(b"".join(b'b%d STATUS "Burst%d" (UIDNEXT MESSAGES UNSEEN RECENT)\r\n' % (n, n) for n in range(8)))
    for number in range(8):
        row, tagged = bird.line(), bird.line()
        unseen = number - 3 if number == 5 else number
        counts = dict(zip(*[iter(re.findall(rb"[A-Z]+|\d+", row[row.rindex(b"(") :]))] * 2, strict=True))
        assert b'"Burst%d" (' % number in row and tagged.startswith(b"b%d OK" % number)
        assert counts == {b"UIDNEXT": b"%d" % (number + 1), b"MESSAGES": b"%d" % number, b"UNSEEN": b"%d" % unseen, b"RECENT": b"0"}
    for number, owner in enumerate(owners):
        owner.unselect()
        owner.delete(f"Burst{number}")
        owner.logout()


def test_parts_and_pieces_make_the_whole(demo: Demo, bird: Session) -> None:
    """The structure first, then only what is shown; the attachment when it is opened; what is large in pieces."""
    letter = EmailMessage(policy=SMTP)
    letter["From"], letter["To"], letter["Subject"], letter["Message-ID"] = "rita@example.org", ALICE, "parts", "<parts@example.org>"
    letter.set_content("Look at this: grüße.\n")
    letter.add_alternative("<p>Look at this</p>\n", subtype="html")
    letter.add_attachment(ATTACHED, maintype="application", subtype="octet-stream", filename="größe.bin")
    text = letter.as_bytes()
    owner = filled(demo, "Bird-parts", [text])
    said(bird, 'SELECT "Bird-parts" (CONDSTORE)')
    (structure,) = said(bird, "UID FETCH 1 (BODYSTRUCTURE)")
    assert re.search(rb'"alternative"', structure, re.I) and re.search(rb'"mixed"', structure, re.I)
    shown = literals(said(bird, "UID FETCH 1 (BODY.PEEK[HEADER] BODY.PEEK[1.1.MIME] BODY.PEEK[1.1] BODY.PEEK[2.MIME] BODY.PEEK[2])"))
    plain, attachment = list(letter.walk())[2], list(letter.walk())[4]
    assert shown[0] == text.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert b"text/plain" in shown[1] and shown[2].decode().splitlines() == str(plain.get_payload()).splitlines()
    assert b"application/octet-stream" in shown[3] and b64decode(shown[4]) == ATTACHED == attachment.get_payload(decode=True)
    pieces, at = [], 0
    while at < len(text):
        pieces += literals(said(bird, f"UID FETCH 1 (UID RFC822.SIZE BODY.PEEK[]<{at}.{PIECE}>)"))
        at += PIECE
    assert b"".join(pieces) == text and {len(piece) for piece in pieces[:-1]} == {PIECE}
    assert b"\\Seen" not in said(bird, "UID FETCH 1 (FLAGS)")[0], "nothing was opened for reading"
    bird.do(b"CLOSE")
    owner.unselect()
    owner.delete("Bird-parts")
    owner.logout()


def test_archiving_copies_marks_and_expunges(demo: Demo, bird: Session) -> None:
    texts = [mail("archived", number) for number in range(6)]
    owner = filled(demo, "Bird-work", texts)
    before = contents(owner, "Bird-work")
    said(bird, 'CREATE "Bird-work/2024"')
    said(bird, 'SELECT "Bird-work" (CONDSTORE)')
    assert re.fullmatch(rb"COPYUID \d+ 2:3 1:2", code(bird, 'UID COPY 2:3 "Bird-work/2024"'))
    said(bird, r"UID STORE 2:3 +FLAGS (\Deleted \Seen)")
    known = list(range(1, 7))
    for row in said(bird, "UID EXPUNGE 2:3"):
        if row.endswith(b"EXPUNGE"):
            del known[int(row.split()[1]) - 1]
    assert known == [1, 4, 5, 6]
    moved = said(bird, 'UID MOVE 5 "Bird-work/2024"')
    assert re.match(rb"\* OK \[COPYUID \d+ 5 3\]", moved[0]) and moved[-1] == b"* 3 EXPUNGE"
    assert uids(bird) == [1, 4, 6]
    bird.do(b"CLOSE")
    left, archived = contents(owner, "Bird-work"), contents(owner, "Bird-work/2024")
    assert {**left, **archived} == before, "each is in one of the two, with its octets and its flags of before"
    assert list(archived) == [message_id(texts[n]) for n in (1, 2, 4)]
    for name in ("Bird-work/2024", "Bird-work"):
        owner.delete(name)
    owner.logout()


def test_tags_and_junk_stay_with_the_message(demo: Demo, bird: Session) -> None:
    owner = filled(demo, "Bird-tags", [mail("tagged", number) for number in range(3)])
    said(bird, 'CREATE "Bird-tagged"')
    assert any(rb"\*" in row for row in said(bird, 'SELECT "Bird-tags" (CONDSTORE)') if b"PERMANENTFLAGS" in row)
    said(bird, "UID STORE 1 +FLAGS ($label1 NonJunk)")
    said(bird, "UID STORE 2 +FLAGS ($label1 $label5 $Forwarded)")
    said(bird, "UID STORE 2 -FLAGS ($label1)")
    said(bird, 'UID COPY 1:3 "Bird-tagged"')
    bird.do(b"CLOSE")
    for folder in ("Bird-tags", "Bird-tagged"):
        said(bird, f'SELECT "{folder}" (CONDSTORE)')
        flags = [
            set(re.findall(rb"[$\w]+", row.partition(b"FLAGS (")[2].partition(b")")[0])) for row in said(bird, "UID FETCH 1:* (FLAGS)")
        ]
        assert flags == [{b"$label1", b"NonJunk"}, {b"$label5", b"$Forwarded"}, set()]
        assert said(bird, "UID SEARCH KEYWORD $label1") == [b"* SEARCH 1"]
        assert said(bird, "UID SEARCH UNKEYWORD $label5") == [b"* SEARCH 1 3"]
        bird.do(b"CLOSE")
    owner.unselect()
    for folder in ("Bird-tags", "Bird-tagged"):
        owner.delete(folder)
    owner.logout()


@pytest.mark.parametrize("qresync", [False, True])
def test_who_comes_back_is_told_what_changed_and_nothing_else(demo: Demo, bird: Session, qresync: bool) -> None:
    owner = filled(demo, "Bird-back", [mail("back", number) for number in range(20)])
    if qresync:
        said(bird, "ENABLE QRESYNC")
    opened = b"\n".join(said(bird, 'SELECT "Bird-back" (CONDSTORE)'))
    validity, modseq = (int(re.search(name + rb" (\d+)", opened)[1]) for name in (rb"UIDVALIDITY", rb"HIGHESTMODSEQ"))  # type: ignore[index]
    bird.do(b"CLOSE")
    owner.store("3", "+FLAGS.SILENT", "(\\Flagged)")
    owner.store("9", "+FLAGS.SILENT", "($label2)")
    owner.store("5,12", "+FLAGS.SILENT", "(\\Deleted)")
    owner.expunge()
    append(owner, "Bird-back", [mail("back", 20)])
    if qresync:
        rows = said(bird, f'SELECT "Bird-back" (QRESYNC ({validity} {modseq}))')
        assert [row for row in rows if b"VANISHED" in row] == [b"* VANISHED (EARLIER) 5,12"]
    else:
        said(bird, 'SELECT "Bird-back" (CONDSTORE)')
        rows = said(bird, f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq})")
        assert uids(bird) == [n for n in range(1, 22) if n not in (5, 12)]
    changed = {int(found[1]): row for row in rows if (found := re.search(rb"FETCH .*UID (\d+)", row))}
    assert changed.keys() == {3, 9, 21} and b"\\Flagged" in changed[3] and b"$label2" in changed[9]
    bird.do(b"CLOSE")
    owner.unselect()
    owner.delete("Bird-back")
    owner.logout()
