"""imapclient, which parses all that it gets: envelopes, structures, CONDSTORE, IDLE, special uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.demo import PATIENCE, Demo, letter
from tests.interop.imap_mail import ALICE, filled, mail

imapclient = pytest.importorskip("imapclient", reason="imapclient is not installed (the test extra has it)")

TEXTS = [mail("imapclient", number, lines=number + 1) for number in range(5)]


@pytest.fixture
def client(demo: Demo) -> Iterator[Any]:
    """Five messages in a folder of their own, selected."""
    maker = filled(demo, "Imapclient", TEXTS)
    maker.unselect()
    host, port = demo.endpoint("imaps")
    session = imapclient.IMAPClient(host, port, ssl_context=demo.trust(), timeout=PATIENCE)
    session.login(ALICE, demo.password(ALICE))
    session.select_folder("Imapclient")
    yield session
    session.logout()
    maker.delete("Imapclient")
    maker.logout()


def test_everything_of_a_message_parses(client: Any) -> None:
    rows = client.fetch(
        client.search("ALL"), ["BODY.PEEK[]", "ENVELOPE", "BODYSTRUCTURE", "FLAGS", "RFC822.SIZE", "INTERNALDATE", "MODSEQ"]
    )
    assert [row[b"BODY[]"] for _, row in sorted(rows.items())] == TEXTS
    for number, (_, row) in enumerate(sorted(rows.items())):
        envelope, structure = row[b"ENVELOPE"], row[b"BODYSTRUCTURE"]
        assert envelope.message_id == f"<imapclient-{number}@example.org>".encode()
        assert envelope.subject == f"=?utf-8?q?Gr=C3=BC=C3=9Fe?= imapclient {number}".encode()
        assert (envelope.from_[0].name, envelope.from_[0].mailbox, envelope.from_[0].host) == (b"Rita", b"rita", b"example.org")
        body = TEXTS[number].partition(b"\r\n\r\n")[2]
        kind, subtype, parameters, _, _, encoding, octets, lines = structure[:8]
        assert (kind.lower(), subtype.lower(), encoding.lower()) == (b"text", b"plain", b"8bit")
        assert [word.lower() for word in parameters] == [b"charset", b"utf-8"]
        assert (octets, lines) == (len(body), number + 1)
        assert row[b"RFC822.SIZE"] == len(TEXTS[number])


def test_changes_since_a_sequence_number(client: Any) -> None:
    before = client.folder_status("Imapclient", ["HIGHESTMODSEQ"])[b"HIGHESTMODSEQ"]
    uids = client.search("ALL")
    client.add_flags(uids[2:4], [rb"\Flagged", b"$Junk"], silent=True)
    changed = client.fetch(uids, ["FLAGS"], modifiers=[f"CHANGEDSINCE {before}"])
    assert sorted(changed) == uids[2:4]
    assert all(set(row[b"FLAGS"]) == {rb"\Flagged", b"$Junk"} for row in changed.values())


def test_names_of_folders_are_unicode_and_moves_tell_uids(client: Any) -> None:
    client.create_folder("Entwürfe & Rest")
    assert "Entwürfe & Rest" in [name for _, _, name in client.list_folders()]
    moved = client.search(["SUBJECT", "imapclient 4"])
    client.move(moved, "Entwürfe & Rest")
    assert len(client.search("ALL")) == 4
    client.select_folder("Entwürfe & Rest")
    ((_, row),) = client.fetch(client.search("ALL"), ["BODY.PEEK[]"]).items()
    assert row[b"BODY[]"] == TEXTS[4]
    client.unselect_folder()
    client.delete_folder("Entwürfe & Rest")


def test_idle_hears_of_mail(client: Any, demo: Demo) -> None:
    count = client.select_folder("INBOX")[b"EXISTS"]
    client.idle()
    with demo.smtp() as sender:
        sender.send_message(letter("imapclient-idle"))
    assert (count + 1, b"EXISTS") in client.idle_check(timeout=PATIENCE)
    client.idle_done()
