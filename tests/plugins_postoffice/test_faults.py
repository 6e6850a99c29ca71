"""What `postroom check` says of mailboxes and groups."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from postroom.errors import Origin
from postroom.providers import Providers
from postroom.records import GroupRecord, MailboxRecord
from postroom_postoffice.faults import faults
from tests.plugins_postoffice.rows import Family, box, family


def told(rows: Family) -> list[str]:
    return list(faults(cast(Providers, SimpleNamespace(postoffice=rows)), max_members=3))


def test_a_sound_site_has_none() -> None:
    assert told(family([box("alice"), box("b", redirect=2, to="[SMTP:a@x]")], {"g": ["[SF:Acme/alice]", "[SMTP:a@x]"]})) == []


def test_each_fault_names_the_row_and_the_remedy() -> None:
    rows = family(
        [box("off", status=0), box("r", redirect=1, to="alice"), box("odd", redirect=3)],
        {"empty": [], "bad": ["alice", "[SF:Acme/off]", "[SF:Acme/none]"], "big": [f"[SMTP:{n}@x]" for n in range(4)]},
    )
    rows.mailboxes.rows.append(MailboxRecord(postoffice="Lost", mailbox="x", origin=Origin("MAILBOX.TAB", 7)))
    rows.groups.rows.append(GroupRecord(postoffice="Acme", recipient="nowhere", group="empty2"))
    sentences = "\n".join(told(rows))
    for part in (
        "MAILBOX.TAB:7: mailbox Lost/x: its post office has no row",
        "mailbox Acme/r: the redirect 'alice' is no address",
        "mailbox Acme/r: its redirect is on but names nobody",
        "mailbox Acme/odd: redirect status 3 means nothing",
        "mailbox Acme/odd: its redirect is on but names nobody",
        "group Acme/empty: nobody is in it",
        "group Acme/bad: the member 'alice' is no address",
        "group Acme/bad: the member [SF:Acme/off] cannot be reached (550 5.2.1",
        "group Acme/bad: the member [SF:Acme/none] cannot be reached (550 5.1.1",
        "group Acme/big: it comes to more than 3 members",
        "group Acme/empty2: its address 'nowhere' is none",
    ):
        assert part in sentences, part
    assert "postroom group set" in sentences
