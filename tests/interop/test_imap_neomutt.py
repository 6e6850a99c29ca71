"""neomutt at a terminal: it opens a folder over TLS, flags, copies, deletes, answers to IDLE; what it did is compared with what lies there."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.demo import PATIENCE, Demo, await_change
from tests.interop.conftest import program
from tests.interop.imap_mail import ALICE, Kept, append, contents, filled, mail

SETTINGS = """
set folder = "{scheme}://localhost:{port}/"
set spoolfile = "+{inbox}"
set imap_user = "{login}"
set imap_pass = "{password}"
set imap_authenticators = "{mechanism}"
set ssl_ca_certificates_file = "{trust}"
set ssl_force_tls = yes
set ssl_starttls = yes
set certificate_file = "{folder}/accepted"
set header_cache = "{folder}/headers"
set imap_idle = yes
set imap_condstore = yes
set imap_qresync = {qresync}
set timeout = 1
set sort = mailbox-order
set resolve = no
set confirmappend = no
set confirmcreate = no
set delete = yes
set quit = yes
set move = no
set mark_old = no
set wait_key = no
set pipe_decode = no
set tmpdir = "{folder}"
set sendmail = "/bin/false"
"""


class Neomutt:
    """It, at a terminal of its own: what is typed, and what appeared."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self._own, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "vt100", "LINES": "40", "COLUMNS": "120", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._shown = b""

    def type(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def until(self, text: str) -> None:
        """Return once this appeared on the screen since the last such question; AssertionError when it does not."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self._shown:
            assert self._more(end - time.monotonic()), f"no {text!r} in {self._shown[-2000:]!r}"
        self._shown = self._shown.partition(text.encode())[2]

    def ended(self) -> int:
        """Its exit code."""
        end = time.monotonic() + PATIENCE
        while self._more(end - time.monotonic()):
            pass
        return self._process.wait(max(end - time.monotonic(), 1.0))

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._own)

    def _more(self, seconds: float) -> bool:
        """Whether anything more was shown within this time."""
        readable, _, _ = select.select([self._own], [], [], max(seconds, 0.0))
        try:
            more = os.read(self._own, 65536) if readable else b""
        except OSError:  # it closed the terminal
            more = b""
        self._shown += more
        return bool(more)


@contextmanager
def opened(demo: Demo, folder: Path, inbox: str, keys: str = "", scheme: str = "imaps", **more: str) -> Iterator[Neomutt]:
    """It has this folder open; `keys` are typed as if by hand, names of functions in angle brackets."""
    facts = {"mechanism": "plain", "qresync": "no", "login": ALICE, "password": demo.password(ALICE)} | more
    port = demo.endpoint("imaps" if scheme == "imaps" else "imap")[1]
    settings = SETTINGS.format(scheme=scheme, port=port, inbox=inbox, trust=demo.told.ca, folder=folder, **facts)
    (folder / "neomuttrc").write_text(settings)
    command = [program("neomutt"), "-n", "-F", str(folder / "neomuttrc"), "-d", "2", "-l", str(folder / "debug")]
    running = Neomutt(folder, command + (["-e", f'push "{keys}"'] if keys else []))
    try:
        yield running
    finally:
        running.close()


def said(folder: Path) -> str:
    """Its log of the conversation."""
    return "".join(path.read_text(errors="replace") for path in folder.glob("debug*"))


@pytest.mark.parametrize(("scheme", "mechanism", "qresync"), [("imaps", "plain", "yes"), ("imap", "plain", "no"), ("imaps", "login", "no")])
def test_flags_copies_and_deletions_arrive(demo: Demo, tmp_path: Path, scheme: str, mechanism: str, qresync: str) -> None:
    client = filled(demo, "Mutt", texts := [mail("mutt", number) for number in range(6)])
    client.store("4", "+FLAGS.SILENT", "(\\Seen)")
    before = contents(client, "Mutt")
    keys = (
        "<first-entry><flag-message>"  # 0
        "<next-entry><copy-message>=Mutt-copy<enter>"  # 1
        "<next-entry><delete-message>"  # 2
        "<next-entry><set-flag>N"  # 3: no longer seen
        "<next-entry><save-message>=Mutt-moved<enter>"  # 4
        "<next-entry><pipe-message>cat >read.eml<enter>"  # 5
        "<sync-mailbox><quit>"
    )
    with opened(demo, tmp_path, "Mutt", keys, scheme, mechanism=mechanism, qresync=qresync) as running:
        assert running.ended() == 0, said(tmp_path)[-3000:]
    log = said(tmp_path)
    assert "<E>" not in log and (" STARTTLS" in log) is (scheme == "imap") and f"AUTHENTICATE {mechanism.upper()} " in log
    assert ("ENABLE QRESYNC" in log) is (qresync == "yes")
    left, copied, moved = (contents(client, name) for name in ("Mutt", "Mutt-copy", "Mutt-moved"))
    names = [f"mutt-{number}@example.org" for number in range(6)]
    assert left.keys() == {*names} - {names[2], names[4]}
    assert {name: kept.octets for name, kept in {**left, **moved}.items()} == {
        name: before[name].octets for name in names if name != names[2]
    }
    assert left[names[0]].flags == {"\\Flagged"} and left[names[3]].flags == frozenset()
    assert copied.keys() == {names[1]} and moved.keys() == {names[4]} and copied[names[1]].octets == before[names[1]].octets
    assert Kept.of([], (tmp_path / "read.eml").read_bytes()).octets == Kept.of([], texts[5]).octets
    for name in ("Mutt", "Mutt-copy", "Mutt-moved"):
        client.delete(name)
    client.logout()


def test_news_come_while_it_idles(demo: Demo, tmp_path: Path) -> None:
    client = filled(demo, "Mutt-idle", [mail("mutt-idle", 0)])
    with opened(demo, tmp_path, "Mutt-idle") as running:
        running.until("mutt-idle 0")
        await_change(tmp_path, lambda: " IDLE" in said(tmp_path).partition("SELECT")[2])
        append(client, "Mutt-idle", [mail("mutt-idle", 1)])
        running.until("mutt-idle 1")
        running.type("q")
        assert running.ended() == 0
    asked = said(tmp_path).partition(" IDLE")[2].partition("Handling EXISTS")[0]
    assert "NOOP" not in asked and "DONE" not in asked, "it asked, and was not told"
    client.delete("Mutt-idle")
    client.logout()


def test_a_wrong_password_is_told(demo: Demo, tmp_path: Path) -> None:
    with opened(demo, tmp_path, "INBOX", password="wrong") as running:
        running.until("failed")
