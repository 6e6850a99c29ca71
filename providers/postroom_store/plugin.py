"""The mailbox repository as a plugin."""

from __future__ import annotations

from postroom import hookimpl
from postroom.mailstore import MailStore
from postroom.providers import Providers
from postroom.site import Ground
from postroom_store.means import Limit, Means
from postroom_store.settings import StoreSettings
from postroom_store.store import LocalStore


class StorePlugin:
    """Mailboxes in `SITE/Postoffices`, one file a message and one log a folder."""

    Settings = StoreSettings

    def __init__(self, settings: StoreSettings, ground: Ground) -> None:
        self._settings = settings

    @hookimpl
    def mail_store(self, ground: Ground, providers: Providers) -> MailStore:
        return LocalStore(
            Means(
                root=ground.root,
                disk=ground.disk,
                clock=ground.clock,
                journal=ground.journal,
                bus=ground.bus,
                log=ground.log,
                limit=limits(providers),
                most_open=self._settings.open_logs,
                keep_expunged=self._settings.keep_expunged * 86400,
            )
        )


def limits(providers: Providers) -> Limit:
    """What the post office provider says a mailbox may hold: KiB there, octets here."""

    async def limit(postoffice: str, mailbox: str) -> int | None:
        record = await providers.postoffice.mailboxes.get(postoffice, mailbox)
        return None if record is None or record.limit < 0 else record.limit * 1024

    return limit
