from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pydantic import ValidationError

from postroom.mailstore import MailStore
from postroom.providers import Providers
from postroom.records import MailboxRecord
from postroom.site import Ground
from postroom_store.plugin import StorePlugin, limits
from postroom_store.settings import StoreSettings
from tests.providers_store.house import House, NoBus, letter, run


@dataclass
class Rows:
    limit: int

    async def get(self, *key: str) -> MailboxRecord | None:
        return MailboxRecord(postoffice=key[0], mailbox=key[1], limit=self.limit) if key[1] == "alice" else None


def providers(limit: int) -> Providers:
    return cast(Providers, SimpleNamespace(postoffice=SimpleNamespace(mailboxes=Rows(limit))))


def test_the_plugin_answers_with_a_store(tmp_path: Path) -> None:
    house = House(tmp_path)
    ground = cast(
        Ground,
        SimpleNamespace(root=tmp_path, disk=house.disk, clock=house.clock, journal=house.journal, bus=NoBus(), log=house.log),
    )
    store: MailStore = StorePlugin(StoreSettings(), ground).mail_store(ground, providers(-1))

    async def main() -> None:
        await store.open()
        await house.deliver(letter(1))
        folder = await (await store.mailbox("example", "alice")).folder("inbox")
        assert len(folder.view()) == 1
        store.settle()
        await store.close()

    run(main())
    house.close()


@pytest.mark.parametrize(("limit", "octets"), [(-1, None), (0, 0), (10, 10240)])
def test_limits_are_kib_in_the_provider_and_octets_here(limit: int, octets: int | None) -> None:
    async def main() -> None:
        ask = limits(providers(limit))
        assert await ask("example", "alice") == octets
        assert await ask("example", "nobody") is None

    run(main())


def test_a_wrong_setting_is_refused() -> None:
    with pytest.raises(ValidationError):
        StoreSettings.model_validate({"open_logs": 2})
    with pytest.raises(ValidationError):
        StoreSettings.model_validate({"open_log": 20})
