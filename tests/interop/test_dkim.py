"""What leaves the house signed, verified by Debian's opendkim: both algorithms, both body forms, small and large, and as SMTP would send it."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from postroom_smtp.outbound.octets import of_message
from tests.hooks_dkim.house import TEXT, large, signing, small, verdicts

SHAPES = {
    "a letter": TEXT,
    "no body": TEXT.partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
    "8-bit": TEXT + "Grüße aus Köln\r\n".encode(),
    "bare line ends": TEXT + b"a\rb\nc \n\n\n",
    "folds and blanks": TEXT.replace(b"hello", b"\r\n \thello \r\n\tyou\t") + b" \t\r\n\ttext \t with  blanks \r\n \r\n\r\n",
    "traced": b"Return-Path: <ann@example.test>\r\nReceived: from pc\r\n\tby us; Tue, 14 Nov 2023 22:13:20 +0000\r\n" + TEXT,
}


@pytest.fixture(scope="module")
def opendkim() -> str:
    found = shutil.which("opendkim") or shutil.which("/usr/sbin/opendkim")
    if not found:
        pytest.skip("opendkim is not installed; apt-get install opendkim")
    return found


def results(program: str, folder: Path, text: bytes, zone: Mapping[str, str]) -> dict[str, str]:
    """opendkim's result by algorithm; it reads keys from a file, so no name server is asked."""
    (folder / "keys").write_text("".join(f"{name} {value}\n" for name, value in zone.items()))
    (folder / "conf").write_text(f"TestPublicKeys {folder / 'keys'}\n")
    (folder / "mail").write_bytes(text)
    command = [program, "-x", str(folder / "conf"), "-t", str(folder / "mail"), "-vv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Authentication-Results" in done.stdout, done.stdout + done.stderr
    return {algorithm: result for result, algorithm in re.findall(r"dkim=(\w+)[^;]*header\.a=([\w-]+)", done.stdout)}


BOTH = {"rsa-sha256": "pass", "ed25519-sha256": "pass"}
NEITHER = dict.fromkeys(BOTH, "fail")


async def sent(folder: Path, data: bytes, settings: str, *, octets: int = 0) -> tuple[bytes, dict[str, str]]:
    """A message signed by a site and as its SMTP connector sends it, and what the site's DNS must say."""
    (folder / "site").mkdir()
    async with signing(folder / "site", f"rsa_bits: 2048, {settings}") as bench:
        _, after = await bench.ask(large(folder, data, octets) if octets else small(data))
        leaving = await of_message(after, "7BIT")
        return b"".join([block async for block in leaving.blocks()]), bench.zone()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["relaxed", "simple"])
def test_opendkim_verifies_what_is_sent(opendkim: str, shape: str, form: str, tmp_path: Path) -> None:
    text, zone = asyncio.run(sent(tmp_path, SHAPES[shape], f"simple_above: {0 if form == 'simple' else 1 << 30}"))
    assert f"c=relaxed/{form};".encode() in text and not text.startswith(b"Return-Path")
    assert results(opendkim, tmp_path, text, zone) == BOTH
    assert verdicts(text, zone) == [True, True]


@pytest.mark.parametrize("settings", ["simple_above: 0", ""])
def test_opendkim_verifies_a_large_message(opendkim: str, settings: str, tmp_path: Path) -> None:
    text, zone = asyncio.run(sent(tmp_path, SHAPES["traced"], settings, octets=3_000_000))
    assert results(opendkim, tmp_path, text, zone) == BOTH


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"How are", b"Who are"), (b"Subject: hello", b"Subject: other"), (b"From: Ann", b"From: eve@example.org\r\nFrom: Ann")],
)
def test_opendkim_sees_what_was_changed(opendkim: str, old: bytes, new: bytes, tmp_path: Path) -> None:
    text, zone = asyncio.run(sent(tmp_path, TEXT, ""))
    assert results(opendkim, tmp_path, text.replace(old, new), zone) == NEITHER
