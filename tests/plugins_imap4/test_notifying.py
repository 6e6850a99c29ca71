"""What is told of a change, by table: wishes, counters, renames, and what the client knows already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postroom.mailstore import FolderStatus
from postroom_imap4.commands import EventGroup
from postroom_imap4.ledger import Known, Ledger
from postroom_imap4.notifying import Wishes, entries_changed, is_all_own, items_at_meeting, items_of_change, renames
from tests.plugins_imap4.wire import command

PAIR, THREE = {"MessageNew", "MessageExpunge"}, {"MessageNew", "MessageExpunge", "FlagChange"}
BEFORE = FolderStatus("A", "1", 7, 10, 20, 5, 2, 0, 100)


def wishes(said: str) -> Wishes:
    found = command(b"NOTIFY SET " + said.encode())
    return Wishes(found.groups)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("said", "name", "subscribed", "own", "events"),
    [
        ("(personal (MailboxName))", "A", False, True, "MailboxName"),
        ("(inboxes (MailboxName))", "A/b", False, True, "MailboxName"),
        ("(personal (MailboxName))", "Other Users/a", True, False, ""),
        ("(subscribed (MailboxName))", "Other Users/a", True, False, "MailboxName"),
        ("(subscribed (MailboxName))", "A", False, True, ""),
        ("(subtree a (MailboxName))", "A", False, True, "MailboxName"),
        ("(subtree a (MailboxName))", "A/b", False, True, "MailboxName"),
        ("(subtree a (MailboxName))", "Ab", False, True, ""),
        ("(mailboxes (a inbox) (MailboxName))", "INBOX", False, True, "MailboxName"),
        ("(mailboxes a (MailboxName))", "A/b", False, True, ""),
        ('(mailboxes "*" (MailboxName))', "A", False, True, ""),  # RFC 5465 section 6.6
        ("(mailboxes a (MailboxName)) (personal (SubscriptionChange))", "A", False, True, "MailboxName SubscriptionChange"),
        ("(mailboxes a NONE) (personal (MailboxName))", "A", False, True, ""),
        ("(mailboxes a NONE) (personal (MailboxName))", "B", False, True, "MailboxName"),
        ("(mailboxes a (MailboxName)) (personal NONE)", "A", False, True, "MailboxName"),
        ("(selected (MessageNew MessageExpunge))", "A", True, True, ""),
    ],
)
def test_which_events_a_folder_has(said: str, name: str, subscribed: bool, own: bool, events: str) -> None:
    assert wishes(said).of(name, is_subscribed=subscribed, is_own=own) == set(events.split())


def test_what_is_wished_for_the_selected_folder() -> None:
    asked = wishes("(selected-delayed (MessageNew (UID) MessageExpunge))")
    assert asked.selected == PAIR and asked.delays and len(asked.fetch) == 1 and not asked.others
    nothing = Wishes()
    assert not nothing.selected and not nothing.delays and not nothing.fetch and not nothing.others
    assert wishes("(subtree x (MailboxName))").names_others and not wishes("(personal (MailboxName)) (subtree x NONE)").names_others


@pytest.mark.parametrize(
    ("events", "change", "plain", "condstore"),
    [
        (THREE, {}, "", ""),
        (
            THREE,
            {"messages": 6, "uidnext": 11, "modseq": 21, "unseen": 3},
            "MESSAGES UIDNEXT UNSEEN",
            "MESSAGES UIDNEXT UNSEEN UIDVALIDITY HIGHESTMODSEQ",
        ),
        (PAIR, {"messages": 6, "uidnext": 11, "modseq": 21, "unseen": 3}, "MESSAGES UIDNEXT", "MESSAGES UIDNEXT HIGHESTMODSEQ"),
        (PAIR, {"uidnext": 11, "modseq": 22}, "MESSAGES UIDNEXT", "MESSAGES UIDNEXT HIGHESTMODSEQ"),  # one came, one went
        (PAIR, {"messages": 4, "modseq": 21}, "MESSAGES UIDNEXT", "MESSAGES UIDNEXT HIGHESTMODSEQ"),
        (PAIR, {"modseq": 21, "unseen": 1}, "", ""),
        (THREE, {"modseq": 21, "unseen": 1}, "UNSEEN", "UNSEEN UIDVALIDITY HIGHESTMODSEQ"),
        (THREE, {"modseq": 21}, "", "UIDVALIDITY HIGHESTMODSEQ"),  # section 5.1: without CONDSTORE there is nothing to tell
        (PAIR, {"uidvalidity": 8}, "MESSAGES UIDNEXT UIDVALIDITY", "MESSAGES UIDNEXT UIDVALIDITY"),
        (
            THREE,
            {"uidvalidity": 8},
            "MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ",
            "MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ",
        ),
    ],
)
def test_which_counters_are_told(events: set[str], change: dict[str, int], plain: str, condstore: str) -> None:
    now = replace(BEFORE, **change)  # type: ignore[arg-type]
    assert items_of_change(events, BEFORE, now, condstore=False) == plain.split()
    assert items_of_change(events, BEFORE, now, condstore=True) == condstore.split()


def test_counters_of_a_folder_that_is_new_to_the_client() -> None:
    empty = replace(BEFORE, uidnext=1, messages=0, modseq=1)
    assert items_of_change(PAIR, None, empty, condstore=False) == []
    assert items_of_change(PAIR, None, BEFORE, condstore=False) == ["MESSAGES", "UIDNEXT", "UIDVALIDITY"]
    assert items_at_meeting(PAIR, empty) == [] and "UIDVALIDITY" in items_at_meeting(THREE, empty)
    assert "UIDVALIDITY" in items_at_meeting(PAIR, BEFORE)


@pytest.mark.parametrize(
    ("change", "uids", "own"),
    [
        ({"messages": 7, "uidnext": 12, "modseq": 22}, {10, 11}, True),
        ({"messages": 7, "uidnext": 12, "modseq": 22}, {10}, False),
        ({"messages": 6, "uidnext": 12, "modseq": 23}, {10, 11}, False),  # and one went
        ({"messages": 7, "uidnext": 12, "modseq": 23}, {10, 11}, False),  # and flags were changed
        ({"messages": 7, "uidnext": 12, "modseq": 22, "uidvalidity": 8}, {10, 11}, False),
        ({}, set(), False),
        ({"messages": 6, "uidnext": 11, "modseq": 21}, {9}, False),  # it put that one into a folder that bore the name before
    ],
)
def test_whether_all_that_came_is_the_clients_own(change: dict[str, int], uids: set[int], own: bool) -> None:
    assert is_all_own(BEFORE, replace(BEFORE, **change), uids) is own  # type: ignore[arg-type]


def test_all_in_a_folder_that_the_client_made_may_be_its_own() -> None:
    assert is_all_own(None, replace(BEFORE, messages=2, uidnext=3), {1, 2})
    assert not is_all_own(None, replace(BEFORE, messages=2, uidnext=4), {1, 2})


@pytest.mark.parametrize(
    ("before", "now", "told", "lost"),
    [
        ({"1": "a"}, {"1": "b"}, [("a", "b")], ""),
        ({"1": "a"}, {"1": "A"}, [("a", "A")], ""),
        ({"1": "a", "2": "a/b"}, {"1": "z", "2": "z/b"}, [("a", "z")], ""),  # section 5.4: not its children
        ({"1": "a", "2": "a/b/c"}, {"1": "z", "2": "z/b/c"}, [("a", "z")], ""),
        ({"1": "a", "2": "a/b"}, {"1": "z", "2": "z/c"}, [("a", "z"), ("z/b", "z/c")], ""),
        ({"1": "a", "2": "a/b"}, {"1": "z", "2": "a/b"}, [("a", "z"), ("z/b", "a/b")], ""),
        ({"1": "a", "2": "b"}, {"1": "b", "2": "c"}, [("b", "c"), ("a", "b")], ""),  # told as it can have been
        ({"1": "a", "2": "a/b"}, {"1": "a/b", "2": "c"}, [("a/b", "c"), ("a", "a/b")], ""),
        ({"1": "a", "2": "b"}, {"1": "b", "2": "a"}, [], "12"),
        ({"1": "a", "2": "b"}, {"2": "c"}, [("b", "c")], ""),
    ],
)
def test_renames_are_told_one_after_the_other(before: dict[str, str], now: dict[str, str], told: list[tuple[str, str]], lost: str) -> None:
    assert renames(before, now) == (told, set(lost))


def test_many_renames_at_once_are_no_renames() -> None:
    told, lost = renames({str(number): f"a{number}" for number in range(30)}, {str(number): f"b{number}" for number in range(30)})
    assert len(told) == 20 and len(lost) == 10


def test_annotations_that_have_another_value_or_none() -> None:
    assert entries_changed({"a": b"1", "b": b"1", "c": b"1"}, {"a": b"1", "b": b"2", "d": b"1"}) == ["b", "c", "d"]


# The ledger


def ledger(*names: str, said: str = "(personal (MailboxName SubscriptionChange))") -> Ledger:
    made = Ledger(wishes(said), lambda name: not name.startswith("Other"))
    made.listed({name.lower(): name for name in names}, {}, {})
    for number, name in enumerate(made.unmet()):
        made.known[name.lower()] = Known(name, str(number))
    return made


def after(made: Ledger, *names: str, ids: dict[str, str] | None = None, subscribed: tuple[str, ...] = ()) -> dict[str, str]:
    return made.listed({name.lower(): name for name in names}, {name.lower(): name for name in subscribed}, ids or {})


@pytest.mark.parametrize(
    ("names", "ids", "told"),
    [
        (("A", "B"), {}, {}),
        (("A",), {}, {"B": ""}),
        (("A", "B", "C"), {"c": "9"}, {"C": ""}),
        (("A", "C"), {"c": "1"}, {"C": "B"}),
        (("A", "B", "A/x"), {"a/x": "9"}, {"A/x": "", "A": ""}),
        (("a", "B"), {}, {"a": "A"}),  # in another spelling
        (("A", "B", "C"), {"c": "1", "b": "9"}, {"C": "B", "B": ""}),  # and another came in its place
        (("A", "B"), {"a": "1", "b": "0"}, {"A": "", "B": ""}),  # they changed places: there is no order to tell it in
    ],
)
def test_what_list_tells_of_a_changed_tree(names: tuple[str, ...], ids: dict[str, str], told: dict[str, str]) -> None:
    made = ledger("A", "B")
    assert after(made, *names, ids=ids) == told
    for name in made.unmet():
        made.known[name.lower()] = Known(name, ids[name.lower()])
    assert after(made, *names) == {}, "once"


@pytest.mark.parametrize("said", ["(personal (MailboxName))", "(personal (MessageNew MessageExpunge))"])
def test_what_list_tells_of_folders_without_access(said: str) -> None:
    """Each change once, whatever is wished; only what comes or goes altogether is for those who ask for names."""
    made, is_named = ledger("A", "B", said=said), "MailboxName" in said

    def told(*names: str, unread: str = "", withdrawn: str = "") -> dict[str, str]:
        return made.listed({name.lower(): name for name in names}, {}, {}, set(unread), set(withdrawn))

    assert told("A", "B", unread="a") == {"A": ""} and made.barred == {"a": ("A", True)}
    assert made.out_of_sight({"a": "A"}) == {"b": ("B", "1")} and not made.unmet()
    assert told("A", "B", unread="a") == {}
    assert told("B", withdrawn="a") == {"A": ""} and made.barred == {"a": ("A", False)}
    assert made.out_of_sight({"b": "B"}) == {"a": ("A", "")}
    assert told("B", withdrawn="a") == {}
    assert told("A", "B") == {"A": ""} and made.unmet() == ["A"] and not made.barred
    assert told("A", withdrawn="b") == {"B": ""}
    assert told("A") == {} and not made.barred, "it is gone altogether, which is not to be known"
    assert told("A", "B") == ({"B": ""} if is_named else {})
    assert told("A", "B", "C", unread="c") == {"C": ""}
    assert told("A", "B") == ({"C": ""} if is_named else {}), "it was listed, and is gone"


def test_folders_without_events_are_none_without_access() -> None:
    made = ledger("A", "B", said="(mailboxes B (MailboxName))")
    assert made.listed({"a": "A"}, {}, {}, {"a"}) == {"B": ""} and not made.barred


def test_what_the_client_did_to_folders_without_access_is_no_news() -> None:
    made = ledger("A", "B")
    made.listed({"a": "A", "b": "B"}, {}, {}, {"a", "b"})
    made.renamed("A", "C")
    made.deleted("B")
    assert made.listed({"c": "C"}, {}, {}, {"c"}) == {}


def test_what_the_client_did_is_no_news() -> None:
    made = ledger("A", "A/b")
    made.created("X/y")
    made.renamed("A", "Z/a")
    made.deleted("X")
    made.subscribed("Z/a", True)
    assert after(made, "X/y", "Z", "Z/a", "Z/a/b", subscribed=("Z/a",)) == {}
    assert after(made, "Z", "Z/a", subscribed=()) == {"X/y": "", "Z/a/b": "", "Z/a": ""}


def test_what_others_did_to_what_the_client_did_is_news() -> None:
    made = ledger("A")
    made.created("B")
    made.deleted("A")
    assert after(made, "A", ids={"a": "9"}) == {"B": "", "A": ""}


def test_a_folder_that_went_before_it_could_be_looked_at_is_told_gone() -> None:
    """The client believed in it for ever."""
    made = ledger("A")
    assert after(made, "A", "B", ids={"b": "9"}) == {"B": ""}
    assert after(made, "A") == {"B": ""}
    assert after(made, "A") == {}


def test_a_renamed_inbox_stays() -> None:
    made = ledger("Inbox")
    made.renamed("INBOX", "Old")
    assert after(made, "Inbox", "Old") == {}


def test_messages_put_where_nothing_is_watched_are_not_kept_in_mind() -> None:
    made = ledger("A", said="(mailboxes A (MessageNew MessageExpunge))")
    made.created("B")
    made.brought("B", [1])
    made.brought("A", [1])
    made.selected = "c"
    made.brought("C", [2])
    assert (made.own("B"), made.own("A"), made.own("C"), made.own("A")) == ((), {1}, {2}, ())


def test_own_annotations_are_no_news() -> None:
    made = ledger("A", said="(personal (MailboxMetadataChange ServerMetadataChange))")
    made.known["a"].kept = {"/private/x": b"1"}
    made.annotated("A", {"/private/x": None, "/private/y": b"2"})
    made.annotated("", {"/private/z": b"3"})
    made.annotated("Nowhere", {"/private/z": b"3"})
    assert made.known["a"].kept == {"/private/y": b"2"} and made.server == {"/private/z": b"3"}


def test_groups_of_the_selected_folder_are_no_others() -> None:
    assert Wishes([EventGroup("selected", (), ("MessageNew", "MessageExpunge"))]).selected == PAIR
