"""Every test of the kit for connectors is red on a connector that breaks what it tests."""

from __future__ import annotations

from typing import ClassVar

import pytest

from postroom_testing.connectors import ConnectorContract
from tests.kit import broken_connectors as connectors
from tests.kit.red import Broken, RedTables
from tests.kit.test_toys import TestDrop as Drop

pytestmark = pytest.mark.long

TABLE = [
    Broken(Drop, connectors.GivesNothing, "test_it_has_an_acronym_and_is_alone_with_it", "gives nothing"),
    Broken(Drop, connectors.OddAcronym, "test_it_has_an_acronym_and_is_alone_with_it", "is no acronym"),
    Broken(Drop, connectors.RefusesAll, "test_hops_and_refusals_come_from_memory", "[DROP:bob] is refused"),
    Broken(Drop, connectors.OtherAddress, "test_hops_and_refusals_come_from_memory", "changes from one asking to the next"),
    Broken(Drop, connectors.Splits, "test_odd_addresses_raise_nothing", "UnicodeEncodeError"),
    Broken(Drop, connectors.ForgetsOne, "test_a_message_arrives_once_at_each_recipient", "one outcome per recipient"),
    Broken(Drop, connectors.MemoryOnly, "test_a_message_in_a_file_arrives_too", "there 0 times"),
    Broken(Drop, connectors.OneBadOneOut, "test_a_bad_recipient_does_not_harm_a_good_one", "[DROP:bob]: Failed"),
    Broken(Drop, connectors.Doubles, "test_what_comes_again_arrives_no_second_time", "there 2 times"),
    Broken(Drop, connectors.Mixes, "test_many_at_once_arrive_once_each", "times"),
    Broken(Drop, connectors.Doubles, "test_the_same_message_twice_at_once_arrives_once", "there 5 times"),
    Broken(Drop, connectors.Decodes, "test_hostile_messages_have_an_outcome", "UnicodeDecodeError"),
    Broken(Drop, connectors.Hoards, "test_a_huge_message_takes_little_memory", "8 MiB is the limit"),
    Broken(Drop, connectors.Blocks, "test_the_loop_is_not_blocked", "connector.put"),
    Broken(Drop, connectors.GivesUp, "test_a_message_that_cannot_be_read_is_deferred", "could not be read"),
    Broken(Drop, connectors.LeavesTask, "test_cancelled_in_the_middle_it_leaves_nothing_and_arrives_once_later", "left running"),
    Broken(Drop, connectors.Raises, "test_a_disk_that_refuses_at_any_call_defers", "failed: OSError", (("how", "broken"),)),
    Broken(Drop, connectors.GivesUp, "test_a_disk_that_refuses_at_any_call_defers", "is given up", (("how", "full"),)),
    Broken(Drop, connectors.Tells, "test_a_disk_that_refuses_at_any_call_defers", "there 0 times", (("how", "broken"),)),
    Broken(Drop, connectors.InPlace, "test_after_a_death_at_any_call_it_arrives_once", "there 0 times", (("how", "tear"),)),
    Broken(Drop, connectors.LeavesDescriptor, "test_deliveries_leave_nothing_open_or_running", "an open descriptor"),
]


class TestBrokenConnectors(RedTables):
    tables: ClassVar = {ConnectorContract: TABLE}
