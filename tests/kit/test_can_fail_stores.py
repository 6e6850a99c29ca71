"""Every test of the kit for mail stores is red on a store that breaks what it tests: ours, with one method made worse."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from postroom.errors import FolderExists
from postroom.mailstore import EXPUNGED, INBOX, Placed, Quota
from postroom.message import MemoryMessage, Message
from postroom_store.folder import LocalFolder
from postroom_store.mailbox import LocalMailbox
from postroom_store.plugin import StorePlugin
from postroom_store.store import LocalStore
from postroom_store.view import FolderView
from postroom_testing.mail import letter
from postroom_testing.store_arrivals import ArrivalTests
from postroom_testing.store_faults import FaultTests
from postroom_testing.store_folders import FolderTests
from postroom_testing.store_mailboxes import MailboxTests
from postroom_testing.stores import MailStoreContract
from tests.kit.red import own_tests

pytestmark = pytest.mark.long

GOOD_DELIVER, GOOD_READ, GOOD_VIEW, GOOD_FLAGS = LocalStore.deliver, LocalFolder.read, LocalFolder.view, LocalFolder.change_flags
GOOD_COPY, GOOD_CREATE, GOOD_FOLLOW, GOOD_APPEND = LocalFolder.copy, LocalMailbox.create, LocalFolder.follow, LocalFolder.append
GOOD_FOLDERS, GOOD_DELETE, GOOD_RENAME = LocalMailbox.folders, LocalMailbox.delete, LocalMailbox.rename
GOOD_QUOTA, GOOD_ANNOTATE, GOOD_WATCH, GOOD_EXPUNGED = LocalMailbox.quota, LocalMailbox.annotate, LocalMailbox.follow, LocalMailbox.expunged
GOOD_ALL, GOOD_TEND, GOOD_SUBSCRIBE, GOOD_NUMBERS = LocalMailbox.all_attributes, LocalStore.tend, LocalMailbox.subscribe, FolderView.numbers


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


async def deliver_or_raise(self: LocalStore, message: Message, targets: Any, *, arrived: float, again: bool = False) -> Any:
    answers = await GOOD_DELIVER(self, message, targets, arrived=arrived, again=again)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


async def deliver_unread(self: LocalStore, message: Message, targets: Any, *, arrived: float, again: bool = False) -> Any:
    return await GOOD_DELIVER(self, message, [replace(one, flags=0) for one in targets], arrived=arrived, again=again)


async def append_now(self: LocalFolder, message: Message, *, flags: int = 0, arrived: float | None = None) -> Placed:
    return await GOOD_APPEND(self, message, flags=flags)


async def quota_without_end(self: LocalMailbox) -> Quota:
    return Quota((await GOOD_QUOTA(self)).used, None)


async def quota_of_inbox(self: LocalMailbox) -> Quota:
    return Quota((await self.open(INBOX)).view().status.octets, (await GOOD_QUOTA(self)).limit)


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


def unaware(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, for any folder of the name."""

    async def changed(self: LocalFolder, *arguments: Any, uidvalidity: int | None = None, **how: Any) -> Any:
        return await method(self, *arguments, **how)

    return changed


def never_ended(follow: Callable[..., Callable[[], None]]) -> Callable[..., Callable[[], None]]:
    def followed(self: Any, changed: Callable[..., None]) -> Callable[[], None]:
        follow(self, changed)
        return lambda: None

    return followed


async def copy_here(self: LocalFolder, uids: Iterable[int], target: Any, **how: Any) -> Any:
    return await GOOD_COPY(self, uids, self, **how)


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


async def replace_in_addition(self: LocalFolder, uid: int, new: Any, target: Any, *, uidvalidity: int | None = None) -> Any:
    """First away, then there: where the new one does not fit, both are lost."""
    await self.expunge([uid], uidvalidity=uidvalidity)
    return await target.append(new.message, flags=new.flags)


async def subscribe_afresh(self: LocalMailbox, name: str, on: bool = True) -> None:
    """First all away, then all there."""
    known = [one for one in await self.subscriptions() if one != name]
    for one in known:
        await GOOD_SUBSCRIBE(self, one, False)
    for one in [*known, name] if on else known:
        await GOOD_SUBSCRIBE(self, one)


