"""Programs that hang, flood, hog, leave others behind; wardens and workers that die; limits, accounts and turns."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from postroom.transfer import PASS, Discard, Pass, Quarantine, Reject, Replace, Verdict
from postroom_command.contract import ProgramFailed
from postroom_command.launcher import Launcher, Program
from postroom_command.warden import KEPT
from postroom_testing.ground import Lines
from postroom_testing.mail import TEXT, huge
from postroom_testing.waiting import until
from tests.hooks_command.programs import ASKED, House, after_steps, alive, pids, verdict

pytestmark = pytest.mark.long

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts programs under another account")
FAMILY = """
echo $$ >> {0}/pids
sh -c 'echo $$ >> {0}/pids; exec sleep 600' &
setsid sh -c 'echo $$ >> {0}/pids; sleep 600; true' &
(setsid sh -c '(setsid sh -c "trap \\"\\" TERM HUP; echo \\$\\$ >> {0}/pids; sleep 600; true" &) ; echo $$ >> {0}/pids; sleep 600; true' &)
while [ $(wc -l < {0}/pids) -lt 5 ]; do sleep 0.01; done
"""  # a child, one with a session of its own, an orphan's orphan two sessions away


def test_at_the_deadline_the_whole_family_is_killed_and_the_pair_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path, FAMILY.format(tmp_path) + f"touch {tmp_path}/ready; sleep 600")
        asked = asyncio.create_task(house.picked_up())
        await until((tmp_path / "ready").exists)
        family = pids(tmp_path / "pids")
        assert len(family) == 5 and all(alive(pid) for pid in family) and house.left()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert not [pid for pid in family if alive(pid)] and house.left() == []

    asyncio.run(main())


def test_what_a_program_leaves_running_ends_with_it(tmp_path: Path) -> None:
    said, house = verdict(tmp_path, FAMILY.format(tmp_path) + "echo gone; exit 1", verdicts={1: "reject"})
    assert said == Reject("gone") and len(pids(tmp_path / "pids")) == 5
    assert not [pid for pid in pids(tmp_path / "pids") if alive(pid)] and house.left() == []


def test_a_descriptor_that_a_worker_forgot_to_close_reaches_neither_warden_nor_program(tmp_path: Path) -> None:
    """Sockets that a worker was handed are inheritable; a warden that kept one would keep a port bound."""

    async def main() -> None:
        with (tmp_path / "open").open("w") as file:
            os.set_inheritable(file.fileno(), True)
            look = f"ls -l /proc/$$/fd /proc/$PPID/fd | grep -c {tmp_path}/open; true"
            ended = await Launcher(Lines()).run(Program(["/bin/sh", "-c", look], {"PATH": "/usr/bin:/bin"}, tmp_path, {}))
            assert ended.out == b"0\n"

    asyncio.run(main())


def test_it_works_the_same_on_uvloop(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        house = House(tmp_path, f"echo $$ > {tmp_path}/pids; [ -e {tmp_path}/quick ] && exit 1; sleep 600", verdicts={1: "reject"})
        asked = asyncio.create_task(house.picked_up())
        await until(lambda: pids(tmp_path / "pids"))
        asked.cancel()
        await asyncio.wait([asked])
        assert asked.cancelled() and not alive(pids(tmp_path / "pids")[0]) and house.left() == []
        (tmp_path / "quick").touch()
        assert isinstance(await house.picked_up(), Reject)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_a_worker_that_dies_takes_its_programs_with_it(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import asyncio, sys\nfrom pathlib import Path\nfrom tests.hooks_command.programs import House\n"
        f"asyncio.run(House(Path({str(tmp_path)!r}), sys.argv[1]).picked_up())\n"
    )
    text = FAMILY.format(tmp_path) + f"touch {tmp_path}/ready; sleep 600"
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, str(worker), text], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) as process:
        asyncio.run(until((tmp_path / "ready").exists))
        process.kill()
    family = pids(tmp_path / "pids")
    assert len(family) == 5
    asyncio.run(until(lambda: not [pid for pid in family if alive(pid)]))
    assert [path for path in (tmp_path / "site").rglob("*.MAI")], "the pair of the dead worker is there until someone sweeps it"
    said, house = verdict(tmp_path, "exit 0")
    assert said is PASS and house.left() == [] and house.lines.events("warning") == ["command.swept"]


def test_a_flood_of_output_neither_blocks_the_program_nor_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        flood = f"head -c {64 << 20} /dev/zero; head -c {8 << 20} /dev/zero >&2; echo; echo the end"
        ended = await Launcher(Lines()).run(Program(["/bin/sh", "-c", flood], {"PATH": "/usr/bin:/bin"}, tmp_path, {}))
        assert ended.code == 0 and ended.out.endswith(b"\nthe end\n") and len(ended.out) == KEPT == len(ended.err)

    asyncio.run(main())


def test_an_output_held_open_by_nobody_left_does_not_hold_up_the_end(tmp_path: Path) -> None:
    said, _ = verdict(tmp_path, "(while :; do echo x; done) & echo said; exit 1", verdicts={1: "reject"})
    assert isinstance(said, Reject)


PYTHON = f"#!{sys.executable}\n"


@pytest.mark.parametrize(
    ("limits", "body", "kind"),
    [
        ({"memory": 256}, "b = bytearray(1 << 30)", "exit code 1"),
        ({"cpu": 1}, "while True: pass", "signal"),
        ({"file_size": 1}, "open('grown', 'wb').write(bytes(1 << 22))", "exit code 1|signal"),
        ({"open_files": 4}, "a = [open('/dev/null') for _ in range(64)]", "exit code 1"),
    ],
    ids=lambda value: str(value)[:14],
)
def test_limits_hold_from_the_first_instruction(tmp_path: Path, limits: dict[str, int], body: str, kind: str) -> None:
    house = House(tmp_path, limits=limits)
    Path(house.program).write_text(f"{PYTHON}{body}\n")
    with pytest.raises(ProgramFailed, match=kind):
        asyncio.run(house.picked_up())
    (house.root / "grown").unlink(missing_ok=True)
    assert house.left() == []


def test_a_program_inherits_no_descriptor_no_ignored_signal_and_a_session_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        look = "ls /proc/$$/fd; cut -d' ' -f1,5,6 /proc/$$/stat; echo $$; cat /proc/$$/oom_score_adj; grep SigIgn /proc/$$/status"
        background = signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # as a shell has it for what it puts into the background
        try:
            ended = await Launcher(Lines()).run(Program(["/bin/sh", "-c", look], {"PATH": "/usr/bin:/bin"}, tmp_path, {}))
        finally:
            signal.signal(signal.SIGQUIT, background)
        *descriptors, ids, pid, score, ignored = ended.out.decode().splitlines()
        assert descriptors == ["0", "1", "2"] and ids == f"{pid} {pid} {pid}" and score == "500"
        assert int(ignored.split()[1], 16) & 0x7FFFFFFF == 0  # the standard signals, SIGPIPE among them

    asyncio.run(main())


def test_a_script_whose_interpreter_is_missing_is_said_to_be(tmp_path: Path) -> None:
    house = House(tmp_path)
    Path(house.program).write_text("#!/nowhere/interpreter\n")
    with pytest.raises(ProgramFailed, match=r"could not be started.*No such file"):
        asyncio.run(house.picked_up())
    assert house.left() == []


def test_a_program_that_kills_its_warden_gives_no_verdict_and_the_next_one_runs(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path, f"[ -e {tmp_path}/done ] && exit 0; touch {tmp_path}/done; kill -9 $PPID; sleep 600")
        with pytest.raises(ProgramFailed, match="without a word"):
            await house.picked_up()
        assert house.left() == [] and await house.picked_up() is PASS

    asyncio.run(main())


def test_a_program_that_stops_its_warden_is_killed_at_the_deadline_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path, f"echo $$ > {tmp_path}/pids; kill -STOP $PPID; touch {tmp_path}/ready; sleep 600")
        asked = asyncio.create_task(house.picked_up())
        await until((tmp_path / "ready").exists)
        asked.cancel()
        await asyncio.wait([asked])
        assert not alive(pids(tmp_path / "pids")[0]) and house.left() == [] and "command.not_killed" not in house.lines.events()

    asyncio.run(main())


def test_an_idle_warden_that_was_killed_is_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path, f"echo $PPID > {tmp_path}/warden")
        assert await house.picked_up() is PASS
        (first,) = pids(tmp_path / "warden")
        assert await house.picked_up() is PASS and pids(tmp_path / "warden") == [first]
        os.kill(first, signal.SIGKILL)
        await until(lambda: not alive(first))
        assert await house.picked_up() is PASS and pids(tmp_path / "warden") != [first]

    asyncio.run(main())


def test_a_warden_goes_with_the_plugin(tmp_path: Path) -> None:
    verdict(tmp_path, f"echo $PPID > {tmp_path}/warden")
    asyncio.run(until(lambda: not alive(pids(tmp_path / "warden")[0])))


def test_no_more_than_so_many_run_at_once_and_who_waits_may_give_up(tmp_path: Path) -> None:
    async def main() -> None:
        running = f"echo x >> {tmp_path}/began; ls {tmp_path}/on | wc -l >> {tmp_path}/counts; mkdir {tmp_path}/on/$$; "
        house = House(tmp_path, running + f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; rmdir {tmp_path}/on/$$", processes_at_once=2)
        (tmp_path / "on").mkdir()
        asked = [asyncio.create_task(house.picked_up()) for _ in range(6)]
        await until(lambda: len(list((tmp_path / "on").iterdir())) == 2)
        asked[5].cancel()
        await asyncio.wait([asked[5]])
        (tmp_path / "go").touch()
        assert await asyncio.gather(*asked[:5]) == [PASS] * 5
        assert max(int(count) for count in (tmp_path / "counts").read_text().split()) <= 1
        assert (tmp_path / "began").read_text() == "x\n" * 5 and house.left() == []

    asyncio.run(main())


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_cancelled_at_any_moment_nothing_is_left(tmp_path: Path, size: int) -> None:
    """After every step of the loop, from the question to the answer."""

    def is_clean(house: House) -> bool:
        return not [path for path in house.left() if path.endswith(".MAI") or path.startswith("run/")]  # not sed's own scratch file

    message = huge(tmp_path / "big", size) if size else None

    async def main() -> None:
        house = House(tmp_path, f'{ASKED} sed -i "1i X: y" "$message"', processes_at_once=64)
        for number in range(1, 500):
            asked = asyncio.create_task(house.picked_up(message))
            with after_steps(number, asked.cancel) as was_cancelled:
                await asyncio.wait([asked])
            said: Verdict | None = None if asked.cancelled() else asked.result()
            del asked
            assert said is None or isinstance(said, Replace)
            del said
            await until(partial(is_clean, house), "the last handle, in the thread that made it,")
            if not was_cancelled():
                break
        assert not was_cancelled() and number > 5
        assert "command.not_killed" not in house.lines.events(), "an end that was told while it was cancelled was lost"

    asyncio.run(main())


def test_cancelled_while_a_program_is_in_the_middle_of_its_work_nothing_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path, f'{ASKED} printf "X: " > "$message"; echo > "$command"; touch {tmp_path}/ready; sleep 600')
        asked = asyncio.create_task(house.picked_up(huge(tmp_path / "big", 8 << 20)))
        await until((tmp_path / "ready").exists)
        asked.cancel()
        await asyncio.wait([asked])
        assert asked.cancelled() and house.left() == []

    asyncio.run(main())


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every account can reach; those of pytest are root's alone."""
    with tempfile.TemporaryDirectory(prefix="postroom-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


NOBODY = pwd.getpwnam("nobody")


@needs_root
def test_under_its_own_account_a_program_has_its_room_and_no_more(tmp_path: Path, public: Path) -> None:
    look = f'{ASKED} cat "{tmp_path}/site/postroom.yaml" >&2; (cd .. && ls) >&2; echo "$(id -u) $(id -G) $(wc -c < "$message") $POSTROOM_SITE"; exit 1'
    house = House(tmp_path, look, place=public, user="nobody", verdicts={1: "reject"})
    said = asyncio.run(house.picked_up())
    groups = " ".join(map(str, os.getgrouplist("nobody", NOBODY.pw_gid)))
    assert said == Reject(f"{NOBODY.pw_uid} {groups} {len(TEXT)} .")
    assert house.left() == [] and list((house.root / "run" / "private").iterdir()) == []


@needs_root
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{ echo "X: y"; cat "$message"; } > t; mv t "$message"', Replace),
        ('mv "$command" Quarantine/; mv "$message" Quarantine/Messages/', Quarantine),
        ('rm "$POSTROOM_MESSAGE" "$POSTROOM_COMMAND_FILE"', Discard),
        ("mkdir -p a/b/c; ln -s / a/b/c/root; touch a/x; chmod 0 a/b", Pass),
    ],
)
def test_in_its_room_the_old_contract_holds(tmp_path: Path, public: Path, text: str, kind: type[Verdict]) -> None:
    house = House(tmp_path, ASKED + text, place=public, user="nobody")
    said = asyncio.run(house.picked_up())
    assert isinstance(said, kind) and house.left() == [] and list((house.root / "run" / "private").iterdir()) == []


