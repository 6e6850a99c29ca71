"""Case 30: many sessions at once on one folder, each doing what it likes. Numbers never shift under a client, UIDs only grow, silent changes are
not lost, and in the end all believe the same, which is the truth."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom.mailstore import INBOX
from tests.plugins_imap4.house import Served, letter, serving
from tests.plugins_imap4.memory import Believer, numbers

MODES: tuple[tuple[str, ...], ...] = ((), ("CONDSTORE",), ("QRESYNC",), ("UIDONLY",))
MARKS = (b"\\Seen", b"\\Flagged", b"\\Deleted", b"\\Answered", b"$One", b"$Two")


class Player(Believer):
    """A session that acts by chance."""

    def deal(self, chance: random.Random, modes: tuple[str, ...]) -> Player:
        self.chance, self.modes = chance, modes
        self.appended: list[int] = []
        return self

    @property
    def with_uids(self) -> bool:
        return "UIDONLY" in self.modes

    async def act(self) -> None:
        deeds: list[Callable[[], object]] = [
            self.poll,
            self.fetch,
            self.store,
            self.store,
            self.expunge,
            self.append,
            self.search,
            self.idle,
        ]
        deeds += [self.fetch, self.copy, self.move, self.reselect, self.poll]
        await self.chance.choice(deeds)()  # type: ignore[misc]

    async def poll(self) -> None:
        await self.fine(self.chance.choice(["NOOP", "CHECK"]))

    async def fine(self, command: str | bytes) -> bytes:
        said = await self.say(command)
        assert said.startswith(b"OK") or b"[EXPUNGEISSUED]" in said, f"{command!r} was answered {said!r}"
        return said

    def some(self) -> list[int]:
        """Rows side by side."""
        if not self.messages:
            return []
        first = self.chance.randrange(len(self.messages))
        return list(range(first, min(len(self.messages), first + self.chance.randrange(1, 6))))

    def named(self, rows: list[int]) -> tuple[str, str]:
        """The command's prefix and the set; by UID where they are known, and now and then."""
        uids = [uid for row in rows if (uid := self.messages[row].uid) is not None]
        if len(uids) == len(rows) and (self.with_uids or self.chance.random() < 0.5):
            return "UID ", ",".join(map(str, uids))
        if self.with_uids:
            return "UID ", "1:*"
        return "", f"{rows[0] + 1}:{rows[-1] + 1}"

    async def fetch(self) -> None:
        if rows := self.some():
            uid, text = self.named(rows)
            await self.fine(f"{uid}FETCH {text} (UID FLAGS)")

    async def store(self) -> None:
        if not (rows := self.some()):
            return
        uid, text = self.named(rows)
        if text == "1:*":
            return
        marks = frozenset(self.chance.sample(MARKS, 2))
        sign, silent = self.chance.choice("+-"), self.chance.random() < 0.5
        command = f"{uid}STORE {text} {sign}FLAGS{'.SILENT' if silent else ''} ({b' '.join(marks).decode()})"
        if silent:
            self.change(rows, marks if sign == "+" else frozenset(), marks if sign == "-" else frozenset())
        await self.fine(command)

    async def expunge(self) -> None:
        if self.chance.random() < 0.3:
            await self.fine("EXPUNGE")
        elif rows := [row for row in self.some() if self.messages[row].uid is not None]:
            await self.fine(f"UID EXPUNGE {','.join(str(self.messages[row].uid) for row in rows)}")

    async def append(self) -> None:
        text = letter(f"by chance {self.chance.random()}")
        said = await self.fine(b"APPEND INBOX (\\Flagged) {%d+}\r\n%b" % (len(text), text))
        uid = int(said[: said.index(b"]")].split()[-1])
        assert uid > max(self.appended, default=0), "a UID did not grow"
        self.appended.append(uid)

    async def search(self) -> None:
        uid = "UID " if self.with_uids or self.chance.random() < 0.5 else ""
        count = len(self.messages)
        await self.fine(f"{uid}SEARCH UNSEEN")
        found = [int(number) for line in self.told if line.startswith(b"* SEARCH") for number in line.split()[2:]]
        if not uid:
            assert max(found, default=0) <= max(count, len(self.messages))

    async def copy(self) -> None:
        if rows := self.some():
            uid, text = self.named(rows)
            said = await self.say(f"{uid}COPY {text} Other")
            assert said.startswith((b"OK", b"NO [EXPUNGEISSUED]")), said

    async def move(self) -> None:
        if self.chance.random() < 0.3 and (rows := self.some()[:1]):
            uid, text = self.named(rows)
            if text != "1:*":
                said = await self.say(f"{uid}MOVE {text} Other")
                assert said.startswith((b"OK", b"NO [EXPUNGEISSUED]")), said

    async def idle(self) -> None:
        await self.say("IDLE")
        for _ in range(self.chance.randrange(20)):
            await asyncio.sleep(0)
        for line in self.idle_lines():
            self.believe(line)
        await self.done()

    async def reselect(self) -> None:
        if self.chance.random() < 0.1:
            await self.select("INBOX")
            if self.messages:
                await self.know_all()

    async def know_all(self) -> None:
        """Every UID, as a client of UIDONLY needs them from the start."""
        if self.with_uids:
            said = await self.say("UID SEARCH RETURN (ALL) ALL")
            assert said.startswith(b"OK")
            found = [line.split()[-1] for line in self.told if line.startswith(b"* ESEARCH") and b" ALL " in line]
            for uid in numbers(found[0]) if found else ():
                self._known(uid)


