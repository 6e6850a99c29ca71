"""Debian's clamd behind our server: EICAR in every wrapping, a clamd that dies, one that comes back, and mail that must not change.

Its database is one line made here; nothing is downloaded. Skipped where clamd is not installed.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import shutil
import signal
import smtplib
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
import uvloop

from bench.clamav import EICAR, SIGNATURE, Clamd
from bench.mail import message
from bench.ours import said
from bench.server import Absent
from postroom.clock import SystemClock
from postroom.message import FileMessage, MemoryMessage, Message, new_id
from postroom.transfer import PASS, Quarantine, Reject, Replace
from postroom_clamav.plugin import ClamavPlugin
from postroom_testing.ground import site_in
from tests.demo import Demo, await_change, letter
from tests.hooks_clamav.house import event
from tests.interop.conftest import program

ALICE = "alice@example.test"
NAME = f"{SIGNATURE}.UNOFFICIAL"
LIMIT = 8 << 20


@pytest.fixture(scope="module")
def clamd() -> Iterator[Clamd]:
    """One that answers; a test that kills it starts it again."""
    program("clamd")
    folder = Path(tempfile.mkdtemp(prefix="clamd-site-"))
    daemon = Clamd(folder, f"StreamMaxLength {LIMIT >> 20}M\n")
    try:
        daemon.start()
    except Absent as why:
        pytest.skip(str(why))
    finally:
        if daemon.group is None:
            daemon.close()
            shutil.rmtree(folder, ignore_errors=True)
    yield daemon
    daemon.close()
    shutil.rmtree(folder, ignore_errors=True)


def serving(folder: Path, clamd: Clamd, settings: str) -> Demo:
    """A demo server with a scanner that has these settings."""
    demo = Demo(folder / "site").start()
    demo.server.stop()
    demo.server.change("  smtp: {", f"  clamav: {{socket: {clamd.socket}, {settings}}}\n  smtp: {{")
    return demo.start()


@pytest.fixture(scope="module")
def refusing(clamd: Clamd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = serving(tmp_path_factory.mktemp("refusing"), clamd, "action: reject")
    yield demo
    demo.close()


@pytest.fixture(scope="module")
def setting_aside(clamd: Clamd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    options = (
        "action: quarantine, notify: [sender, recipients, operator], operator: bob@example.test, max_size: 33554432, hooks: {breaker: 1000}"
    )
    demo = serving(tmp_path_factory.mktemp("quarantine"), clamd, options)
    yield demo
    demo.close()


# EICAR in its wrappings.


def bare() -> bytes:
    return b"From: rita@example.org\r\nSubject: bare\r\n\r\n" + EICAR + b"\r\n"


def attached(data: bytes = EICAR, name: str = "letter.com") -> EmailMessage:
    mail = letter("attached")
    mail.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return mail


def nested() -> bytes:
    """In a message in a multipart in a message."""
    outer = letter("nested")
    outer.add_attachment(attached())
    again = letter("nested twice")
    again.add_attachment(outer)
    return again.as_bytes(policy=SMTP)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/letter.com", EICAR)
    return attached(file.getvalue(), "letters.zip").as_bytes(policy=SMTP)


def behind_much() -> bytes:
    """Far behind what is kept in memory."""
    mail = letter("large", text="Good morning. " * 5 + "\n")
    mail.add_attachment(os.urandom(3 << 20), maintype="application", subtype="octet-stream", filename="noise.bin")
    mail.add_attachment(EICAR, maintype="application", subtype="octet-stream", filename="letter.com")
    return mail.as_bytes(policy=SMTP)


WRAPPINGS: list[Callable[[], bytes]] = [bare, lambda: attached().as_bytes(policy=SMTP), nested, zipped, behind_much]
NAMES = ["bare", "base64", "nested", "zip", "large"]


def send(demo: Demo, mail: bytes, *, sender: str = "rita@example.org", to: str = ALICE) -> None:
    with demo.smtp() as client:
        client.sendmail(sender, [to], mail)


def shelved(demo: Demo) -> dict[str, str]:
    """The command files in quarantine, by id."""
    return {path.stem: path.read_text() for path in (demo.server.site / "Quarantine").glob("[0-9A-F]*.MAI")}


def test_the_wrappings_hide_the_string() -> None:
    """Else they would prove less than they say."""
    assert EICAR in bare() and base64.b64encode(EICAR)[:60] in b"".join(nested().split())
    assert all(EICAR not in wrapped() for wrapped in WRAPPINGS[1:])
    assert base64.b64encode(EICAR)[:60] not in b"".join(zipped().split())


@pytest.mark.parametrize("wrapped", WRAPPINGS, ids=NAMES)
def test_a_virus_is_refused_with_554_and_reaches_no_mailbox(refusing: Demo, wrapped: Callable[[], bytes]) -> None:
    with pytest.raises(smtplib.SMTPDataError) as told:
        send(refusing, wrapped())
    assert told.value.smtp_code == 554 and NAME.encode() in told.value.smtp_error
    assert refusing.fetch(ALICE) == []


@pytest.mark.parametrize("wrapped", WRAPPINGS, ids=NAMES)
def test_a_virus_is_set_aside_and_reaches_no_mailbox(setting_aside: Demo, wrapped: Callable[[], bytes]) -> None:
    item, command = set_aside(setting_aside, wrapped())
    assert "HeldBy=clamav" in command and "HeldAt=mta_pickup" in command and NAME in command
    assert item in setting_aside.arrived("bob@example.test", item).decode()
    for text in setting_aside.fetch(ALICE):
        assert b"Virus found: " + NAME.encode() in text or b"X-Mark: " in text
        assert EICAR not in text


def set_aside(demo: Demo, mail: bytes, *, sender: str = "rita@example.org") -> tuple[str, str]:
    """The id and the command file of the one item that this mail becomes on the shelf."""
    before = shelved(demo)
    send(demo, mail, sender=sender)
    await_change(demo.server.site / "Quarantine", lambda: len(shelved(demo)) == len(before) + 1)
    (item,) = shelved(demo).items() - before.items()
    return item


def test_a_sender_without_a_login_hears_nothing(setting_aside: Demo) -> None:
    """No backscatter: bob's name was forged, and all that he gets is the operator's notice."""
    item, command = set_aside(setting_aside, bare(), sender="bob@example.test")
    assert "bob@example.test" in command
    assert b"A message contains a virus" in setting_aside.arrived("bob@example.test", item)


def test_clean_mail_comes_through_octet_by_octet(refusing: Demo) -> None:
    for mark, octets in (("clean-small", 3000), ("clean-large", 700_000)):
        mail = f"X-Mark: {mark}\r\n".encode() + message(octets)
        send(refusing, mail)
        got = refusing.arrived(ALICE, f"X-Mark: {mark}")
        assert got[got.index(b"X-Mark") :].rstrip() == mail.rstrip()
        emptied(refusing)


def emptied(demo: Demo) -> None:
    client = demo.pop3(ALICE)
    for number in range(1, client.stat()[0] + 1):
        client.dele(number)
    client.quit()


@pytest.mark.parametrize("octets", [3000, 700_000])
def test_forged_fields_do_not_reach_the_mailbox(refusing: Demo, octets: int) -> None:
    plain = f"X-Mark: forged-{octets}\r\n".encode() + message(octets)
    send(refusing, b"X-Virus-Status: Clean\r\nX-VIRUS-Scanned: by\r\n\tsomebody\r\n" + plain)
    got = refusing.arrived(ALICE, f"X-Mark: forged-{octets}")
    assert got[got.index(b"X-Mark") :].rstrip() == plain.rstrip()
    assert b"x-virus" not in got.lower()
    assert not list((refusing.server.site / "run/clamav/0").glob("*"))  # the changed copy went with its message
    emptied(refusing)


def test_killed_in_the_middle_of_a_scan_the_message_waits_and_clamd_s_return_heals_all(clamd: Clamd, setting_aside: Demo) -> None:
    demo, site = setting_aside, setting_aside.server.site
    assert clamd.group
    before = len(shelved(demo))
    for pid in clamd.group.pids():
        os.kill(pid, signal.SIGSTOP)  # it takes connections and answers nobody
    sending = threading.Thread(target=send, args=(demo, bare()))
    sending.start()
    until(lambda: _is_waited_for(clamd))
    clamd.kill()
    sending.join(30)
    assert not sending.is_alive()
    send(demo, b"X-Mark: while-down\r\n" + message(3000))
    until(lambda: len(list((site / "Queues/SMTP/Inbound").glob("*.MAI"))) == 2)
    assert len(shelved(demo)) == before and not _mailbox_has(demo, b"while-down")
    clamd.start()
    send(demo, b"X-Mark: after-return\r\n" + message(3000))
    demo.arrived(ALICE, "after-return")
    said("queue", "retry", "--site", site)
    demo.arrived(ALICE, "while-down")
    await_change(site / "Quarantine", lambda: len(shelved(demo)) == before + 1)


def _is_waited_for(clamd: Clamd) -> bool:
    """Whether somebody has a connection to its socket that it has not served."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(str(clamd.socket))]
    return len(rows) > 1  # the listening one and at least one more


