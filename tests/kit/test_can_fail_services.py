"""Every test of the kit for agents and services is red on a service that breaks what it tests."""

from __future__ import annotations

from typing import ClassVar

import pytest

from postroom_testing.agents import AgentContract
from postroom_testing.services import ServiceContract
from tests.kit import broken_services as services
from tests.kit.red import Broken, RedTables
from tests.kit.test_toys import TestLine as Line

pytestmark = pytest.mark.long

OF_AGENTS = [
    Broken(Line, services.NoName, "test_agents_have_names_and_their_endpoints_labels", "need names of their own"),
    Broken(Line, services.OneLabel, "test_a_second_instance_has_labels_of_its_own", "two instances have the label line"),
    Broken(Line, services.EndsByItself, "test_it_runs_until_it_is_cancelled", "ended by itself"),
    Broken(Line, services.SwallowsCancel, "test_it_runs_until_it_is_cancelled", "swallows the cancellation"),
    Broken(Line, services.KeepsListening, "test_it_runs_until_it_is_cancelled", "still listens"),
    Broken(Line, services.NeverReady, "test_it_runs_until_it_is_cancelled", "never called site.ready"),
    Broken(Line, services.DrainHangs, "test_drain_ends_when_nobody_is_there_and_may_be_asked_twice", "which has nothing to do"),
    Broken(Line, services.DrainNeedsRun, "test_an_agent_that_was_never_run_can_be_drained", "which never ran"),
    Broken(Line, services.LeavesDescriptor, "test_running_and_ending_leaves_nothing", "an open descriptor"),
]
OF_SERVICES = [
    Broken(Line, services.GivesNothing, "test_it_is_a_service", "gives nothing"),
    Broken(Line, services.WrongAnswer, "test_it_holds_a_conversation", "what?"),
    Broken(Line, services.OneAtATime, "test_it_holds_many_conversations_at_once", "a conversation"),
    Broken(Line, services.Blocks, "test_the_loop_is_not_blocked", "the loop was blocked for"),
    Broken(Line, services.NeverHangsUp, "test_peers_that_hang_up_cost_nothing", "whose peers hung up"),
    Broken(Line, services.DiesOfRubbish, "test_rubbish_ends_at_worst_the_connection_it_came_by", "a handshake made an error"),
    Broken(Line, services.TakesAnyLine, "test_a_line_without_end_costs_little_memory", "MiB is the limit"),
    Broken(Line, services.NeverWaits, "test_a_peer_that_never_reads_costs_little_memory", "MiB is the limit"),
    Broken(Line, services.DrainTakesNew, "test_drain_takes_nobody_new_and_waits_for_who_is_there", "the listener of a service that drains"),
    Broken(Line, services.LeavesPeersWaiting, "test_cancelled_it_hangs_up", "that was cancelled"),
]


@pytest.mark.filterwarnings("ignore")  # what is broken leaves things open
class TestBrokenServices(RedTables):
    tables: ClassVar = {AgentContract: OF_AGENTS, ServiceContract: OF_SERVICES}
