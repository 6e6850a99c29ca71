"""What the tests of the inbound agent stand on: a house with an intake that remembers, a transport in memory, a peer who talks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

from postroom.address import InternalAddress
from postroom.addressmap import Resolution
from postroom.clock import Clock
from postroom.envelope import Envelope
from postroom.message import Message
from postroom.outcome import Reply
from postroom.providers import SmtpProvider
from postroom.records import AccessRecord, AuthRecord, BlacklistRecord, DomainRecord
from postroom.site import Log
from postroom.spool import Spool
from postroom.transfer import PASS, Verdict
from postroom_disk.disk import Disk
from postroom_net.authentication import Authenticator
from postroom_net.login import Login, Row
from postroom_net.passwords import HashCost, hash_password
from postroom_net.sasl import LOGIN, PLAIN, Mechanisms, cram_md5
from postroom_net.scram import mechanisms
from postroom_net.tls import TlsContexts
from postroom_ops.metrics import Metrics
from postroom_smtp.connection import Connection
from postroom_smtp.gate import Gate
from postroom_smtp.house import House
from postroom_smtp.inbound import door_of
from postroom_smtp.relay import SeenAddresses
from postroom_smtp.session import Door
from postroom_smtp.settings import Limits, Listen, SmtpSettings
from postroom_testing.clock import HandClock

R = TypeVar("R")
UNKNOWN = Reply(550, "5.1.1", "No such recipient here")
RELAYING_DENIED = Reply(550, "5.7.1", "Relaying denied")


class Rows:
    """A table in memory, as far as the gate looks at one."""

    def __init__(self, rows: Sequence[Any] = (), *, remote: bool = False) -> None:
        self.rows, self.remote = list(rows), remote
        self.watchers: list[Callable[[], None]] = []
        self.error: Exception | None = None

    def snapshot(self) -> Sequence[Any] | None:
        return None if self.remote else tuple(self.rows)

    async def find(self, **equals: str | int) -> Sequence[Any]:
        if self.error is not None:
            raise self.error
        return tuple(self.rows)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.watchers.append(changed)
        return lambda: self.watchers.remove(changed)

    def become(self, *rows: Any) -> None:
        self.rows = list(rows)
        for changed in self.watchers:
            changed()


class Tables:
    """The SMTP provider family."""

    def __init__(
        self, access: Sequence[AccessRecord] = (), deny: Sequence[AccessRecord] = (), blacklist: Sequence[BlacklistRecord] = ()
    ) -> None:
        self.access, self.deny, self.blacklist = Rows(access), Rows(deny), Rows(blacklist)
        self.domains = Rows([DomainRecord(domain="example.test", account="example")])


class Routes:
    """Where addresses lead: those of example.test to the mailbox of their name, `forwarded` outside, others to themselves."""

    def __init__(self) -> None:
        self.rows = {"forwarded@example.test": "[SMTP:far@away.test]", "taken@other.test": "[SF:example.test/alice]"}

    def resolve(self, address: InternalAddress) -> Resolution:
        if (row := self.rows.get(address.detail.lower())) is not None:
            return Resolution(address, (InternalAddress.parse(row),))
        ours = self.is_ours(address.domain)
        return Resolution(address, (InternalAddress("SF", f"example.test/{address.local}"),) if ours else (address,))

    def is_ours(self, domain: str) -> bool:
        return domain in ("example.test", "xn--bcher-kva.test", "[192.0.2.7]")


CHEAP = HashCost(1, 8, 1, 4096)
PASSWORD = "correct horse"
STORED = hash_password(PASSWORD, CHEAP)


def people(rights: str = "USER") -> dict[str, AuthRecord]:
    """alice has all that every mechanism but CRAM-MD5 needs, clara a clear password, old a hash alone, and off is disabled."""
    rows = [
        AuthRecord(username="alice@example.test", password=STORED, account="example.test", rights=rights),
        AuthRecord(username="clara@example.test", password=PASSWORD, account="example.test"),
        AuthRecord(username="old@example.test", password=STORED.partition("|")[0], account="example.test"),
        AuthRecord(username="off@example.test", password=STORED, account="example.test", status=0),
    ]
    return {row.username: row for row in rows}


class Lines:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def debug(self, event: str, **facts: object) -> None:
        self.lines.append(("debug", event, facts))

    def info(self, event: str, **facts: object) -> None:
        self.lines.append(("info", event, facts))

    def warning(self, event: str, **facts: object) -> None:
        self.lines.append(("warning", event, facts))

    def error(self, event: str, **facts: object) -> None:
        self.lines.append(("error", event, facts))

    def of(self, event: str) -> list[dict[str, object]]:
        return [facts for _, name, facts in self.lines if name == event]

    @property
    def errors(self) -> list[str]:
        return [event for level, event, _ in self.lines if level == "error"]


class Intake:
    """Takes what is given; `verdict` and `gate` let a test decide what and when."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: list[tuple[Envelope, bytes]] = []
        self.verdict: Verdict | Exception = PASS
        self.gate: asyncio.Event | None = None
        self.busy: asyncio.Event | None = None
        self.unknown = {"nobody@example.test"}

    async def accept(self, envelope: Envelope, message: Message) -> Verdict:
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        self.taken.append((envelope, await message.read()))
        return self.verdict

    def verify(self, address: InternalAddress) -> Reply | None:
        if address.domain not in ("example.test", "xn--bcher-kva.test", "[192.0.2.7]"):
            return RELAYING_DENIED
        return UNKNOWN if address.detail.lower() in self.unknown else None

    def overloaded(self) -> bool:
        return self.busy is not None and not self.busy.is_set()

    async def relieved(self) -> None:
        if self.busy is not None:
            await self.busy.wait()

    def big(self, message_id: str, source: str) -> Path:
        return self.folder / f"{message_id}.MAI"