async def create_anyway(self: LocalMailbox, name: str) -> Any:
    try:
        return await GOOD_CREATE(self, name)
    except FolderExists:
        return await self.folder(name)


async def folders_reversed(self: LocalMailbox) -> Sequence[str]:
    inbox, *others = await GOOD_FOLDERS(self)
    return [inbox, *others[::-1]]


async def delete_with_children(self: LocalMailbox, name: str) -> None:
    for one in await GOOD_FOLDERS(self):
        if one.startswith(f"{name}/"):
            await GOOD_DELETE(self, one)
    await GOOD_DELETE(self, name)


async def rename_leaving_inbox(self: LocalMailbox, old: str, new: str) -> None:
    if old != INBOX:
        await GOOD_RENAME(self, old, new)
        return
    inbox = await self.open(INBOX)
    await GOOD_COPY(inbox, inbox.view().uids, await self.create(new))


async def folder_by_name(self: LocalMailbox, name: str, *, object_id: str = "") -> Any:
    return await self.open(name)


async def annotate_one_by_one(self: LocalMailbox, folder: str, changes: Mapping[str, bytes | None]) -> None:
    for name, value in changes.items():
        await GOOD_ANNOTATE(self, folder, {name: value})


async def annotate_bringing_all(self: LocalMailbox, folder: str, changes: Mapping[str, bytes | None]) -> None:
    await GOOD_ANNOTATE(self, folder, {**changes, EXPUNGED: b"all"} if EXPUNGED in changes else changes)


async def attributes_of_folders(self: LocalMailbox) -> Mapping[str, Mapping[str, bytes]]:
    return {name: kept for name, kept in (await GOOD_ALL(self)).items() if name}


async def expunged_first_first(self: LocalMailbox) -> bytes:
    return b"\n".join((await GOOD_EXPUNGED(self)).splitlines()[::-1])


def watch_the_tree(self: LocalMailbox, changed: Callable[[str], None]) -> Callable[[], None]:
    return GOOD_WATCH(self, lambda name: None if name else changed(name))


def watch_the_folders(self: LocalMailbox, changed: Callable[[str], None]) -> Callable[[], None]:
    return GOOD_WATCH(self, lambda name: changed(name) if name else None)


def watch_a_neighbour(self: LocalMailbox, changed: Callable[[str], None]) -> Callable[[], None]:
    return self._means.news.watch(self.key.replace("ann", "bob"), changed)


async def tend_marking_read(self: LocalStore) -> None:
    await GOOD_TEND(self)
    work = await (await self.mailbox("example.test", "bob")).folder("Work 0")
    await work.change_flags(work.view().uids, add=1)


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


def all_plain(self: FolderView, what: str, first: int, after: int) -> Sequence[float]:
    return [1] * (after - first) if what == "is_plain" else GOOD_NUMBERS(self, what, first, after)


