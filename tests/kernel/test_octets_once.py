"""What was said to be taken is kept, what was said not to be is not, and the octets at rest stay those that were taken."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from postroom.message import SMALL, FileMessage, MemoryMessage
from postroom.transfer import Replace, TransferEvent, Verdict

from .house import TEXT, Hooks, House, envelope, run
from .test_once import OUT, Far


@pytest.mark.parametrize("large", [False, True])
def test_the_octets_of_a_pair_were_gone_when_the_disk_refused_those_a_hook_had_made(tmp_path: Path, large: bool) -> None:
    """No journal has a pair that rests, and what a hook made is not synced."""
    far, text = Far(), TEXT * (SMALL // len(TEXT) + 1 if large else 1)
    copy = tmp_path / "copy"
    copy.write_bytes(b"X-Seen: yes\r\n" + text)

    def changed(event: TransferEvent) -> Verdict:
        name = event.message.id
        return Replace(FileMessage(name, copy, copy.stat().st_size) if large else MemoryMessage(name, copy.read_bytes()))

    async def main() -> None:
        async with House(tmp_path, Hooks(at_pickup=changed), connectors=[far.connector], router=OUT) as house:
            queue, sent = house.spool["SMTP"].inbound, envelope("wrong@two.test")
            house.spool.rest(queue, sent, MemoryMessage(sent.id, text))
            link, put = house.disk.link, house.disk.replace
            at = queue.message_path(sent.id)

            def refuse(call: Any) -> Any:
                def made(old: Any, new: Any) -> None:
                    if new == at and not (call is link and at.exists()):
                        raise OSError(errno.ENOSPC, "No space left on device")
                    call(old, new)

                return made

            house.disk.link, house.disk.replace = refuse(link), refuse(put)  # type: ignore[method-assign]
            house.take_due(house.clock.at + 1e6)
            await house.mta.drain()
            assert far.tried["wrong@two.test"] and at.read_bytes() == text and not house.damaged

    run(main())
