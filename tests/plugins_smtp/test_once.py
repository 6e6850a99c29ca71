"""Who sends hears what was said of each message, so that none is sent again that we have, and none is kept that was refused."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from postroom.envelope import Attempt
from postroom.errors import DiskError, SpoolError
from postroom.journal import SETTLED
from postroom.message import SMALL, FileMessage, Message
from postroom_disk.segments import read_segment
from tests.kernel.house import House as Kernel
from tests.kernel.house import envelope, message
from tests.kernel.house import run as run_kernel
from tests.plugins_smtp.desk import Talk, run

ENVELOPE = b"MAIL FROM:<carol@sender.test>\r\nRCPT TO:<alice@example.test>\r\n"
FIRST = ENVELOPE + b"BDAT 4 LAST\r\nx\r\n\r\n"


def test_an_unforeseen_error_in_the_next_message_took_away_the_answer_to_the_one_before(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        await talk.say("EHLO peer.test")
        made, content = list[str](), talk.house.content

        def second_fails(message_id: str, trace_lines: bytes) -> Any:
            made.append(message_id)
            if len(made) > 1:
                raise ZeroDivisionError
            return content(message_id, trace_lines)

        talk.house.content = second_fails  # type: ignore[method-assign]
        said = await talk.send(FIRST + FIRST)
        assert len(talk.messages) == 1 and b"250 2.0.0 Ok: queued" in said and said.splitlines()[-1].startswith(b"421")
        await talk.end()

    run(main())


def test_a_folder_that_cannot_be_made_ended_the_connection(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)

        def refuse(message_id: str) -> Path:
            raise SpoolError("making Messages: No space left on device", full=True)

        talk.house._where = refuse  # type: ignore[assignment]
        await talk.open()
        assert (await talk.send(b"Subject: x\r\n\r\n" + (b"x" * 78 + b"\r\n") * (SMALL // 70) + b".\r\n")).startswith(b"452 4.3.1")
        assert not talk.wire.is_closed
        await talk.end()

    run(main())


@pytest.mark.parametrize("large", [False, True])
def test_a_held_message_that_was_refused_came_back_at_the_next_start(tmp_path: Path, large: bool) -> None:
    """What nobody waited for was not in the journal yet when the sender heard that he should try again."""

    async def main() -> None:
        talk = Talk(tmp_path)
        async with Kernel(tmp_path) as kernel:
            talk.house.spool = kernel.spool
            sent = envelope("a@one.test", attempt=Attempt(due=2_000_000.0))
            text: Message = message(sent)
            if large:
                path = kernel.spool.big(sent.id, "SMTP")
                path.write_bytes(b"x" * (SMALL + 1))
                text = FileMessage(sent.id, path, SMALL + 1)

            def refuse(*given: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            kernel.disk.utime = refuse  # type: ignore[assignment]
            with pytest.raises(DiskError):
                await talk.house._rest(sent, text)
            segments = (tmp_path / "Journal").glob("*/*.seg")
            assert (SETTLED, bytes.fromhex(sent.id)) in [record for path in segments for record in read_segment(path)]
            await asyncio.sleep(0)

    run_kernel(main())
