"""A load that keeps book: senders on raw sockets who note what was acknowledged, and a reader who counts what is in a mailbox."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

MARK = re.compile(rb"^X-Book: (\S+)\r\n", re.M)
LENGTHS = (300, 4_000, 30_000, 1_000, 9_000)  # octets of text, in turn
FILE_LENGTH = 300 * 1024  # beyond what the journal takes: streams into a file
END = b"\r\nend of the text\r\n"


@dataclass
class Book:
    """What the senders know. `tried` holds all that was begun, `acknowledged` what got its 250."""

    tried: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    _enough: threading.Event = field(default_factory=threading.Event)
    _wanted: int = 0

    def expect(self, more: int) -> None:
        """Make `wait` return after so many further acknowledgements."""
        self._enough.clear()
        self._wanted = len(self.acknowledged) + more

    def wait(self, seconds: float) -> bool:
        return self._enough.wait(seconds)

    def hear(self, mark: str, reply: bytes, is_good: bool) -> None:
        if is_good:
            self.note(mark)
        else:
            self.refused[reply.decode(errors="replace").strip()] += 1

    def note(self, mark: str) -> None:
        self.acknowledged.add(mark)
        if len(self.acknowledged) >= self._wanted:
            self._enough.set()


MAILMAX = 900  # messages a connection; the server announces 1,000 (RFC 9422)


class Senders:
    """Threads that send one message after another, each on a connection of its own, until `stop` or until the server is gone."""

    def __init__(self, book: Book, address: tuple[str, int], recipients: Iterable[str], *, label: str) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(book, address, recipient, f"{label}-{number}"), daemon=True)
            for number, recipient in enumerate(recipients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Each ends after the message under way."""
        self._stop.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _send(self, book: Book, address: tuple[str, int], recipient: str, label: str) -> None:
        """A connection that breaks ends the sender: what it sent last is then neither acknowledged nor refused."""
        number = 0
        try:
            while not self._stop.is_set():
                with socket.create_connection(address, 30) as peer, peer.makefile("rb") as replies:
                    _said(replies.readline, b"EHLO book.example.org\r\n", peer, replies=2)  # the greeting is the first
                    for _ in range(MAILMAX):
                        if self._stop.is_set():
                            return
                        number += 1
                        _one(book, peer, replies.readline, f"{label}-{number}", recipient, _length(number))
        except (OSError, EOFError):
            return


class Uploaders(Senders):
    """The same by IMAP: each appends to a login's Inbox, on one connection."""

    def __init__(self, book: Book, address: tuple[str, int], logins: Iterable[str], *, label: str, password: Callable[[str], str]) -> None:
        self._password = password
        super().__init__(book, address, logins, label=label)

    def _send(self, book: Book, address: tuple[str, int], recipient: str, label: str) -> None:
        number = 0
        try:
            with socket.create_connection(address, 30) as peer, peer.makefile("rb") as replies:
                _tagged(replies.readline, f'A LOGIN "{recipient}" "{self._password(recipient)}"\r\n'.encode(), peer)
                while not self._stop.is_set():
                    number += 1
                    mark = f"{label}-{number}"
                    book.tried.add(mark)
                    octets = text(mark, _length(number))
                    reply = _tagged(replies.readline, b"A APPEND INBOX {%d+}\r\n%b\r\n" % (len(octets), octets), peer)
                    book.hear(mark, reply, reply.startswith(b"A OK"))
        except (OSError, EOFError):
            return


def text(mark: str, length: int) -> bytes:
    """A message that shows by itself whether it is whole."""
    head = f"X-Book: {mark}\r\nFrom: book@example.org\r\nSubject: {length}\r\n\r\n".encode()
    return head + (b"seventy octets of text in a line, as people and their programs write it\r\n" * (length // 74)) + END[2:]


def torn(message: bytes) -> bool:
    return not message.endswith(END[2:])


def taken(client: Pop3, *, delete: bool) -> Counter[str]:
    """How often each mark is in the mailbox; with `delete` it is empty afterwards. AssertionError on a torn message."""
    count = client.count()
    if count:
        client.ask(b"".join(b"RETR %d\r\n" % number for number in range(1, count + 1)))
    marks: Counter[str] = Counter()
    for _ in range(count):
        message = client.block()
        found = MARK.search(message)
        assert found, f"not ours: {message[:300]!r}"
        assert not torn(message), f"torn: {found[1].decode()}, {len(message)} octets"
        marks[found[1].decode()] += 1
    if delete and count:
        client.ask(b"".join(b"DELE %d\r\n" % number for number in range(1, count + 1)))
        for _ in range(count):
            client.line()
    client.ask(b"QUIT\r\n")
    client.line()
    return marks


class Pop3:
    """As much of a POP3 client as a count needs, pipelined."""

    def __init__(self, address: tuple[str, int], login: str, password: str) -> None:
        self._peer = socket.create_connection(address, 30)
        self._replies = self._peer.makefile("rb")
        self.line()
        for command in (f"USER {login}\r\n", f"PASS {password}\r\n"):
            self.ask(command.encode())
            self.line()

    def __enter__(self) -> Pop3:
        return self

    def __exit__(self, *error: object) -> None:
        self._replies.close()
        self._peer.close()

    def ask(self, commands: bytes) -> None:
        """Sent by a thread of its own, so that neither side waits for the other to read."""
        threading.Thread(target=self._peer.sendall, args=(commands,), daemon=True).start()

    def count(self) -> int:
        self.ask(b"STAT\r\n")
        return int(self.line().split()[1])

    def line(self) -> bytes:
        reply = self._replies.readline()
        assert reply.startswith(b"+OK"), reply
        return reply

    def block(self) -> bytes:
        self.line()
        lines = []
        while (line := self._replies.readline()) != b".\r\n":
            assert line, "closed within a message"
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)


def _length(number: int) -> int:
    return FILE_LENGTH if number % 23 == 0 else LENGTHS[number % len(LENGTHS)]


def _one(book: Book, peer: socket.socket, read: Callable[[], bytes], mark: str, recipient: str, length: int) -> None:
    book.tried.add(mark)
    _said(read, f"MAIL FROM:<book@example.org>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode(), peer, replies=3)
    reply = _said(read, text(mark, length) + b".\r\n", peer)
    book.hear(mark, reply, reply.startswith(b"250"))


def _tagged(read: Callable[[], bytes], command: bytes, peer: socket.socket) -> bytes:
    """Send a command with the tag A, and return its answer; EOFError when the server is gone."""
    peer.sendall(command)
    while not (line := read()).startswith(b"A "):
        if not line.endswith(b"\n"):
            raise EOFError
    return line


def _said(read: Callable[[], bytes], commands: bytes, peer: socket.socket, *, replies: int = 1) -> bytes:
    """Send, and return the last line of the last reply; EOFError when the server is gone."""
    peer.sendall(commands)
    line = b""
    for _ in range(replies):
        line = read()
        while line[3:4] == b"-":
            line = read()
        if not line.endswith(b"\n"):
            raise EOFError
    return line
