"""Which sockets the supervisor keeps, makes and lets go of when the wanted endpoints change."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom.connectors import Endpoint
from postroom.errors import ConfigError
from postroom_run.supervisor import Supervisor

HOST = "127.0.0.1"


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def supervisor(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Supervisor]:
    (tmp_path / "postroom.yaml").write_text("server: mail.example.test\n")
    made = Supervisor(tmp_path, workers=request.param)
    yield made
    for one in (one for some in made.keeper.sockets.values() for one in some):
        one.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def bound(supervisor: Supervisor) -> dict[str, int]:
    """The port of each label; every place has a socket on it."""
    ports = {label: {one.getsockname()[1] for one in some} for label, some in supervisor.keeper.sockets.items()}
    assert all(len(some) == supervisor.keeper.places for some in supervisor.keeper.sockets.values())
    assert all(len(each) == 1 for each in ports.values())
    return {label: each.pop() for label, each in ports.items()}


def test_a_new_endpoint_is_bound_and_the_others_stay_as_they_are(supervisor: Supervisor) -> None:
    smtp = Endpoint("smtp", HOST, 0)
    supervisor._bind([smtp])
    before = bound(supervisor)
    kept = list(supervisor.keeper.sockets["smtp"])
    supervisor._bind([smtp, Endpoint("count", HOST, 0)])
    after = bound(supervisor)
    assert after["smtp"] == before["smtp"] and after["count"] not in before.values()
    assert supervisor.keeper.sockets["smtp"] == kept


def test_an_endpoint_nobody_wants_is_let_go_of(supervisor: Supervisor) -> None:
    port = free_port()
    supervisor._bind([Endpoint("count", HOST, port)])
    supervisor._bind([])
    assert bound(supervisor) == {}
    with socket.socket() as other:
        other.bind((HOST, port))


def test_a_label_that_changes_keeps_its_port(supervisor: Supervisor) -> None:
    """As when an instance gets another name: the port is in use, by us, and peers that wait on it are served."""
    port = free_port()
    supervisor._bind([Endpoint("count", HOST, port)])
    supervisor.keeper.sockets["count"][0].listen()
    with socket.create_connection((HOST, port)):
        supervisor._bind([Endpoint("counting", HOST, port)])
        assert bound(supervisor) == {"counting": port}
        peer, _ = supervisor.keeper.sockets["counting"][0].accept()
        peer.close()


def test_two_labels_may_change_their_ports_with_each_other(supervisor: Supervisor) -> None:
    one, other = free_port(), free_port()
    supervisor._bind([Endpoint("a", HOST, one), Endpoint("b", HOST, other)])
    supervisor._bind([Endpoint("a", HOST, other), Endpoint("b", HOST, one)])
    assert bound(supervisor) == {"a": other, "b": one}


def test_a_port_that_somebody_else_has_changes_nothing(supervisor: Supervisor) -> None:
    smtp = Endpoint("smtp", HOST, free_port())
    supervisor._bind([smtp])
    with socket.create_server((HOST, 0)) as other:
        taken = Endpoint("count", HOST, other.getsockname()[1])
        with pytest.raises(ConfigError, match="count cannot listen on"):
            supervisor._bind([Endpoint("renamed", HOST, smtp.port), taken])
    assert bound(supervisor) == {"smtp": smtp.port}
