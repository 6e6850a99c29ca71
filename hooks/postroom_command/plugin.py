"""The command plugin: a program is asked at pickup, at delivery to a connector, and at delivery into a mailbox.

It needs nothing but Ground, so it works inline and in a process of its own. Only the hooks that have a program are offered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from postroom import hookimpl
from postroom.site import Ground
from postroom.transfer import TransferEvent, Verdict
from postroom_command.asking import Programs
from postroom_command.contract import Stage
from postroom_command.mistakes import account_or_errors
from postroom_command.settings import CommandSettings

if TYPE_CHECKING:
    from postroom_postoffice.api import MailboxDelivery

_HOOKS: Final[dict[Stage, str]] = {"pickup": "mta_pickup", "delivery": "mta_delivery", "mailbox": "mailbox_delivery"}


class CommandPlugin:
    """Overview section 4.1.2: "execute a program"."""

    Settings = CommandSettings

    def __init__(self, settings: CommandSettings, ground: Ground) -> None:
        """ConfigErrors where a program cannot be started or its account is not known."""
        self._programs = Programs(settings, ground, account_or_errors(settings, ground))
        for stage, hook in _HOOKS.items():
            if stage not in settings.programs():
                setattr(self, hook, None)  # the host finds no such hook: nobody waits for a program that is not there

    @hookimpl
    async def mta_pickup(self, event: TransferEvent) -> Verdict:
        return await self._programs.ask("pickup", event)

    @hookimpl
    async def mta_delivery(self, event: TransferEvent) -> Verdict:
        return await self._programs.ask("delivery", event)

    @hookimpl(optionalhook=True)
    async def mailbox_delivery(self, event: MailboxDelivery) -> Verdict:
        return await self._programs.ask("mailbox", event)
