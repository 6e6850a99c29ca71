"""A client of IMAP on a raw socket that does not parse what it gets: it finds the tagged line and counts untagged ones."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence

from bench.server import HOST

PATIENCE = 600.0  # seconds of silence


class Session:
    """One connection, greeted and not logged in. SystemExit at the first NO or BAD: a bench has no use for them."""

    def __init__(self, port: int, *, trust: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection((HOST, port), PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket: socket.socket = trust.wrap_socket(plain, server_hostname=HOST) if trust else plain
        self._number = 0
        self._rest = b""
        self.line()

    def login(self, name: str, password: str) -> Session:
        self.do(f'LOGIN "{name}" "{password}"'.encode())
        return self

    def do(self, command: bytes) -> tuple[int, int]:
        """Octets and untagged answers received."""
        tag = self._tag()
        self._socket.sendall(tag + b" " + command + b"\r\n")
        return self._finished(tag)

    def append(self, folder: str, messages: Sequence[bytes]) -> None:
        """One APPEND of all of them (RFC 3502), with literals that wait for nothing (RFC 7888)."""
        tag = self._tag()
        parts = [tag, b' APPEND "', folder.encode(), b'"']
        for message in messages:
            parts += [b" {%d+}\r\n" % len(message), message]
        self._socket.sendall(b"".join((*parts, b"\r\n")))
        self._finished(tag)

    def idle(self, patience: float = PATIENCE) -> None:
        """Returns when the server said `+`. From then on `line` raises TimeoutError after that many seconds of silence."""
        self._socket.settimeout(patience)
        self._socket.sendall(self._tag() + b" IDLE\r\n")
        while not self.line().startswith(b"+"):
            pass

    def send(self, octets: bytes) -> None:
        """As they are; the answer is for `line`."""
        self._socket.sendall(octets)

    def line(self) -> bytes:
        """The next one, without its LF."""
        while b"\n" not in self._rest:
            self._rest += self._more()
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        self._socket.close()

    def _tag(self) -> bytes:
        self._number += 1
        return b"A%07d" % self._number

    def _finished(self, tag: bytes) -> tuple[int, int]:
        """Looks at the last line of what came, and for line starts in between; a message that looks like a tagged line is not sent."""
        octets = answers = 0
        tail, self._rest = b"\r\n" + self._rest, b""
        while True:
            if tail.endswith(b"\r\n"):
                last = tail[tail.rfind(b"\r\n", 0, -2) + 2 : -2]
                if last.startswith(tag):
                    break
            more = self._more()
            octets += len(more)
            answers += (tail[-3:] + more).count(b"\r\n* ")
            tail = tail[-4096:] + more if len(more) < 4096 else more
        if not last.startswith(tag + b" OK"):
            raise SystemExit(f"refused: {last[:200]!r}")
        return octets, answers

    def _more(self) -> bytes:
        more = self._socket.recv(262144)
        if not more:
            raise SystemExit(f"the server closed the connection after {self._rest[-200:]!r}")
        return more
