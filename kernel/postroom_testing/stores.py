"""The contract of a mail store as a test suite: UIDs only grow, what returned is kept, a delivery is made once, whatever fails on the way.

    class TestMine(MailStoreContract):
        plugin = MyStorePlugin
        settings = {"database": "mail.db"}

The store stands in a site of a test's own and is opened again from the same folder, so nothing may live in memory only. What is tested is the
Protocol in `postroom.mailstore`; how a store lays out its files is its own affair.
"""

from __future__ import annotations

from postroom_testing.store_arrivals import ArrivalTests
from postroom_testing.store_faults import FaultTests
from postroom_testing.store_folders import FolderTests
from postroom_testing.store_mailboxes import MailboxTests


class MailStoreContract(ArrivalTests, FolderTests, MailboxTests, FaultTests):
    """Name your class and its settings."""
