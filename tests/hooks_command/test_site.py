"""Programs of the old contract in a whole site: the real MTA, journal, spool, post office and store; what lies in the mailbox is compared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from postroom.message import FileMessage, MemoryMessage, Message, new_id
from postroom.records import AddressMapRecord, MailboxRecord, PostofficeRecord
from postroom.transfer import PASS, Defer, Reject, Verdict
from postroom_run.assembly import Assembled
from postroom_run.caretaker import Caretaker
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines, site_in
from postroom_testing.mail import TEXT, envelope, huge, letter
from postroom_testing.waiting import until
from tests.hooks_command.programs import ASKED, alive, pids, script

pytestmark = pytest.mark.long

YAML = """
server: mail.example.test
plugins:
  tab: {{watch: false}}
  store: {{}}
  postoffice: {{}}
  scan: {{plugin: command, {settings}}}
"""


class Post:
    """The site, and what arrived."""

    def __init__(self, parts: Assembled, clock: HandClock, root: Path) -> None:
        self.parts, self.clock, self.root, self.lines = parts, clock, root, parts.site.log

    async def send(self, message: Message, *to: str) -> Verdict:
        """As an inbound agent hands a message over."""
        sent = envelope(message, *to, arrived=self.clock.now())
        if isinstance(message, FileMessage):
            place = self.parts.site.intake.big(message.id, sent.source)
            place.write_bytes(message.path.read_bytes())
            message = FileMessage(message.id, place, message.size)
        return await self.parts.site.intake.accept(sent, message)

    async def arrived(self, message: Message, *to: str) -> Verdict:
        """The same, carried to its end."""
        said = await self.send(message, *to)
        await self.parts.mta.drain()
        return said

    def mailbox(self, name: str = "bob") -> list[bytes]:
        folder = self.root / "Postoffices" / "po" / "MAILROOT" / name / "Inbox"
        return [path.read_bytes() for path in sorted(folder.glob("*.MAI"))]

    def held(self, shelf: str = "Quarantine") -> list[str]:
        """Ids of the pairs on a shelf; every file of it belongs to one."""
        pairs = {path.stem for path in (self.root / shelf).glob("*.MAI")}
        assert pairs == {path.stem for path in (self.root / shelf / "Messages").glob("*.MAI")}
        return sorted(pairs)

    def queued(self) -> list[Path]:
        """Files that wait, or were left, in any queue."""
        return [path for path in (self.root / "Queues").rglob("*.MAI") if "Done" not in path.parts]

    def command(self, item: str) -> str:
        return (self.root / "Quarantine" / f"{item}.MAI").read_text()


@asynccontextmanager
async def post(root: Path, settings: str, more: str = "") -> AsyncIterator[Post]:
    root.mkdir(exist_ok=True)
    (root / "Config").mkdir(exist_ok=True)
    clock = HandClock()
    async with site_in(root, YAML.format(settings=settings) + more, clock=clock, log=Lines()) as parts:
        providers = parts.site.providers
        await providers.postoffice.postoffices.put(PostofficeRecord(name="po"))
        for name in ("bob", "eve"):
            await providers.postoffice.mailboxes.put(MailboxRecord(postoffice="po", mailbox=name))
            row = AddressMapRecord(source=f"[SMTP:{name}@example.test]", destination=f"[SF:po/{name}]", account="po")
            await providers.address_map.rows.put(row)
        yield Post(parts, clock, root)


def run(root: Path, settings: str, act: Callable[[Post], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with post(root, settings) as house:
            await act(house)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("stage", "isolation"),
    [("pickup", "inline"), ("delivery", "inline"), ("mailbox", "inline"), ("pickup", "process"), ("mailbox", "process")],
)
def test_a_program_of_the_old_contract_quarantines_one_and_lets_the_other_pass(tmp_path: Path, stage: str, isolation: str) -> None:
    paths = {"pickup": "$2/Inbound", "delivery": "$2/Outgoing", "mailbox": "SF/Outgoing"}[stage]
    name = "$3" if stage == "mailbox" else "$1"
    text = f"""
