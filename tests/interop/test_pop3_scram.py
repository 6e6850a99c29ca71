"""POP3 with SCRAM-SHA-256: by our own client, because none of the distribution's programs fetches mail with it."""

from __future__ import annotations

import poplib
from base64 import b64decode, b64encode

import pytest

from tests.demo import PATIENCE, Demo
from tests.kernel_net.scram_client import Client


def test_a_password_is_proven(demo: Demo) -> None:
    login = "alice@example.test"
    session, client = poplib.POP3(*demo.told.endpoints["pop3"], timeout=PATIENCE), Client(login, demo.password(login))
    assert "SCRAM-SHA-256" in session.capa()["SASL"]
    said = session._shortcmd("AUTH SCRAM-SHA-256 " + b64encode(client.first()).decode())  # type: ignore[attr-defined]
    said = session._shortcmd(b64encode(client.final(b64decode(said[2:]))).decode())  # type: ignore[attr-defined]
    assert b64decode(said[2:]) == client.expected
    assert session._shortcmd("").startswith(b"+OK")  # type: ignore[attr-defined]
    session.quit()


@pytest.mark.parametrize("login", ["bob@example.test", "nobody@example.test"])
def test_a_wrong_one_is_not(demo: Demo, login: str) -> None:
    session, client = poplib.POP3(*demo.told.endpoints["pop3"], timeout=PATIENCE), Client(login, "wrong")
    said = session._shortcmd("AUTH SCRAM-SHA-256 " + b64encode(client.first()).decode())  # type: ignore[attr-defined]
    with pytest.raises(poplib.error_proto, match=r"\[AUTH\] login failed"):
        session._shortcmd(b64encode(client.final(b64decode(said[2:]))).decode())  # type: ignore[attr-defined]
    session.close()
