"""The SF connector: what is stored, what is answered, what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from postroom.envelope import Attempt, Envelope
from postroom.errors import DiskError, NoSuchMailbox, OverQuota, StoreError
from postroom.message import MemoryMessage, Message
from postroom.outcome import Deferred, Delivered, Expanded, Failed, Outcome
from postroom.transfer import Defer, Discard, Quarantine, Reject, Replace
from tests.plugins_postoffice.rows import box, envelope, family, sf
from tests.plugins_postoffice.site import World

TEXT = MemoryMessage("A" * 32, b"Subject: a\r\n\r\nhello\r\n")
JUNK = MemoryMessage("B" * 32, b"X-ME-Content: Deliver-To=Junk\r\n\r\nhello\r\n")
ROWS = [
    box("alice", limit=10),
    box("bob"),
    box("off", status=0),
    box("away", redirect=1, to="[SMTP:a@x]"),
    box("both", redirect=2, to="[SMTP:a@x]"),
]
GROUPS = {"sales": ["[SF:Acme/alice]", "[SF:Acme/bob]"]}


def world(**settings: object) -> World:
    return World(family(ROWS, GROUPS), **settings)


def delivered(each: World, what: Envelope, message: Message = TEXT) -> Sequence[Outcome]:
    return asyncio.run(each.connector.deliver(what, message))


def test_all_mailboxes_of_an_envelope_go_to_the_store_in_one_call() -> None:
    each = world()
    outcomes = delivered(each, envelope("alice", "BOB", "both", "unknown", "off"))
    ((message, targets, again),) = each.store.calls
    assert (message, again) == (TEXT, False)
    assert [(t.mailbox, t.folder, t.limit) for t in targets] == [("alice", "Inbox", 10240), ("bob", "Inbox", None), ("both", "Inbox", None)]
    assert [type(outcome) for outcome in outcomes] == [Delivered, Delivered, Expanded, Failed, Failed]
    assert [str(o.reply)[:9] for o in outcomes if isinstance(o, Failed)] == ["550 5.1.1", "550 5.2.1"]


def test_two_recipients_of_one_mailbox_get_one_copy_and_an_outcome_each() -> None:
    each = world()
    outcomes = delivered(each, envelope("alice", "ALICE"))
    assert len(each.store.calls[0][1]) == 1
    assert [outcome.where for outcome in outcomes if isinstance(outcome, Delivered)] == ["Acme/alice/Inbox"] * 2


def test_a_group_and_a_redirect_become_recipients_and_touch_no_mailbox() -> None:
    each = world()
    group, redirect = delivered(each, envelope("sales", "away"))
    assert isinstance(group, Expanded) and [r.address for r in group.into] == [sf("alice"), sf("bob")] and not group.kept
    assert isinstance(redirect, Expanded) and [str(r.address) for r in redirect.into] == ["[SMTP:a@x]"] and not redirect.kept
    assert each.store.calls == []


def test_forward_and_keep_says_that_a_copy_was_kept() -> None:
    (outcome,) = delivered(world(), envelope("both"))
    assert isinstance(outcome, Expanded) and outcome.kept


def test_a_circle_of_groups_ends_as_delivered() -> None:
    (outcome,) = delivered(world(), envelope("sales", passed=["sales"]))
    assert outcome == Delivered(envelope("sales").recipients[0], "every member has it")


TROUBLES = [
    (DiskError("out of reach"), "defer", Deferred, "451 4.3.0"),
    (DiskError("full", full=True), "defer", Deferred, "452 4.3.1"),
    (OverQuota("full"), "defer", Deferred, "452 4.2.2"),
    (OverQuota("full"), "bounce", Failed, "552 5.2.2"),
    (NoSuchMailbox("gone"), "defer", Failed, "550 5.1.1"),
    (StoreError("name too long"), "defer", Deferred, "451 4.3.0"),
    (ValueError("a bug"), "defer", Deferred, "451 4.3.0"),
]


@pytest.mark.parametrize(("trouble", "when_full", "kind", "reply"), TROUBLES)
def test_what_the_store_could_not_do(trouble: Exception, when_full: str, kind: type[Deferred | Failed], reply: str) -> None:
    each = world(when_full=when_full)
    each.store.troubles["alice"] = trouble
    alice, bob = delivered(each, envelope("alice", "bob"))
    assert isinstance(alice, kind) and str(alice.reply).startswith(reply)
    assert isinstance(bob, Delivered)
    assert each.logged == (["delivery failed"] if type(trouble) in (StoreError, ValueError) else [])


@pytest.mark.parametrize(("trouble", "kind"), [(OverQuota("full"), Expanded), (DiskError("out of reach"), Deferred)])
def test_a_full_mailbox_does_not_hold_up_its_redirect_but_a_failing_disk_does(trouble: Exception, kind: type[Outcome]) -> None:
    each = world()
    each.store.troubles["both"] = trouble
    (outcome,) = delivered(each, envelope("both"))
    assert isinstance(outcome, kind)
    assert not (isinstance(outcome, Expanded) and outcome.kept)


def test_a_message_that_cannot_be_read_is_deferred() -> None:
    class Unreadable(MemoryMessage):
        def peek(self) -> bytes | None:
            return None

        async def read(self, offset: int = 0, n: int = -1) -> bytes:
            raise DiskError("gone away")

    (outcome,) = delivered(world(), envelope("alice"), Unreadable("C" * 32, b""))
    assert isinstance(outcome, Deferred)


def test_junk_goes_to_its_folder_unless_switched_off() -> None:
    cases: list[tuple[dict[str, object], str]] = [({}, "Junk E-Mail"), ({"junk": False}, "Inbox"), ({"junk_folder": "Spam"}, "Spam")]
    for settings, folder in cases:
        each = world(**settings)
        delivered(each, envelope("alice"), JUNK)
        assert each.store.calls[0][1][0].folder == folder


@pytest.mark.parametrize(
    "before",
    [
        {"attempt": Attempt(count=1)},
        {"attempt": Attempt(crashes=1)},
        {"expanded": (sf("sales"),)},
        {"settled": frozenset({sf("bob")})},
        {"sender": None},
    ],
)
def test_what_may_have_come_before_is_looked_for_everywhere(before: dict[str, object]) -> None:
    each = world()
    delivered(each, replace(envelope("alice"), **before))  # type: ignore[arg-type]
    assert each.store.calls[0][2] is True


def test_rcpt_is_told_from_memory() -> None:
    each = world()
    assert each.connector.refuses(sf("alice")) is None
    assert each.connector.refuses(sf("SALES")) is None
    assert str(each.connector.refuses(sf("nobody"))).startswith("550 5.1.1")
    assert str(each.connector.refuses(sf("off"))).startswith("550 5.2.1")


def test_a_full_mailbox_is_refused_at_rcpt_for_a_while() -> None:
    each = world()
    each.store.troubles["alice"] = OverQuota("full")
    delivered(each, envelope("alice"))
    assert str(each.connector.refuses(sf("ALICE"))).startswith("452 4.2.2")
    each.seconds += 60
    assert each.connector.refuses(sf("alice")) is None


def test_a_delivery_that_fits_ends_the_refusal() -> None:
    each = world()
    each.store.troubles["alice"] = OverQuota("full")
    delivered(each, envelope("alice"))
    each.store.troubles.clear()
    delivered(each, envelope("alice"))
    assert each.connector.refuses(sf("alice")) is None


def test_indexes_follow_the_tables_and_are_built_once_a_version() -> None:
    rows = family(ROWS, GROUPS)
    each = World(rows)
    for _ in range(5):
        assert each.connector.refuses(sf("carol")) is not None
    assert rows.mailboxes.snapshots == 1
    asyncio.run(rows.mailboxes.put(box("carol")))
    assert each.connector.refuses(sf("carol")) is None


def test_a_provider_without_snapshots_is_read_by_the_delivery() -> None:
    each = World(family(ROWS, GROUPS, remote=True))
    assert isinstance(delivered(each, envelope("alice"))[0], Delivered)
    assert each.connector.refuses(sf("alice")) is None


def test_the_hook_is_asked_per_mailbox_after_the_rules() -> None:
    each = world()
    each.hook.verdicts = {"nobody": Discard("")}
    delivered(each, envelope("alice", "away", "both", "off", "sales"), JUNK)
    assert [(e.mailbox, e.folder) for e in each.hook.events] == [("alice", "Junk E-Mail"), ("both", "Junk E-Mail")]  # type: ignore[attr-defined]


def test_verdicts_reach_only_the_mailbox_they_were_given_for() -> None:
    each = world()
    each.hook.verdicts = {"alice": Reject("a virus"), "both": Defer("busy")}
    alice, bob, both = delivered(each, envelope("alice", "bob", "both"))
    assert isinstance(alice, Failed) and str(alice.reply) == "554 5.7.1 a virus"
    assert isinstance(bob, Delivered)
    assert isinstance(both, Deferred) and str(both.reply) == "451 4.7.1 busy"
    assert [target.mailbox for target in each.store.calls[0][1]] == ["bob"]


def test_discard_stores_nothing_and_tells_nobody() -> None:
    each = world()
    each.hook.verdicts = {"alice": Discard("silly")}
    assert [type(outcome) for outcome in delivered(each, envelope("alice"))] == [Delivered]
    assert each.store.calls == []


def test_quarantine_keeps_the_message_for_the_operator() -> None:
    each = world()
    each.hook.verdicts = {"alice": Quarantine("odd")}
    assert [type(outcome) for outcome in delivered(each, envelope("alice", "bob"))] == [Delivered, Delivered]
    ((aside, message, why),) = each.aside
    assert ([r.address for r in aside.recipients], message, why) == ([sf("alice")], TEXT, "odd")
    assert aside.id != envelope("alice").id
    assert [target.mailbox for target in each.store.calls[0][1]] == ["bob"]


def test_a_copy_has_the_same_id_at_every_attempt_whether_it_is_replaced_or_not() -> None:
    """A hook that changed it, and at the next attempt was out of order and passed over: the mailbox got both."""
    for attempt in ("1", "2"):
        each = world()
        each.hook.verdicts = {"alice": Replace(MemoryMessage(attempt * 32, b"X: cleaned\r\n\r\n"))}
        delivered(each, envelope("alice", "bob"))
        texts = {call[1][0].mailbox: call[0] for call in each.store.calls}
        assert (texts["alice"].peek(), texts["bob"]) == (b"X: cleaned\r\n\r\n", TEXT)
        assert each.store.own == [texts["alice"]], "the journal has the other one only"
        assert texts["alice"].id == TEXT.id


def test_a_copy_that_cannot_be_set_aside_does_not_put_off_the_others() -> None:
    """They had theirs, were told of as put off, and asked about again: whoever's filter then said no was told of as refused."""
    each = world()
    each.hook.verdicts = {"alice": Replace(MemoryMessage("1" * 32, b"X: cleaned\r\n\r\n")), "both": Quarantine("odd")}

    def refuse(*how: object) -> None:
        raise DiskError("full", full=True)

    each.site.spool.set_aside = refuse  # type: ignore[method-assign, assignment]
    outcomes = delivered(each, envelope("alice", "both", "bob"))
    assert [type(outcome) for outcome in outcomes] == [Delivered, Deferred, Delivered]


def test_what_is_foreseen_is_what_happens_and_touches_nothing() -> None:
    names = ("alice", "off", "away", "both", "sales", "unknown")
    each, other = world(), world()
    for text in (TEXT, JUNK):
        foreseen = asyncio.run(each.connector.foresee(envelope(*names), text))
        assert [one.outcome for one in foreseen] == delivered(other, envelope(*names), text)
    assert [[type(row).__name__ for row in one.by] for one in foreseen] == [["MailboxRecord"]] * 4 + [["GroupRecord"], ["PostofficeRecord"]]
    assert each.store.calls == []


def test_with_a_hook_unchanged_copies_still_go_to_the_store_in_one_call() -> None:
    each = world()
    each.hook.verdicts = {"both": Replace(MemoryMessage("1" * 32, b"X: cleaned\r\n\r\n"))}
    delivered(each, envelope("alice", "both", "bob"))
    assert [[target.mailbox for target in call[1]] for call in each.store.calls] == [["both"], ["alice", "bob"]]
