"""Whatever a server says, in whatever pieces: no exception, nothing said after the end, and a recipient is only said to have a message that had
left whole before the answer came."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.outcome import Reply
from postroom_smtp.outbound.dialogue import ACCEPTED, Dialogue, Move
from postroom_smtp.outbound.reply import Answer

TEXT = b"Subject: x\r\n\r\nunmistakable\r\n"
GREETINGS = [*["220 mx.b.test\r\n"] * 5, "220 mx.b.test\r\n250 x\r\n", "554 no\r\n", "421 no\r\n"]
HELLOS = [
    f"250-mx.b.test\r\n{''.join(f'250-{word}{chr(13)}{chr(10)}' for word in words)}250 SIZE\r\n"
    for words in ([], ["PIPELINING"], ["CHUNKING"], ["PIPELINING", "CHUNKING"])
] + ["502 no\r\n"]
GOOD = ["250 ok\r\n", "354 go\r\n"]  # what leads on, so that not all end at once
REPLIES = [*GOOD * 4, "250-a\r\n250 b\r\n", "450 later\r\n", "550 no\r\n", "421 bye\r\n", "250 ", "\r\n", "503 what\r\n", "x\r\n"]


class Peer:
    """Our end and what was written by it; a server that listens to nobody."""

    def __init__(self) -> None:
        self.dialogue, self.written = Dialogue("a.test", tls=None), b""

    @property
    def has_all(self) -> bool:
        """Whether the whole message was sent."""
        return any(end in self.written for end in (b"BDAT %d LAST\r\n%b" % (len(TEXT), TEXT), TEXT + b".\r\n"))

    def whose(self) -> Move:
        """Move, as it is now: a type checker thinks that an attribute stays."""
        return self.dialogue.move

    def hear(self, text: str) -> None:
        dialogue, had_all, was_over = self.dialogue, self.has_all, self.dialogue.is_over
        before = list(dialogue.results)
        dialogue.receive(text.encode())
        if was_over:
            assert dialogue.results == before
        if dialogue.is_over:
            assert not dialogue.out and ACCEPTED not in dialogue.results and None not in dialogue.results
        for result in dialogue.results:
            if isinstance(result, Answer) and result is not ACCEPTED and result.is_good:
                assert had_all, "said delivered before it was sent"
        self.flush()

    def flush(self) -> None:
        self.written += b"".join(self.dialogue.out)
        self.dialogue.out.clear()


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(GREETINGS),
    st.sampled_from(HELLOS),
    st.integers(1, 3),
    st.booleans(),
    st.lists(st.lists(st.sampled_from(REPLIES), min_size=1, max_size=5).map("".join), max_size=12),
    st.integers(0, 12),
)
def test_nothing_is_said_delivered_that_was_not_sent(
    greeting: str, hello: str, rcpts: int, whole: bool, replies: list[str], gone: int
) -> None:
    """Delivered means: a 2xx came after the last octet of the message had left."""
    peer = Peer()
    dialogue = peer.dialogue
    peer.hear(greeting)
    peer.hear(hello)
    if peer.whose() is Move.PEER:
        peer.hear(hello)
    if peer.whose() is not Move.READY:
        return
    dialogue.begin(b"MAIL FROM:<>\r\n", [b"RCPT TO:<u%d@b.test>\r\n" % number for number in range(rcpts)], TEXT if whole else None)
    peer.flush()
    for number, reply in enumerate(replies):
        if peer.whose() is Move.BODY:
            dialogue.body(TEXT, last=True)
            peer.flush()
        if number == gone:
            dialogue.lost("gone")
        peer.hear(reply)
        if peer.whose() in (Move.READY, Move.OVER):
            assert all(isinstance(result, Answer | Reply) and result is not ACCEPTED for result in dialogue.results)
