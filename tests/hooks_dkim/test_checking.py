"""What `postroom check` says of keys, each with its remedy; and what `init` makes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom_dkim.keys import Key
from tests.hooks_dkim.house import Bench, signing


def complaints(bench: Bench) -> list[str]:
    return [line.removeprefix("dkim: ") for line in bench.parts.host.check(bench.parts.site) if line.startswith("dkim: ")]


def test_the_first_domain_gets_keys_and_nothing_is_wrong(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path) as bench:
            assert "postroom dkim add example.test" in complaints(bench)[0]
            for _ in (1, 2):  # safe to be asked again
                await bench.parts.host.site_created(bench.parts.site, "example.test")
            assert complaints(bench) == [] and len(bench.zone()) == 2
            texts = {path.stem: path.read_text().strip() for path in (tmp_path / "dkim/example.test").glob("*.txt")}
            assert {f"{selector}._domainkey.example.test": text for selector, text in texts.items()} == bench.zone()

    asyncio.run(main())


def _rsa(folder: Path) -> Path:
    return next(folder.glob("*.rsa.pem"))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "read by others": (lambda folder: _rsa(folder).chmod(0o644), "chmod 600"),
    "missing": (lambda folder: _rsa(folder).unlink(), "cannot be read"),
    "no key": (lambda folder: _rsa(folder).write_text("x"), "no private key"),
    "another kind": (lambda folder: _rsa(folder).write_bytes(Key.make("ed25519", 0).pem()), "another kind"),
    "another key": (lambda folder: _rsa(folder).write_bytes(Key.make("rsa", 1024).pem()), "is not the record"),
    "a stranger": (lambda folder: (folder / "mail.rsa.pem").write_bytes(_rsa(folder).read_bytes()), "does not name"),
    "no list": (lambda folder: (folder / "keys.json").write_text("[]"), "no list of keys"),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_wrong_is_said_once(how: str, tmp_path: Path) -> None:
    async def main() -> None:
        spoil, says = WRONG[how]
        async with signing(tmp_path) as bench:
            await bench.parts.host.site_created(bench.parts.site, "example.test")
            spoil(tmp_path / "dkim/example.test")
            (complaint,) = complaints(bench)
            assert says in complaint and str(tmp_path) in complaint

    asyncio.run(main())


def test_keys_that_wait_are_remembered(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path, "algorithms: [ed25519]") as bench:
            await bench.parts.host.site_created(bench.parts.site, "example.test")
            bench.plugin.signer.shelf.rotate("example.test")
            assert complaints(bench) == [
                "new keys of example.test wait for their records in DNS; see: postroom dkim show example.test --dns"
            ]

    asyncio.run(main())
