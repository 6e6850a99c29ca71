"""Who is told, and that nothing from outside makes a line in what he is told. The report's text is tested in kernel_mime/test_report.py."""

import asyncio
import email
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.message import Message

import pytest

from postroom.address import InternalAddress, smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.message import MemoryMessage
from postroom.notice import GivenUp, compose, is_known
from postroom.outcome import Deferred, Delivered, Expanded, Failed, Outcome, Reply

from .house import TEXT, envelope

STRANGER = Peer(ip="192.0.2.1", helo="mx.example.com")
GONE, BUSY, SPAM = Reply(550, "5.1.1", "no such mailbox"), Reply(451, "4.3.0", "busy"), Reply(550, "5.7.1", "looks like spam")
LOOP = Reply(550, "5.7.30", "no REQUIRETLS there")
BOB = smtp("bob@example.test")
SF = InternalAddress.parse("[SF:PO/bob]")


def notices(sent: Envelope, *outcomes: Outcome, text: bytes = TEXT, now: float = 1_000_000.0) -> list[tuple[Envelope, MemoryMessage]]:
    async def main() -> list[tuple[Envelope, MemoryMessage]]:
        original = MemoryMessage(sent.message, text)
        return [made async for made in compose(sent, outcomes, original, host="mail.example.test", now=now, until=now + 60)]

    return asyncio.run(main())


def parts(text: MemoryMessage) -> list[Message]:
    payload = email.message_from_bytes(text.data).get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, Message)]


def fields(text: MemoryMessage) -> list[Message]:
    """The blocks of the delivery-status part."""
    return [block for block in parts(text)[1].get_payload() if isinstance(block, Message)]


def actions(sent: Envelope, *outcomes: Outcome) -> list[str]:
    return [str(block["Action"]) for _, text in notices(sent, *outcomes) for block in fields(text)[1:]]


def to(*notify: str, address: InternalAddress = BOB) -> Recipient:
    return Recipient(address, notify=frozenset(notify))


def test_a_notice_has_the_null_sender_and_goes_to_the_envelopes_sender_only() -> None:
    """Whatever the header says: From and Reply-To are not asked."""
    ((told, text),) = notices(envelope(), Failed(to(), GONE), text=b"Reply-To: other@example.com\r\n" + TEXT)
    assert told.sender is None and told.recipients == (Recipient(smtp("a@example.com")),)
    assert (told.id, told.message, told.body, told.utf8) == (text.id, text.id, "7BIT", False)
    assert email.message_from_bytes(text.data)["Auto-Submitted"] == "auto-replied"


def test_a_report_never_answers_a_report() -> None:
    """Case 41: nothing that happens to a notice makes another one."""
    wishes = to("SUCCESS", "FAILURE", "DELAY")
    for outcome in (Failed(wishes, GONE), Deferred(wishes, BUSY), Delivered(wishes), Expanded(wishes, ())):
        assert notices(envelope(sender=None), outcome) == []


ALL, NEVER = ("SUCCESS", "FAILURE", "DELAY"), ("NEVER",)
WISHES: list[tuple[Sequence[str], str, bool]] = [  # wishes, what happened, whether it is told
    ((), "failed", True),
    ((), "delayed", True),
    ((), "delivered", False),
    (NEVER, "failed", False),
    (NEVER, "delayed", False),
    (NEVER, "delivered", False),
    (("SUCCESS",), "failed", False),
    (("SUCCESS",), "delayed", False),
    (("SUCCESS",), "delivered", True),
    (("SUCCESS",), "expanded", True),
    (("FAILURE",), "expanded", False),
    (("FAILURE",), "delayed", False),
    (("DELAY",), "delayed", True),
    (("DELAY",), "failed", False),
    (ALL, "failed", True),
]


@pytest.mark.parametrize(("wishes", "happened", "told"), WISHES)
def test_who_asked_is_told(wishes: Sequence[str], happened: str, told: bool) -> None:
    """RFC 3461 section 4.1."""
    recipient = to(*wishes, address=SF)
    outcomes: dict[str, Outcome] = {
        "failed": Failed(recipient, GONE),
        "delayed": Deferred(recipient, BUSY),
        "delivered": Delivered(recipient),
        "expanded": Expanded(recipient, (to(address=SF), to())),
    }
    assert actions(envelope(), outcomes[happened]) == [happened] * told


@pytest.mark.parametrize(
    ("outcome", "action"),
    [
        (Delivered(to("SUCCESS")), ["relayed"]),  # a next hop that takes DSN has had the wish: the connector took it off
        (Delivered(to("SUCCESS", address=SF)), ["delivered"]),
        (Expanded(to("SUCCESS", address=SF), (to(), to())), ["expanded"]),
        (Expanded(to("SUCCESS", address=SF), (to("SUCCESS"),)), []),  # one for one: the wish went on with it
        (Expanded(to("SUCCESS", address=SF), (to("NEVER"),), kept=True), ["delivered"]),
    ],
)
def test_what_became_of_it(outcome: Outcome, action: list[str]) -> None:
    """RFC 3464 section 2.3.3, RFC 3461 section 5.2.7."""
    assert actions(envelope(), outcome) == action


