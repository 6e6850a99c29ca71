"""The service on real sockets and real TLS, on both event loops; poplib is the client."""

from __future__ import annotations

import asyncio
import hashlib
import poplib
import socket
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop
from pydantic import ValidationError

from postroom.site import Site
from postroom_disk.disk import Disk
from postroom_net.tls import TlsContexts, make_ca, make_certificate
from postroom_pop3.connection import Connection
from postroom_pop3.plugin import Pop3Plugin
from postroom_pop3.service import Pop3Service
from postroom_pop3.settings import Listen, Pop3Settings
from tests.kernel_net.scram_client import Client
from tests.plugins_pop3.house import FIRST, Pop3, serve

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


class Real:
    """A service with its ports, and a client's view of its authority."""

    def __init__(self, service: Pop3Service, pop3: Pop3, ports: dict[str, int], trust: ssl.SSLContext) -> None:
        self.service, self.pop3, self.ports, self.trust = service, pop3, ports, trust
        self.running: asyncio.Task[None]

    async def talk(self, client: Callable[[], object]) -> Any:
        """poplib blocks: in a thread."""
        return await asyncio.to_thread(client)


async def quiet(service: Pop3Service) -> None:
    """All connections have left."""
    while service.house.open:
        service.house.empty.clear()
        await service.house.empty.wait()


def site_of(folder: Path, pop3: Pop3, tls: TlsContexts, sockets: dict[str, list[socket.socket]], ready: Callable[[object], None]) -> Site:
    world = pop3.house.world
    parts = {
        "root": folder,
        "name": "pop3",
        "disk": Disk(),
        "login": world.login,
        "store": world.store,
        "log": pop3.log,
        "metrics": pop3.metrics,
    }
    providers = SimpleNamespace(postoffice=world.postoffices)
    settings = SimpleNamespace(server="mail.test")
    return cast(
        Site, SimpleNamespace(**parts, providers=providers, settings=settings, clock=pop3.clock, tls=tls, sockets=sockets, ready=ready)
    )


def certificates(folder: Path) -> tuple[TlsContexts, ssl.SSLContext]:
    now = Path("/proc/self").stat().st_mtime
    ca = make_ca("test", now, 2)
    pem = make_certificate(ca, ["mail.test", "localhost", "127.0.0.1"], now, 1)
    (folder / "c.pem").write_bytes(pem.certificate)
    (folder / "k.pem").write_bytes(pem.key)
    return TlsContexts(folder / "c.pem", folder / "k.pem"), ssl.create_default_context(cadata=ca.certificate.decode())


def run(
    new_loop: Callable[[], asyncio.AbstractEventLoop], folder: Path, test: Callable[[Real], Coroutine[Any, Any, None]], **more: Any
) -> None:
    async def main() -> None:
        tls, trust = certificates(folder)
        pop3 = serve(folder)
        listen = Listen(port=0), Listen(port=0, tls="implicit")
        settings = Pop3Settings.model_validate({"listen": listen, "plaintext": "loopback", "login_seconds": 3600} | more)
        sockets = {label: [socket.create_server(("127.0.0.1", 0))] for label in ("pop3", "pop3s")}
        ports = {label: bound[0].getsockname()[1] for label, bound in sockets.items()}
        ready: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        service = Pop3Service(settings, site_of(folder, pop3, tls, sockets, ready.set_result))
        service.house.wheel.clock = cast(Any, SimpleNamespace(monotonic=pop3.clock.monotonic, sleep=lambda seconds: asyncio.Event().wait()))
        running = asyncio.create_task(service.run())
        assert await ready is service
        try:
            real = Real(service, pop3, ports, trust)
            real.running = running
            await test(real)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await quiet(service)
            pop3.house.world.login.close()
            for _ in range(5):
                await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def fetch(client: poplib.POP3) -> list[bytes]:
    """A whole session; the messages."""
    client.user("bob@po")
    client.pass_("secret")
    count, octets = client.stat()
    texts = [b"\r\n".join(client.retr(n)[1]) + b"\r\n" for n in range(1, count + 1)]
    assert count == 3 and octets == 104
    client.quit()
    return texts


@LOOPS
def test_in_the_clear(new_loop: Any, tmp_path: Path) -> None:
    async def test(real: Real) -> None:
        texts = await real.talk(lambda: fetch(poplib.POP3("127.0.0.1", real.ports["pop3"])))
        assert texts[0] == FIRST

    run(new_loop, tmp_path, test)


@LOOPS
def test_implicit_tls(new_loop: Any, tmp_path: Path) -> None:
    async def test(real: Real) -> None:
        texts = await real.talk(lambda: fetch(poplib.POP3_SSL("localhost", real.ports["pop3s"], context=real.trust)))
        assert texts[0] == FIRST
        await quiet(real.service)
        assert real.pop3.log.of("pop3.session")[0]["tls"] is True

    run(new_loop, tmp_path, test)


