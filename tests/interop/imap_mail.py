"""Folders full of mail for the tests of IMAP clients, and what lies in them, to compare with what a client says."""

from __future__ import annotations

import hashlib
import imaplib
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.demo import PATIENCE, Demo

ALICE = "alice@example.test"
LETTERS = {"S": "\\Seen", "R": "\\Answered", "F": "\\Flagged", "D": "\\Draft"}  # of Maildir file names
KEPT = frozenset(LETTERS.values())  # those that a Maildir knows too


@dataclass(frozen=True, slots=True)
class Kept:
    """What must be the same on both sides: the flags and the octets."""

    flags: frozenset[str]
    octets: str

    @classmethod
    def of(cls, flags: Sequence[str], text: bytes) -> Kept:
        """CRLF and LF count as the same; so does a message with and without the mark that mbsync puts in."""
        text = re.sub(rb"(?mi)^X-TUID: [^\n]*\n", b"", text.replace(b"\r\n", b"\n"))
        return cls(frozenset(flags) & KEPT, hashlib.sha256(text).hexdigest())


def connected(demo: Demo, login: str = ALICE) -> imaplib.IMAP4_SSL:
    """Over TLS, logged in."""
    client = imaplib.IMAP4_SSL(*demo.endpoint("imaps"), ssl_context=demo.trust(), timeout=PATIENCE)
    client.login(login, demo.password(login))
    return client


def mail(mark: str, number: int, lines: int = 3) -> bytes:
    """A small message with CRLF and a non-ASCII subject; its Message-ID is `<mark-number@example.org>`."""
    text = "".join(f"Line {n} of message {number}, grüße.\r\n" for n in range(lines))
    return (
        f"Date: Fri, 05 Jan 2024 10:{number // 60 % 60:02}:{number % 60:02} +0000\r\nFrom: Rita <rita@example.org>\r\n"
        f"To: alice@example.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= {mark} {number}\r\nMessage-ID: <{mark}-{number}@example.org>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}"
    ).encode()


def filled(demo: Demo, folder: str, texts: Sequence[bytes], login: str = ALICE) -> imaplib.IMAP4_SSL:
    """A new folder with these messages, a hundred in one APPEND (RFC 3502); it is selected."""
    client = connected(demo, login)
    assert client.create(folder)[0] == "OK"
    for start in range(0, len(texts), 100):
        append(client, folder, texts[start : start + 100])
    assert client.select(folder) == ("OK", [str(len(texts)).encode()])
    return client


def append(client: imaplib.IMAP4, folder: str, texts: Sequence[bytes]) -> None:
    """With literals that wait for nothing (RFC 7888), which imaplib has no call for."""
    tag = client._new_tag()
    client.send(b"".join((tag, b" APPEND ", folder.encode(), *(b" {%d+}\r\n%s" % (len(text), text) for text in texts), b"\r\n")))
    status, said = client._command_complete("APPEND", tag)
    assert status == "OK", said


def contents(client: imaplib.IMAP4, folder: str) -> Mapping[str, Kept]:
    """All of a folder by Message-ID."""
    _, (count,) = client.select(folder, readonly=True)
    found: dict[str, Kept] = {}
    for row in client.fetch("1:*", "(FLAGS BODY.PEEK[])")[1] if count != b"0" else []:
        if isinstance(row, tuple):
            flags = re.search(rb"FLAGS \(([^)]*)\)", row[0])
            assert flags, row[0]
            found[message_id(row[1])] = Kept.of(flags[1].decode().split(), row[1])
    client.unselect()
    assert len(found) == int(count or b"0")
    return found


def message_id(text: bytes) -> str:
    found = re.search(rb"(?mi)^Message-ID: <([^>]*)>", text)
    assert found, text[:300]
    return found[1].decode()


def lying(near: Path) -> Mapping[str, Kept]:
    """All of a Maildir by Message-ID."""
    found: dict[str, Kept] = {}
    for path in (path for part in ("cur", "new") for path in (near / part).iterdir()):
        text, letters = path.read_bytes(), path.name.partition(":2,")[2]
        found[message_id(text)] = Kept.of([LETTERS[letter] for letter in letters if letter in LETTERS], text)
    return found


# Synchronised both ways with a Maildir.


def changed_here(client: imaplib.IMAP4, folder: str, mark: str, each: int) -> dict[str, Kept | None]:
    """On the server: the first `each` messages flagged, as many no longer seen, as many expunged, as many new ones. What is to be there then of
    these; None where it is to be gone."""
    before = contents(client, folder)
    client.select(folder)
    client.store(f"1:{each}", "+FLAGS.SILENT", "(\\Flagged)")
    client.store(f"{each + 1}:{2 * each}", "-FLAGS.SILENT", "(\\Seen)")
    client.store(f"{2 * each + 1}:{3 * each}", "+FLAGS.SILENT", "(\\Deleted)")
    client.expunge()
    client.unselect()
    fresh = [mail(f"{mark}-here", number) for number in range(each)]
    append(client, folder, fresh)
    names = [f"{mark}-{number}@example.org" for number in range(3 * each)]
    flagged: dict[str, Kept | None] = {name: Kept(before[name].flags | {"\\Flagged"}, before[name].octets) for name in names[:each]}
    unseen = {name: Kept(before[name].flags - {"\\Seen"}, before[name].octets) for name in names[each : 2 * each]}
    return flagged | unseen | dict.fromkeys(names[2 * each :]) | {message_id(text): Kept.of([], text) for text in fresh}


def changed_there(near: Path, mark: str, first: int, each: int) -> dict[str, Kept | None]:
    """In the Maildir: from the message of that number on `each` answered and seen, as many with no flags at all, as many removed, as many new
    ones that are seen. Likewise what is to be there then."""
    files = {message_id(path.read_bytes()): path for part in ("cur", "new") for path in (near / part).iterdir()}
    expected: dict[str, Kept | None] = {}
    for number in range(3 * each):
        name = f"{mark}-{first + number}@example.org"
        path, text = files[name], files[name].read_bytes()
        if number >= 2 * each:
            path.unlink()
            expected[name] = None
            continue
        letters = "RS" if number < each else ""
        path.rename(near / "cur" / f"{path.name.partition(':')[0]}:2,{letters}")
        expected[name] = Kept.of([LETTERS[letter] for letter in letters], text)
    for number in range(each):
        text = mail(f"{mark}-there", number).replace(b"\r\n", b"\n")
        (near / "cur" / f"17044488{number:02}.there.example:2,S").write_bytes(text)
        expected[message_id(text)] = Kept.of(["\\Seen"], text)
    return expected


def synchronised(command: Sequence[str]) -> str:
    """What the program said, which must be that all went well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 4)
    said = done.stderr + done.stdout
    assert done.returncode == 0 and "ERROR" not in said, said[-4000:]
    return said
