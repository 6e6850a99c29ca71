"""Which right each command asks for (RFC 4314 section 4): with them it is done, and without any one of them it is not, and tells nothing more than
a folder that is not there where `l` is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.mailstore import DELETED, FLAGGED, INBOX, SEEN, Mailbox
from postroom_imap4.register import OWN
from postroom_imap4.rights import ORDER, PREFIX
from tests.plugins_imap4.house import PO, Served, letter
from tests.plugins_imap4.sharing import ShownOut, Somebody, delivered, shared, somebody
from tests.plugins_imap4.wire import literal

BOBS = "Other Users/bob@po.test"
WORK = f"{BOBS}/Work"
ADD = literal(letter()).decode()

NAMED = [  # what is said of a folder that is not selected, and the rights it takes
    (f'STATUS "{WORK}" (MESSAGES)', "r"),
    (f'SELECT "{WORK}"', "r"),
    (f'EXAMINE "{WORK}"', "r"),
    (f'SUBSCRIBE "{WORK}"', "l"),
    (f'APPEND "{WORK}" {ADD}', "i"),
    (f'CREATE "{WORK}/New"', "k"),
    (f'DELETE "{WORK}"', "x"),
    (f'RENAME "{WORK}" "{WORK}2"', "x"),
    (f'RENAME "{BOBS}/Free" "{WORK}/Free"', "k"),
    (f'SETACL "{WORK}" zoe lr', "a"),
    (f'DELETEACL "{WORK}" zoe', "a"),
    (f'GETACL "{WORK}"', "a"),
    (f'LISTRIGHTS "{WORK}" zoe', "a"),
    (f'GETMETADATA "{WORK}" /shared/comment', "lr"),
    (f'SETMETADATA "{WORK}" (/private/comment "x")', "lp"),
    (f'SETMETADATA "{WORK}" (/shared/comment "x")', "lw"),
    (f'GETQUOTAROOT "{WORK}"', "r"),
    (f'COPY 1 "{WORK}"', "i"),
    (f'MOVE 1 "{WORK}"', "i"),
    (f'REPLACE 1 "{WORK}" {ADD}', "i"),
]
SELECTED = [  # with the folder selected
    ("STORE 1 +FLAGS (\\Seen)", "s"),
    ("STORE 1 -FLAGS (\\Deleted)", "t"),
    ("STORE 1 +FLAGS ($New)", "w"),
    ("STORE 1 +FLAGS (\\Answered)", "w"),
    ("EXPUNGE", "e"),
    ("UID EXPUNGE 1", "e"),
    ("MOVE 1 INBOX", "te"),
    (f"REPLACE 1 INBOX {ADD}", "te"),
    ("FETCH 1 FLAGS", ""),
    ("COPY 1 INBOX", ""),
    ("SEARCH ALL", ""),
    ("CLOSE", ""),
]


async def give(box: Mailbox, folder: str, rights: str) -> None:
    await box.annotate(folder, {f"{PREFIX}ann@{PO}": rights.encode() if rights else None})


async def fresh(at: Served) -> Mailbox:
    """bob's Work with a message, and Free, which ann may do everything with; ann's Inbox with one."""
    box = await at.box()
    for name in reversed(await box.folders()):
        if name != INBOX:
            await box.delete(name)
    for name in ("Work", "Free"):
        await box.create(name)
    await give(box, "Free", ORDER)
    await give(box, INBOX, "lk")
    await delivered(at, "bob")
    inbox = await box.folder(INBOX)
    await inbox.copy(inbox.view().uids[-1:], await box.folder("Work"))
    await delivered(at, "ann")
    return box


async def with_rights(box: Mailbox, ann: Somebody, rights: str, command: str, selected: bool) -> bytes:
    await give(box, "Work", "r" + rights if selected else rights)
    await ann.say("UNSELECT")
    ann.messages, ann.expunged = [], []
    assert (await ann.say(f'SELECT "{WORK}"' if selected else "SELECT INBOX")).startswith(b"OK")
    return await ann.say(command)


def test_each_command_asks_for_its_rights_and_no_more(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        ann = await somebody(at.service, "ann")
        for selected, table in ((False, NAMED), (True, SELECTED)):
            for command, needed in table:
                box = await fresh(at)
                before = await state(box)
                for missing in needed:
                    others = "".join(right for right in ORDER if right != missing)
                    others = others.replace("p", "") if command.startswith("SETMETADATA") and missing == "p" else others
                    if "METADATA" in command and missing not in "lw":
                        others = "".join(right for right in others if right not in "rswip")
                    answer = await with_rights(box, ann, others, command, selected)
                    code = b"NO [NOPERM]" if "l" in others else b"NO [NONEXISTENT]"
                    assert answer.startswith(code), (command, others, answer)
                    assert await state(box) == before, (command, others)
                assert (await with_rights(box, ann, needed, command, selected)).startswith(b"OK"), (command, needed)
        ann.hang_up()

    shared(tmp_path, test)


def test_without_l_a_folder_answers_as_one_that_is_not_there(tmp_path: Path) -> None:
    """RFC 4314 section 6, for every command and word for word."""

    async def test(at: Served) -> None:
        ann, box = await somebody(at.service, "ann"), await fresh(at)
        for command, needed in NAMED:
            if command.startswith(("CREATE", "RENAME")):
                continue  # these are decided by what is above
            others = "".join(right for right in ORDER if right not in "l" + needed)
            there = await with_rights(box, ann, others, command, False)
            gone = await ann.say(command.replace("/Work", "/Gone"))
            if "METADATA" not in command or "l" not in needed:
                assert there.startswith(b"NO")
            assert there.replace(b"/Work", b"/Gone").replace(b"TRYCREATE", b"NONEXISTENT") == gone.replace(b"TRYCREATE", b"NONEXISTENT"), (
                command
            )
        ann.hang_up()

    shared(tmp_path, test)


def test_myrights_and_list(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        ann, box = await somebody(at.service, "ann"), await fresh(at)
        at.service.house.world.sharing.register.add(PO, f"ann@{PO}", "bob")
        for right in ORDER:
            await give(box, "Work", right)
            assert (await ann.say(f'MYRIGHTS "{WORK}"')).startswith(b"OK" if right in "lrikxa" else b"NO [NONEXISTENT]"), right
            assert (await ann.say(f'LIST "" "{WORK}"')).startswith(b"OK") and bool(ann.told) == (right == "l")
        ann.hang_up()

    shared(tmp_path, test)


def test_store_changes_what_it_may_and_leaves_the_rest(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        ann = await somebody(at.service, "ann")
        for rights, command, before, after in (
            ("ws", "STORE 1 FLAGS ()", SEEN | DELETED | FLAGGED, DELETED),
            ("t", "STORE 1 FLAGS (\\Seen)", DELETED | FLAGGED, FLAGGED),
            ("s", "STORE 1 FLAGS (\\Seen \\Deleted $New)", FLAGGED, FLAGGED | SEEN),
            ("w", "STORE 1 -FLAGS (\\Seen \\Flagged)", SEEN | FLAGGED, SEEN),
            ("st", "STORE 1 +FLAGS.SILENT (\\Seen \\Deleted \\Draft)", 0, SEEN | DELETED),
        ):
            box = await fresh(at)
            await give(box, "Work", "r" + rights)
            work = await box.folder("Work")
            await work.change_flags([1], add=before)
            assert (await ann.say(f'SELECT "{WORK}"')).startswith(b"OK")
            assert (await ann.say(command)).startswith(b"OK")
            assert work.view().flags[0] == after, command
            assert "$New" not in work.keywords()
        ann.hang_up()

    shared(tmp_path, test)


COMMANDS = st.sampled_from(
    [
        *(command for command, _ in NAMED if not command.startswith(("DELETE", "RENAME"))),
        *(command for command, _ in SELECTED),
        "FETCH 1:* BODY[]",
        "STORE 1:* FLAGS (\\Seen \\Deleted $Mine)",
        "STORE 1:* +FLAGS (\\Deleted \\Flagged)",
        f'SELECT "{WORK}"',
        "NOOP",
    ]
)
STEPS = st.lists(st.one_of(COMMANDS, st.sets(st.sampled_from("lrswite")).map(lambda some: frozenset(some))), min_size=5, max_size=25)


async def state(box: Mailbox) -> tuple[list[int], list[int], list[str]]:
    view = (await box.folder("Work")).view()
    return list(view.uids), list(view.flags), list(await box.folders())


def allowed(rights: frozenset[str], before: tuple[list[int], list[int], list[str]], after: tuple[list[int], list[int], list[str]]) -> None:
    """What changed, by the rights that went when it did."""
    old, new = dict(zip(*before[:2], strict=True)), dict(zip(*after[:2], strict=True))
    assert not old.keys() - new.keys() or "e" in rights
    assert not new.keys() - old.keys() or "i" in rights
    for uid, flags in new.items():
        changed = flags ^ old.get(uid, 0)
        assert not changed & SEEN or "s" in rights
        assert not changed & DELETED or "t" in rights
        assert not changed & ~(SEEN | DELETED) or "w" in rights
    assert before[2] == after[2] or "k" in rights


@pytest.mark.long
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
def test_no_history_of_commands_does_what_the_rights_forbid(tmp_path: Path, steps: list[str | frozenset[str]]) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()

    async def test(at: Served) -> None:
        box, rights = await fresh(at), frozenset[str]()
        await delivered(at, "bob", 2)
        inbox = await box.folder(INBOX)
        await inbox.copy(inbox.view().uids, await box.folder("Work"))
        ann = await somebody(at.service, "ann")
        for step in steps:
            if isinstance(step, frozenset):
                rights = step
                await give(box, "Work", "".join(sorted(rights)))
                continue
            before = await state(box)
            if ann.transport.is_closing():
                ann = await somebody(at.service, "ann")
            try:
                answer = await ann.say(step)
            except ShownOut:
                assert "r" not in rights
                answer = b""
            allowed(rights, before, await state(box))
            if answer.startswith(b"OK") and step.startswith("SELECT"):
                assert "r" in rights
            if answer and any(b"FETCH" in line for line in ann.told) and ann.connection.session.selected:
                assert ann.connection.session.folder.name == "Inbox" or "r" in rights
        ann.hang_up()

    shared(folder, test)


def test_what_the_owner_takes_from_himself(tmp_path: Path) -> None:
    """He keeps `l` and `a`, and is held to the rest by IMAP until he gives it back."""

    async def test(at: Served) -> None:
        bob = await somebody(at.service, "bob")
        await delivered(at, "bob")
        assert (await bob.say("SELECT INBOX")).startswith(b"OK [READ-WRITE]")
        assert (await bob.say("SETACL INBOX bob r")).startswith(b"OK")
        assert at.service.house.world.sharing.register.has(PO, OWN, "bob")
        assert (await bob.say("STORE 1 +FLAGS (\\Deleted)")).startswith(b"NO [NOPERM]")
        assert (await bob.say("SELECT INBOX")).startswith(b"OK [READ-ONLY]")
        assert (await bob.say("UNSELECT")).startswith(b"OK")
        assert (await bob.say("DELETEACL INBOX bob")).startswith(b"OK")
        assert (await bob.say("SELECT INBOX")).startswith(b"NO [NOPERM]")
        assert (await bob.say("SETACL INBOX bob lrswipkxtea")).startswith(b"OK")
        bob.hang_up()

    shared(tmp_path, test)
