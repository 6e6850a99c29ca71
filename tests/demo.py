"""A demo server for tests: start it, send to it, fetch from it, and wait for what it does without guessing how long that takes."""

from __future__ import annotations

import poplib
import smtplib
import ssl
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from watchfiles import watch

from bench.ours import Postroom, Ready

PATIENCE = 30.0  # seconds for what ought to take a fraction of one; then the test fails


class Demo:
    """`postroom demo` on a site. `start` waits for the ready line; `close` is safe to call twice."""

    def __init__(self, site: Path, *, workers: int = 1) -> None:
        self.server = Postroom(site, workers=workers)
        self.ready: Ready | None = None

    def start(self) -> Demo:
        self.ready = self.server.start()
        return self

    def close(self) -> None:
        self.server.kill()

    @property
    def told(self) -> Ready:
        """What the ready line said."""
        if self.ready is None:
            raise AssertionError("not started")
        return self.ready

    def endpoint(self, label: str) -> tuple[str, int]:
        """Where it listens; the test is skipped where the demo's profile has no such listener."""
        if label not in self.told.endpoints:
            pytest.skip(f"the demo has no {label} listener")
        return self.told.endpoints[label]

    def password(self, login: str) -> str:
        return dict(self.told.accounts)[login]

    def smtp(self, endpoint: str = "smtp") -> smtplib.SMTP:
        return smtplib.SMTP(*self.endpoint(endpoint), timeout=PATIENCE)

    def pop3(self, login: str) -> poplib.POP3:
        """A session that has logged in."""
        client = poplib.POP3(*self.told.endpoints["pop3"], timeout=PATIENCE)
        client.user(login)
        client.pass_(self.password(login))
        return client

    def trust(self) -> ssl.SSLContext:
        """A client's context that believes the demo's authority and nobody else."""
        return ssl.create_default_context(cafile=self.told.ca)

    def arrived(self, login: str, mark: str) -> bytes:
        """The message that has this in its text, fetched by POP3 once it is there; AssertionError when it does not come."""
        found: list[bytes] = []

        def there() -> bool:
            found[:] = [text for text in self.fetch(login) if mark.encode() in text]
            return bool(found)

        await_change(self.server.site / "Postoffices", there)
        assert len(found) == 1, f"{len(found)} messages with {mark!r} in the mailbox of {login}"
        return found[0]

    def fetch(self, login: str) -> list[bytes]:
        """All messages of a mailbox with CRLF line ends."""
        client = self.pop3(login)
        try:
            count, _ = client.stat()
            return [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in range(1, count + 1)]
        finally:
            client.quit()


def await_change(folder: Path, there: Callable[[], bool], *, patience: float = PATIENCE) -> None:
    """Return as soon as `there` says so, asked again after each change below the folder (and twice a second, for a change missed
    between question and watch). AssertionError when patience ends."""
    end = time.monotonic() + patience
    for _ in watch(folder, debounce=20, step=10, rust_timeout=500, yield_on_timeout=True, recursive=True) if not there() else ():
        if there():
            return
        assert time.monotonic() < end, f"after {patience:.0f} s still not so below {folder}"


def letter(mark: str, *, to: str = "alice@example.test", text: str = "Good morning.\n") -> EmailMessage:
    """A small message whose subject carries the mark."""
    mail = EmailMessage()
    mail["From"] = "rita@example.org"
    mail["To"] = to
    mail["Subject"] = f"about {mark}"
    mail["Message-ID"] = f"<{mark}@example.org>"
    mail.set_content(text)
    return mail
