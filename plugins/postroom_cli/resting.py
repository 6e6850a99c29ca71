"""A site that is not running, asked all the same: the server's own answers, given from the disk.

Beside the pairs in the queue folders, messages may lie in the journals of workers that died: they are told as queue
`journal`, and become pairs when the site is served again or a queue command changes something. Listing writes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postroom import commandfile
from postroom.envelope import Envelope
from postroom.errors import CommandFileError
from postroom.journal import ACCEPTED, SETTLED, accepted
from postroom_cli.awake import awake
from postroom_cli.opened import opened
from postroom_cli.output import complain
from postroom_disk.segments import read_segment
from postroom_run.control import Control, Json, Refused
from postroom_run.requests import serve_requests

CHANGES = frozenset(
    {"queue.retry", "queue.hold", "queue.release", "queue.delete", "quarantine.release", "quarantine.delete", "mailbox.undelete"}
)


def ask(root: Path, request: str, **arguments: Any) -> Json:
    """A request of a stopped site, answered by what answers a running one. Refused with the reason where it says no."""
    kept = {row["id"]: row for row in map(_row, journalled(root))} if request in ("queue.list", "queue.show") else {}
    if arguments.get("id") in kept:
        return kept[arguments["id"]]
    said = asyncio.run(_ask(root, request, arguments))
    if not said["ok"]:
        raise Refused(said["error"])
    answer = dict(said["answer"])
    if request == "queue.list":
        return {"items": [*answer["items"], *kept.values()], "count": answer["count"] + len(kept), "stopped": True}
    return answer


async def _ask(root: Path, request: str, arguments: Json) -> Json:
    """What changes an item is done as a server does it, journals replayed first: then every message is a pair."""
    async with awake(root) if request in CHANGES else opened(root) as parts:
        control = Control(root / "run", "command", parts.site.disk, parts.site.log)
        serve_requests(control, parts, {}, carries=False)
        return await control.answer(json.dumps({"request": request, "args": arguments}).encode())


def journalled(root: Path) -> Iterator[Envelope]:
    """Messages that were accepted and not settled when their worker died, oldest journal first."""
    waiting: dict[bytes, Envelope] = {}
    for path in sorted((root / "Journal").glob("*/*.seg")):
        for kind, payload in read_segment(path):
            if kind == ACCEPTED:
                waiting.update(_read(payload))
    for path in sorted((root / "Journal").glob("*/*.seg")):
        for kind, payload in read_segment(path):
            if kind == SETTLED and len(payload) == 16:
                waiting.pop(payload, None)
    yield from waiting.values()


def _read(payload: bytes) -> Iterator[tuple[bytes, Envelope]]:
    item = payload[:16]
    try:
        yield item, commandfile.decode(accepted(payload)[0], item=item.hex().upper(), source="")
    except CommandFileError as error:
        complain(f"postroom: a message in the journal cannot be read: {error}")


def _row(envelope: Envelope) -> Json:
    return {
        "id": envelope.id,
        "queue": "journal",
        "sender": str(envelope.sender or "<>"),
        "recipients": [str(recipient.address) for recipient in envelope.recipients],
        "subject": envelope.subject,
        "arrived": envelope.arrived,
        "due": 0.0,
        "held": False,
        "attempts": envelope.attempt.count,
        "error": envelope.attempt.error,
    }
