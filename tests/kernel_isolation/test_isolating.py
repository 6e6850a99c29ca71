"""What stands for an isolated plugin: it is checked at the start, asked across a process border, and ended with its host."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from postroom.host import GROUP
from postroom.message import SMALL, MemoryMessage, new_id
from postroom.settings import ConfigErrors
from postroom.transfer import PASS, Reject, Stage, TransferEvent
from postroom_testing.mail import huge
from tests.kernel_isolation.world import BAD, GOOD, MODULE, ROOT, World, event, gone, world

pytestmark = pytest.mark.long


def test_a_verdict_crosses_and_the_plugin_is_never_imported_here(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "LongReason") as it:
            assert await it.ask(GOOD) == PASS
            verdict = await it.ask(BAD)
            assert isinstance(verdict, Reject) and verdict.by == "bad"
            assert verdict.why.startswith("because xxx") and len(verdict.why) == 500
            assert (it.counters["calls"], it.counters["errors"]) == (2, 0)
            assert type(it.host.plugins["bad"]).__module__ == MODULE and type(it.host.plugins["bad"]).__name__ == "Isolated"

    sys.modules.pop(MODULE, None)
    asyncio.run(main())
    assert MODULE not in sys.modules


def test_a_replace_comes_back_as_a_copy(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Replaces") as it:
            _, after = await it.asked(BAD)
            assert await after.message.read() == b"X-Seen: yes\r\n" + BAD and isinstance(after.message, MemoryMessage)
            verdict, after = await it.host.delivery(event(after.message))
            assert verdict == PASS and await after.message.read() == b"X-Sent: yes\r\nX-Seen: yes\r\n" + BAD
            (tmp_path / "edited").write_bytes(b"changed later")
            assert (await after.message.read()).startswith(b"X-Sent")

    asyncio.run(main())


def test_a_large_message_crosses_without_being_read_and_its_replacement_lies_in_a_file_while_it_is_used(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Replaces") as it:
            message = huge(tmp_path / "big", 2 << 20)
            verdict, after = await it.host.delivery(event(message))
            assert verdict == PASS and after.message.peek() is None and after.message.size == message.size + 13
            assert await after.message.read() == b"X-Sent: yes\r\n" + message.path.read_bytes()
            files = list((tmp_path / "run" / "replaced").rglob("*.MAI"))
            assert len(files) == 1 and files[0].stat().st_size > SMALL
            linked = tmp_path / "linked"
            linked.hardlink_to(files[0])  # as a queue or a mailbox does
            del after
            await asyncio.sleep(0)  # the loop lets go of the task's last step
            gc.collect()
            assert not files[0].exists() and linked.stat().st_size == message.size + 13

    asyncio.run(main())


def test_what_a_killed_worker_left_goes(tmp_path: Path) -> None:
    async def main() -> None:
        dead = subprocess.Popen(["true"])
        dead.wait()
        left = tmp_path / "run" / "replaced" / str(dead.pid)
        others = tmp_path / "run" / "replaced" / str(os.getppid())  # a process that lives
        for folder in (left, others):
            folder.mkdir(parents=True)
            (folder / "A.MAI").write_text("x")
        async with world(tmp_path, "Replaces") as it:
            await it.host.delivery(event(huge(tmp_path / "big", 1 << 20)))
        assert not left.exists() and (others / "A.MAI").exists()

    asyncio.run(main())


MISTAKES = {
    "a wrong setting": ("Raises", ", secs: 1", ":3: plugins.bad.secs: no such setting. Did you mean seconds?"),
    "a wrong value": ("Raises", ", mib: lots", ":3: plugins.bad.mib: Input should be a valid integer"),
    "a hook that is no transfer event": (
        "Offers",
        "",
        ":3: plugins.bad.hooks.isolation: its hook health is no transfer event, and only those can run in a process of their own. Write inline",
    ),
    "a constructor that raises": (
        "Broken",
        "",
        f":3: plugins.bad: {MODULE}:Broken cannot be loaded: RuntimeError: no scanner here. Reinstall the plugin, or take it out",
    ),
    "no such class": ("Missing", "", f"plugins.bad: {MODULE}:Missing cannot be loaded: AttributeError"),
    "a process that ends": ("Crashes", "", "cannot be started in a process of its own: its process ended with exit status 7"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_is_wrong_is_told_at_the_start_with_its_line(case: str, tmp_path: Path) -> None:
    kind, more, told = MISTAKES[case]
    with pytest.raises(ConfigErrors) as raised:
        World(tmp_path, kind, more=more)
    [error] = raised.value.errors
    assert told in str(error)


def test_settings_that_change_while_they_are_read_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = World(tmp_path, "Raises")
    made.host.close()
    (tmp_path / "postroom.yaml").write_text("server: another.example.test\n")
    with pytest.raises(ConfigErrors, match=r":3: plugins.bad: the settings changed while they were read. Try again"):
        type(made.host)(made.ground.settings, made.ground, {"bad": EntryPoint("bad", f"{MODULE}:Raises", GROUP)}, made.isolation)


def test_children_end_with_the_host_and_with_what_stands_for_them(tmp_path: Path) -> None:
    made = World(tmp_path, "Raises")
    [child] = made.children
    assert not gone(child.process.pid)
    made.host.close()
    assert gone(child.process.pid)
    made.host.close()  # again does no harm
    made = World(tmp_path, "Raises")
    [child] = made.children
    pid = child.process.pid
    del made, child
    gc.collect()
    assert gone(pid)


WORKER = """
import asyncio, os, sys
from pathlib import Path
from tests.kernel_isolation.world import BAD, World
async def main():
    it = World(Path(sys.argv[1]), sys.argv[2])
    asking = asyncio.create_task(it.ask(BAD))
    await asyncio.sleep(0)
    print(it.children[0].process.pid, flush=True)
    await asking
