"""`kill -9` of the real server under load, again and again (cases 1 and 4): what was acknowledged, sent by SMTP or uploaded by IMAP, is in the
mailbox exactly once, what was not is there once or never, and no message is torn.

Rounds alternate between all processes at once and one worker alone, and between mailboxes that are emptied and mailboxes that keep
what they have, so that a replay meets messages that were expunged since. POSTROOM_KILLS says how many rounds (50).
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.meter import descendants
from tests.demo import Demo, await_change
from tests.load import Book, Pop3, Senders, Uploaders, taken

pytestmark = [pytest.mark.kill, pytest.mark.timeout(300)]

ROUNDS = int(os.environ.get("POSTROOM_KILLS", "50"))
LOGINS = ("alice@example.test", "bob@example.test")
SENDERS = 6
UPLOADERS = 4


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Demo]:
    server = Demo(tmp_path / "site", workers=2).start()
    yield server
    server.close()


def test_nothing_acknowledged_is_lost_or_doubled(served: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(20251122)
    book, seen = Book(), Counter[str]()
    for turn in range(1, ROUNDS + 1):
        before = len(book.acknowledged)
        kind = _kill_under_load(served, book, f"round{turn}", chance)
        kept = _counted(served, book, seen, delete=turn % 4 != 0)
        with capsys.disabled():
            print(f"\nround {turn}: {kind}: {len(book.acknowledged) - before} acknowledged, {kept} in the mailboxes", end="")
    assert len(book.acknowledged) >= ROUNDS * 10
    assert not book.refused, book.refused


def _kill_under_load(served: Demo, book: Book, label: str, chance: random.Random) -> str:
    """Serves again on return."""
    book.expect(chance.randint(10, 120))
    recipients = [LOGINS[number % len(LOGINS)] for number in range(SENDERS)]
    endpoints, uploading = served.told.endpoints, recipients[:UPLOADERS]
    senders = Senders(book, endpoints["smtp"], recipients, label=label)
    uploaders = Uploaders(book, endpoints["imap"], uploading, label=f"{label}-up", password=served.password)
    assert book.wait(30), f"{len(book.acknowledged)} acknowledged; {book.refused}"
    if chance.random() < 0.5:
        workers = descendants(served.server.supervisor)[1:]
        os.kill(chance.choice(workers), signal.SIGKILL)
        senders.stop()
        uploaders.stop()
        return "one worker killed"
    served.server.kill()
    senders.join()
    uploaders.join()
    served.start()
    return "all killed"


def _counted(served: Demo, book: Book, seen: Counter[str], *, delete: bool) -> int:
    """Wait until all that was acknowledged has been seen, in this round or before; the number of messages in the mailboxes now."""
    here: Counter[str] = Counter()

    def complete() -> bool:
        here.clear()
        for login in LOGINS:
            here.update(_marks(served, login, delete=False))
        return book.acknowledged <= seen.keys() | here.keys()

    try:
        await_change(served.server.site / "Postoffices", complete)
    except AssertionError:
        lost = book.acknowledged - seen.keys() - here.keys()
        pytest.fail(f"{len(lost)} acknowledged and lost: {sorted(lost)[:5]}")
    doubled = [mark for mark, times in here.items() if times > 1 or mark in seen]
    assert not doubled, f"there twice: {doubled[:5]}"
    assert here.keys() <= book.tried
    if delete:
        for login in LOGINS:
            seen.update(_marks(served, login, delete=True))
    return here.total()


def _marks(served: Demo, login: str, *, delete: bool) -> Counter[str]:
    with Pop3(served.told.endpoints["pop3"], login, served.password(login)) as client:
        return taken(client, delete=delete)
