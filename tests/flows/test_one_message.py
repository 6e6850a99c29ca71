"""One message all the way, through the server as it is started by an operator: SMTP in, the address map, the post office, POP3 out."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom.message import new_id
from tests.demo import Demo, letter


def test_a_message_is_delivered_whole(demo: Demo) -> None:
    mail = b"X-Mark: flow-whole\r\nSubject: dots\r\n\r\n.\r\n..\r\n" + b"x" * 900 + b"\r\nlast\r\n"
    with demo.smtp() as client:
        client.sendmail("rita@example.org", ["alice@example.test"], mail)
    found = demo.arrived("alice@example.test", "flow-whole")
    assert found.endswith(mail)
    trace = found.removesuffix(mail)
    assert trace.startswith(b"Return-Path: <rita@example.org>\r\n")
    assert b"\r\nReceived: from " in trace


def test_a_group_gets_one_file_for_all(demo: Demo) -> None:
    """A message file is made once, where it will live, and hard-linked from then on (DESIGN section 9)."""
    with demo.smtp() as client:
        client.send_message(letter("flow-group", to="sales@example.test"))
    for login in ("alice@example.test", "bob@example.test"):
        assert demo.arrived(login, "flow-group")
    places = {path for path in _files(demo) if b"flow-group" in path.read_bytes()}
    assert len(places) == 2
    assert len({path.stat().st_ino for path in places}) == 1


@pytest.mark.long
def test_a_pair_dropped_by_another_program_is_delivered(demo: Demo) -> None:
    """The message first, then its command file, as the old pickup programs do."""
    queue = demo.server.site / "Queues/SMTP/Inbound"
    item = new_id()
    (queue / "Messages").mkdir(parents=True, exist_ok=True)
    (queue / "Messages" / f"{item}.MAI").write_bytes(letter("flow-dropped").as_bytes().replace(b"\n", b"\r\n"))
    aside = queue.parent / f"{item}.new"
    aside.write_bytes(b"Recipients=[SMTP:alice@example.test]\r\nSender=[SMTP:rita@example.org]\r\nStatus=Undelivered\r\n")
    aside.rename(queue / f"{item}.MAI")
    assert demo.arrived("alice@example.test", "flow-dropped")
    assert not (queue / f"{item}.MAI").exists()


def test_a_message_beyond_the_journals_size_streams_through_a_file(demo: Demo) -> None:
    text = b"X-Mark: flow-large\r\n\r\n" + (b"y" * 998 + b"\r\n") * 4000
    with demo.smtp() as client:
        client.sendmail("rita@example.org", ["bob@example.test"], text)
    assert demo.arrived("bob@example.test", "flow-large").endswith(text)


def test_nothing_is_left_in_the_queues(demo: Demo) -> None:
    """A message on the express lane never rests, so it never makes a pair."""
    with demo.smtp() as client:
        client.send_message(letter("flow-express"))
    demo.arrived("alice@example.test", "flow-express")
    resting = [path for path in (demo.server.site / "Queues").rglob("*.MAI") if b"flow-express" in path.read_bytes()]
    assert not resting


def test_mail_is_nobody_elses_to_read(demo: Demo) -> None:
    """A file another program dropped keeps its own mode; the folders around it let nobody through."""
    site = demo.server.site
    folders = [site, *(path for path in site.rglob("*") if path.is_dir())]
    assert not [folder for folder in folders if folder.stat().st_mode & 0o007]


def _files(demo: Demo) -> list[Path]:
    return list((demo.server.site / "Postoffices").rglob("*.MAI"))
