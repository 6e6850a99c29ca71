"""However a server's octets are cut and whatever they are, the client never raises, ends in an outcome for each recipient, and says delivered
only of one whose RCPT and whose message were answered by 2xx."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.outcome import Reply
from postroom_smtp.outbound.dialogue import Dialogue, Move
from postroom_smtp.outbound.reply import LINE, LINES, Answer, ReplyError, ReplyReader, explained, offers

CODES = st.sampled_from(["220", "250", "354", "421", "450", "452", "500", "550", "552", "235", "334", "999", "2"])
TEXTS = st.sampled_from(
    ["", " Ok", "-mx.test", "-PIPELINING", " CHUNKING", "-CHUNKING", " 5.1.1 No", " \x00\x1b", "-AUTH PLAIN", "-STARTTLS", "x"]
)
LINES_OF = st.builds(
    lambda code, text, end: f"{code}{text}{end}".encode("latin-1"), CODES, TEXTS, st.sampled_from(["\r\n", "\n", "\r", ""])
)
SAID = st.lists(st.one_of(LINES_OF, st.binary(max_size=8)), max_size=40)
PROPER = st.lists(
    st.sampled_from([b"250 Ok\r\n", b"550 5.1.1 No\r\n", b"354 Go\r\n", b"421 Bye\r\n", b"450 x\r\n", b"250-x\r\n250 y\r\n"]), max_size=12
)
HELLO = b"220 mx\r\n250-mx\r\n"


@given(st.one_of(st.binary(max_size=600), SAID.map(b"".join)), st.data())
def test_replies_are_the_same_however_they_are_cut(octets: bytes, data: st.DataObject) -> None:
    def read(pieces: list[bytes]) -> list[Answer] | None:
        reader, found = ReplyReader(), []
        try:
            for piece in pieces:
                found += reader.read(piece)
        except ReplyError:
            return None
        return found

    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    pieces = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    assert read(pieces) == read([octets])
    for answer in read([octets]) or []:
        said = explained(answer)
        assert said.text.isprintable() and 200 <= said.code < 600 and len(answer.lines) <= LINES
        assert all(len(line) <= LINE for line in answer.lines)
        offers(answer.lines)


@given(st.booleans(), st.booleans(), st.one_of(SAID, PROPER), st.integers(1, 4), st.booleans(), st.integers(1, 64))
@settings(max_examples=300)
def test_whatever_a_server_says_each_recipient_has_an_outcome(
    pipelining: bool, chunking: bool, said: list[bytes], count: int, large: bool, cut: int
) -> None:
    dialogue = Dialogue("me.test")
    offered = [*(["PIPELINING"] if pipelining else []), *(["CHUNKING"] if chunking else []), "HELP"]
    hello = HELLO + "".join(f"250-{one}\r\n" for one in offered[:-1]).encode() + b"250 HELP\r\n"
    for octets in (hello[:8], hello[8:]):
        dialogue.receive(octets)
        dialogue.out.clear()  # it was sent
    assert move_of(dialogue) is Move.READY
    dialogue.begin(b"MAIL FROM:<>\r\n", [b"RCPT TO:<u%d@b.test>\r\n" % n for n in range(count)], None if large else b"x\r\n")
    dialogue.out.clear()
    octets = b"".join(said)
    for at in range(0, len(octets), cut):
        dialogue.receive(octets[at : at + cut])
        if move_of(dialogue) is Move.BODY:
            dialogue.body(b"y\r\n", last=at > len(octets) // 2)
        dialogue.out.clear()
        if move_of(dialogue) is not Move.PEER:
            break
    good = sum(1 for answer in _answers(octets) if answer.is_good)
    if move_of(dialogue) is not Move.READY:
        dialogue.lost("the test is over")
    assert len(dialogue.results) == count
    delivered = 0
    for word in dialogue.results:
        assert isinstance(word, Answer | Reply)
        assert not isinstance(word, Reply) or word.code >= 400
        delivered += isinstance(word, Answer) and word.is_good
    assert not delivered or good >= delivered + 2  # MAIL, a RCPT each, and the message


def move_of(dialogue: Dialogue) -> Move:
    """As it is now: a type checker thinks that it stays."""
    return dialogue.move


def _answers(octets: bytes) -> list[Answer]:
    """All replies there are, as far as they can be read."""
    reader, found = ReplyReader(), []
    try:
        for at in range(len(octets)):
            found += reader.read(octets[at : at + 1])
    except ReplyError:
        pass
    return found