TABLE = [
    Worse(LocalFolder, "read", read_loudly, "test_a_message_lies_where_it_was_delivered", "FROM: ANN"),
    Worse(LocalStore, "deliver", delivering(under_a_new_id), "test_a_delivery_is_made_once", "is stored again"),
    Worse(LocalStore, "deliver", deliver_over_quota, "test_a_full_mailbox_is_an_answer_and_stores_nothing", "Placed"),
    Worse(LocalStore, "deliver", deliver_unread, "test_each_target_has_its_answer_its_folder_and_its_flags", "assert"),
    Worse(LocalStore, "deliver", delivering(under_a_new_id), "test_each_target_has_its_answer_its_folder_and_its_flags", "True"),
    Worse(LocalMailbox, "quota", quota_of_inbox, "test_a_quota_is_what_lies_there_and_what_may", "used="),
    Worse(LocalMailbox, "quota", quota_without_end, "test_a_quota_is_what_lies_there_and_what_may", "2048"),
    Worse(LocalFolder, "append", append_now, "test_an_upload_lies_as_it_was_asked", "1700000000"),
    Worse(FolderView, "base_subject", FolderView.subject, "test_a_view_says_of_many_what_it_says_of_each", "base_subject of many"),
    Worse(FolderView, "numbers", all_plain, "test_a_view_says_of_many_what_it_says_of_each", "is_plain"),
    Worse(FolderView, "messages", lambda self, rows, waits=True: [], "test_a_view_says_of_many_what_it_says_of_each", "DID NOT RAISE"),
    *(
        Worse(LocalFolder, name, unaware(getattr(LocalFolder, name)), "test_another_folder_of_the_name_is_another_folder", "DID NOT RAISE")
        for name in ("change_flags", "expunge", "copy", "move")
    ),
    Worse(LocalFolder, "copy", copy_here, "test_copies_and_moves_reach_another_mailbox", "assert"),
    Worse(LocalFolder, "follow", never_ended(GOOD_FOLLOW), "test_who_follows_a_folder_hears_of_changes", "who had ended it"),
    Worse(LocalMailbox, "folders", folders_reversed, "test_folders_are_told_in_order_and_go_one_by_one", "archive"),
    Worse(LocalMailbox, "delete", delete_with_children, "test_folders_are_told_in_order_and_go_one_by_one", "Work/Old"),
    Worse(LocalMailbox, "rename", rename_leaving_inbox, "test_inbox_stays_when_it_is_renamed", "assert"),
    Worse(LocalMailbox, "folder", folder_by_name, "test_a_folder_is_found_by_its_identity", "another folder was found"),
    Worse(LocalMailbox, "annotate", annotate_one_by_one, "test_attributes_are_kept_beside_their_folder", "small"),
    Worse(LocalMailbox, "all_attributes", attributes_of_folders, "test_attributes_are_kept_beside_their_folder", "of all"),
    Worse(LocalMailbox, "expunged", expunged_first_first, "test_what_was_expunged_comes_back", "the latest expunged comes first"),
    Worse(LocalMailbox, "annotate", annotate_bringing_all, "test_what_was_expunged_comes_back", "assert"),
    Worse(LocalMailbox, "follow", lambda self, changed: lambda: None, "test_who_follows_a_mailbox_hears_which_folder_changed", "'work'"),
    Worse(LocalMailbox, "follow", watch_the_tree, "test_who_follows_a_mailbox_hears_which_folder_changed", "'work'"),
    Worse(LocalMailbox, "follow", watch_the_folders, "test_who_follows_a_mailbox_hears_which_folder_changed", "''"),
    Worse(
        LocalMailbox, "follow", watch_a_neighbour, "test_who_follows_no_more_or_another_mailbox_hears_nothing", "another mailbox was told"
    ),
    Worse(LocalMailbox, "follow", never_ended(GOOD_WATCH), "test_who_follows_no_more_or_another_mailbox_hears_nothing", "who had ended it"),
    Worse(LocalStore, "tend", tend_marking_read, "test_upkeep_changes_nothing_that_anybody_sees", "assert"),
    Worse(LocalFolder, "move", move_by_hand, "test_what_was_begun_goes_on_when_its_caller_is_cancelled", "was done in part", "move"),
    Worse(
        LocalFolder,
        "replace",
        replace_by_hand,
        "test_what_was_begun_goes_on_when_its_caller_is_cancelled",
        "did not come to an end",
        "replace_elsewhere",
    ),
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
    Worse(
        LocalFolder, "replace", replace_in_addition, "test_a_replacement_needs_room_for_what_it_is_larger_by", "what was refused was done"
    ),
    Worse(LocalMailbox, "annotate", annotate_one_by_one, "test_after_a_death_at_any_call_nothing_is_lost", "done in part", "annotate"),
    Worse(LocalMailbox, "subscribe", subscribe_afresh, "test_after_a_death_at_any_call_nothing_is_lost", "are subscribed", "subscribe"),
    Worse(
        LocalStore, "deliver", deliver_or_raise, "test_a_disk_that_refuses_at_any_call_loses_nothing", "a refusal is an answer", "deliver"
    ),
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
    assert own_tests(MailStoreContract, ArrivalTests, FolderTests, MailboxTests, FaultTests) == {worse.test for worse in TABLE}
