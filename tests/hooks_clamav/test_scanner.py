"""From message to verdict, at a fake clamd."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from postroom.message import FileMessage, MemoryMessage
from postroom.transfer import PASS, Defer, Discard, Quarantine, Reject, Replace, Stage
from postroom_clamav.errors import ScannerError
from tests.hooks_clamav.clamd import MARK, NAME
from tests.hooks_clamav.house import FORGED, SICK, TEXT, event, large, scanning, small

WHY = f"the message contains the virus {NAME}"


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [("", Reject(WHY)), ("action: quarantine", Quarantine(WHY)), ("action: discard", Discard(WHY))],
)
def test_what_a_virus_means(tmp_path: Path, settings: str, verdict: object) -> None:
    async def main() -> None:
        async with scanning(tmp_path, settings) as bench:
            assert await bench.pickup(small()) is PASS
            assert await bench.pickup(small(SICK)) == verdict
            assert await bench.pickup(large(tmp_path)) is PASS
            assert await bench.pickup(large(tmp_path, tail=MARK)) == verdict
            assert (bench.value("scanned_total"), bench.value("infected_total"), bench.value("connections")) == (4, 2, 1)
            assert bench.lines.events("warning") == ["clamav.found"] * 2

    run(main())


def test_marked_mail_goes_on_and_says_what_was_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with scanning(tmp_path, "action: mark") as bench:
            marks = b"X-Virus-Status: Infected\r\nX-Virus: " + NAME.encode() + b"\r\n"
            verdict = await bench.pickup(small(SICK))
            assert isinstance(verdict, Replace)
            assert await verdict.message.read() == SICK.replace(b"Received", marks + b"Received")
            message = large(tmp_path, tail=MARK)
            verdict = await bench.pickup(message)
            assert await verdict.message.read() == message.path.read_bytes().replace(b"Received", marks + b"Received", 1)

    run(main())


def test_clean_mail_is_marked_where_asked(tmp_path: Path) -> None:
    async def main() -> None:
        async with scanning(tmp_path, "add_header: true") as bench:
            verdict = await bench.pickup(small())
            told = b"X-Virus-Scanned: ClamAV at mail.example.test\r\nX-Virus-Status: Clean\r\n"
            assert await verdict.message.read() == TEXT.replace(b"Received", told + b"Received")

    run(main())


def test_forged_fields_are_stripped_from_outside_mail_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with scanning(tmp_path) as bench:
            verdict = await bench.pickup(small(FORGED))
            assert isinstance(verdict, Replace) and isinstance(verdict.message, MemoryMessage)
            assert verdict.message.data == TEXT
            verdict = await bench.pickup(message := large(tmp_path, head=FORGED))
            assert isinstance(verdict, Replace) and isinstance(verdict.message, FileMessage)
            assert verdict.message.path.read_bytes() == message.path.read_bytes().replace(FORGED, TEXT)
            assert await bench.pickup(small(FORGED), trusted=True) is PASS
            assert bench.lines.events("info") == ["clamav.stripped"] * 2

    run(main())


def test_stripping_needs_no_clamd(tmp_path: Path) -> None:
    async def main() -> None:
        async with scanning(tmp_path, "stage: delivery") as bench:
            assert isinstance(await bench.pickup(small(FORGED)), Replace)
            assert await bench.pickup(small(SICK)) is PASS
            assert bench.clamd.connections == 0
            seen = await bench.plugin.mta_delivery(event(small(SICK), stage=Stage.DELIVERY))
            assert seen == Reject(WHY)
        (tmp_path / "two").mkdir()
        async with scanning(tmp_path / "two", "strip: false") as bench:
            assert await bench.pickup(small(FORGED)) is PASS
            assert await bench.plugin.mta_delivery(event(small(SICK), stage=Stage.DELIVERY)) is PASS

    run(main())


def test_who_is_trusted_may_be_spared(tmp_path: Path) -> None:
    async def main() -> None:
        async with scanning(tmp_path, "only_untrusted: true, connectors: {LS: {scan: false}, POP: {action: discard}}") as bench:
            assert await bench.pickup(small(SICK), trusted=True) is PASS
            assert await bench.pickup(small(SICK), source="LS") is PASS
            assert await bench.pickup(small(SICK), source="POP") == Discard(WHY)
            assert await bench.pickup(small(SICK)) == Reject(WHY)

    run(main())


@pytest.mark.parametrize(
    ("settings", "hooks", "verdict"),
    [
        ("", "{}", Defer),
        ("", "{on_error: pass}", type(PASS)),
        ("", "{on_error: quarantine}", Quarantine),
        ("too_large: reject", "{on_error: pass}", Reject),
        ("too_large: quarantine", "{}", Quarantine),
        ("too_large: pass", "{}", type(PASS)),
        ("too_large: defer", "{on_error: pass}", Defer),
    ],
)
def test_mail_too_large_gets_what_the_operator_says_and_clamd_never_sees_it(
    tmp_path: Path, settings: str, hooks: str, verdict: type
) -> None:
    async def main() -> None:
        async with scanning(tmp_path, f"max_size: 600000, {settings}", hooks=hooks) as bench:
            assert type(await bench.pickup(large(tmp_path, octets=700_000))) is verdict
            assert bench.clamd.connections == 0 and bench.value("too_large_total") == 1 and bench.value("errors_total") == 0
            assert await bench.pickup(small()) is PASS

    run(main())


def test_clamd_s_own_limit_means_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with scanning(tmp_path, "too_large: quarantine") as bench:
            bench.clamd.limit = 300_000
            assert isinstance(await bench.pickup(large(tmp_path, octets=4_000_000)), Quarantine)
            assert bench.value("too_large_total") == 1
            assert await bench.pickup(small()) is PASS

    run(main())


def test_mail_too_large_is_stripped_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with scanning(tmp_path, "max_size: 600000, too_large: pass") as bench:
            assert isinstance(await bench.pickup(large(tmp_path, head=FORGED)), Replace)

    run(main())


@pytest.mark.parametrize("fault", ["garbage", "hangs up", "error", "wrong number", "never ends", "hangs up within the reply"])
def test_what_clamd_does_not_judge_is_an_error_and_the_next_is_judged(tmp_path: Path, fault: str) -> None:
    async def main() -> None:
        async with scanning(tmp_path) as bench:
            bench.clamd.fault, bench.clamd.faults_left = fault, 1
            with pytest.raises(ScannerError, match="clamd"):
                await bench.pickup(small(SICK))
            assert bench.value("errors_total") == 1 and bench.plugin.scanner.pool.failure
            assert await bench.pickup(small(SICK)) == Reject(WHY)
            assert not bench.plugin.scanner.pool.failure

    run(main())
