"""Two postroom sites and one Postfix on loopback, a domain each: mail in every direction over TLS, one of them killed on the way, and what is
refused comes back as a report.

Nothing that got its 250 is lost, whoever is killed. Whether something comes twice no server can promise: where the kill falls between
"taken" at one side and "told" at the other, the message is sent again (RFC 5321 section 6.1, RFC 1047). Such doubles are counted by
Message-ID and printed (`-s`), and each must prove that it is one: its sender has noted that it does not know, or was killed right after it.
"""

from __future__ import annotations

import email
import re
import smtplib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.message import EmailMessage, Message
from pathlib import Path

import dkim  # type: ignore[import-untyped]
import pytest

from bench.server import Absent
from tests.demo import await_change
from tests.interop.neighbours import EAST, NORTH, PEOPLE, SOUTH, Neighbours, letter, neighbours, person

pytestmark = pytest.mark.timeout(180)

MAILS = 40
AT_ONCE = 20  # of them that may be under way when their sender is killed, at most


@pytest.fixture(scope="module")
def three() -> Iterator[Neighbours]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with neighbours(Path(folder)) as made:
                yield made
        except Absent as why:
            pytest.skip(str(why))


def test_mail_goes_in_every_direction_over_tls_and_is_signed(three: Neighbours) -> None:
    for sender in PEOPLE:
        mails = [letter(person(sender), person(to), f"from-{sender}-to-{to}") for to in PEOPLE]
        assert list(three.at(sender).submit(*mails)) == mails
    for to in PEOPLE:
        found = three.arrived(to, {f"from-{sender}-to-{to}" for sender in PEOPLE})
        assert [len(copies) for copies in found.values()] == [1, 1, 1]
        for sender in PEOPLE:
            (text,) = found[f"from-{sender}-to-{to}"]
            received = email.message_from_bytes(text).get_all("Received", [])
            assert len(received) == (1 if sender == to else 2)
            assert all("TLSv1.3" in line and "TLS_AES_256_GCM_SHA384" in line for line in received), received
            assert "with ESMTPSA id" in received[-1] and (sender == to or "with ESMTPS id" in received[0])
            if sender != to and sender != EAST:
                assert verified(three, text) == {"rsa-sha256": True, "ed25519-sha256": True}


def verified(three: Neighbours, text: bytes) -> dict[str, bool]:
    """What dkimpy says of each signature, with keys from the loopback's DNS."""
    algorithms = re.findall(rb"(?m)^DKIM-Signature: v=1; a=([\w-]+);", text)
    return {name.decode(): dkim.DKIM(text).verify(idx, dnsfunc=three.zone.txt) for idx, name in enumerate(algorithms)}


def test_a_signature_does_not_fit_what_was_changed(three: Neighbours) -> None:
    """So the verifier above can say no."""
    list(three.north.submit(letter(person(NORTH), person(SOUTH), "changed")))
    (text,) = three.arrived(SOUTH, {"changed"})["changed"]
    assert verified(three, text) == {"rsa-sha256": True, "ed25519-sha256": True}
    with pytest.raises(dkim.ValidationError, match="body hash mismatch"):
        verified(three, text.replace(b"Good morning.", b"Good evening."))
    assert verified(three, text.replace(b"Subject: changed", b"Subject: chained")) == {"rsa-sha256": False, "ed25519-sha256": False}


@pytest.mark.parametrize(("sender", "refuser"), [(NORTH, SOUTH), (SOUTH, EAST), (EAST, NORTH)])
def test_a_refused_recipient_returns_as_a_report_to_the_senders_mailbox(three: Neighbours, sender: str, refuser: str) -> None:
    mark, nobody = f"refused-by-{refuser}", f"nobody@{refuser}"
    list(three.at(sender).submit(letter(person(sender), nobody, mark)))
    house, found = three.at(sender), list[bytes]()

    def there() -> bool:
        found[:] = [text for text in house.fetch() if b"multipart/report" in text and mark.encode() in text]
        return bool(found)

    await_change(house.mail, there)
    (text,) = found
    report = email.message_from_bytes(text)
    assert report["Return-Path"] == "<>" and person(sender) in report["To"]
    assert report.get_content_type() == "multipart/report" and report.get_param("report-type") == "delivery-status"
    message, block = status(report)
    assert message["Reporting-MTA"] == f"dns; mail.{sender}"
    assert (block["Action"], block["Status"], block["Final-Recipient"]) == ("failed", "5.1.1", f"rfc822; {nobody}")
    assert block["Diagnostic-Code"].startswith("smtp; 550 5.1.1 ") and block["Remote-MTA"].startswith("dns; ")


