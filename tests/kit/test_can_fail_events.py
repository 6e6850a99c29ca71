"""Every test of the kit for plugins and transfer events is red on a plugin that breaks what it tests."""

from __future__ import annotations

from typing import ClassVar

import pytest

from postroom_testing.plugin import PluginContract
from postroom_testing.transfer import TransferEventContract
from tests.kit import broken_plugins as plugins
from tests.kit import broken_scanners as scanners
from tests.kit.red import Broken, RedTables
from tests.kit.test_toys import CASES

pytestmark = pytest.mark.long


class Scanner(TransferEventContract):
    cases = CASES


OF_PLUGINS = [
    Broken(Scanner, plugins.Undescribed, "test_every_setting_says_what_it_is", "Settings.speed"),
    Broken(Scanner, plugins.NoModel, "test_every_setting_says_what_it_is", "must name a pydantic model"),
    Broken(Scanner, plugins.Lenient, "test_unknown_settings_are_refused", 'extra="forbid"'),
    Broken(Scanner, plugins.LenientInside, "test_unknown_settings_are_refused", "Inner"),
    Broken(Scanner, plugins.Lenient, "test_an_unknown_setting_is_told_with_its_line", "DID NOT RAISE"),
    Broken(Scanner, plugins.WithoutSchema, "test_settings_have_a_schema", "no schema"),
    Broken(Scanner, plugins.NoHooks, "test_the_host_takes_its_hooks", "answers no hook"),
    Broken(Scanner, plugins.Misspelt, "test_the_host_takes_its_hooks", "mta_pikcup is not known"),
    Broken(Scanner, plugins.WrongArgument, "test_the_host_takes_its_hooks", "message"),
    Broken(Scanner, plugins.NotAsync, "test_the_host_takes_its_hooks", "must be written as async def"),
    Broken(Scanner, plugins.StartsThread, "test_making_it_changes_nothing_and_starts_nothing", "a thread: too early"),
    Broken(Scanner, plugins.WritesFile, "test_making_it_changes_nothing_and_starts_nothing", "made-by-tested-1"),
    Broken(Scanner, plugins.HealthRaises, "test_health_and_check_answer_sentences", "no health"),
    Broken(Scanner, plugins.CheckSaysNothing, "test_health_and_check_answer_sentences", "check must answer sentences"),
    Broken(Scanner, plugins.HealthBlocks, "test_opening_and_closing_does_not_block_the_loop", "HealthBlocks.health"),
]
OF_EVENTS = [
    Broken(Scanner, scanners.Raises, "test_each_case_gets_its_verdict", "not today"),
    Broken(Scanner, scanners.PassesAll, "test_each_case_gets_its_verdict", "Reject was expected"),
    Broken(Scanner, scanners.NoReason, "test_each_case_gets_its_verdict", "gives no reason"),
    Broken(Scanner, scanners.Nonsense, "test_each_case_gets_its_verdict", "which is no verdict"),
    Broken(Scanner, scanners.Hangs, "test_each_case_gets_its_verdict", "TimeoutError"),
    Broken(Scanner, scanners.MemoryOnly, "test_a_message_in_a_file_gets_the_verdict_of_one_in_memory", "Reject in memory, Pass in a file"),
    Broken(Scanner, scanners.Remembers, "test_the_same_message_again_gets_the_same_verdict", "first Reject, then Pass"),
    Broken(Scanner, scanners.Vandal, "test_a_message_is_never_changed_in_place", "file was changed"),
    Broken(Scanner, scanners.ShortReplacement, "test_a_replacement_is_whole", "has not the size it tells"),
    Broken(Scanner, scanners.FailsOpen, "test_what_cannot_be_read_is_not_passed", "passes a virus although"),
    Broken(Scanner, scanners.Decodes, "test_hostile_messages_get_a_verdict", "UnicodeDecodeError"),
    Broken(Scanner, scanners.Hoards, "test_a_huge_message_gets_a_verdict_in_little_memory", "8 MiB is the limit"),
    Broken(Scanner, scanners.Blocks, "test_the_loop_is_not_blocked", "Blocks.judge"),
    Broken(Scanner, scanners.NeedsJournal, "test_in_a_process_of_its_own_it_says_the_same", "mta_pickup failed on a clean message"),
    Broken(Scanner, scanners.Shares, "test_many_at_once_get_what_one_gets", "at once: "),
    Broken(Scanner, scanners.SwallowsCancel, "test_cancelled_in_the_middle_it_ends_and_goes_on_with_the_next", "let CancelledError pass"),
    Broken(
        Scanner, scanners.LeavesTask, "test_cancelled_in_the_middle_it_ends_and_goes_on_with_the_next", "left a task: WordScanner.judge"
    ),
    Broken(Scanner, scanners.LeavesDescriptor, "test_nothing_is_left_open_or_running", "an open descriptor"),
    Broken(Scanner, scanners.LeavesThread, "test_nothing_is_left_open_or_running", "a thread: left alone"),
    Broken(Scanner, scanners.Scribbles, "test_a_disk_that_fails_harms_one_message_only", "there was an error once"),
    Broken(Scanner, scanners.Locks, "test_after_a_death_at_any_call_the_message_gets_its_verdict", "FileExistsError"),
]


class TestBrokenEvents(RedTables):
    tables: ClassVar = {PluginContract: OF_PLUGINS, TransferEventContract: OF_EVENTS}
