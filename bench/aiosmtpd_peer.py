"""A Maildir server in a few lines of aiosmtpd, as many sites' scripts have it: `python -m bench.aiosmtpd_peer PORT FOLDER`."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session


class Maildirs:
    """Written, synced and renamed in a thread, so that the loop serves others meanwhile."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers = itertools.count()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        await asyncio.to_thread(self._store, envelope.rcpt_tos, content)
        return "250 OK"

    def _store(self, recipients: list[str], content: bytes) -> None:
        for recipient in recipients:
            box = self._root / recipient.partition("@")[0]
            for name in ("tmp", "new"):
                (box / name).mkdir(parents=True, exist_ok=True)
            name = f"{next(self._numbers)}.{os.getpid()}"
            with (box / "tmp" / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            (box / "tmp" / name).rename(box / "new" / name)


async def main(port: int, root: Path) -> None:
    handler = Maildirs(root)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, data_size_limit=64 << 20, loop=loop), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
