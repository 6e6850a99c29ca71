"""Case 42: mail that goes in circles, or fans out: each way it can happen ends, and nobody's mail is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import pytest

from postroom.address import InternalAddress, smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.message import MemoryMessage, new_id
from postroom.outcome import Delivered, Expanded, Failed, Outcome
from postroom_postoffice import rules
from postroom_postoffice.book import Book
from postroom_postoffice.circles import HEADER_LIMIT, came_twice
from postroom_postoffice.groups import TooManyMembers, expand
from postroom_smtp import trace
from tests.plugins_postoffice.rows import box, envelope, family, sf
from tests.plugins_postoffice.site import World

SERVER = "mail.example.test"


def came(*stops: tuple[str, str]) -> bytes:
    """A message with the trace of these stops, the last one first: server and address."""
    line = "".join(
        trace.lines(
            server=server,
            peer=Peer(ip="192.0.2.1", helo="x.test"),
            sender="a@x.test",
            recipient=to,
            message_id="A" * 32,
            now=0,
            how="ESMTP",
        ).decode()
        for server, to in reversed(stops)
    )
    return (line + "Subject: by mail.example.test for <bob@example.test>\r\n\r\nReceived: x").encode()


HERE, THERE = (SERVER, "bob@example.test"), ("mx.far.test", "b@far.test")


@pytest.mark.parametrize(
    ("stops", "twice"),
    [
        ([], False),
        ([HERE], False),
        ([THERE, HERE], False),
        ([HERE, THERE, HERE], True),
        ([HERE, THERE, ("MAIL.example.TEST", "Bob@Example.test")], True),
        ([(SERVER, "sue@example.test"), THERE, HERE], False),  # another forward brought it here
        ([(SERVER, ""), THERE, HERE], False),  # it had several recipients: told at the next turn
        ([HERE, THERE, HERE, (SERVER, "")], False),
        ([("evil-mail.example.test", "bob@example.test"), HERE], False),
    ],
)
def test_case_42_the_trace_tells_a_second_visit(stops: list[tuple[str, str]], twice: bool) -> None:
    assert came_twice(came(*stops), SERVER) is twice


def test_a_hostile_header_is_read_in_linear_time_and_no_further_than_its_limit() -> None:
    began = perf_counter()
    for hostile in (b"Received:\n " * 200_000, b"received: by " * 200_000, b"Received: for <" + b" for <" * 500_000, b"\n" * 2_000_000):
        assert not came_twice(hostile, SERVER)
    assert perf_counter() - began < 1.0
    assert not came_twice(b"X: " + b"y" * HEADER_LIMIT + b"\r\n" + came(HERE, THERE, HERE), SERVER)


ROWS = family(
    [
        box("bob", redirect=1, to="[SMTP:b@far.test]"),
        box("kept", redirect=2, to="[SMTP:b@far.test]"),
        box("near", redirect=1, to="[SF:Acme/al]"),
        box("al"),
    ],
    {"sales": ["[SMTP:b@far.test]", "[SF:Acme/al]"]},
)


def delivered(name: str, text: bytes) -> Sequence[Outcome]:
    world = World(ROWS)
    return asyncio.run(world.connector.deliver(envelope(name), MemoryMessage(new_id(), text)))


def test_case_42_a_forward_that_came_back_stays_in_its_mailbox() -> None:
    """A forwards to B, B forwards to A. Forwarded and kept it is kept once more: the store knows the message by its id."""
    for name in ("bob", "kept"):
        assert [type(one) for one in delivered(name, came(HERE))] == [Expanded]
        (outcome,) = delivered(name, came(HERE, THERE, HERE))
        assert isinstance(outcome, Delivered) and outcome.where == f"Acme/{name}/Inbox"


def test_case_42_a_group_that_gets_its_own_mail_back_says_so() -> None:
    (outcome,) = delivered("sales", came(HERE, THERE, HERE))
    assert isinstance(outcome, Failed) and outcome.reply == rules.CIRCLE


def test_what_stays_in_the_house_is_not_asked_for_its_trace() -> None:
    """Circles within the house are known by `Envelope.expanded`."""
    assert [type(one) for one in delivered("near", came(HERE, THERE, HERE))] == [Expanded]


GROUPS = {
    "all": ["[SMTP:left@example.test]", "[SMTP:right@example.test]", "[SMTP:out@far.test]"],
    "left": ["[SMTP:all@example.test]", "[SMTP:staff@example.test]"],
    "right": ["[SMTP:staff@example.test]", "[SF:Acme/al]"],
    "staff": [f"[SMTP:p{n}@far.test]" for n in range(5)],
}


def by_map(address: InternalAddress) -> Sequence[InternalAddress]:
    return (sf(address.local),) if address.domain == "example.test" else (address,)


def test_case_42_groups_that_name_each_other_by_their_outside_addresses() -> None:
    """They were opened one within another by way of the address map: a member of two got two copies, and circles grew with their depth."""
    book = Book(family([box("al")], GROUPS))
    group = book.group(sf("all"))
    assert group is not None
    members = expand(book, group, limit=10, resolve=by_map).members
    assert [str(one) for one in members] == [*GROUPS["staff"], "[SF:Acme/al]", "[SMTP:out@far.test]"]
    with pytest.raises(TooManyMembers):
        expand(book, group, limit=6, resolve=by_map)


def test_case_42_a_redirect_does_not_fan_out_beyond_the_limit() -> None:
    to = ";".join(f"[SMTP:p{n}@far.test]" for n in range(4))
    book, sent = Book(family([box("wide", redirect=1, to=to)])), envelope("wide")
    assert rules.plan(book, sent, sent.recipients[0], max_members=3).refusal == rules.FANS_OUT
    assert len(rules.plan(book, sent, sent.recipients[0], max_members=4).into) == 4


def test_a_wish_for_success_is_met_by_the_copy_that_was_kept() -> None:
    sent: Envelope = envelope("kept", notify=frozenset({"SUCCESS", "FAILURE"}))
    plan = rules.plan(Book(ROWS), sent, sent.recipients[0], max_members=3)
    assert plan.into == (Recipient(smtp("b@far.test"), "", frozenset({"FAILURE"})),)
    alone = replace(sent, recipients=(replace(sent.recipients[0], address=sf("bob")),))
    assert rules.plan(Book(ROWS), alone, alone.recipients[0], max_members=3).into[0].notify == {"SUCCESS", "FAILURE"}
