"""Conversations of people who log in to send, over a connection that is taken to be sealed."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from postroom_smtp.settings import Listen, SmtpSettings
from tests.plugins_smtp.desk import PASSWORD, Talk

SEALED = Listen(port=0, submission=True, tls="implicit")
ALICE = "alice@example.test"


def plain(login: str = ALICE, password: str = PASSWORD) -> str:
    return "AUTH PLAIN " + b64encode(f"\0{login}\0{password}".encode()).decode()


def submission(folder: Path, listen: Listen = SEALED, **settings: Any) -> Talk:
    return Talk(folder, settings=SmtpSettings.model_validate(settings), listen=listen)


async def logged_in(folder: Path, **settings: Any) -> Talk:
    """A conversation in which alice may send."""
    talk = submission(folder, **settings)
    await talk.connect()
    said = await talk.say("EHLO laptop.test", plain())
    assert said.endswith(b"235 2.7.0 Welcome\r\n"), said
    return talk