class AtOnce(ThreadPoolExecutor):
    """Computes in the thread that asks, so that a test knows when a hash is done."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*args, **named))
        return done


class Resting:
    """A spool as far as a held message needs one: what was put to rest, and when it is due."""

    def __init__(self) -> None:
        self.held: list[tuple[Envelope, bytes]] = []
        self.error: Exception | None = None

    async def accept(self, envelope: Envelope, message: Message) -> Resting:
        if self.error is not None:
            raise self.error
        self._data = await message.read()
        return self

    def again(self, envelope: Envelope) -> None:
        self.held.append((envelope, self._data))


class Asking:
    """Hooks of other plugins, as functions by name."""

    def __init__(self) -> None:
        self.hooks: dict[str, Callable[[Any], Awaitable[Any]]] = {}

    async def __call__(self, hook: str, **arguments: object) -> Any:
        return await self.hooks[hook](arguments["event"])

    async def transfer(self, hook: str, event: object) -> Any:
        raise NotImplementedError("the SMTP plugin asks no transfer hook")

    def has(self, hook: str) -> bool:
        return hook in self.hooks


class Wire(asyncio.Transport):
    """The other end of a connection, in memory. `said` holds what was written, a write each; `unsent` of it nobody has read yet."""

    def __init__(self, ip: str = "192.0.2.25") -> None:
        super().__init__({"peername": (ip, 40000)})
        self.said: list[bytes] = []
        self.is_closed = self.was_aborted = False
        self.reading: list[bool] = []  # each time it was stopped or started
        self.protocol: Connection | None = None
        self.unsent = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: Any) -> None:
        assert not self.is_closed, "written after close"
        self.said.append(bytes(data))

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self._lost)

    def abort(self) -> None:
        self.was_aborted = True
        self.close()

    def _lost(self) -> None:
        if self.protocol is not None:
            self.protocol.connection_lost(None)

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.reading.append(False)

    def resume_reading(self) -> None:
        self.reading.append(True)


class Talk:
    """One conversation with a house of its own. `send` gives octets and returns all that was answered to them."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: SmtpSettings | None = None,
        listen: Listen | None = None,
        tables: Tables | None = None,
        tls: TlsContexts | None = None,
        disk: Disk | None = None,
        ip: str = "192.0.2.25",
        **limits: float,
    ) -> None:
        self.clock = HandClock()
        self.intake, self.asking, self.log = Intake(folder), Asking(), Lines()
        chosen = settings or SmtpSettings()
        if limits:
            chosen = chosen.model_copy(update={"limits": Limits.model_validate(chosen.limits.model_dump() | limits)})
        self.tables = tables or Tables()
        self.spool = Resting()
        self.routes, self.people = Routes(), people()
        self.login = Login(self._find, self.clock, cost=CHEAP, threads=1)
        self.login._threads = AtOnce(1)
        self.house = house(self, chosen, tls or TlsContexts(), disk or Disk())
        self.listen, self.ip = listen or Listen(port=0), ip

    def door(self) -> Door:
        certified = self.house.tls.server_context() is not None
        return door_of(self.listen, "smtp", certified=certified, without_tls=self.house.settings.auth.without_tls)

    async def _find(self, name: str) -> Row | None:
        return self.people.get(name.lower())

    async def connect(self, ip: str = "") -> bytes:
        """Open a connection; the greeting, if one came."""
        if not self.house.gate.opened:
            await self.house.gate.open()
        self.wire = Wire(ip or self.ip)
        self.connection = Connection(self.house, self.listen, self.door())
        self.wire.protocol = self.connection
        self.connection.connection_made(self.wire)
        return await self.heard()

    async def heard(self) -> bytes:
        """What was said since the last look, after all that can go on has gone on."""
        await settle(self.connection)
        self.writes = len(self.wire.said)
        said, self.wire.said = b"".join(self.wire.said), []
        return said

    async def send(self, data: bytes) -> bytes:
        if not self.wire.is_closed:
            self.connection.data_received(data)
        return await self.heard()

    async def say(self, *lines: str) -> bytes:
        """Command lines, each in a packet of its own; all answers."""
        return b"".join([await self.send(line.encode() + b"\r\n") for line in lines])

    async def open(self, *recipients: str, sender: str = "<carol@sender.test>", data: bool = True) -> None:
        """Up to the point where a message may come."""
        await self.connect()
        await self.say("EHLO peer.test", f"MAIL FROM:{sender}")
        for recipient in recipients or ("alice@example.test",):
            await self.say(f"RCPT TO:<{recipient}>")
        if data:
            assert (await self.say("DATA")).startswith(b"354")

    async def turn(self, seconds: float) -> bytes:
        """Let time pass, look at the deadlines; what was said."""
        await self.clock.advance(seconds)
        self.house.wheel.turn()
        return await self.heard()

    @property
    def messages(self) -> list[bytes]:
        """What was taken, without our trace lines."""
        return [body_of(data) for _, data in self.intake.taken]

    @property
    def files(self) -> list[Path]:
        """What lies on disk now."""
        return sorted(self.intake.folder.iterdir())

    async def end(self) -> None:
        """Close what is open, so that no task and no file is left."""
        if self.connection in self.house.connections:
            self.wire.abort()
        await self.heard()
        await self.house.gate.close()
        self.login.close()


