"""What these tests share: mailboxes in memory that keep the store's contract, a transport that remembers, a client that talks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from postroom.errors import NoSuchMessage
from postroom.mailstore import FlagChange, FolderStatus, MailStore, StoredMessage
from postroom.providers import PostofficeProvider
from postroom.records import AuthRecord, MailboxRecord
from postroom.site import Log
from postroom_disk.disk import Disk
from postroom_net import offered
from postroom_net.authentication import Authenticator
from postroom_net.limits import ConnectionLimits
from postroom_net.login import Login
from postroom_net.passwords import HashCost
from postroom_net.scram import Verifier
from postroom_net.wheel import TimerWheel
from postroom_ops.metrics import Metrics
from postroom_pop3.connection import Connection, House
from postroom_pop3.errands import Counts, World
from postroom_pop3.maildrop import Locks
from postroom_pop3.settings import Pop3Settings
from tests.kernel_net.ticking import Ticking

FIRST = b"From: a@example.com\r\nSubject: one\r\n\r\nhello\r\n.dotted\r\nlast\r\n"
SECOND = b"Subject: two\r\n\r\nno line end"
THIRD = b"Subject: three\r\n\r\n"


@dataclass
class Inbox:
    """A folder: what is in it by UID, and what was done to it."""

    texts: dict[int, bytes] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    broken: Exception | None = None  # raised by whatever touches the disk
    reads: int = 0
    suspends: bool = False
    uidvalidity: int = 1
    expunging: asyncio.Event | None = None  # an expunge waits for it

    def add(self, *texts: bytes) -> Inbox:
        for text in texts:
            self.texts[max(self.texts, default=0) + 1] = text
        return self

    def view(self) -> Snapshot:
        status = FolderStatus("Inbox", "", self.uidvalidity, max(self.texts, default=0) + 1, 1, len(self.texts), 0, 0, 0)
        return Snapshot(tuple(self.texts), tuple(map(len, self.texts.values())), status)

    async def read(self, uid: int, offset: int = 0, n: int = -1) -> bytes:
        self.reads += 1
        if self.suspends:
            await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        if uid not in self.texts:
            raise NoSuchMessage(str(uid))
        text = self.texts[uid][offset:]
        return text if n < 0 else text[:n]

    def peek(self, uid: int, most: int) -> bytes | None:
        self.reads += 1
        if self.broken is not None:
            raise self.broken
        if uid not in self.texts:
            raise NoSuchMessage(str(uid))
        text = self.texts[uid]
        return text if len(text) <= most and not self.suspends else None

    async def expunge(self, uids: Iterable[int], *, uidvalidity: int | None = None, having: int = 0) -> Sequence[int]:
        assert uidvalidity == self.uidvalidity and not having
        if self.expunging is not None:
            await self.expunging.wait()
        if self.broken is not None:
            raise self.broken
        return [uid for uid in uids if self.texts.pop(uid, None) is not None]

    async def change_flags(self, uids: Iterable[int], *, add: int = 0, uidvalidity: int | None = None, **other: Any) -> FlagChange:
        assert add == 1 and uidvalidity == self.uidvalidity and not other
        self.seen.update(uids)
        return FlagChange(1, list(uids), [])


@dataclass(frozen=True)
class Snapshot:
    uids: Sequence[int]
    octets: Sequence[int]
    status: FolderStatus

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def ids(self) -> Sequence[str]:
        return [f"{uid:032X}" for uid in self.uids]

    def message(self, row: int) -> StoredMessage:
        return StoredMessage(self.uids[row], self.ids[row], 0, 1, self.octets[row], 0.0, 0.0, 0.0)


@dataclass
class Store:
    """Mailboxes by (post office, name), each with an Inbox."""

    inboxes: dict[tuple[str, str], Inbox] = field(default_factory=dict)
    broken: Exception | None = None

    async def mailbox(self, postoffice: str, name: str) -> Any:
        if self.broken is not None:
            raise self.broken
        inbox = self.inboxes.setdefault((postoffice, name), Inbox())

        class Box:
            async def folder(self, name: str) -> Inbox:
                assert name == "Inbox"
                return inbox

        return Box()


@dataclass
class Book:
    """The post office provider: which mailboxes there are."""

    rows: dict[tuple[str, str], MailboxRecord] = field(default_factory=dict)

    @property
    def mailboxes(self) -> Book:
        return self

    async def get(self, postoffice: str, mailbox: str) -> MailboxRecord | None:
        return self.rows.get((postoffice.lower(), mailbox.lower()))


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **facts: self.lines.append((level, event, facts))

    def of(self, event: str) -> list[dict[str, object]]:
        return [facts for _, name, facts in self.lines if name == event]


class Wire(asyncio.Transport):
    """What the event loop would be to a connection. `narrow` makes it as slow as a peer that does not read."""

    def __init__(self, peer: str) -> None:
        super().__init__({"peername": (peer, 4711)})
        self.writes: list[bytes] = []
        self.closed = self.aborted = self.paused = self.narrow = False
        self.protocol: Connection

    def write(self, data: Any) -> None:
        assert not self.closed
        self.writes.append(bytes(data))
        if self.narrow:
            self.protocol.pause_writing()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


@dataclass
class Client:
    """One connection in memory."""

    connection: Connection
    wire: Wire

    async def say(self, data: bytes) -> bytes:
        """Send a packet; everything that is answered until nothing is under way."""
        self.connection.data_received(data)
        return await self.heard()

    async def heard(self) -> bytes:
        for _ in range(3):
            while (task := self.connection._task) is not None:
                await asyncio.wait([task])
            await asyncio.sleep(0)
        said = b"".join(self.wire.writes)
        self.wire.writes.clear()
        return said

    async def log_in(self, login: str = "bob@po") -> bytes:
        return await self.say(b"USER %b\r\nPASS secret\r\n" % login.encode())


@dataclass
class Pop3:
    """A service without sockets."""

    house: House
    clock: Ticking
    store: Store
    book: Book
    log: Lines
    metrics: Metrics
    clients: list[Client] = field(default_factory=list)

    @property
    def inbox(self) -> Inbox:
        return self.store.inboxes["po", "bob"]

    def connect(self, peer: str = "192.0.2.1", *, stls: bool = True, implicit: bool = False) -> Client:
        wire = Wire(peer)
        limits = self.house.limits
        wire.protocol = Connection(self.house, (lambda: None) if implicit and limits.admit(peer) else None, stls=stls)
        wire.protocol.connection_made(wire)
        client = Client(wire.protocol, wire)
        self.clients.append(client)
        return client

    async def close(self) -> None:
        for client in self.clients:
            client.wire.abort()
            await client.heard()
        assert not self.house.open and len(self.house.wheel) == 0 and self.house.limits.count == 0
        self.house.world.login.close()


LOGINS = {
    row.username: row
    for row in (
        AuthRecord(username="bob@po", password="secret", account="po"),
        AuthRecord(username="jörg@po", password="secret", account="po"),
        AuthRecord(username="off@po", password="secret", account="po", status=0),
        AuthRecord(username="none@po", password="secret", account="po"),
        AuthRecord(username="shut@po", password="secret", account="po"),
        AuthRecord(username="blank@po", password=" two  blanks ", account="po"),
        AuthRecord(username="ann@po", password=str(Verifier.of(b"secret", 4096)), account="po"),
    )
}
MAILBOXES = ("bob", "jörg", "off", "blank", "ann")


def serve(folder: Path, *, tls: Any = None, **settings: Any) -> Pop3:
    """A service over memory, with bob's three messages."""
    clock, store, book, log, metrics = Ticking(), Store(), Book(), Lines(), Metrics()
    store.inboxes["po", "bob"] = Inbox().add(FIRST, SECOND, THIRD)
    book.rows = {("po", name): MailboxRecord(postoffice="po", mailbox=name) for name in MAILBOXES}
    book.rows["po", "shut"] = MailboxRecord(postoffice="po", mailbox="shut", status=0)

    async def lookup(name: str) -> AuthRecord | None:
        if name == "broken@po":
            raise OSError("away")
        return LOGINS.get(name.lower())

    chosen = Pop3Settings.model_validate({"plaintext": True, "mechanisms": ("PLAIN", "LOGIN")} | settings)
    login = Login(lookup, clock, cost=HashCost(1, 8, 1), threads=1)
    mechanisms = offered.mechanisms(chosen.mechanisms, host="mail.test", key=lambda: b"k" * 32)
    world = World(
        chosen,
        login,
        cast(MailStore, store),
        cast(PostofficeProvider, book),
        Locks(folder / "run" / "locks", Disk()),
        cast(Log, log),
        tls,
        Authenticator(mechanisms, login, "pop3"),
        Counts(metrics),
    )
    limits = ConnectionLimits(chosen.connections, chosen.connections_per_ip, chosen.connections_per_network, chosen.exempt)
    return Pop3(House(TimerWheel(clock), limits, "mail.test", world, clock), clock, store, book, log, metrics)
