"""Who sends hears what was said of each message, so that none is sent again that we have, and none is kept that was refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from postroom.errors import SpoolError
from postroom.message import SMALL
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

        talk.house._where = refuse
        await talk.open()
        assert (await talk.send(b"Subject: x\r\n\r\n" + (b"x" * 78 + b"\r\n") * (SMALL // 70) + b".\r\n")).startswith(b"452 4.3.1")
        assert not talk.wire.is_closed
        await talk.end()

    run(main())