@LOOPS
def test_stls(new_loop: Any, tmp_path: Path) -> None:
    def client(real: Real) -> list[bytes]:
        pop = poplib.POP3("localhost", real.ports["pop3"])
        assert "STLS" in pop.capa()
        pop.user("eve@po")
        pop.stls(real.trust)
        with pytest.raises(poplib.error_proto, match="USER comes first"):  # what was said in the clear is forgotten
            pop.pass_("secret")
        assert "STLS" not in pop.capa()
        return fetch(pop)

    async def test(real: Real) -> None:
        assert (await real.talk(lambda: client(real)))[0] == FIRST
        await quiet(real.service)
        assert real.pop3.log.of("pop3.session")[0]["tls"] is True

    run(new_loop, tmp_path, test)


@LOOPS
def test_commands_injected_behind_stls_are_not_obeyed(new_loop: Any, tmp_path: Path) -> None:
    async def test(real: Real) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", real.ports["pop3"])
        await reader.readline()
        writer.write(b"STLS\r\nUSER bob@po\r\nPASS secret\r\n")
        assert await reader.read() == b"-ERR nothing may follow STLS before TLS has begun\r\n"
        writer.close()
        await writer.wait_closed()

    run(new_loop, tmp_path, test)


@LOOPS
def test_a_failed_handshake_leaves_nothing_behind(new_loop: Any, tmp_path: Path) -> None:
    async def test(real: Real) -> None:
        house = real.service.house
        reader, writer = await asyncio.open_connection("127.0.0.1", real.ports["pop3"])
        await reader.readline()
        writer.write(b"STLS\r\n")
        assert (await reader.readline()).startswith(b"+OK")
        writer.write(b"USER bob@po\r\nPASS secret\r\n" * 10)
        await reader.read()
        writer.close()
        await quiet(real.service)
        assert house.limits.count == 0 and len(house.wheel) == 0

    run(new_loop, tmp_path, test)


def test_who_was_accepted_as_the_drain_began_held_it_up_until_his_login_was_overdue(tmp_path: Path) -> None:
    async def test(real: Real) -> None:
        house, said = real.service.house, list[bytes]()
        draining = asyncio.create_task(real.service.drain())
        await draining
        late = Connection(house)
        late.connection_made(Wire(said))
        assert said == [b"-ERR [SYS/TEMP] the server is restarting\r\n", b"closed"]
        assert not house.open and house.limits.count == 0 and len(house.wheel) == 0
        late.connection_lost(None)
        assert house.limits.count == 0

    run(asyncio.new_event_loop, tmp_path, test)


class Wire(asyncio.Transport):
    """A peer that hears what is said to it."""

    def __init__(self, said: list[bytes]) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self._said = said

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._said.append(bytes(data))

    def close(self) -> None:
        self._said.append(b"closed")


@LOOPS
def test_draining_lets_sessions_end(new_loop: Any, tmp_path: Path) -> None:
    async def test(real: Real) -> None:
        busy = await asyncio.open_connection("127.0.0.1", real.ports["pop3"])
        idle = await asyncio.open_connection("127.0.0.1", real.ports["pop3"])
        for reader, _ in (busy, idle):
            await reader.readline()
        busy[1].write(b"USER bob@po\r\nPASS secret\r\n")
        await busy[0].readline()
        assert b"3 messages" in await busy[0].readline()
        draining = asyncio.create_task(real.service.drain())
        assert b"[SYS/TEMP] the server is restarting" in await idle[0].read()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", real.ports["pop3"])
        assert not draining.done()
        busy[1].write(b"DELE 1\r\nQUIT\r\n")
        assert await busy[0].read() == b"+OK marked\r\n+OK bye\r\n"
        await draining
        assert len(real.pop3.inbox.texts) == 2
        for _, writer in (busy, idle):
            writer.close()

    run(new_loop, tmp_path, test)


@LOOPS
def test_a_cancelled_service_hangs_up_without_update(new_loop: Any, tmp_path: Path) -> None:
    async def test(real: Real) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", real.ports["pop3"])
        writer.write(b"USER bob@po\r\nPASS secret\r\nDELE 1\r\n")
        for _ in range(4):
            await reader.readline()
        real.running.cancel()
        assert await reader.read() == b""
        assert len(real.pop3.inbox.texts) == 3
        writer.close()

    run(new_loop, tmp_path, test)


def test_without_a_certificate_there_is_no_pop3s(tmp_path: Path) -> None:
    pop3 = serve(tmp_path)
    site = site_of(tmp_path, pop3, TlsContexts(), {}, lambda agent: None)
    plugin = Pop3Plugin(Pop3Settings(), cast(Any, site))
    (service,) = plugin.services(site)
    assert [str(endpoint) for endpoint in service.endpoints] == ["0.0.0.0:110"]
    first, second = plugin.check(site)
    assert "nobody can log in on port 110" in first and "port 995 is for TLS" in second
    pop3.house.world.login.close()


