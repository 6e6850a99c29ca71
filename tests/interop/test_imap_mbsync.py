"""mbsync, both ways: it pulls a folder into a Maildir, changes are made on both sides, and afterwards both sides are the same."""

from __future__ import annotations

import imaplib
from pathlib import Path

import pytest

from tests.demo import Demo
from tests.interop.conftest import program
from tests.interop.imap_mail import ALICE, changed_here, changed_there, contents, filled, lying, mail, synchronised

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

    changed = {**before, **changed_here(client, "Show", "show", 50), **changed_there(near, "show", 1000, 50)}
    expected = {name: kept for name, kept in changed.items() if kept is not None}
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