asyncio.run(main())
"""


def test_a_busy_child_dies_with_its_worker(tmp_path: Path) -> None:
    """Even one that never looks at its line: the kernel kills it."""
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), "Blocks"], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert worker.stdout is not None
    child = os.pidfd_open(int(worker.stdout.readline()))
    worker.kill()
    assert select.select([child], [], [], 30)[0]
    os.close(child)
    worker.communicate()


def test_ctrl_c_reaches_no_child(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Raises") as it:
            [child] = it.children
            assert os.getsid(child.process.pid) == child.process.pid
            os.kill(child.process.pid, signal.SIGINT)
            assert await it.ask(GOOD) == PASS

    asyncio.run(main())


def test_a_plugins_log_is_the_workers_and_a_flood_is_cut(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, "Chats") as it:
            assert await it.ask(BAD) == PASS
            said = [facts for _, event, facts in it.log.told if event == "chat"]
            assert said[0]["plugin"] == "bad" and said[0]["number"] == 0 and "ValueError: no" in str(said[0]["error"])
            assert 200 <= len(said) < 5000

    asyncio.run(main())


def test_an_event_of_a_plugins_api_crosses_with_its_fields(tmp_path: Path) -> None:
    from postroom_isolation.crossing import read_event, write_event
    from postroom_postoffice.api import MailboxDelivery

    message = MemoryMessage(new_id(), GOOD)
    plain = event(message)
    made = MailboxDelivery(Stage.DELIVERY, plain.envelope, message, "SMTP", "SF", postoffice="p", mailbox="m", folder="Inbox")
    hook, back = read_event(write_event("mailbox_delivery", made), lambda id, size: message)
    assert (hook, back) == ("mailbox_delivery", made) and isinstance(back, MailboxDelivery)


def test_a_class_from_elsewhere_does_not_cross() -> None:
    from postroom_isolation.crossing import write_event

    class Mine(TransferEvent):
        pass

    message = MemoryMessage(new_id(), GOOD)
    with pytest.raises(TypeError, match="is no transfer event of the kernel or of a plugin's api"):
        write_event("mta_pickup", Mine(Stage.PICKUP, event(message).envelope, message, "SMTP"))
