"""Every test of the kit for mail stores is red on a store that breaks what it tests: ours, with one method made worse."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from postroom.errors import FolderExists
from postroom.mailstore import Placed
from postroom.message import MemoryMessage, Message
from postroom_store.folder import LocalFolder
from postroom_store.mailbox import LocalMailbox
from postroom_store.plugin import StorePlugin
from postroom_store.store import LocalStore
from postroom_testing.mail import letter
from postroom_testing.stores import MailStoreContract
from tests.kit.red import own_tests

pytestmark = pytest.mark.long

GOOD_DELIVER, GOOD_READ, GOOD_VIEW, GOOD_FLAGS = LocalStore.deliver, LocalFolder.read, LocalFolder.view, LocalFolder.change_flags
GOOD_COPY, GOOD_CREATE = LocalFolder.copy, LocalMailbox.create


class Contract(MailStoreContract):
    plugin = StorePlugin
    points = 12
    many = 20


async def read_loudly(self: LocalFolder, uid: int, offset: int = 0, n: int = -1) -> bytes:
    return (await GOOD_READ(self, uid, offset, n)).upper()


def delivering(change: Callable[[Any], Any]) -> Callable[..., Any]:
    """`deliver` with another message."""

    async def deliver(self: LocalStore, message: Message, targets: Any, *, arrived: float, again: bool = False) -> Any:
        return await GOOD_DELIVER(self, change(message), targets, arrived=arrived, again=again)

    return deliver


def under_a_new_id(message: Message) -> Message:
    return letter(message.peek() or b"")


def without_nul(message: Message) -> Message:
    data = message.peek()
    return message if data is None else MemoryMessage(message.id, data.replace(b"\0", b""))


def slowly(message: Message) -> Message:
    if message.size > 1 << 20:
        time.sleep(0.12)  # the block itself: more than a loop may be
    return message


def leaving_a_descriptor(message: Message) -> Message:
    os.open("/", os.O_RDONLY)
    return message


async def deliver_all_read(self: LocalStore, message: Message, targets: Any, *, arrived: float, again: bool = False) -> Any:
    await message.read()
    return await GOOD_DELIVER(self, message, targets, arrived=arrived, again=again)


async def deliver_over_quota(self: LocalStore, message: Message, targets: Any, *, arrived: float, again: bool = False) -> Any:
    return await GOOD_DELIVER(self, message, [replace(one, limit=None) for one in targets], arrived=arrived, again=again)


async def deliver_as_one(self: LocalStore, message: Message, targets: Any, *, arrived: float, again: bool = False) -> Any:
    answers = await GOOD_DELIVER(self, message, targets, arrived=arrived, again=again)
    return [replace(one, uid=1) if isinstance(one, Placed) else one for one in answers]


class LiveView:
    """Shows what the folder is now, whenever it is asked."""

    def __init__(self, folder: LocalFolder) -> None:
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(GOOD_VIEW(self._folder), name)

    def __len__(self) -> int:
        return len(GOOD_VIEW(self._folder))


async def change_flags_blindly(self: LocalFolder, uids: Iterable[int], *, unchanged_since: int | None = None, **how: Any) -> Any:
    return await GOOD_FLAGS(self, uids, **how)


async def one_keyword(self: LocalFolder, name: str) -> int:
    return 1 << 32


async def copy_without_flags(self: LocalFolder, uids: Iterable[int], target: Any, **how: Any) -> Any:
    pairs = await GOOD_COPY(self, uids, target, **how)
    await target.change_flags([new for _, new in pairs], remove=-1)
    return pairs


async def move_by_hand(self: LocalFolder, uids: Iterable[int], target: Any) -> Any:
    """First away, then there: what fails in between is lost."""
    messages = [(uid, MemoryMessage(letter().id, await self.read(uid))) for uid in uids]
    await self.expunge([uid for uid, _ in messages])
    return [(uid, (await target.append(message)).uid) for uid, message in messages]


async def append_one_by_one(self: LocalFolder, new: Any) -> Any:
    return [await self.append(one.message, flags=one.flags, arrived=one.arrived) for one in new]


async def replace_by_hand(self: LocalFolder, uid: int, new: Any, target: Any, *, uidvalidity: int | None = None) -> Any:
    """First there, then away: what fails in between leaves both."""
    placed = await target.append(new.message, flags=new.flags)
    await self.expunge([uid], uidvalidity=uidvalidity)
    return placed


async def create_anyway(self: LocalMailbox, name: str) -> Any:
    try:
        return await GOOD_CREATE(self, name)
    except FolderExists:
        return await self.folder(name)


async def deliver_confused(self: LocalStore, message: Message, targets: Any, *, arrived: float, again: bool = False) -> Any:
    confused = [replace(one, folder=one.folder.replace("a.b", "a/b")) for one in targets]
    return await GOOD_DELIVER(self, message, confused, arrived=arrived, again=again)


async def remove_nothing(self: LocalStore, postoffice: str, name: str) -> None: ...


@dataclass(frozen=True)
class Worse:
    """One method made worse, the test that must show it, and a part of what it must say."""

    owner: type
    method: str
    by: Any
    test: str
    says: str
    deed: str = ""
    there: str = ""

    def __str__(self) -> str:
        return f"{self.method}-{self.test}"


TABLE = [
    Worse(LocalFolder, "read", read_loudly, "test_a_message_lies_where_it_was_delivered", "FROM: ANN"),
    Worse(LocalStore, "deliver", delivering(under_a_new_id), "test_a_delivery_is_made_once", "is stored again"),
    Worse(LocalStore, "deliver", deliver_over_quota, "test_a_full_mailbox_is_an_answer_and_stores_nothing", "Placed"),
    Worse(LocalStore, "deliver", deliver_as_one, "test_many_at_once_get_uids_of_their_own", "assert"),
    Worse(LocalStore, "deliver", delivering(under_a_new_id), "test_the_same_message_at_once_is_stored_once", "False"),
    Worse(LocalFolder, "view", lambda self: LiveView(self), "test_a_view_never_changes", "assert"),
    Worse(LocalFolder, "change_flags", change_flags_blindly, "test_flags_change_as_asked_and_modseqs_grow", "assert"),
    Worse(LocalFolder, "keyword", one_keyword, "test_keywords_have_an_end", "59"),
    Worse(LocalFolder, "expunged_since", lambda self, modseq: [], "test_what_is_expunged_is_gone_and_told", "assert"),
    Worse(LocalFolder, "copy", copy_without_flags, "test_copies_and_moves_keep_octets_and_flags", "assert"),
    Worse(
        LocalFolder, "follow", lambda self, changed: lambda: None, "test_who_follows_a_folder_hears_of_changes", "the news of a delivery"
    ),
    Worse(LocalFolder, "append_all", append_one_by_one, "test_uploads_come_all_or_none", "those that would have fitted came"),
    Worse(LocalFolder, "replace", replace_by_hand, "test_one_message_takes_the_place_of_another", "DID NOT RAISE", there="Other"),
    Worse(LocalFolder, "append_all", append_one_by_one, "test_after_a_death_at_any_call_nothing_is_lost", "done in part", "append_all"),
    Worse(LocalFolder, "replace", replace_by_hand, "test_after_a_death_at_any_call_nothing_is_lost", "became 5", "replace_elsewhere"),
    Worse(LocalMailbox, "create", create_anyway, "test_folders_are_made_renamed_and_deleted", "FolderExists"),
    Worse(LocalStore, "deliver", deliver_confused, "test_no_folder_name_escapes_or_meets_another", "another's mail, or none"),
    Worse(LocalStore, "remove", remove_nothing, "test_a_mailbox_that_was_removed_starts_anew", "assert"),
    Worse(
        LocalStore,
        "deliver",
        delivering(without_nul),
        "test_hostile_messages_are_kept_octet_by_octet",
        "nul octets: other octets came back",
    ),
    Worse(LocalStore, "deliver", deliver_all_read, "test_a_huge_message_takes_little_memory", "8 MiB is the limit"),
    Worse(LocalStore, "deliver", delivering(slowly), "test_the_loop_is_not_blocked", "the loop was blocked"),
    Worse(LocalStore, "deliver", delivering(leaving_a_descriptor), "test_it_leaves_nothing_open_or_running", "an open descriptor: /"),
    Worse(LocalFolder, "move", move_by_hand, "test_a_disk_that_refuses_at_any_call_loses_nothing", "are lost", "move"),
    Worse(LocalFolder, "move", move_by_hand, "test_after_a_death_at_any_call_nothing_is_lost", "are lost", "move"),
]


@pytest.mark.parametrize("worse", TABLE, ids=str)
def test_it_is_shown(worse: Worse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worse.owner, worse.method, worse.by)
    contract = type("Short", (Contract,), {"patience": 1.0})()
    test = getattr(contract, worse.test)
    given = {"tmp_path": tmp_path, "deed": worse.deed, "there": worse.there}
    with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
        test(**{name: given[name] for name in inspect.signature(test).parameters})
    assert worse.says in str(caught.value), f"{worse} said: {caught.value}"


def test_each_test_of_the_contract_is_shown_red() -> None:
    assert own_tests(MailStoreContract) == {worse.test for worse in TABLE}
