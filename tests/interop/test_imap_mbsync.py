"""mbsync, both ways: it pulls a folder into a Maildir, changes are made on both sides, and afterwards both sides are the same."""

from __future__ import annotations

import imaplib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.demo import PATIENCE, Demo
from tests.interop.conftest import program
from tests.interop.imap_mail import ALICE, LETTERS, Kept, append, contents, filled, lying, mail, message_id

COUNT = 5000

SETTINGS = """
FSync no
IMAPAccount ours
Host localhost
Port {port}
User {login}
Pass "{password}"
SSLType IMAPS
CertificateFile {trust}

IMAPStore far
Account ours

MaildirStore near
Path {maildir}/
Inbox {maildir}/INBOX
SubFolders Verbatim

Channel both
Far :far:
Near :near:
Patterns Show
Create Both
Expunge Both
SyncState *
"""


@pytest.fixture
def mbsync(demo: Demo, tmp_path: Path) -> list[str]:
    """The command that synchronises the folder Show with a Maildir below tmp_path."""
    command = program("mbsync")
    _, port = demo.endpoint("imaps")
    (tmp_path / "mail").mkdir()
    paths = {"trust": demo.told.ca, "maildir": tmp_path / "mail"}
    settings = SETTINGS.format(port=port, login=ALICE, password=demo.password(ALICE), **paths)  # it knows no IP address in a certificate
    (tmp_path / "mbsyncrc").write_text(settings)
    return [command, "-c", str(tmp_path / "mbsyncrc"), "both"]


def test_the_show(demo: Demo, mbsync: list[str], tmp_path: Path) -> None:
    texts = [mail("show", number) for number in range(COUNT)]
    client = filled(demo, "Show", texts)
    flagged(client)
    before = contents(client, "Show")
    near = tmp_path / "mail/Show"

    synchronised(mbsync)
    assert lying(near) == before  # pulled, with flags

    expected = changed_here(client, before) | changed_there(near)
    expected = {name: kept for name, kept in expected.items() if kept is not None}
    synchronised(mbsync)
    after = contents(client, "Show")
    assert lying(near) == after
    assert after == expected

    synchronised(mbsync)  # there is nothing left to do
    assert lying(near) == contents(client, "Show") == expected
    client.delete("Show")
    client.logout()


def flagged(client: imaplib.IMAP4) -> None:
    """Every second seen, every third flagged, each tenth answered, each hundredth a draft."""
    for step, flag in ((2, "\\Seen"), (3, "\\Flagged"), (10, "\\Answered"), (100, "\\Draft")):
        numbers = ",".join(map(str, range(1, COUNT + 1, step)))
        assert client.store(numbers, "+FLAGS.SILENT", f"({flag})")[0] == "OK"


def changed_here(client: imaplib.IMAP4, before: Mapping[str, Kept]) -> dict[str, Kept | None]:
    """On the server: 1 to 50 flagged, 51 to 100 no longer seen, 101 to 150 expunged, 50 new ones. What is to be there then; the
    numbers of `changed_there` are left as they were."""
    client.select("Show")
    client.store("1:50", "+FLAGS.SILENT", "(\\Flagged)")
    client.store("51:100", "-FLAGS.SILENT", "(\\Seen)")
    client.store("101:150", "+FLAGS.SILENT", "(\\Deleted)")
    client.expunge()
    client.unselect()
    expected: dict[str, Kept | None] = dict(before)
    for number in range(150):
        kept = before[f"show-{number}@example.org"]
        changed = kept.flags | {"\\Flagged"} if number < 50 else kept.flags - {"\\Seen"}
        expected[f"show-{number}@example.org"] = Kept(changed, kept.octets) if number < 100 else None
    fresh = [mail("show-here", number) for number in range(50)]
    append(client, "Show", fresh)
    return expected | {message_id(text): Kept.of([], text) for text in fresh}


def changed_there(near: Path) -> dict[str, Kept | None]:
    """In the Maildir: 50 answered, 50 with no flags at all, 50 removed, 50 new ones that are seen."""
    files = {message_id(path.read_bytes()): path for part in ("cur", "new") for path in (near / part).iterdir()}
    expected: dict[str, Kept | None] = {}
    for number in range(1000, 1150):
        name = f"show-{number}@example.org"
        path, text = files[name], files[name].read_bytes()
        letters = {1000: "RS", 1050: ""}.get(number // 50 * 50)
        if letters is None:
            path.unlink()
            expected[name] = None
        else:
            path.rename(near / "cur" / f"{path.name.partition(':')[0]}:2,{letters}")
            expected[name] = Kept.of([LETTERS[letter] for letter in letters], text)
    for number in range(50):
        text = mail("show-there", number).replace(b"\r\n", b"\n")
        (near / "cur" / f"17044488{number:02}.there.example:2,S").write_bytes(text)
        expected[message_id(text)] = Kept.of(["\\Seen"], text)
    return expected


def synchronised(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 4)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-1000:]