message="Queues/{paths}/Messages/{name}"; command="Queues/{paths}/{name}"
grep -q VIRUS "$message" || exit 0
echo "VIRUS found"
mv "$message" Quarantine/Messages/ && mv "$command" Quarantine/"""

    async def act(house: Post) -> None:
        good, bad = letter(), letter(TEXT + b"VIRUS\r\n")
        assert await house.arrived(good) == PASS
        await house.arrived(bad)
        assert house.mailbox() == [TEXT] and house.queued() == []
        (item,) = house.held()
        assert (house.root / "Quarantine" / "Messages" / f"{item}.MAI").read_bytes() == bad.data
        kept = house.command(item)
        assert "LastError=VIRUS found\r\n" in kept.replace("\n", "\r\n").replace("\r\r", "\r") and "Private=" not in kept
        assert "HeldBy=scan" in kept and ("[SMTP:bob@example.test]" if stage == "pickup" else "[SF:po/bob]") in kept

    run(tmp_path / "site", f"{stage}: [{script(tmp_path, text)}], hooks: {{isolation: {isolation}}}", act)


@pytest.mark.parametrize(("size", "isolation"), [(0, "inline"), (400 << 10, "inline"), (400 << 10, "process")])
def test_what_a_program_wrote_is_what_is_delivered(tmp_path: Path, size: int, isolation: str) -> None:
    program = script(tmp_path, f'{ASKED} {{ printf "X-Scanned: yes\\r\\n"; cat "$message"; }} > t.new; mv t.new "$message"')

    async def act(house: Post) -> None:
        message = huge(tmp_path / "big", size) if size else letter()
        whole = await message.read()
        assert await house.arrived(message, "bob@example.test", "eve@example.test") == PASS
        assert house.mailbox() == house.mailbox("eve") == [b"X-Scanned: yes\r\n" + whole]
        left = [path.stem for path in house.queued()]
        assert left == ([message.id] if size else [])  # the original's file goes when the journal is cut

    run(tmp_path / "site", f"pickup: [{program}], hooks: {{isolation: {isolation}}}", act)


def test_a_rejection_is_said_before_the_reply_and_a_deleted_pair_is_nobodys_mail(tmp_path: Path) -> None:
    text = f'{ASKED} grep -q SPAM "$message" && {{ echo "no spam here"; exit 1; }}; rm "$message" "$command"'

    async def act(house: Post) -> None:
        assert await house.arrived(letter(TEXT + b"SPAM\r\n")) == Reject("no spam here")
        await house.arrived(letter())
        assert house.mailbox() == [] and house.queued() == [] and house.held() == house.held("Bad Mail") == []

    run(tmp_path / "site", f"pickup: [{script(tmp_path, text)}], verdicts: {{1: reject}}", act)


def test_a_mailbox_program_changes_one_copy_only(tmp_path: Path) -> None:
    program = script(tmp_path, '[ "$2" = eve ] && sed -i "1i X-For: $2" "$POSTROOM_MESSAGE"; exit 0')

    async def act(house: Post) -> None:
        await house.arrived(letter(), "bob@example.test", "eve@example.test")
        assert house.mailbox() == [TEXT] and house.mailbox("eve") == [b"X-For: eve\r\n" + TEXT]

    run(tmp_path / "site", f"mailbox: [{program}]", act)


def test_a_program_that_hangs_is_killed_at_the_deadline_and_its_message_waits(tmp_path: Path) -> None:
    program = script(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 600")

    async def act(house: Post) -> None:
        sent = asyncio.create_task(house.send(letter()))
        await until(lambda: pids(tmp_path / "pid"))
        (private,) = [path for path in house.queued() if path.parent.name == "Inbound"]
        caretaker = Caretaker(house.parts)
        await caretaker.round()  # the private pair is due and locked: nobody takes it for mail
        caretaker.close()
        assert private.exists() and house.mailbox() == []
        await house.clock.advance(2)
        await until(lambda: not alive(pids(tmp_path / "pid")[0]))
        assert isinstance(await sent, Defer)
        await house.parts.mta.drain()
        rests = house.queued()
        assert len(rests) == 2 and private not in rests and house.mailbox() == []
        assert any("scan gave no answer in time" in path.read_text("utf-8", "replace") for path in rests)

    run(tmp_path / "site", f"pickup: [{program}], hooks: {{timeout: 1}}", act)


def test_an_isolated_program_that_hangs_is_killed_with_its_child_process_and_its_pair_goes(tmp_path: Path) -> None:
    program = script(tmp_path, f"[ -e {tmp_path}/pid ] && exit 0; echo $$ > {tmp_path}/pid; sleep 600")

    async def act(house: Post) -> None:
        sent = asyncio.create_task(house.send(letter()))
        await until(lambda: pids(tmp_path / "pid"))
        await house.clock.advance(2)
        assert isinstance(await sent, Defer)
        await until(lambda: not alive(pids(tmp_path / "pid")[0]))
        await house.parts.mta.drain()
        await house.arrived(letter(TEXT + b"next\r\n"))  # its child sweeps what the killed one left
        assert house.mailbox() == [TEXT + b"next\r\n"] and list((house.root / "run" / "private").iterdir()) == []
        assert len([path for path in house.queued() if path.parent.name == "Inbound"]) == 1  # the message that waits

    run(tmp_path / "site", f"pickup: [{program}], hooks: {{timeout: 1, isolation: process}}", act)


def test_a_pair_that_another_worker_left_is_swept_and_the_message_asked_again(tmp_path: Path) -> None:
    """As after a crash between the program's move and the kernel's own pair."""
    private = new_id()

    async def act(house: Post) -> None:
        for folder in ("Queues/SMTP/Inbound/Messages", "Quarantine/Messages", "run/private"):
            (house.root / folder).mkdir(parents=True, exist_ok=True)
        (house.root / "run/private" / private).write_text("Queue=SMTP/Inbound\r\nItem=" + "A" * 32 + "\r\n")
        (house.root / "Quarantine" / f"{private}.MAI").write_text("Recipients=[SMTP:bob@example.test]\r\nPrivate=" + "A" * 32 + "\r\n")
        (house.root / "Quarantine/Messages" / f"{private}.MAI").write_bytes(TEXT)
        await house.arrived(letter())
        assert private not in house.held() and len(house.held()) == 1 and house.queued() == []

    text = f'{ASKED} mv "$message" Quarantine/Messages/; mv "$command" Quarantine/'
    run(tmp_path / "site", f"pickup: [{script(tmp_path, text)}]", act)


def test_after_a_crash_in_the_middle_the_message_comes_once(tmp_path: Path) -> None:
    """The worker dies while its program runs: the next one replays the journal, sweeps the pair and asks again."""
    program = script(tmp_path, f"touch {tmp_path}/ran; [ -e {tmp_path}/go ] || exec sleep 600; exit 0")

    async def dies() -> None:
        async with post(tmp_path / "site", f"pickup: [{program}]") as house:
            sent = asyncio.create_task(house.send(letter()))
            await until((tmp_path / "ran").exists)
            sent.cancel()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)

    async def lives() -> None:
        async with post(tmp_path / "site", f"pickup: [{program}]") as house:
            caretaker = Caretaker(house.parts)
            await caretaker.round()
            await house.parts.mta.drain()
            caretaker.close()
            assert (
                house.mailbox() == [TEXT]
                and house.held() == []
                and [path for path in house.queued() if path.parent.name != "Messages"] == []
            )

    asyncio.run(dies())
    (tmp_path / "go").touch()
    asyncio.run(lives())


def test_forty_at_once_each_with_its_own_pair(tmp_path: Path) -> None:
    program = script(tmp_path, f'{ASKED} sed -i "1i X-Name: $1" "$message"')

    async def act(house: Post) -> None:
        messages = [MemoryMessage(new_id(), b"Subject: %d\r\n\r\n" % number) for number in range(40)]
        await asyncio.gather(*(house.send(message) for message in messages))
        await house.parts.mta.drain()
        found = house.mailbox()
        assert sorted(text.partition(b"\r\n")[2] for text in found) == sorted(message.data for message in messages)
        assert len({text.partition(b"\r\n")[0] for text in found}) == 40 and house.queued() == []

    run(tmp_path / "site", f"pickup: [{program}], processes_at_once: 3", act)
