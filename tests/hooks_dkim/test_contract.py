"""The signer keeps the contract of transfer events, as any third party's does."""

from __future__ import annotations

import pytest

from postroom.records import DomainRecord
from postroom.site import Site
from postroom.transfer import Pass, Replace
from postroom_dkim.plugin import DkimPlugin
from postroom_testing.transfer import Case, TransferEventContract
from tests.hooks_dkim.house import TEXT

pytestmark = pytest.mark.long


class TestSigner(TransferEventContract):
    plugin = DkimPlugin
    settings = {"connectors": ["SF"], "rsa_bits": 1024}  # noqa: RUF012  # the suite's events go to mailboxes
    cases = (
        Case("mail of ours", TEXT, Replace),
        Case("mail of others", TEXT.replace(b"ann@example.test", b"ann@example.org"), Pass),
        Case("no header", b"hello", Pass),
    )

    async def furnish(self, site: Site) -> None:
        await site.providers.smtp.domains.put(DomainRecord(domain="example.test", account="example.test"))
