"""What a mail store owes when things break: nothing is lost, and nothing is done by half, where the disk refuses or the process dies at any call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom.errors import DiskError, StoreError
from postroom.mailstore import FLAGGED, INBOX, SEEN, Upload
from postroom_testing.dying import ends_before
from postroom_testing.faults import FaultDisk
from postroom_testing.mail import TEXT, letter
from postroom_testing.plugin import Alive, spread
from postroom_testing.store_ground import Held, StoreGround
from postroom_testing.watching import left_by, tasks_besides

CHANGES = ("deliver", "append", "append_all", "replace", "replace_elsewhere", "flag", "expunge", "copy", "move")  # of messages
DEEDS = (*CHANGES, "create", "rename", "delete", "annotate", "subscribe")
ATTRIBUTES = {"/private/comment": b"one", "/shared/comment": b"other"}
SCENE = tuple(letter(TEXT + b"%d\r\n" % number, name=f"scene {number}") for number in range(4))
MORE = tuple(letter(TEXT + b"more %d\r\n" % number, name=f"more {number}") for number in range(3))
NEW = letter(TEXT + b"new\r\n", name="new")
REPLACEMENTS = ("replace", "replace_elsewhere")


class FaultTests(StoreGround):
    """What fails on the way."""

    def test_it_leaves_nothing_open_or_running(self, tmp_path: Path) -> None:
        async def work() -> None:
            before = set(asyncio.all_tasks())
            async with self.alive(tmp_path) as alive:
                await self.deliver(alive, letter(), "bob", "ann")
                inbox = await self.folder(alive)
                inbox.follow(lambda: None)
                await inbox.append(letter())
            left = tasks_besides(before)
            assert not left, f"after the site was closed there is {', '.join(left)}"

        left = left_by(work)
        assert not left, f"after the site was closed there is {', '.join(left)}"

    @pytest.mark.parametrize("deed", DEEDS)
    def test_a_disk_that_refuses_at_any_call_loses_nothing(self, tmp_path: Path, deed: str) -> None:
        for number in spread(self._calls(tmp_path / "whole", deed), self.points):
            asyncio.run(self._refused(tmp_path / str(number), deed, number, "full" if number % 2 else "broken"))

    async def _refused(self, place: Path, deed: str, number: int, how: str) -> None:
        disk, what = FaultDisk(how=how), f"call {number} was refused ({how})"
        async with self.alive(place, disk=disk) as alive:
            await self._scene(alive)
            before = await self.held(alive)
            disk.calls.clear()
            disk.at = number
            try:
                await self.within(self._do(deed, alive), f"{deed}, call {number} of which was refused,", DiskError, StoreError)
            except (DiskError, StoreError):
                pass
            disk.heal()
            self._same(before, await self.held(alive), deed, what)
            await self._whole(alive, deed, what)
            await self.deliver(alive, letter(), "ann")
        await self._reopened(place, before, deed, what)

    @pytest.mark.parametrize("deed", DEEDS)
    def test_after_a_death_at_any_call_nothing_is_lost(self, tmp_path: Path, deed: str) -> None:
        for number in spread(self._calls(tmp_path / "whole", deed), self.points):
            self._died(tmp_path / str(number), deed, number, "tear" if number % 2 else "die")

    def _died(self, place: Path, deed: str, number: int, how: str) -> None:
        async def build() -> Held:
            async with self.alive(place) as alive:
                await self._scene(alive)
                return await self.held(alive)

        async def die(disk: FaultDisk, arm: Callable[[], None]) -> None:
            async with self.alive(place, disk=disk) as alive:
                await self.held(alive)
                arm()
                await self._do(deed, alive)

        before = asyncio.run(build())
        ends_before(number, die, how)
        asyncio.run(self._reopened(place, before, deed, f"a death at call {number} ({how})"))

    def _calls(self, place: Path, deed: str) -> int:
        """How often this deed changes the disk when nothing is wrong."""

        async def main() -> int:
            disk = FaultDisk()
            async with self.alive(place, disk=disk) as alive:
                await self._scene(alive)
                before = len(disk.calls)
                await self._do(deed, alive)
                return len(disk.calls) - before

        return asyncio.run(main())

    @pytest.mark.parametrize("deed", ["move", "replace_elsewhere"])
    def test_what_was_begun_goes_on_when_its_caller_is_cancelled(self, tmp_path: Path, deed: str) -> None:
        for turns in (1, 3, 6):
            asyncio.run(self._cancelled(tmp_path / str(turns), deed, turns))

    async def _cancelled(self, place: Path, deed: str, turns: int) -> None:
        """After so many turns of the loop."""
        async with self.alive(place) as alive:
            await self._scene(alive)
            inbox, other, changed = await self.folder(alive), await self.folder(alive, "Other"), asyncio.Event()
            first, left = inbox.view().uids[0], len(inbox.view()) - (2 if deed == "move" else 1)
            uids = inbox.view().uids[:2]
            doing = asyncio.ensure_future(inbox.move(uids, other) if deed == "move" else inbox.replace(first, Upload(NEW), other))

            async def ended() -> None:
                while len(inbox.view()) != left:
                    changed.clear()
                    await changed.wait()

            end = inbox.follow(changed.set)
            for _ in range(turns):
                await asyncio.sleep(0)
            doing.cancel()
            await self.within(ended(), f"{deed}, cancelled after {turns} turns of the loop,")
            end()
            texts = [text for _, text, _ in (await self.held(alive))["Other"]]
            expected = [SCENE[3], *SCENE[:2]] if deed == "move" else [SCENE[3], NEW]
            assert texts == [one.data for one in expected], f"{deed}, cancelled after {turns} turns of the loop, was done in part"
            await asyncio.gather(doing, return_exceptions=True)

    async def _scene(self, alive: Alive) -> None:
        """Three letters in Inbox, which is subscribed to, one in Other."""
        for message in SCENE[:3]:
            await self.deliver(alive, message)
        await self.deliver(alive, SCENE[3], folder="Other")
        await (await self.box(alive)).subscribe(INBOX)

    async def _do(self, deed: str, alive: Alive) -> None:
        """One change of the scene."""
        box, inbox, other = await self.box(alive), await self.folder(alive), await self.folder(alive, "Other")
        uids = list(inbox.view().uids)
        match deed:
            case "deliver":
                await self.deliver(alive, NEW, again=True)
            case "append":
                await inbox.append(NEW, flags=SEEN)
            case "append_all":
                await inbox.append_all([Upload(message) for message in MORE])
            case "replace":
                await inbox.replace(uids[0], Upload(NEW), inbox)
            case "replace_elsewhere":
                await inbox.replace(uids[0], Upload(NEW), other)
            case "flag":
                await inbox.change_flags(uids[:2], add=FLAGGED)
            case "expunge":
                await inbox.expunge(uids[:2])
            case "copy":
                await inbox.copy(uids[:2], other)
            case "move":
                await inbox.move(uids[:2], other)
            case "create":
                await box.create("New/Folder")
            case "rename":
                await box.rename("Other", "Another")
            case "delete":
                await box.delete("Other")
            case "annotate":
                await box.annotate(INBOX, ATTRIBUTES)
            case "subscribe":
                await box.subscribe("Other")

    async def _reopened(self, place: Path, before: Held, deed: str, what: str) -> None:
        """The next process finds all that was there, and delivers nothing of it again."""
        async with self.alive(place) as alive:
            self._same(before, await self.held(alive), deed, what)
            await self._whole(alive, deed, what)
            for number, message in enumerate(SCENE):
                (placed,) = await self.deliver(alive, message, again=True)
                assert placed.doubled, f"{deed}, {what}: letter {number} was delivered a second time"
            await self.deliver(alive, NEW, again=True)
            octets = [text for messages in (await self.held(alive)).values() for _, text, _ in messages]
            assert octets.count(NEW.data) == 1 or deed in ("append", *REPLACEMENTS), (
                f"{deed}, {what}: the new message is there {octets.count(NEW.data)} times"
            )

    async def _whole(self, alive: Alive, deed: str, what: str) -> None:
        """What is kept beside the folders: all of a change, or none; and what was there before it."""
        box = await self.box(alive)
        kept, subscribed = dict(await box.attributes(INBOX)), set(await box.subscriptions())
        assert kept == {} or (deed == "annotate" and kept == ATTRIBUTES), f"{deed}, {what}: done in part, the attributes are {kept}"
        assert subscribed in ({INBOX}, {INBOX, "Other"} if deed == "subscribe" else {INBOX}), f"{deed}, {what}: {subscribed} are subscribed"

    def _same(self, before: Held, now: Held, deed: str, what: str) -> None:
        """Nothing is lost; what is more than one message is done whole or not at all."""
        had, has = ([text for messages in held.values() for _, text, _ in messages] for held in (before, now))
        lost = [text for text in had if text not in has]
        may_go = {"expunge": (0, 2), "delete": (0, 1), "replace": (0, 1), "replace_elsewhere": (0, 1)}
        assert len(lost) in may_go.get(deed, (0,)), f"{deed}, {what}: {len(lost)} messages are lost"
        more = {"copy": 2, "append_all": len(MORE)}.get(deed)
        if more is not None:
            assert len(has) in (len(had), len(had) + more), f"{deed}, {what}: done in part, {len(had)} became {len(has)}"
        if deed in ("move", "rename", "flag", "create", *REPLACEMENTS):
            assert len(has) == len(had), f"{deed}, {what}: {len(had)} messages became {len(has)}"
        if deed not in ("move", "expunge", *REPLACEMENTS):
            first = [(uid, text) for uid, text, _ in now[INBOX]][: len(before[INBOX])]
            assert first == [(uid, text) for uid, text, _ in before[INBOX]], f"{deed}, {what}: UIDs have changed"
