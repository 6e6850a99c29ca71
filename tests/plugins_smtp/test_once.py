"""Who sends hears what was said of each message, so that none is sent again that we have, and none is kept that was refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