def house(talk: Talk, settings: SmtpSettings, tls: TlsContexts, disk: Disk) -> House:
    gate = Gate(cast(SmtpProvider, talk.tables), cast(Log, talk.log), listed_only=settings.admit == "listed")
    known = {one.name: one for one in (PLAIN, LOGIN, cram_md5("mail.example.test"), *mechanisms(lambda: b"k" * 32))}
    offered = Mechanisms([known[name] for name in settings.auth.mechanisms])
    return House(
        "mail.example.test",
        settings,
        cast(Clock, talk.clock),
        disk,
        talk.intake,
        talk.asking,
        tls,
        gate,
        cast(Log, talk.log),
        Metrics(),
        talk.routes,
        Authenticator(offered, talk.login, "smtp"),
        SeenAddresses(cast(Clock, talk.clock), settings.relay.pop_before_smtp * 60),
        cast(Spool, talk.spool),
    )


async def settle(connection: Connection) -> None:
    """Let everything run that waits for nothing outside."""
    for _ in range(12):
        await asyncio.sleep(0)


def body_of(data: bytes) -> bytes:
    """A message without the trace lines we put in front."""
    assert data.startswith(b"Return-Path: <")
    return data[data.index(b" +0000\r\n") + 8 :]


def run(main: Awaitable[R]) -> R:
    async def guarded() -> R:
        async with asyncio.timeout(20):
            return await main

    return asyncio.run(guarded())


def client_context(ca: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context