@pytest.mark.parametrize(
    ("listen", "instance", "label"),
    [
        (Listen(port=110), "pop3", "pop3"),
        (Listen(port=995, tls="implicit"), "pop3", "pop3s"),
        (Listen(port=1110), "old", "old-pop3"),
        (Listen(port=1995, tls="implicit"), "old", "old-pop3s"),
        (Listen(port=1110, label="inside"), "old", "inside"),
    ],
)
def test_labels(listen: Listen, instance: str, label: str) -> None:
    assert listen.named(instance) == label


class Bound:
    """A client that ties its login to the certificate it was shown (RFC 5802, RFC 5929)."""

    def __init__(self, session: poplib.POP3, password: str = "secret", *, certificate: bytes = b"") -> None:
        shown = certificate or cast(ssl.SSLSocket, session.sock).getpeercert(binary_form=True)
        assert shown
        channel = hashlib.sha256(shown).digest()
        self.session = session
        self.client = Client("ann@po", password, header=b"p=tls-server-end-point,,", channel=channel)

    def log_in(self) -> bytes:
        session: Any = self.session
        said = session._shortcmd("AUTH SCRAM-SHA-256-PLUS " + b64encode(self.client.first()).decode())
        said = session._shortcmd(b64encode(self.client.final(b64decode(said[2:]))).decode())
        assert b64decode(said[2:]) == self.client.expected
        return cast(bytes, session._shortcmd(""))


@LOOPS
@pytest.mark.parametrize("stls", [False, True])
def test_a_login_may_be_tied_to_its_channel(new_loop: Any, tmp_path: Path, stls: bool) -> None:
    async def test(real: Real) -> None:
        def client(version: ssl.TLSVersion) -> list[str]:
            real.trust.maximum_version = version
            if stls:
                pop = poplib.POP3("localhost", real.ports["pop3"])
                pop.stls(real.trust)
            else:
                pop = poplib.POP3_SSL("localhost", real.ports["pop3s"], context=real.trust)
            offered = pop.capa()["SASL"]
            if "SCRAM-SHA-256-PLUS" in offered:
                with pytest.raises(poplib.error_proto, match="login failed"):
                    Bound(pop, certificate=b"another certificate").log_in()
                with pytest.raises(poplib.error_proto, match="login failed"):
                    Bound(pop, "wrong").log_in()
                assert Bound(pop).log_in().startswith(b"+OK")
            else:
                with pytest.raises(poplib.error_proto, match="not offered"):
                    Bound(pop).log_in()
            pop.quit()
            return offered

        assert await real.talk(lambda: client(ssl.TLSVersion.TLSv1_2)) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
        assert await real.talk(lambda: client(ssl.TLSVersion.TLSv1_3)) == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
        await quiet(real.service)

    run(new_loop, tmp_path, test)


@LOOPS
def test_channels_above_tls_1_2_are_named_where_the_operator_says_so(new_loop: Any, tmp_path: Path) -> None:
    async def test(real: Real) -> None:
        def client() -> bytes:
            pop = poplib.POP3_SSL("localhost", real.ports["pop3s"], context=real.trust)
            assert pop.capa()["SASL"] == ["SCRAM-SHA-256-PLUS", "PLAIN"] and cast(ssl.SSLSocket, pop.sock).version() == "TLSv1.3"
            said = Bound(pop).log_in()
            pop.quit()
            return said

        assert (await real.talk(client)).startswith(b"+OK")
        await quiet(real.service)

    run(new_loop, tmp_path, test, binding="always", mechanisms=["SCRAM-SHA-256-PLUS", "PLAIN"])


@pytest.mark.filterwarnings("ignore:unclosed transport")  # asyncio's own, after a handshake that was given up
@LOOPS
def test_who_never_begins_tls_counts_as_a_connection_and_is_not_waited_for(new_loop: Any, tmp_path: Path) -> None:
    async def test(real: Real) -> None:
        house, port = real.service.house, real.ports["pop3s"]
        first, second = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        late = await asyncio.open_connection("127.0.0.1", port)
        assert await late[0].read() == b"" and house.limits.count == 2
        await asyncio.wait_for(real.service.drain(), 5)
        assert house.limits.count == 0
        for _, writer in (first, second, late):
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass

    run(new_loop, tmp_path, test, connections_per_ip=2, exempt=[])


def test_tokens_need_an_issuer() -> None:
    with pytest.raises(ValidationError, match="oauth"):
        Pop3Settings.model_validate({"mechanisms": ["XOAUTH2"]})
