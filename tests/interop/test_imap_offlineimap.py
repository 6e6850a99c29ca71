"""offlineimap, both ways: a first run pulls a folder into a Maildir, changes are made on both sides, a second run brings them together, and a
third one finds nothing to do. Content and flags are compared each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.demo import Demo
from tests.interop.conftest import program
from tests.interop.imap_mail import ALICE, changed_here, changed_there, contents, filled, lying, mail, synchronised

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

    changed = {**before, **changed_here(client, FOLDER, "offline", 5), **changed_there(near, "offline", 100, 5)}
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
