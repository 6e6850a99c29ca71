"""Accepted equals stored (case 10): under load, with readers who empty the mailboxes meanwhile, every 250 is fetched exactly once.

And a server under load for a while holds no more descriptors, and hardly more memory, than before. POSTROOM_SOAK_SECONDS says how
long (30)."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.meter import descendants, memory
from tests.demo import Demo, await_change
from tests.load import Book, Pop3, Senders, taken

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

SECONDS = float(os.environ.get("POSTROOM_SOAK_SECONDS", "30"))
LOGINS = ("alice@example.test", "bob@example.test")
SENDERS = 8
SEGMENTS = 16  # of a worker's journal, at most
LOGS = 2  # of a folder, held open by each worker that has served it: to read and to write
GROWTH = 64 * 1024  # KiB a worker may keep: its views and caches


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Demo]:
    server = Demo(tmp_path / "site", workers=request.param).start()
    yield server
    server.close()


def test_every_acknowledged_message_is_fetched_once(served: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    book, seen, over = Book(), Counter[str](), threading.Event()
    _warm(served, book, seen)
    assert served.server.group
    before, open_before = memory([served.server.group]), _descriptors(served)
    recipients = [LOGINS[number % len(LOGINS)] for number in range(SENDERS)]
    senders = Senders(book, served.told.endpoints["smtp"], recipients, label="soak")
    readers = [threading.Thread(target=_read, args=(served, login, seen, over)) for login in LOGINS]
    for reader in readers:
        reader.start()
    over.wait(SECONDS)
    senders.stop()
    over.set()
    for reader in readers:
        reader.join()
    _rest(served, book, seen)
    after = memory([served.server.group])
    with capsys.disabled():
        print(
            f"\n{len(book.acknowledged)} acknowledged and fetched, {len(book.refused)} kinds of refusal, PSS {before.pss} to {after.pss} KiB"
        )
    assert not book.refused, book.refused
    assert seen.keys() == book.acknowledged == book.tried
    assert set(seen.values()) == {1}
    with suppress(AssertionError):
        await_change(served.server.site, lambda: (_descriptors(served) - open_before).total() <= 2)
    assert (more := _descriptors(served) - open_before).total() <= 2, more
    assert after.pss - before.pss <= GROWTH * len(served.told.workers)


def _warm(served: Demo, book: Book, seen: Counter[str]) -> None:
    """Let every path be taken once, so that what is loaded late does not count as growth."""
    book.expect(200)
    senders = Senders(book, served.told.endpoints["smtp"], [LOGINS[n % 2] for n in range(SENDERS)], label="warm")
    assert book.wait(60)
    senders.stop()
    _rest(served, book, seen)


def _read(served: Demo, login: str, seen: Counter[str], over: threading.Event) -> None:
    while not over.is_set():
        seen.update(_taken(served, login))


def _rest(served: Demo, book: Book, seen: Counter[str]) -> None:
    """Fetch until nothing that was acknowledged is missing."""

    def complete() -> bool:
        for login in LOGINS:
            seen.update(_taken(served, login))
        return book.acknowledged <= seen.keys()

    await_change(served.server.site / "Postoffices", complete)


def _taken(served: Demo, login: str) -> Counter[str]:
    with Pop3(served.told.endpoints["pop3"], login, served.password(login)) as client:
        return taken(client, delete=True)


def _descriptors(served: Demo) -> Counter[str]:
    """By name, what is open beside what may be kept for reuse: a fixed number of journal segments a worker, and the log of each folder, which a
    worker opens when it first serves it (by chance, that may be after `_warm`)."""
    workers, open_now = len(served.told.workers), Counter[str]()
    for pid in descendants(served.server.supervisor):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                path = Path(os.readlink(link))
                open_now[path.suffix if path.suffix == ".seg" else path.name.partition(":")[0]] += 1
    kept = {".seg": SEGMENTS * workers, "log": LOGS * len(LOGINS) * workers}
    return open_now - Counter(kept)