def status(report: Message) -> list[Message]:
    """RFC 3464: the block of the message and those of its recipients."""
    (part,) = [part for part in report.walk() if part.get_content_type() == "message/delivery-status"]
    return [block for block in part.get_payload() if isinstance(block, Message)]


class Sender(threading.Thread):
    """Submits one mail after the other until its server is gone, and notes what got its 250."""

    def __init__(self, submit: Callable[..., Iterator[EmailMessage]], sender: str, mark: str, count: int) -> None:
        super().__init__(daemon=True)
        self.mails = [letter(sender, person(SOUTH), f"{mark}-{number}") for number in range(count)]
        self.accepted: set[str] = set()
        self._submit = submit
        self.start()

    def run(self) -> None:
        try:
            for mail in self._submit(*self.mails):
                self.accepted.add(mail["Subject"])
        except (OSError, smtplib.SMTPException):
            return


def lying_there(three: Neighbours) -> int:
    """How much is in the mailbox in the south."""
    inbox = three.south.inbox
    return sum(path.suffix == ".MAI" for path in inbox.iterdir()) if inbox.is_dir() else 0


@pytest.mark.parametrize("kill_at", [4, 24])
def test_a_receiver_that_is_killed_and_comes_back_has_all_of_it_once(
    three: Neighbours, kill_at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = f"to-the-killed-{kill_at}"
    enough = lying_there(three) + kill_at
    senders = [Sender(three.at(name).submit, person(name), f"{mark}-{name}", MAILS // 2) for name in (NORTH, EAST)]
    await_change(three.south.mail, lambda: lying_there(three) >= enough)
    with three.south.killed():
        for sender in senders:
            sender.join()
    accepted = {subject for sender in senders for subject in sender.accepted}
    assert len(accepted) == MAILS
    found = three.arrived(SOUTH, accepted)
    doubled = {subject: copies for subject, copies in found.items() if len(copies) > 1}
    told(capsys, f"receiver killed after {kill_at} of {MAILS}", doubled)
    unsure = unsure_of(three)
    for copies in doubled.values():
        assert len(copies) == 2 and origin(copies[0]) in unsure


def unsure_of(three: Neighbours) -> set[str]:
    """Ids of messages of which north or east noted that they were sent and not answered."""
    ours = {str(line["id"]) for line in three.north.logged("smtp.sent") if "may arrive twice" in str(line["reply"])}
    return ours | set(re.findall(r"smtp\[\d+\]: (\w+): .*message may be sent more than once", three.east.log()))


def origin(text: bytes) -> str:
    """The id that the first server gave."""
    return str(re.findall(r"\bid (\w+)", email.message_from_bytes(text).get_all("Received", [])[-1])[0])


def test_a_sender_that_is_killed_and_comes_back_sends_the_rest(three: Neighbours, capsys: pytest.CaptureFixture[str]) -> None:
    enough = lying_there(three) + MAILS // 2
    sender = Sender(three.north.submit, person(NORTH), "from-the-killed", MAILS)
    await_change(three.south.mail, lambda: lying_there(three) >= enough)
    killed = time.time()
    with three.north.killed():
        sender.join()
    assert len(sender.accepted) >= MAILS // 2
    found = three.arrived(SOUTH, sender.accepted)
    doubled = {subject: copies for subject, copies in found.items() if len(copies) > 1}
    told(capsys, f"sender killed with {len(sender.accepted)} accepted", doubled)
    assert len(doubled) < AT_ONCE
    taken = {str(line["id"]): datetime.fromisoformat(str(line["at"])).timestamp() for line in three.south.logged("smtp.accepted")}
    for copies in doubled.values():
        assert len(copies) == 2 and len({origin(copy) for copy in copies}) == 1
        first = min(taken[here(copy)] for copy in copies)
        assert killed - 1.0 < first


def here(text: bytes) -> str:
    """The id that the last server gave."""
    return str(re.findall(r"\bid (\w+)", email.message_from_bytes(text).get_all("Received", [])[0])[0])


def told(capsys: pytest.CaptureFixture[str], what: str, doubled: dict[str, list[bytes]]) -> None:
    with capsys.disabled():
        print(f"\n{what}: {len(doubled)} doubled {sorted(doubled)}", end="")
