"""The control socket: a line asked, a line answered, and an error is somebody's move."""

import asyncio
import stat
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from postroom.errors import ConfigError
from postroom_disk.disk import Disk
from postroom_run.control import Control, Json, NotRunning, Refused, ask, forward
from postroom_testing.ground import Lines


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


async def opened(folder: Path, log: Lines | None = None, **more: Any) -> Control:
    control = Control(folder / "run", "control.sock", Disk(), log or Lines(), **more)
    await control.open()
    return control


def test_requests_are_answered_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        root = tmp_path / ("deep" * 30)
        control = await opened(root)

        async def later(n: int) -> Json:
            await asyncio.sleep(0)
            return {"twice": 2 * n}

        control.serve("now", lambda: {"when": "now"})
        control.serve("later", later)
        assert await asyncio.to_thread(ask, root, "now") == {"when": "now"}
        assert await asyncio.to_thread(lambda: ask(root, "later", n=21)) == {"twice": 42}
        assert await forward(control.path, "later", {"n": 1}) == {"twice": 2}
        assert stat.S_IMODE(control.path.stat().st_mode) == 0o600
        await control.close()
        assert not control.path.exists()

    run(main())


REFUSALS = {
    "unknown": "no such request: unknown",
    "says_no": "2: the key is wrong",
    "fails": "ZeroDivisionError: division by zero",
}


@pytest.mark.parametrize("request_", REFUSALS)
def test_an_error_is_the_answer(request_: str, tmp_path: Path) -> None:
    async def main() -> None:
        log = Lines()
        control = await opened(tmp_path, log)

        def says_no() -> Json:
            raise ConfigError("the key is wrong", key="2")

        control.serve("says_no", says_no)
        control.serve("fails", lambda: {"x": 1 / 0})
        with pytest.raises(Refused) as raised:
            await forward(control.path, request_, {})
        assert str(raised.value) == REFUSALS[request_]
        assert log.events("error") == (["control.failed"] if request_ == "fails" else [])
        await control.close()

    run(main())


def test_what_nobody_registered_for_is_passed_on(tmp_path: Path) -> None:
    async def main() -> None:
        async def others(request: str, args: Json) -> Json:
            return {"asked": request, **args}

        control = await opened(tmp_path, others=others)
        assert await forward(control.path, "queue.show", {"id": "A"}) == {"asked": "queue.show", "id": "A"}
        await control.close()

    run(main())


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"[]\n", b'{"request": 3}\n', b'{"request": "x", "args": 3}\n', b"\xff\n"])
def test_hostile_lines_are_refused_and_the_socket_lives_on(line: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        control = await opened(tmp_path)
        control.serve("x", dict)
        reader, writer = await asyncio.open_unix_connection(str(control.path))
        writer.write(line + b'{"request": "x"}\n')
        assert b'"ok": false' in await reader.readline()
        assert b'"ok": true' in await reader.readline()
        writer.close()
        await control.close()

    run(main())


def test_a_line_beyond_the_limit_is_hung_up_on(tmp_path: Path) -> None:
    async def main() -> None:
        control = await opened(tmp_path)
        reader, writer = await asyncio.open_unix_connection(str(control.path))
        writer.write(b"x" * (3 << 20))
        with suppress(ConnectionResetError):  # hung up on with octets unread
            assert await reader.read() == b""
        writer.close()
        await control.close()

    run(main())


def test_nobody_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=f"nobody serves {tmp_path}"):
        ask(tmp_path, "status")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "control.sock").touch()
    with pytest.raises(NotRunning):
        ask(tmp_path, "status")


def test_closing_waits_for_nobody_who_waits(tmp_path: Path) -> None:
    """A server that was told to stop during a reload stayed for up to two minutes."""

    async def main() -> None:
        control = await opened(tmp_path)
        begun = asyncio.Event()

        async def never() -> Json:
            begun.set()
            await asyncio.Event().wait()
            return {}

        control.serve("never", never)
        asking = asyncio.ensure_future(forward(control.path, "never", {}))
        await begun.wait()
        async with asyncio.timeout(5):
            await control.close()
        with pytest.raises(Refused, match="hung up"):
            await asking

    run(main())
