"""Whether clamd answers, for `postroom check`: asked on a connection of its own, and what to do where it does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

from postroom.address import smtp
from postroom.errors import ConfigError
from postroom.site import Site
from postroom_clamav.grammar import PING
from postroom_clamav.pool import Address
from postroom_clamav.settings import ClamavSettings

_LONGEST: Final = 3.0  # seconds a person waits; a clamd that loads its signatures does not listen yet
_REMEDY: Final = {
    FileNotFoundError: "Start it (systemctl start clamav-daemon), or correct `socket` to its LocalSocket",
    ConnectionRefusedError: "Start it (systemctl start clamav-daemon); while it loads signatures it does not answer either",
    PermissionError: "Add the account that runs postroom to clamd's group (adduser postroom clamav), or set LocalSocketMode 666",
    TimeoutError: "It hangs, or loads its signatures: look at its log",
    socket.gaierror: "Correct `host`",
}


def problems(settings: ClamavSettings, address: Address, site: Site) -> Iterator[str]:
    """What an operator should mend."""
    if complaint := complaint_about(address, min(settings.connect_timeout, _LONGEST)):
        yield complaint
    if settings.operator:
        try:
            route = site.router.resolve(smtp(settings.operator))
        except ConfigError:
            return  # `check` tells it already
        if not route.to:
            yield f"notices to {settings.operator} cannot be delivered: {route.why}. Correct `operator`, or add the address"


def complaint_about(address: Address, seconds: float) -> str:
    """Why clamd does not answer PING there, with the remedy; empty where it does."""
    try:
        with _connected(address, seconds) as wire:
            wire.sendall(PING)
            if wire.recv(64) == b"PONG\0":
                return ""
    except OSError as error:
        remedy = next((remedy for kind, remedy in _REMEDY.items() if isinstance(error, kind)), "Look at its log")
        return f"clamd at {address} cannot be reached: {error.strerror or error}. {remedy}"
    return f"what listens at {address} is not clamd. Correct the address"


def _connected(address: Address, seconds: float) -> socket.socket:
    if address.path is None:
        return socket.create_connection((address.host, address.port), seconds)
    wire = socket.socket(socket.AF_UNIX)
    try:
        wire.settimeout(seconds)
        wire.connect(str(address.path))
    except BaseException:
        wire.close()
        raise
    return wire