async def play(served: Served, players: list[Player], rounds: Callable[[int], bool]) -> None:
    async def one(player: Player) -> None:
        turn = 0
        while rounds(turn):
            await player.act()
            turn += 1
            await asyncio.sleep(0)

    async def deliveries() -> None:
        turn = 0
        while rounds(turn):
            await served.deliver(1)
            await asyncio.sleep(0.01)
            turn += 1

    await asyncio.gather(deliveries(), *map(one, players))
    for player in players:
        await player.poll()


async def agree(served: Served, players: list[Player]) -> None:
    """All believe what is so."""
    folder = await served.folder(INBOX)
    view, names = folder.view(), folder.keywords()
    marks = dict(enumerate((b"\\Seen", b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Draft", *(name.encode() for name in names))))
    truth = [(uid, frozenset(mark for bit, mark in marks.items() if flags >> bit & 1)) for uid, flags in zip(view.uids, view.flags)]
    assert list(view.uids) == sorted(set(view.uids))
    for player in players:
        assert len(player.messages) == len(truth)
        so = dict(truth)
        for message, (uid, _) in zip(player.messages, truth):
            assert message.uid in (None, uid) or player.without_numbers
        for message in player.messages:
            uid, flags = message.uid or 0, so.get(message.uid or 0)
            assert message.uid is None or flags is not None, f"UID {uid} is not there any more"
            assert message.flags is None or message.flags == flags, f"UID {uid}: {message.flags} is believed, {flags} is so"
        if player.messages:
            await player.fine("UID FETCH 1:* (FLAGS)")
        assert [(message.uid, message.flags) for message in player.messages] == truth
        assert not set(player.expunged) & set(view.uids)


def game(folder: Path, count: int, seed: int, rounds: Callable[[int], bool], *modes: tuple[str, ...]) -> None:
    async def main() -> None:
        async with serving(folder, "plaintext: loopback, bad_commands: 1000") as served:
            await served.deliver(30)
            await (await served.box()).create("Other")
            players = []
            for number in range(count):
                enabled = modes[number % len(modes)]
                player = Player(served.service).deal(random.Random(f"{seed} {number}"), enabled)
                await player.start(*(f"ENABLE {mode}" for mode in enabled))
                await player.select("INBOX")
                await player.know_all()
                players.append(player)
            await play(served, players, rounds)
            await agree(served, players)
            for player in players:
                await player.leave()

    asyncio.run(main())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 4))])
def test_sessions_at_once_converge(tmp_path: Path, seed: int) -> None:
    game(tmp_path, 12, seed, lambda turn: turn < 40, *MODES)


@pytest.mark.soak
def test_two_hundred_sessions_for_a_minute(tmp_path: Path) -> None:
    end = time.monotonic() + 60
    game(tmp_path, 200, 1, lambda turn: time.monotonic() < end, *MODES)