def test_a_group_that_is_sent_on_in_two_ways_is_told_once() -> None:
    recipient = to("SUCCESS", address=SF)
    assert actions(envelope(), Expanded(recipient, (to(),)), Expanded(recipient, (to(),), sender_kept=False)) == ["expanded"]


@pytest.mark.parametrize(
    ("peer", "known"),
    [
        (Peer(), True),  # no client: a plugin, a program of this machine
        (Peer(ip="192.0.2.1", user="alice"), True),
        (Peer(ip="192.0.2.1", trusted=True), True),
        (STRANGER, False),
    ],
)
def test_case_41_whose_name_is_its_own(peer: Peer, known: bool) -> None:
    assert is_known(peer) is known


def test_case_41_a_stranger_hears_of_failures_only_and_not_of_what_was_refused_for_what_it_is() -> None:
    """Its name may be forged: nothing that it can ask for makes us write to somebody else."""
    sent = replace(envelope(), peer=STRANGER)
    wishes = to("SUCCESS", "FAILURE", "DELAY", address=SF)
    for silent in (Delivered(wishes), Deferred(wishes, BUSY), Expanded(wishes, ()), Failed(wishes, SPAM), Failed(to(), SPAM)):
        assert notices(sent, silent) == []
    assert actions(sent, Failed(to(), GONE)) == actions(sent, Failed(to(), LOOP)) == ["failed"]  # RFC 5321 section 6.1, RFC 8689 section 5
    assert actions(envelope(), Failed(to(), SPAM)) == ["failed"]


def test_ret_full_returns_the_whole_to_a_sender_we_know() -> None:
    """RFC 3461 section 4.3, and case 41: a stranger cannot have a text of its own sent to whom it names."""
    for ret, peer, kind in (
        ("FULL", Peer(trusted=True), "message/rfc822"),
        ("HDRS", Peer(trusted=True), "text/rfc822-headers"),
        ("", Peer(trusted=True), "text/rfc822-headers"),
        ("FULL", STRANGER, "text/rfc822-headers"),
    ):
        ((_, text),) = notices(replace(envelope(), ret=ret, peer=peer), Failed(to(), GONE))
        assert parts(text)[2].get_content_type() == kind
        assert (b"body" in text.data) is (kind == "message/rfc822")


def test_what_was_given_up_says_what_the_last_attempt_met() -> None:
    ((_, text),) = notices(envelope(), GivenUp(to(), Reply(554, "5.4.7", "Given up"), last=BUSY))
    _, block = fields(text)
    assert (block["Status"], block["Diagnostic-Code"]) == ("5.4.7", "smtp; 451 4.3.0 busy")


@dataclass(frozen=True, slots=True)
class FailedThere(Failed):
    """As a connector tells it that knows which server said so."""

    remote: str = "mx.far.test [192.0.2.7]"


def test_the_server_that_said_it_is_named_and_its_words_are_its_own() -> None:
    """RFC 3464 sections 2.3.5 and 2.3.6."""
    ((_, text),) = notices(envelope(), FailedThere(to(), Reply(550, "5.1.1", "mx.far.test [192.0.2.7] said: no such user")))
    _, block = fields(text)
    assert (block["Remote-MTA"], block["Diagnostic-Code"]) == ("dns; mx.far.test [192.0.2.7]", "smtp; 550 5.1.1 no such user")


def test_case_38_a_reply_with_line_ends_stays_one_line() -> None:
    """A remote server's text cannot add a header or a status field."""
    sent = replace(envelope(sender="a\r\nBcc: z@example.net\r\n@example.com"), envid="1\r\n\r\nAction: x")
    reply = Reply(550, "5.1.1", "no\r\nAction: delivered\r\n\r\n--=_x|Bcc: y")
    ((_, text),) = notices(sent, Failed(replace(to(), original="rfc822;b\nAction: y"), reply))
    notice = email.message_from_bytes(text.data)
    assert [block.get_all("Action") for block in fields(text)] == [None, ["failed"]]
    assert notice["Bcc"] is None and len(notice.get_payload()) == 3


def test_the_same_failure_makes_the_same_notice() -> None:
    """A replay composes it again; its mailbox takes it once because the id is the same."""
    sent = envelope()
    ((_, one),), ((_, two),) = (notices(sent, Failed(sent.recipients[0], GONE), now=now) for now in (1.0, 2.0))
    assert one.id == two.id
    ((_, other),) = notices(sent, Failed(to(address=smtp("x@example.test")), GONE))
    assert other.id != one.id


def test_a_senders_name_beyond_ascii_needs_smtputf8() -> None:
    ((told, _),) = notices(replace(envelope(sender="δ@example.com"), utf8=True), Failed(to(), GONE))
    assert (told.utf8, told.body) == (True, "8BITMIME")
