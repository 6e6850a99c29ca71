"""Case 15: a reload while hundreds of transactions are open. New workers take the same sockets, the old ones let their peers finish:
no 5xx, nothing acknowledged is lost, nothing comes twice."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom_run.control import ask
from tests.demo import Demo, await_change
from tests.load import Pop3, taken, text

pytestmark = pytest.mark.long

OPEN = 300  # transactions, a third each: before MAIL, before DATA, within the text
LOGIN = "alice@example.test"


class Peer:
    """A client that stands somewhere in its transaction."""

    def __init__(self, address: tuple[str, int], mark: str) -> None:
        self.mark, self.acknowledged, self.replies = mark, False, list[str]()
        self._text = text(mark, 2000)
        self._socket = socket.create_connection(address, 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the text goes in two pieces
        self._lines = self._socket.makefile("rb")
        self.reply()
        self.say("EHLO reload.example.org")

    def say(self, command: str) -> str:
        """The code of the reply; empty where the peer has hung up, 421 where it had said good-bye before."""
        try:
            self._socket.sendall(f"{command}\r\n".encode())
            return self.reply()
        except ConnectionError:
            return ""

    def reply(self) -> str:
        line = self._lines.readline().decode()
        while line[3:4] == "-":
            line = self._lines.readline().decode()
        if line:
            self.replies.append(line)
        return line[:3]

    def begin(self) -> None:
        """To where the text may come."""
        if self.say(f"MAIL FROM:<{self.mark}@example.org>") == "250":
            self.say(f"RCPT TO:<{LOGIN}>")

    def half(self) -> bool:
        """Half of the text."""
        if self.say("DATA") != "354":
            return False
        self._socket.sendall(self._text[:1000])
        return True

    def finish(self) -> None:
        """The other half, and what is said to it."""
        self._socket.sendall(self._text[1000:] + b".\r\n")
        self.acknowledged = self.reply() == "250"

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Demo]:
    server = Demo(tmp_path / "site").start()
    yield server
    server.close()


def test_case_15_a_reload_refuses_nobody_for_good_and_loses_nothing(served: Demo) -> None:
    address = served.endpoint("smtp")
    peers = [Peer(address, f"open-{number}") for number in range(OPEN)]
    fresh, begun, half = peers[0::3], peers[1::3], peers[2::3]
    for peer in (*begun, *half):
        peer.begin()
    assert all([peer.half() for peer in half])
    before = served.told.workers
    after = ask(served.server.site, "reload")["workers"]
    assert not set(before) & set(after)
    late = [Peer(address, f"late-{number}") for number in range(20)]
    for peer in (*fresh, *late):
        peer.begin()
    for peer in (*fresh, *late, *begun):
        if peer.half():
            peer.finish()
    for peer in half:
        peer.finish()
    everyone = [*peers, *late]
    for peer in everyone:
        peer.close()
    assert not [reply for peer in everyone for reply in peer.replies if reply.startswith("5")]
    assert all(peer.acknowledged for peer in (*half, *begun)), Counter(peer.replies[-1] for peer in (*half, *begun))
    assert any(peer.acknowledged for peer in late)
    sent = Counter(peer.mark for peer in everyone if peer.acknowledged)
    await_change(served.server.site / "Postoffices", lambda: sum(stored(served).values()) >= sum(sent.values()))
    assert stored(served) == sent


def stored(served: Demo) -> Counter[str]:
    with Pop3(served.endpoint("pop3"), LOGIN, served.password(LOGIN)) as client:
        return taken(client, delete=False)
