"""What the tests of the outbound agent stand on: servers in memory that do as they are told, DNS as a dictionary, a clock turned by hand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from postroom.address import smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.message import MemoryMessage, Message
from postroom.outcome import Deferred, Delivered, Failed, Outcome
from postroom.records import DomainRecord
from postroom.site import Site
from postroom_net.resolver import Answer, Temporary
from postroom_ops.metrics import Metrics
from postroom_smtp.outbound.agent import OutboundAgent
from postroom_smtp.outbound.pool import Make
from postroom_smtp.outbound.settings import OutboundSettings
from postroom_smtp.outbound.tlspolicy import TlsPolicy
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines

R = TypeVar("R")
MODERN = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE 1000000", "ENHANCEDSTATUSCODES")
OLD_PIPELINES = ("PIPELINING", "8BITMIME")
TEXT = b"Subject: hello\r\n\r\nA line.\r\n.a dot\r\n"


@dataclass
class Server:
    """An SMTP server in memory. `says` overrides the answer to a command by its first words, the longest that fits; an answer may be a
    list, one for each time. `taken` are the messages it has responsibility for: (MAIL, [RCPT], octets)."""

    offers: Sequence[str] = MODERN
    says: dict[str, Any] = field(default_factory=dict)
    name: str = "mx.b.test"
    drop_in: int = -1  # octets heard after which the connection breaks, in all connections together
    drop_out: int = -1  # octets said after which it breaks
    mute: bool = False
    takes_nothing: bool = False  # does not read
    taken: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)  # commands
    packets: list[bytes] = field(default_factory=list)
    asked_for: list[str | None] = field(default_factory=list)  # names said in handshakes
    said: int = 0  # octets
    lines: list[Line] = field(default_factory=list)  # connections

    @property
    def open_lines(self) -> int:
        return sum(not line.is_closed for line in self.lines)


class Line(asyncio.Transport):
    """One connection: the client's transport, and the server behind it."""

    def __init__(self, server: Server, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("192.0.2.1", 25)})
        self.server, self.protocol = server, protocol
        self.is_closed = False
        self._buffer = b""
        self._mail, self._rcpts, self._body = "", cast("list[str]", []), b""
        self._in_data = False
        self._chunk = -1
        self._last = False
        server.lines.append(self)

    def begin(self) -> None:
        self.protocol.connection_made(self)
        self.say(self._answer("GREETING", f"220 {self.server.name} ESMTP"))

    # The client's side.

    def write(self, data: Any) -> None:
        if self.is_closed:
            return
        data, server = bytes(data), self.server
        if server.takes_nothing:
            self.protocol.pause_writing()
            return
        if server.drop_in >= 0:
            data, lost = data[: server.drop_in], len(data) >= server.drop_in
            server.drop_in -= len(data)
            self._hear(data)
            if lost:
                server.drop_in = -1
                self.cut()
            return
        self._hear(data)

    def close(self) -> None:
        self._end(None)

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    # The server's side.

    def cut(self) -> None:
        """The network breaks."""
        self._end(ConnectionResetError("Connection reset by peer"))

    def _end(self, error: Exception | None) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, error)

    def say(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode() + b"\r\n"
        server, cut = self.server, False
        if server.mute or self.is_closed or not data.strip():
            return
        if server.drop_out >= 0:
            data, cut = data[: server.drop_out], len(data) >= server.drop_out
            server.drop_out -= len(data)
        if data:
            server.said += len(data)
            asyncio.get_running_loop().call_soon(self._deliver, data)
        if cut:
            server.drop_out = -1
            self.cut()

    def _deliver(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def _answer(self, command: str, usual: str) -> str | bytes:
        fitting = [key for key in self.server.says if command.upper().startswith(key.upper())]
        if not fitting:
            return usual
        key = max(fitting, key=len)
        said = self.server.says[key]
        if isinstance(said, list):
            return said.pop(0) if said else usual
        return cast("str | bytes", said)

    def _hear(self, data: bytes) -> None:
        self.server.packets.append(data)
        self._buffer += data
        while not self.is_closed and self._step():
            pass

    def _step(self) -> bool:
        if self._chunk >= 0:
            if len(self._buffer) < self._chunk:
                return False
            self._body, self._buffer, self._chunk = self._body + self._buffer[: self._chunk], self._buffer[self._chunk :], -1
            self._chunk_done()
            return True
        if self._in_data:
            end = 3 if self._buffer.startswith(b".\r\n") else self._buffer.find(b"\r\n.\r\n") + 5
            if end < 5 and not self._buffer.startswith(b".\r\n"):
                return False
            text, self._buffer, self._in_data = self._buffer[: end - 3], self._buffer[end:], False
            self._body = (b"\r\n" + text).replace(b"\r\n.", b"\r\n")[2:]
            self._take()
            return True
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        self._command(line.decode())
        return True

    def _command(self, line: str) -> None:
        self.server.heard.append(line)
        verb = line.split(" ")[0].upper()
        usual = {"EHLO": self._offered, "HELO": self._plain, "MAIL": self._from, "RCPT": self._to}.get(verb, self._other)(line)
        if verb == "BDAT":
            return
        said = self._answer(line, usual)
        if verb == "MAIL" and str(said)[:1] != "2":
            self._mail = ""
        if verb == "RCPT" and str(said)[:1] == "2" and self._mail:
            self._rcpts.append(line)
        if verb == "DATA" and str(said)[:3] == "354":
            self._in_data = True
        self.say(said)
        if verb == "QUIT" and said:
            self._end(None)

    def _offered(self, line: str) -> str:
        *some, last = [self.server.name, *self.server.offers]
        return "".join(f"250-{one}\r\n" for one in some) + f"250 {last}"

    def _plain(self, line: str) -> str:
        return f"250 {self.server.name}"

    def _from(self, line: str) -> str:
        self._mail, self._rcpts, self._body = line, [], b""
        return "250 2.1.0 Ok"

    def _to(self, line: str) -> str:
        return "250 2.1.5 Ok" if self._mail else "503 5.5.1 MAIL first"

    def _other(self, line: str) -> str:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "DATA":
                return "354 Go on" if self._rcpts else "554 5.5.1 No valid recipients"
            case "BDAT":
                self._chunk, self._last = int(rest.split()[0]), rest.upper().endswith("LAST")
            case "QUIT":
                return "221 2.0.0 Bye"
            case "STARTTLS":
                return "220 2.0.0 Go"
            case "RSET":
                self._mail, self._rcpts, self._body = "", [], b""
        return "250 2.0.0 Ok"

    def _chunk_done(self) -> None:
        if self._last:
            self._take()
        else:
            self.say(self._answer("CHUNK", "250 2.0.0 Chunk ok" if self._rcpts else "503 5.5.1 No valid recipients"))

    def _take(self) -> None:
        said = self._answer("FINAL", "250 2.0.0 Queued" if self._rcpts else "554 5.5.1 No valid recipients")
        if str(said)[:1] == "2" and self._rcpts:
            self.server.taken.append((self._mail, self._rcpts, self._body))
        self._mail, self._rcpts, self._body = "", [], b""
        self.say(said)


@dataclass(frozen=True)
class _Record:
    text: str

    def to_text(self) -> str:
        return self.text


class Dns:
    """A resolver with a dictionary: "KIND name" to records; a name in `failing` is Temporary."""

    def __init__(self, clock: HandClock, records: dict[str, str | list[str]]) -> None:
        self.clock, self.records = clock, records
        self.failing: set[str] = set()
        self.asked: list[str] = []
        self.secure = False

    async def query(self, name: str, kind: str) -> Answer:
        self.asked.append(f"{kind} {name}")
        if name in self.failing:
            raise Temporary(f"{name} {kind}: SERVFAIL")
        found = self.records.get(f"{kind} {name}", [])
        records = tuple(_Record(text) for text in ([found] if isinstance(found, str) else found))
        exists = any(f"{known} {name}" in self.records for known in ("MX", "A", "AAAA", "TXT"))
        return Answer(name, kind, cast(Any, records), exists, self.secure, self.clock.monotonic() + 60.0)


class Domains:
    """The domain table."""

    def __init__(self, rows: Iterable[DomainRecord] = ()) -> None:
        self.rows, self.version = list(rows), 0

    def snapshot(self) -> Sequence[DomainRecord]:
        return self.rows

    def become(self, *rows: DomainRecord) -> None:
        self.rows, self.version = list(rows), self.version + 1


@dataclass(frozen=True)
class Bus:
    """A bus with nobody else on it."""

    told: dict[str, Callable[[bytes], None]]

    def listen(self, topic: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        self.told[topic] = told
        return lambda: None


DNS = {"MX b.test": "10 mx.b.test.", "A mx.b.test": "192.0.2.1"}


class World:
    """An outbound agent among servers in memory, by address; or with real sockets."""

    def __init__(
        self,
        server: Server | None = None,
        *,
        dns: dict[str, Any] | None = None,
        domains: Iterable[DomainRecord] = (),
        policy: TlsPolicy | None = None,
        seed: int = 1,
        real: bool = False,
        trusted: bool = True,
        **settings: Any,
    ) -> None:
        self.clock, self.log, self.metrics = HandClock(), Lines(), Metrics()
        self.server = server or Server()
        self.servers: dict[str, Server | Exception | None] = {"192.0.2.1": self.server}
        self.dns = Dns(self.clock, dict(DNS if dns is None else dns))
        self.domains = Domains(domains)
        self.dialled: list[tuple[str, int]] = []
        self.told: dict[str, Callable[[bytes], None]] = {}  # who listens on the bus, by topic
        site = SimpleNamespace(
            settings=SimpleNamespace(server="mail.a.test"),
            providers=SimpleNamespace(smtp=SimpleNamespace(domains=self.domains)),
            clock=self.clock, log=self.log, metrics=self.metrics, resolver=self.dns, sockets={}, worker=0, spool=None, bus=Bus(self.told),
        )  # fmt: skip
        said = OutboundSettings.model_validate(settings)
        self.agent = OutboundAgent(cast(Site, site), said, policy=policy, trusts=trusted, dial=None if real else self.dial, seed=seed)

    async def dial(self, make: Make, ip: str, port: int, context: ssl.SSLContext | None, name: str) -> object:
        self.dialled.append((ip, port))
        server = self.servers.get(ip)
        if server is None:
            await asyncio.get_running_loop().create_future()  # packets vanish
        if isinstance(server, Exception):
            raise server
        assert server is not None
        line = Line(server, make())
        line.begin()
        return line

    async def deliver(self, *to: str, text: bytes = TEXT, sender: str = "ann@a.test", **more: Any) -> list[Outcome]:
        """One attempt; outcomes in the order of the recipients."""
        recipients = tuple(Recipient(smtp(one)) for one in to or ("bob@b.test",))
        return await self.attempt(envelope(recipients, sender=sender, **more), MemoryMessage("A" * 32, text))

    async def attempt(self, sent: Envelope, message: Message) -> list[Outcome]:
        outcomes = await self.agent.deliver(sent, message)
        by = {outcome.recipient.address: outcome for outcome in outcomes}
        assert len(by) == len(outcomes) == len(sent.recipients), outcomes
        return [by[recipient.address] for recipient in sent.recipients]

    async def keep(self) -> None:
        """Run the agent, so that connections are kept; `run` below ends it."""
        self._running = asyncio.create_task(self.agent.run())
        await asyncio.sleep(0)

    async def end(self) -> None:
        if hasattr(self, "_running"):
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self.agent.pool.close()

    def attempts(self, event: str = "smtp.sent") -> list[dict[str, object]]:
        return [facts for _, name, facts in self.log.told if name == event]


def envelope(recipients: Sequence[Recipient], *, sender: str = "ann@a.test", user: str = "", **more: Any) -> Envelope:
    made = Envelope("E" * 32, "A" * 32, "SF", smtp(sender) if sender else None, tuple(recipients), 0.0, Peer(user=user))
    return replace(made, **more)


def words(outcomes: Iterable[Outcome]) -> list[str]:
    """`delivered`, or the kind with code and enhanced code."""
    said = []
    for one in outcomes:
        if isinstance(one, Deferred | Failed):
            said.append(f"{type(one).__name__.lower()} {one.reply.code} {one.reply.enhanced}")
        else:
            assert isinstance(one, Delivered)
            said.append("delivered")
    return said


def reply_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Deferred | Failed), outcome
    return str(outcome.reply)


def run(world: World, test: Callable[[], Awaitable[R]], seconds: float = 0.0) -> R:
    """Run the test while the clock is turned as long as it waits, but not further than so many seconds; then close all."""

    async def main() -> R:
        async with asyncio.timeout(20):
            working = asyncio.ensure_future(test())
            try:
                passed = 0.0
                for _ in range(20):
                    await asyncio.sleep(0)
                while not working.done():
                    await asyncio.sleep(0)
                    if passed < seconds:
                        passed += 1.0
                        await world.clock.advance(1.0)
                return await working
            finally:
                await world.end()

    return asyncio.run(main())
