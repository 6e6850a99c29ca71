from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from postroom_disk.disk import Disk
from postroom_net import scram
from postroom_net.sasl import Challenge, Exchange, Fault, Lookup, Mechanisms, Proven, Step
from postroom_net.scram import Scram, SiteKey, Verifier
from tests.kernel_net.scram_client import Client

KEY = b"k" * 32
STORED = Verifier.of(b"pencil", 4096, b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))


class Channel:
    """A TLS channel whose certificate has a hash."""

    def data(self, kind: str) -> bytes | None:
        return b"hash of the certificate" if kind == "tls-server-end-point" else None


def exchange(name: str = "SCRAM-SHA-256", *, binding: Channel | None = None, plus: bool = True) -> Exchange:
    found = Mechanisms(scram.mechanisms(lambda: KEY, plus=plus)).exchange(name, secure=True, binding=binding)
    assert found is not None
    return found


def talk(exchange: Exchange, client: Client, secret: str | None = str(STORED)) -> Step:
    """The dialogue up to the server's last word or the end."""
    step = exchange.begin(b64encode(client.first()))
    if isinstance(step, Lookup):
        step = exchange.found(secret)
        assert isinstance(step, Challenge)
        step = exchange.answer(b64encode(client.final(step.data)))
    return step


def test_the_example_of_rfc_7677(monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 3, octet by octet; the server's part of the nonce is given."""
    server = Scram(lambda: KEY, None, plus=False, plus_is_offered=False)
    assert server.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == Lookup("user", "scram")
    server._nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    said = server.found(str(STORED))
    assert said == Challenge(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    final = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert server.step(final) == Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert server.step(b"") == Proven("user")


def test_a_right_password_is_proven_and_proven_back() -> None:
    client, server = Client("b=o,b@po", "pencil"), exchange()
    step = talk(server, client)
    assert isinstance(step, Challenge) and step.data == client.expected
    assert server.answer(b"") == Proven("b=o,b@po")


@pytest.mark.parametrize(
    ("client", "secret"),
    [
        (Client("bob", "pencils"), str(STORED)),
        (Client("bob", "pencil"), None),
        (Client("bob", "pencil"), "no verifier"),
        (Client("bob", "pencil", channel=b"x"), str(STORED)),
        (Client("bob", "pencil", header=b"p=tls-server-end-point,,"), str(STORED)),  # not this mechanism
    ],
)
def test_what_is_not_proven(client: Client, secret: str | None) -> None:
    assert talk(exchange(), client, secret) is Fault.NOT_PROVEN


def test_an_unknown_login_looks_like_a_known_one() -> None:
    """The same salt each time, in the same shape; another name has another."""
    said = []
    for login in ("nobody", "NOBODY", "other"):
        server = exchange()
        server.begin(b64encode(b"n,,n=" + login.encode() + b",r=abc"))
        step = server.found(None)
        assert isinstance(step, Challenge)
        said.append(step.data.partition(b",")[2])
    assert said[0] == said[1] != said[2]
    assert all(len(one) == len(b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=%d" % scram.ITERATIONS) for one in said)


def test_plus_ties_a_login_to_its_channel() -> None:
    header = b"p=tls-server-end-point,,"
    right = Client("bob", "pencil", header=header, channel=b"hash of the certificate")
    step = talk(exchange("SCRAM-SHA-256-PLUS", binding=Channel()), right)
    assert isinstance(step, Challenge) and step.data == right.expected
    wrong = Client("bob", "pencil", header=header, channel=b"hash of another")
    assert talk(exchange("SCRAM-SHA-256-PLUS", binding=Channel()), wrong) is Fault.NOT_PROVEN
    unknown = Client("bob", "pencil", header=b"p=tls-exporter,,", channel=b"x")
    assert talk(exchange("SCRAM-SHA-256-PLUS", binding=Channel()), unknown) is Fault.NOT_PROVEN
    assert talk(exchange("SCRAM-SHA-256-PLUS", binding=Channel()), Client("bob", "pencil")) is Fault.NOT_PROVEN


def test_who_took_plus_off_the_list_is_found_out() -> None:
    """RFC 5802 section 6: "y" says that the client could and saw no offer."""
    client = Client("bob", "pencil", header=b"y,,")
    assert talk(exchange(binding=Channel()), client) is Fault.NOT_PROVEN
    assert isinstance(talk(exchange(binding=Channel(), plus=False), client), Challenge)
    assert isinstance(talk(exchange(), client), Challenge)


def test_plus_is_offered_where_the_channel_has_a_name() -> None:
    offered = Mechanisms(scram.mechanisms(lambda: KEY))
    assert offered.names(secure=False) == ("SCRAM-SHA-256",)
    assert offered.names(secure=True, binding=True) == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
    assert offered.exchange("scram-sha-256-plus", secure=True) is None


@pytest.mark.parametrize(
    "first",
    [
        b"", b"n,,", b"n,,n=bob", b"n,,n=,r=abc", b"n,,r=abc,n=bob", b"x,,n=bob,r=abc", b"n,,m=x,n=bob,r=abc", b"n,,n=b=ob,r=abc", b"n,,n=b,r=",
        b"n,,n=\xff,r=abc", b"n,,n=b\nb,r=abc", b"p=,,n=bob,r=abc", b"n,b,n=bob,r=abc", b"n,,n=bob,r=a\0c",
    ],
)  # fmt: skip
def test_first_messages_that_are_none(first: bytes) -> None:
    assert exchange().begin(b64encode(first) or b"=") is Fault.MALFORMED


@pytest.mark.parametrize(
    "final", [b"", b"c=biws,r=x", b"c=!,r=x,p=YQ==", b"c=biws,r=x,p=" + b"A" * 43, b"r=x,c=biws,p=" + b"A" * 43 + b"="]
)
def test_final_messages_that_are_none(final: bytes) -> None:
    server = exchange()
    server.begin(b64encode(b"n,,n=bob,r=abc"))
    server.found(str(STORED))
    assert server.answer(b64encode(final)) is Fault.MALFORMED


def test_acting_for_another_is_told_apart() -> None:
    step = exchange().begin(b64encode(b"n,a=eve,n=bob,r=abc"))
    assert isinstance(step, Lookup) and not step.acts_for_itself
    step = exchange().begin(b64encode(b"n,a=BOB,n=bob,r=abc"))
    assert isinstance(step, Lookup) and step.acts_for_itself


@pytest.mark.parametrize(
    "text", ["", "SCRAM-SHA-256$0:" + str(STORED).partition(":")[2], str(STORED)[:-1], "x" + str(STORED), "SCRAM-SHA-256$4096:!$x:y"]
)
def test_texts_that_are_no_verifier(text: str) -> None:
    assert Verifier.parse(text) is None
    assert Verifier.parse(str(STORED)) == STORED


def test_one_key_for_all_workers_and_starts(tmp_path: Path) -> None:
    one, other = SiteKey(tmp_path / "scram.key", Disk()), SiteKey(tmp_path / "scram.key", Disk())
    assert len(one()) == 32 and one() == other() == SiteKey(tmp_path / "scram.key", Disk())()
    assert [path.name for path in tmp_path.iterdir()] == ["scram.key"]
    assert (tmp_path / "scram.key").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_refuses_stops_no_login(tmp_path: Path) -> None:
    key = SiteKey(tmp_path / "missing" / "scram.key", Disk())
    assert len(key()) == 32 and key() == key()