def _mailbox_has(demo: Demo, mark: bytes) -> bool:
    return any(mark in text for text in demo.fetch(ALICE))


def until(true: Callable[[], bool], patience: float = 30.0) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


# In this process, where a verdict can be looked at.


def verdicts(tmp_path: Path, clamd: Clamd, settings: str, *messages: Message) -> list[object]:
    """What the plugin says to these, one after the other, in the loop that workers use."""

    async def main() -> list[object]:
        yaml = f"server: mx.example.test\nplugins: {{tab: {{watch: false}}, clamav: {{socket: {clamd.socket}, {settings}}}}}\n"
        async with site_in(tmp_path, yaml, clock=SystemClock()) as parts:
            plugin = parts.host.plugins["clamav"]
            assert isinstance(plugin, ClamavPlugin)
            assert list(parts.host.check(parts.site)) == []
            try:
                return [await plugin.mta_pickup(event(one)) for one in messages]
            finally:
                plugin.scanner.pool.close()
                await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_a_marked_message_says_what_was_found(clamd: Clamd, tmp_path: Path) -> None:
    (verdict,) = verdicts(tmp_path, clamd, "action: mark", MemoryMessage(new_id(), bare()))
    assert isinstance(verdict, Replace)
    assert verdict.message.peek() == f"X-Virus-Status: Infected\r\nX-Virus: {NAME}\r\n".encode() + bare()


def test_clamd_s_size_limit_is_heard_every_time(clamd: Clamd, tmp_path: Path) -> None:
    """It answers in the middle of the stream and hangs up; the answer is not lost however the two meet."""
    path = tmp_path / "large"
    path.write_bytes(message(3000) + b"0123456789abcde\n" * ((LIMIT + (4 << 20)) // 16))
    large = [FileMessage(new_id(), path, path.stat().st_size) for _ in range(15)]
    got = verdicts(tmp_path, clamd, "max_size: 99999999, too_large: quarantine", *large, MemoryMessage(new_id(), bare()))
    assert [type(one) for one in got] == [Quarantine] * 15 + [Reject]
    assert all("too many" in one.why for one in got if isinstance(one, Quarantine))


def test_an_empty_message_and_odd_ones_are_clean(clamd: Clamd, tmp_path: Path) -> None:
    odd = [b"", b"\0" * 5000, b"\r\n", bytes(range(256)) * 900, b"From: a\r\n" * 20_000]
    assert verdicts(tmp_path, clamd, "strip: true", *(MemoryMessage(new_id(), one) for one in odd)) == [PASS] * len(odd)
