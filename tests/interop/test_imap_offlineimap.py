"""offlineimap, both ways: a first run pulls a folder into a Maildir, changes are made on both sides, a second run brings them together, and a
third one finds nothing to do. Content and flags are compared each time."""

from __future__ import annotations

import imaplib
import subprocess
from pathlib import Path

import pytest

from tests.demo import PATIENCE, Demo
from tests.interop.conftest import program
from tests.interop.imap_mail import ALICE, Kept, append, contents, filled, lying, mail, message_id

COUNT, FOLDER = 120, "Offline"
WORK = ("Copy message", "Deleting 5 messages", "Adding flag", "Deleting flag")  # what it says when there is something to do

SETTINGS = """
[general]
accounts = ours
metadata = {folder}/metadata
ui = basic
fsync = no

[Account ours]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {folder}/mail

[Repository far]
type = IMAP
remotehost = localhost
remoteport = {port}
ssl = yes
ssl_version = tls1_2
tls_level = tls_compat
sslcacertfile = {trust}
remoteuser = {login}
remotepass = {password}
maxconnections = 2
folderfilter = lambda name: name == "Offline"
"""


@pytest.fixture
def offlineimap(demo: Demo, tmp_path: Path) -> list[str]:
    """The command that synchronises the folder once with a Maildir below tmp_path."""
    command = program("offlineimap")
    _, port = demo.endpoint("imaps")
    facts = {"folder": tmp_path, "port": port, "trust": demo.told.ca, "login": ALICE, "password": demo.password(ALICE)}
    (tmp_path / "offlineimaprc").write_text(SETTINGS.format(**facts))
    return [command, "-c", str(tmp_path / "offlineimaprc"), "-o"]


def test_both_sides_become_the_same_and_stay_so(demo: Demo, offlineimap: list[str], tmp_path: Path) -> None:
    client = filled(demo, FOLDER, [mail("offline", number) for number in range(COUNT)])
    for step, flag in ((2, "\\Seen"), (5, "\\Flagged"), (10, "\\Answered"), (40, "\\Draft")):
        assert client.store(",".join(map(str, range(1, COUNT + 1, step))), "+FLAGS.SILENT", f"({flag})")[0] == "OK"
    before, near = contents(client, FOLDER), tmp_path / "mail" / FOLDER

    synchronised(offlineimap)
    assert lying(near) == before

    changed: dict[str, Kept | None] = {**before, **changed_here(client), **changed_there(near)}
    expected = {name: kept for name, kept in changed.items() if kept is not None}
    said = synchronised(offlineimap)
    assert all(work in said for work in WORK), said
    assert contents(client, FOLDER) == expected
    assert lying(near) == expected

    names, modseq = {path.name for path in near.rglob("*") if path.is_file()}, client.status(FOLDER, "(HIGHESTMODSEQ UIDNEXT)")
    said = synchronised(offlineimap)
    assert not any(work in said for work in WORK), said
    assert {path.name for path in near.rglob("*") if path.is_file()} == names
    assert client.status(FOLDER, "(HIGHESTMODSEQ UIDNEXT)") == modseq, "nothing was written"
    client.delete(FOLDER)
    client.logout()


def changed_here(client: imaplib.IMAP4) -> dict[str, Kept | None]:
    """On the server: five flagged, five no longer seen, five expunged, five new ones."""
    before = contents(client, FOLDER)
    client.select(FOLDER)
    client.store("1:5", "+FLAGS.SILENT", "(\\Flagged)")
    client.store("6:10", "-FLAGS.SILENT", "(\\Seen)")
    client.store("11:15", "+FLAGS.SILENT", "(\\Deleted)")
    client.expunge()
    client.unselect()
    fresh = [mail("offline-here", number) for number in range(5)]
    append(client, FOLDER, fresh)
    names = [f"offline-{number}@example.org" for number in range(15)]
    flagged: dict[str, Kept | None] = {name: Kept(before[name].flags | {"\\Flagged"}, before[name].octets) for name in names[:5]}
    unseen = {name: Kept(before[name].flags - {"\\Seen"}, before[name].octets) for name in names[5:10]}
    return flagged | unseen | dict.fromkeys(names[10:]) | {message_id(text): Kept.of([], text) for text in fresh}


def changed_there(near: Path) -> dict[str, Kept | None]:
    """In the Maildir: five answered, five with no flags at all, five removed, five new ones that are seen."""
    files = {message_id(path.read_bytes()): path for part in ("cur", "new") for path in (near / part).iterdir()}
    expected: dict[str, Kept | None] = {}
    for number in range(100, 115):
        name = f"offline-{number}@example.org"
        path, text = files[name], files[name].read_bytes()
        if number >= 110:
            path.unlink()
            expected[name] = None
            continue
        flags, letters = (["\\Seen", "\\Answered"], "RS") if number < 105 else ([], "")
        path.rename(near / "cur" / f"{path.name.partition(':')[0]}:2,{letters}")
        expected[name] = Kept.of(flags, text)
    for number in range(5):
        text = mail("offline-there", number).replace(b"\r\n", b"\n")
        (near / "cur" / f"170444880{number}.there.example:2,S").write_bytes(text)
        expected[message_id(text)] = Kept.of(["\\Seen"], text)
    return expected


def synchronised(command: list[str]) -> str:
    """What it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 4)
    assert done.returncode == 0 and "ERROR" not in done.stderr + done.stdout, done.stderr[-2000:] + done.stdout[-2000:]
    return done.stderr + done.stdout
