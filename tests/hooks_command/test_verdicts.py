"""Exit codes, reasons, and what a program is told: arguments, environment, standard input."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from postroom.address import InternalAddress, smtp
from postroom.envelope import Peer, Recipient
from postroom.transfer import PASS, Defer, Discard, Quarantine, Reject, Verdict
from postroom_command.contract import ProgramFailed
from postroom_testing.mail import TEXT, envelope, huge, letter
from tests.hooks_command.programs import House, verdict

CODES = {1: "reject", 2: "defer", 3: "quarantine", 4: "discard", 5: "pass"}


ENDS: list[tuple[str, Verdict]] = [
    ("exit 0", PASS),
    ("echo not said; exit 5", PASS),
    ("exit 1", Reject("refused by program")),
    ("echo first; echo '  Spam,   17 points '; echo; exit 1", Reject("Spam, 17 points")),
    ("echo why >&2; exit 1", Reject("refused by program")),
    ("exit 2", Defer("put off by program")),
    ("exit 3", Quarantine("set aside by program")),
    ("exit 4", Discard("removed by program")),
    (r"printf 'a\033[31m\000b\303\251\n'; exit 1", Reject("a?[31m?b?")),
]


def test_exit_codes_are_verdicts(tmp_path: Path) -> None:
    house = House(tmp_path, verdicts=CODES)

    async def main() -> None:
        for text, expected in ENDS:
            Path(house.program).write_text(f"#!/bin/sh\n{text}\n")
            assert await house.picked_up() == expected and house.left() == [], text

    asyncio.run(main())


def test_a_reason_may_be_left_out(tmp_path: Path) -> None:
    assert verdict(tmp_path, "echo secret; exit 1", verdicts=CODES, reason=False)[0] == Reject("refused by program")


def test_zero_may_mean_something_else(tmp_path: Path) -> None:
    assert verdict(tmp_path, "exit 0", verdicts={0: "defer", 1: "pass"})[0] == Defer("put off by program")


@pytest.mark.parametrize(("end", "words"), [("exit 6", "exit code 6"), ("kill -9 $$", "signal 9"), ("kill -15 $$", "signal 15")])
def test_any_other_end_is_an_error_and_the_log_says_what_the_program_said(tmp_path: Path, end: str, words: str) -> None:
    house = House(tmp_path, f"echo 'no database' >&2; {end}", verdicts=CODES)
    with pytest.raises(ProgramFailed, match=words):
        asyncio.run(house.picked_up())
    assert house.facts("command.failed")["said"] == "no database" and house.left() == []


TELL = 'printf "%s\\n" "$@" > "{0}/arguments"; env > "{0}/environment"; pwd > "{0}/folder"'


def told(tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    lines = (tmp_path / "environment").read_text("utf-8", "surrogateescape").splitlines()
    return (tmp_path / "arguments").read_text().splitlines(), dict(line.split("=", 1) for line in lines if "=" in line)


def test_what_is_told_at_pickup(tmp_path: Path) -> None:
    message = letter()
    sent = replace(
        envelope(message, "bob@example.test", "[LS:po/news]", '"a b"@example.test'), peer=Peer("192.0.2.1", "peer.example", "ann@po", "po")
    )
    house = House(tmp_path, TELL.format(tmp_path), environment={"SCAN_LEVEL": "3"})
    assert asyncio.run(house.picked_up(message, sent)) is PASS
    arguments, found = told(tmp_path)
    place = f"{house.root}/Queues/SMTP/Inbound"
    assert arguments[1:] == ["SMTP"] and len(arguments[0]) == 36
    assert found["POSTROOM_MESSAGE"] == f"{place}/Messages/{arguments[0]}" and found["POSTROOM_COMMAND_FILE"] == f"{place}/{arguments[0]}"
    assert found["POSTROOM_SENDER"] == "ann@example.com" and found["POSTROOM_RECIPIENTS"] == "bob@example.test"  # the first line of three
    assert (found["POSTROOM_RECIPIENT_COUNT"], found["POSTROOM_STAGE"], found["POSTROOM_CONNECTOR"]) == ("3", "pickup", "SMTP")
    assert (found["POSTROOM_CLIENT_IP"], found["POSTROOM_HELO"], found["POSTROOM_USER"]) == ("192.0.2.1", "peer.example", "ann@po")
    assert (found["POSTROOM_ID"], found["POSTROOM_SIZE"], found["POSTROOM_QUARANTINE"]) == (
        message.id,
        str(len(TEXT)),
        f"{house.root}/Quarantine",
    )
    assert (found["SCAN_LEVEL"], found["LANG"]) == ("3", "C.UTF-8") and "[LS:po/news]\n" in (tmp_path / "environment").read_text()
    assert not {name for name in found if not name.startswith("POSTROOM_")} - {"PATH", "LANG", "SCAN_LEVEL", "PWD", "OLDPWD", "SHLVL", "_"}
    assert (tmp_path / "folder").read_text().strip() == str(house.root)


def test_what_is_told_at_delivery_to_a_connector(tmp_path: Path) -> None:
    house = House(tmp_path, TELL.format(tmp_path), stage="delivery")
    assert asyncio.run(house.handed_over("SF")) is PASS
    arguments, found = told(tmp_path)
    assert arguments[1] == "SF" and found["POSTROOM_MESSAGE"] == f"{house.root}/Queues/SF/Outgoing/Messages/{arguments[0]}"
    assert (found["POSTROOM_SOURCE"], found["POSTROOM_TARGET"], found["POSTROOM_STAGE"]) == ("SMTP", "SF", "delivery")


def test_what_is_told_at_delivery_into_a_mailbox(tmp_path: Path) -> None:
    house = House(tmp_path, TELL.format(tmp_path), stage="mailbox")
    assert asyncio.run(house.delivered("Acme Ltd", "bob")) is PASS
    arguments, found = told(tmp_path)
    assert arguments[:2] == ["Acme Ltd", "bob"] and found["POSTROOM_MESSAGE"].endswith(f"/Queues/SF/Outgoing/Messages/{arguments[2]}")
    assert (found["POSTROOM_POSTOFFICE"], found["POSTROOM_MAILBOX"], found["POSTROOM_FOLDER"]) == ("Acme Ltd", "bob", "Inbox")


def test_own_arguments_stand_in_place_of_the_old_ones(tmp_path: Path) -> None:
    own = ["--stage={stage}", "{message}", "{id}", "; rm -rf / #", "$HOME"]
    said, _ = verdict(tmp_path, TELL.format(tmp_path), arguments=own)
    arguments, found = told(tmp_path)
    assert said is PASS and arguments == ["--stage=pickup", found["POSTROOM_MESSAGE"], found["POSTROOM_ID"], "; rm -rf / #", "$HOME"]


@pytest.mark.parametrize("size", [100, 400 << 10])
@pytest.mark.parametrize("files", [True, False])
def test_the_message_comes_on_standard_input_where_it_is_asked_for(tmp_path: Path, size: int, files: bool) -> None:
    message = letter(TEXT + b"a" * 100) if size == 100 else huge(tmp_path, size)
    house = House(tmp_path, f'cat > "{tmp_path}/seen"', stdin=True, files=files, arguments=[])
    assert asyncio.run(house.picked_up(message)) is PASS and house.left() == []
    assert (tmp_path / "seen").read_bytes() == asyncio.run(message.read())


def test_standard_input_is_empty_otherwise(tmp_path: Path) -> None:
    assert verdict(tmp_path, f'cat > "{tmp_path}/seen"')[0] is PASS
    assert (tmp_path / "seen").read_bytes() == b""


def test_only_the_connectors_that_are_named_are_shown(tmp_path: Path) -> None:
    house = House(tmp_path, "exit 1", verdicts=CODES, connectors=["smtp"])
    message = letter()
    assert isinstance(asyncio.run(house.picked_up(message)), Reject)
    assert asyncio.run(house.picked_up(message, envelope(message, source="POP"))) is PASS
    other = House(tmp_path, "exit 1", stage="delivery", verdicts=CODES, connectors=["SF"])
    assert isinstance(asyncio.run(other.handed_over("SF")), Reject) and asyncio.run(other.handed_over("SMTP")) is PASS


@pytest.mark.parametrize("source", ["../../../etc", "-rf", "", "SMTP/x", "A" * 17, "SM\nTP"])
def test_a_source_that_is_no_connector_never_becomes_a_path(tmp_path: Path, source: str) -> None:
    house, message = House(tmp_path, f'touch "{tmp_path}/ran"'), letter()
    with pytest.raises(ProgramFailed, match="no connector"):
        asyncio.run(house.picked_up(message, envelope(message, source=source)))
    assert not (tmp_path / "ran").exists() and house.left() == []


HOSTILE = [
    'x"; touch ran; "@example.org',
    "$(touch ran)@example.org",
    "`touch ran`@example.org",
    "--delete=@example.org",
    "a\nPOSTROOM_USER=root@example.org",
    "a\0b@example.org",
    "\udc80\udcff@example.org",
    "a" * 200_000 + "@example.org",
]


def test_a_hostile_sender_reaches_neither_the_arguments_nor_another_variable(tmp_path: Path) -> None:
    house, message = House(tmp_path, TELL.format(tmp_path)), letter()

    async def main() -> None:
        for address in HOSTILE:
            peer, to = Peer(ip=address, helo=address), (Recipient(smtp(address)),)
            sent = replace(envelope(message, sender=None), sender=smtp(address), recipients=to, peer=peer)
            assert await house.picked_up(message, sent) is PASS
            arguments, found = told(tmp_path)
            assert len(arguments) == 2 and len(arguments[0]) == 36 and arguments[1] == "SMTP", address
            assert found["POSTROOM_USER"] == "" and not list(tmp_path.rglob("ran")) and house.left() == [], address

    asyncio.run(main())


def test_ten_thousand_recipients_do_not_keep_a_program_from_running(tmp_path: Path) -> None:
    house, message = House(tmp_path, TELL.format(tmp_path)), letter()
    recipients = tuple(Recipient(InternalAddress("SMTP", f"{'é' * 200}{number}@example.org")) for number in range(10_000))
    assert asyncio.run(house.picked_up(message, replace(envelope(message), recipients=recipients))) is PASS
    _, found = told(tmp_path)
    assert found["POSTROOM_RECIPIENT_COUNT"] == "10000"
    whole = [line for line in (tmp_path / "environment").read_text().splitlines() if "é" in line]
    assert 50 < len(whole) < 10_000 and all(line.endswith("@example.org") for line in whole)
