"""The scanner keeps the contract of transfer events, as any third party's does; clamd is played by the test double."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroom.transfer import Pass, Reject, Replace
from postroom_clamav.plugin import ClamavPlugin
from postroom_testing.transfer import Case, TransferEventContract
from tests.hooks_clamav.clamd import fake_clamd
from tests.hooks_clamav.house import SICK, TEXT

pytestmark = pytest.mark.long

AT_PICKUP = ("mta_pickup",)


class Scanning(TransferEventContract):
    """What differs between the two is what is done."""

    plugin = ClamavPlugin

    @asynccontextmanager
    async def world(self, place: Path) -> AsyncIterator[Mapping[str, object]]:
        place.mkdir(parents=True, exist_ok=True)
        async with fake_clamd(place / "clamd.ctl") as clamd:
            yield {**self.settings, "socket": str(clamd.path), "connect_timeout": 0.1}  # `check` waits, and with it this double


class TestRefusing(Scanning):
    cases = (
        Case("a clean message", TEXT, Pass),
        Case("a virus", SICK, Reject, hooks=AT_PICKUP),
    )


class TestMarking(Scanning):
    settings: Mapping[str, object] = {"action": "mark", "add_header": True}  # type: ignore[misc]
    cases = (Case("a clean message", TEXT, Replace, hooks=AT_PICKUP), Case("a virus", SICK, Replace, hooks=AT_PICKUP))
