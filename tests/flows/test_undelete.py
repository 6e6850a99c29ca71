"""A message deleted by mistake is brought back: by the operator's command, on a site that is served and on one that is stopped."""

from __future__ import annotations

import json

import pytest

from bench.ours import said
from tests.demo import Demo, letter

pytestmark = pytest.mark.long

ALICE = "alice@example.test"


def test_what_pop3_deleted_comes_back(demo: Demo) -> None:
    with demo.smtp() as sender:
        sender.send_message(letter("flow-undelete"))
    text = demo.arrived(ALICE, "flow-undelete")
    client = demo.pop3(ALICE)
    for number in range(1, client.stat()[0] + 1):
        if b"flow-undelete" in b"".join(client.retr(number)[1]):
            client.dele(number)
    client.quit()
    assert not [one for one in demo.fetch(ALICE) if b"flow-undelete" in one]
    asked = ("mailbox", "undelete", ALICE, "--site", demo.server.site, "--json")
    (kept,) = json.loads(said(*asked, "--list", "--within", "1"))
    assert (kept["folder"], kept["octets"]) == ("Inbox", len(text))
    assert json.loads(said(*asked, kept["id"][:8])) == {"count": 1}
    assert demo.arrived(ALICE, "flow-undelete") == text
    assert json.loads(said(*asked, "--list")) == []
