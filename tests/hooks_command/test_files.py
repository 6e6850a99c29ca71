"""The old contract: programs that edit, move and delete the pair they are shown."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from postroom.message import SMALL, FileMessage
from postroom.transfer import PASS, Defer, Discard, Quarantine, Reject, Replace
from postroom_command.contract import ProgramFailed
from postroom_testing.mail import TEXT, envelope, huge, letter
from tests.hooks_command.programs import ASKED, House, verdict

pytestmark = pytest.mark.long


def test_a_program_that_looks_and_leaves_all_as_it_is_passes(tmp_path: Path) -> None:
    said, house = verdict(tmp_path, f'{ASKED} cat "$message" > "{tmp_path}/seen"; cp "$command" "{tmp_path}/command"')
    assert said is PASS and house.left() == []
    assert (tmp_path / "seen").read_bytes() == TEXT
    text = (tmp_path / "command").read_bytes()
    assert b"Recipients=[SMTP:bob@example.test]\r\n" in text and b"Status=Delivering\r\n" in text and b"Private=" in text


def test_the_copy_is_a_file_of_its_own_under_an_id_of_its_own(tmp_path: Path) -> None:
    message = huge(tmp_path, 1 << 20)
    house = House(tmp_path, f'{ASKED} stat -c "%i %h" "$message" > "{tmp_path}/inode"; echo "$1" > "{tmp_path}/name"')
    assert asyncio.run(house.picked_up(message)) is PASS
    inode, links = (tmp_path / "inode").read_text().split()
    assert int(inode) != message.path.stat().st_ino and links == "1"
    assert (tmp_path / "name").read_text().strip() != f"{message.id}.MAI"


@pytest.mark.parametrize(
    "edit",
    [
        '{ printf "X-Scanned: yes\\r\\n"; cat "$message"; } > "$message.new"; mv "$message.new" "$message"',
        'sed -i "1i X-Scanned: yes" "$message"',  # a line that ends in LF alone
        '{ echo "X-Scanned: yes"; tr -d "\\r" < "$message"; } > t; cat t > "$message"; rm t',  # all lines do, in place
    ],
)
def test_an_edited_message_is_what_goes_on_with_whole_line_ends(tmp_path: Path, edit: str) -> None:
    message = letter()
    said, house = verdict(tmp_path, ASKED + edit, message)
    assert isinstance(said, Replace) and said.message.peek() == b"X-Scanned: yes\r\n" + TEXT
    assert said.message.id == message.id and house.left() == []


def test_an_edit_of_the_same_length_is_seen(tmp_path: Path) -> None:
    said, _ = verdict(tmp_path, f'{ASKED} sed "s/hello/HELLO/" "$message" > t; cat t > "$message"; rm t')
    assert isinstance(said, Replace) and said.message.peek() == TEXT.replace(b"hello", b"HELLO")


@pytest.mark.parametrize("touch", ['touch "$message"', 'tr -d "\\r" < "$message" > t; mv t "$message"', 'cp "$message" t; mv t "$message"'])
def test_a_message_with_the_same_text_is_the_same(tmp_path: Path, touch: str) -> None:
    said, house = verdict(tmp_path, ASKED + touch)
    assert said is PASS and house.left() == []


def test_a_large_message_is_read_back_into_a_file_that_goes_with_its_last_handle(tmp_path: Path) -> None:
    message = huge(tmp_path / "big", 400 << 10)
    before = message.path.read_bytes()
    house = House(tmp_path, f'{ASKED} sed "1s/huge/HUGE/" "$message" > t; cat t > "$message"; rm t')
    said = asyncio.run(house.picked_up(message))
    assert isinstance(said, Replace) and isinstance(said.message, FileMessage) and said.message.size > SMALL
    assert said.message.path.read_bytes() == before.replace(b"huge", b"HUGE", 1) and message.path.read_bytes() == before
    path = Path(str(said.message.path))
    assert path.parent == house.root / "Queues" / "SMTP" / "Inbound" / "Messages" and house.left() == [str(path.relative_to(house.root))]
    del said
    assert house.left() == []


def test_a_large_message_that_only_was_read_passes(tmp_path: Path) -> None:
    house = House(tmp_path, f'{ASKED} md5sum < "$message" | cut -c1-32 > "{tmp_path}/sum"')
    message = huge(tmp_path / "big", 400 << 10)
    assert asyncio.run(house.picked_up(message)) is PASS and house.left() == []
    assert (tmp_path / "sum").read_text().strip() == hashlib.md5(message.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "move",
    [
        'mv "$command" Quarantine/; mv "$message" Quarantine/Messages/',
        'cp "$message" Quarantine/Messages/; cp "$command" Quarantine/; rm "$message" "$command"',
        'mv "$message" Quarantine/; rm "$command"',
        'mv "$message" "$POSTROOM_QUARANTINE/Messages/"; rm "$POSTROOM_COMMAND_FILE"',
        'mv "$message" Quarantine/Messages/; exit 0',
    ],
)
def test_a_pair_moved_into_quarantine_is_the_kernels_to_keep(tmp_path: Path, move: str) -> None:
    said, house = verdict(tmp_path, f"{ASKED} echo looked; echo 'EICAR found'; {move}")
    assert said == Quarantine("EICAR found") and house.left() == []


def test_a_copy_in_quarantine_stays_and_is_an_item_of_its_own(tmp_path: Path) -> None:
    said, house = verdict(tmp_path, f'{ASKED} cp "$message" Quarantine/Messages/; cp "$command" Quarantine/')
    assert said is PASS
    command, message = house.left()
    assert Path(message).name == Path(command).name and (house.root / message).read_bytes() == TEXT
    text = (house.root / command).read_bytes()
    assert b"Private=" not in text and b"Recipients=[SMTP:bob@example.test]\r\n" in text


def test_what_a_deferred_message_left_in_quarantine_goes(tmp_path: Path) -> None:
    """It comes again, and would leave one more each time."""
    said, house = verdict(tmp_path, f'{ASKED} mv "$message" Quarantine/Messages/; mv "$command" Quarantine/; exit 2', verdicts={2: "defer"})
    assert isinstance(said, Defer) and house.left() == []


def test_a_deleted_pair_was_handled(tmp_path: Path) -> None:
    said, house = verdict(tmp_path, f'{ASKED} rm "$message" "$command"; exit 9')
    assert said == Discard("removed by program") and house.left() == []


@pytest.mark.parametrize("gone", ["message", "command"])
def test_half_a_pair_was_handled_too_and_is_told(tmp_path: Path, gone: str) -> None:
    said, house = verdict(tmp_path, f'{ASKED} rm "${gone}"')
    assert said == Discard("removed by program") and house.left() == []
    assert house.facts("command.half_gone")["left"] == ("command file" if gone == "message" else "message")


@pytest.mark.parametrize("end", ["exit 9", "kill -9 $$"])
def test_a_program_that_broke_down_half_way_said_nothing(tmp_path: Path, end: str) -> None:
    house = House(tmp_path, f'{ASKED} mv "$message" Quarantine/Messages/; {end}')
    with pytest.raises(ProgramFailed):
        asyncio.run(house.picked_up())
    assert house.left() == []


def test_a_named_exit_code_counts_before_the_files(tmp_path: Path) -> None:
    said, house = verdict(tmp_path, f'{ASKED} echo "X: y" > "$message"; exit 1', verdicts={1: "reject"})
    assert said == Reject("refused by program") and house.left() == []


@pytest.mark.parametrize(
    "edit", ['sed -i "s/^Recipients=.*/Recipients=[SMTP:eve@example.org]/" "$command"', 'echo "Sender=[SMTP:x@y.z]" >> "$command"']
)
def test_an_edit_of_the_command_file_has_no_effect_and_is_told(tmp_path: Path, edit: str) -> None:
    said, house = verdict(tmp_path, ASKED + edit)
    assert said is PASS and house.left() == [] and "command.edit_ignored" in house.lines.events("warning")


def test_an_emptied_message_is_no_message(tmp_path: Path) -> None:
    house = House(tmp_path, f'{ASKED} : > "$message"')
    with pytest.raises(ProgramFailed, match="empty"):
        asyncio.run(house.picked_up())
    assert house.left() == []


@pytest.mark.parametrize(
    "trick",
    [
        'rm "$message"; ln -s /etc/passwd "$message"',
        'rm "$message"; mkfifo "$message"',
        'rm "$message"; mkdir -p "$message/a/b"; ln -s / "$message/a/b/root"',
    ],
)
def test_what_is_put_in_the_place_of_the_message_is_not_followed(tmp_path: Path, trick: str) -> None:
    house = House(tmp_path, ASKED + trick)
    with pytest.raises(ProgramFailed, match="message"):
        asyncio.run(house.picked_up())
    assert house.left() == [] and not list(house.root.rglob("*.MAI"))


def test_a_message_with_binary_octets_stays_as_the_program_wrote_it(tmp_path: Path) -> None:
    house, message = House(tmp_path, f'{ASKED} printf "a\\nb\\rc" >> "$message"'), letter()
    said = asyncio.run(house.picked_up(message, replace(envelope(message), body="BINARYMIME")))
    assert isinstance(said, Replace) and said.message.peek() == TEXT + b"a\nb\rc"


def test_without_files_there_are_none(tmp_path: Path) -> None:
    said, house = verdict(
        tmp_path,
        f'find . -name "*.MAI" > "{tmp_path}/found"; echo "$# ${{POSTROOM_MESSAGE-none}}" > "{tmp_path}/told"; cat > "{tmp_path}/seen"',
        files=False,
        arguments=[],
        stdin=True,
    )
    assert said is PASS and house.left() == []
    assert (tmp_path / "found").read_text() == "" and (tmp_path / "told").read_text() == "0 none\n"
    assert (tmp_path / "seen").read_bytes() == TEXT
