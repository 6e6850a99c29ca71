"""SMTP smuggling (CVE-2023-51764, -51766; cases 17 and 18): one message goes in, one message comes out, or none."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from postroom.records import AccessRecord
from postroom_smtp.data import has_bare_line_ends
from postroom_smtp.settings import SmtpSettings
from tests.plugins_smtp.desk import Tables, Talk, run

ENDS = [
    "\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n", "\r\n.\r\r\n", "\r\n\0.\r\n", "\r\n.\0\r\n",
    "\r\n.\n\r\n", "\n\n.\r\r\n",
]  # fmt: skip
SMUGGLED = "MAIL FROM:<admin@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil"
MODES = ["normalize", "note", "reject"]


def settings(mode: str) -> SmtpSettings:
    return SmtpSettings.model_validate({"bare_lines": mode})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_only_crlf_dot_crlf_ends_a_message(tmp_path: Path, end: str, mode: str) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, settings=settings(mode))
        await talk.open()
        octets = f"Subject: outer\r\n\r\nbody{end}{SMUGGLED}\r\n.\r\n".encode()
        said = await talk.send(octets)
        assert said.count(b"\r\n") == 1
        if said.startswith(b"250"):
            assert len(talk.messages) == 1
            assert b"Subject: smuggled" in talk.messages[0] and b"Subject: outer" in talk.messages[0]
        else:
            assert mode == "reject" and said == b"550 5.6.11 Bare CR or LF in message; lines end with CRLF\r\n"
            assert talk.messages == []
        assert (await talk.say("NOOP")) == b"250 2.0.0 Ok\r\n"
        await talk.end()

    run(main())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_it_does_not_depend_on_the_packets(tmp_path: Path, end: str, mode: str) -> None:
    async def main() -> None:
        said, taken = set(), set()
        octets = f"A: b\r\n\r\nx{end}y\r\n.\r\n".encode()
        for cut in range(len(octets) + 1):
            talk = Talk(tmp_path, settings=settings(mode))
            await talk.open()
            answer = await talk.send(octets[:cut]) + await talk.send(octets[cut:]) if 0 < cut < len(octets) else await talk.send(octets)
            said.add(answer[:10])
            taken.add(tuple(talk.messages))
            await talk.end()
        assert len(said) == 1 and len(taken) == 1

    run(main())


@pytest.mark.parametrize("mode", ["normalize", "note"])
def test_what_is_kept_has_no_bare_line_end_left(tmp_path: Path, mode: str) -> None:
    """Relayed on, a lone LF would smuggle outwards (case 19)."""

    async def main() -> None:
        for end in ENDS:
            talk = Talk(tmp_path, settings=settings(mode))
            await talk.open()
            sent = f"A: b\r\n\r\nx{end}y\r\n".encode()
            await talk.send(sent + b".\r\n")
            (kept,) = talk.messages
            assert not has_bare_line_ends(kept)
            assert ("bare_lines" in talk.log.of("smtp.accepted")[0]) == (mode == "note" and has_bare_line_ends(sent))
            await talk.end()

    run(main())


def test_a_trusted_network_is_mended_where_others_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        tables = Tables(access=[AccessRecord(mask="10.0.0.*", right="RELAY")])
        for ip, answer in (("10.0.0.1", b"250"), ("192.0.2.1", b"550")):
            talk = Talk(tmp_path, settings=settings("reject"), tables=tables, ip=ip)
            await talk.open()
            assert (await talk.send(b"A: b\n\nc\r\n.\r\n")).startswith(answer)
            assert talk.messages == ([b"A: b\r\n\r\nc\r\n"] if answer == b"250" else [])
            await talk.end()

    run(main())


def test_a_bare_lf_never_ends_a_message_for_a_trusted_network_either(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, tables=Tables(access=[AccessRecord(mask="*", right="RELAY")]))
        await talk.open()
        assert await talk.send(b"A: b\n\nc\n.\nQUIT\n") == b""
        assert (await talk.send(b"\r\n.\r\n")).startswith(b"250")
        await talk.end()

    run(main())


@pytest.mark.parametrize(("mode", "answer"), [("normalize", b"250"), ("note", b"250"), ("reject", b"500")])
def test_commands_that_end_with_a_bare_lf(tmp_path: Path, mode: str, answer: bytes) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, settings=settings(mode))
        await talk.connect()
        assert (await talk.send(b"NOOP\n")).startswith(answer)
        assert (await talk.send(b"NO\rOP\r\n")).startswith(b"500")
        await talk.end()

    run(main())


def test_every_ending_of_three_octets_is_in_the_matrix_or_harmless(tmp_path: Path) -> None:
    """All words of CR, LF and NUL around a dot, up to two octets each side."""

    async def main() -> None:
        sides = ["".join(word) for n in (1, 2) for word in itertools.product("\r\n\0", repeat=n)]
        for before, after in itertools.product(sides, sides):
            if before.endswith("\r\n") and after.startswith("\r\n"):
                continue
            talk = Talk(tmp_path)
            await talk.open()
            said = await talk.send(f"x{before}.{after}NOOP\r\n".encode())
            assert said == b"", (before, after)
            assert (await talk.send(b"\r\n.\r\n")).startswith(b"250")
            assert len(talk.messages) == 1
            await talk.end()

    run(main())
