"""A demo server with a third party's transfer hooks, installed as third parties install theirs: a distribution on the path with an entry
point. The hooks themselves are `tests.kernel_isolation.bad`."""

from __future__ import annotations

import json
import shutil
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from postroom_cli.demo import prepare
from tests.demo import PATIENCE, Demo, await_change, letter
from tests.kernel_isolation.world import MODULE, ROOT

LOGIN = "alice@example.test"


def install(folder: Path, **kinds: str) -> Path:
    """Plugins by name and class, as a distribution in this folder; what to put on PYTHONPATH beside the repository."""
    info = folder / "postroom_bad-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: postroom-bad\nVersion: 1\n")
    points = "".join(f"{name} = {MODULE}:{kind}\n" for name, kind in kinds.items())
    (info / "entry_points.txt").write_text(f"[postroom.plugins]\n{points}")
    return folder


def template(folder: Path) -> Path:
    """A demo site that is finished and was never served."""
    prepare(folder / "site", 0)
    return folder / "site"


def put_on_path(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, (*folders, ROOT))))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


def site_with(made: Path, folder: Path, plugins: str, more: str = "") -> Path:
    """A copy of the template with these lines under `plugins`, and more at the end."""
    site = folder / "site"
    shutil.copytree(made, site)
    settings = site / "postroom.yaml"
    text = settings.read_text()
    assert "\n\nproviders:" in text
    settings.write_text(text.replace("\n\nproviders:", f"\n{plugins}\n\nproviders:") + more)
    return site


class Scanned(Demo):
    """That server."""

    def __init__(self, site: Path, *, workers: int = 1) -> None:
        super().__init__(site, workers=workers)
        self.server._ports = []  # those that are written there: any that is free

    def send(self, mark: str, kind: str = "", to: str = LOGIN) -> int:
        """The code a peer hears for a message, one that makes the hook misbehave where a kind is said; 0 where the peer hung up."""
        mail = letter(mark, to=to)
        if kind:
            mail["X-Bad"] = kind
        return said_to(self.endpoint("smtp"), mail)

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """What the log has so far, of this event or of all."""
        text = "".join(path.read_text() for path in (self.server.site / "Logging").glob("*.log"))
        told = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [line for line in told if event in ("", line["event"])]

    def logged(self, event: str, number: int = 1) -> dict[str, Any]:
        """The line of this event, once it is there."""
        await_change(self.server.site, lambda: len(self.lines(event)) >= number)
        return self.lines(event)[number - 1]


def said_to(address: tuple[str, int], mail: EmailMessage) -> int:
    """The code of the last word on this message; 0 where the peer hung up before it."""
    try:
        client = smtplib.SMTP(*address, timeout=PATIENCE)
    except smtplib.SMTPConnectError as refused:  # 421 of a worker that drains
        return refused.smtp_code
    except (smtplib.SMTPServerDisconnected, ConnectionError):
        return 0
    try:
        client.send_message(mail)
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    except (smtplib.SMTPServerDisconnected, ConnectionError):
        return 0
    finally:
        client.close()
    return 250


@contextmanager
def serving(site: Path, *, workers: int = 1) -> Iterator[Scanned]:
    """Served for as long as the block lasts."""
    server = Scanned(site, workers=workers)
    try:
        server.start()
        yield server
    finally:
        server.close()