@needs_root
@pytest.mark.parametrize(
    "trick",
    [
        'rm "$message"; ln -s /etc/shadow "$message"',
        'mv Queues/SMTP/Inbound/Messages m; mkdir x; ln -s /etc Queues/SMTP/Inbound/Messages; rm "m/$1"; ln -s /etc/shadow "m/$1"',
        'rm "$message"; ln "$0" "$message" 2>/dev/null || ln -s "$0" "$message"',
    ],
)
def test_a_room_is_no_way_to_files_of_others(tmp_path: Path, public: Path, trick: str) -> None:
    house = House(tmp_path, ASKED + trick, place=public, user="nobody")
    with pytest.raises(ProgramFailed, match="message"):
        asyncio.run(house.picked_up())
    assert house.left() == [] and list((house.root / "run" / "private").iterdir()) == [] and Path("/etc/shadow").exists()


@needs_root
def test_a_program_of_another_account_is_killed_too(tmp_path: Path, public: Path) -> None:
    public.chmod(0o777)

    async def main() -> None:
        text = FAMILY.format(public) + f"touch {public}/ready; sleep 600"
        house = House(tmp_path, text, place=public, user="nobody")
        asked = asyncio.create_task(house.picked_up())
        await until((public / "ready").exists)
        asked.cancel()
        await asyncio.wait([asked])
        family = pids(public / "pids")
        assert len(family) == 5 and not [pid for pid in family if alive(pid)] and house.left() == []

    asyncio.run(main())
