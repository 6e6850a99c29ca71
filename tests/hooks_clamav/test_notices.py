"""Who is told of a virus, in which words, and who is not."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from postroom.address import smtp
from postroom.envelope import Envelope, Recipient
from postroom.errors import SpoolError
from postroom.message import MemoryMessage, new_id
from postroom.records import AddressMapRecord, DomainRecord, MailboxRecord, PostofficeRecord
from postroom.site import Site
from postroom.transfer import PASS, Reject
from postroom_clamav.notices import Finding, Notice, compose, subject_of
from postroom_clamav.plugin import ClamavPlugin
from postroom_run.assembly import Assembled
from postroom_testing.ground import Lines, site_in
from tests.hooks_clamav.clamd import MARK, NAME, fake_clamd
from tests.hooks_clamav.house import SICK, event, small


def finding(**changes: Any) -> Finding:
    said = {"virus": NAME, "envelope": event(small(), sender="eve@example.com").envelope, "subject": "hello", "action": "quarantine"}
    return Finding(**{**said, **changes})


def parsed(text: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(text, policy=email.policy.default)


@pytest.mark.parametrize("party", ["sender", "recipients", "operator"])
def test_a_notice_says_what_who_and_what_became_of_it(party: Any) -> None:
    text = compose(Notice(party, smtp("bob@example.test")), finding(), "N" * 32, server="mx.example.test", now=0.0)
    mail = parsed(text)
    assert mail["Auto-Submitted"] == "auto-replied" and mail["Return-Path"] == "<>"
    assert mail["To"] == "bob@example.test" and mail["Message-ID"] == f"<{'N' * 32}@mx.example.test>"
    assert not mail.is_multipart() and not mail.defects
    body = mail.get_content()
    for word in (NAME, "eve@example.com", "hello", "quarantine"):
        assert word in body
    assert ("bob@example.test" in body) is (party != "recipients")
    assert ("192.0.2.1" in body) is (party == "operator")
    assert all(line.endswith(b"\r\n") for line in text.splitlines(keepends=True))


@pytest.mark.parametrize(
    "hostile", ["a\r\nBcc: x@example.com\r\n\r\nbuy", "\x1b[2J\x07", "x" * 10_000, "\u202egnp.exe", "\ud800", "Grüße 日本", ""]
)
def test_nothing_from_outside_makes_a_line_of_its_own(hostile: str) -> None:
    bad = finding(subject=hostile, virus=hostile or "v", envelope=event(small(), sender=f"{hostile}@example.com").envelope)
    text = compose(Notice("operator", smtp(f"op{hostile}@example.test")), bad, "N" * 32, server="mx.example.test", now=0.0)
    mail = parsed(text)
    assert mail["Bcc"] is None and sorted(mail.keys())[0] == "Auto-Submitted"
    assert mail.get_content().count("\n") == parsed(
        compose(Notice("operator", smtp("op@example.test")), finding(), "N" * 32, server="m", now=0.0)
    ).get_content().count("\n")
    assert "\x1b" not in mail.get_content() and "\u202e" not in mail.get_content()
    assert max(map(len, text.splitlines())) < 998


def test_the_subject_is_decoded() -> None:
    assert subject_of(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n") == "Grüße"
    assert subject_of(b"From: a\r\n\r\n") == ""


async def furnish(site: Site) -> None:
    await site.providers.smtp.domains.put(DomainRecord(domain="example.test", account="po"))
    await site.providers.postoffice.postoffices.put(PostofficeRecord(name="po"))
    for name in ("bob", "op"):
        await site.providers.postoffice.mailboxes.put(MailboxRecord(postoffice="po", mailbox=name))
        await site.providers.address_map.rows.put(
            AddressMapRecord(source=f"[SMTP:{name}@example.test]", destination=f"[SF:po/{name}]", account="po")
        )
    await site.providers.address_map.rows.put(
        AddressMapRecord(source="[SMTP:far@example.test]", destination="[SMTP:far@example.org]", account="po")
    )


async def after(tmp_path: Path, settings: str, *, trusted: bool = True, times: int = 1, hooks: str = "{}") -> tuple[list[str], Any, Lines]:
    """The mailboxes that have a notice after a virus came, the verdict, and the log."""
    lines = Lines()
    async with fake_clamd(tmp_path / "c"):
        yaml = f"server: mx.example.test\nplugins: {{tab: {{watch: false}}, store: {{}}, postoffice: {{}}, clamav: {{socket: c, hooks: {hooks}, {settings}}}}}\n"
        async with site_in(tmp_path, yaml, log=lines) as parts:
            await furnish(parts.site)
            one = event(
                small(SICK),
                trusted=trusted,
                sender="bob@example.test" if trusted else "eve@example.com",
                to=("op@example.test", "far@example.test"),
            )
            for _ in range(times):
                verdict, _ = await parts.host.ask.transfer("mta_pickup", one)
                await plugin_of(parts).scanner.courier.drain()
            await parts.mta.drain()
            plugin_of(parts).scanner.pool.close()
            got = [
                f"{name}: {len(found)}"
                for name in ("bob", "op")
                if (found := list((tmp_path / "Postoffices/po/MAILROOT" / name / "Inbox").glob("[0-9A-F]*.MAI")))
            ]
            for path in (tmp_path / "Postoffices").rglob("[0-9A-F]*.MAI"):
                assert MARK not in path.read_bytes() and NAME.encode() in path.read_bytes()
            return got, verdict, lines


def plugin_of(parts: Assembled) -> ClamavPlugin:
    plugin = parts.host.plugins["clamav"]
    assert isinstance(plugin, ClamavPlugin)
    return plugin


CASES = [
    ("action: quarantine, notify: [sender]", True, ["bob: 1"]),
    ("action: quarantine, notify: [sender]", False, []),  # no backscatter
    ("action: reject, notify: [sender]", True, []),  # the reply or the kernel's notice says it
    ("action: reject, notify: [recipients]", False, ["op: 1"]),  # not the one whose mail goes elsewhere
    ("action: discard, notify: [operator], operator: op@example.test", False, ["op: 1"]),
    ("action: mark, notify: [sender, recipients, operator], operator: op@example.test", True, ["bob: 1", "op: 2"]),
    ("action: quarantine", True, []),
]


@pytest.mark.parametrize(("settings", "trusted", "wanted"), CASES)
def test_who_is_told(tmp_path: Path, settings: str, trusted: bool, wanted: list[str]) -> None:
    got, _, _ = asyncio.run(after(tmp_path, settings, trusted=trusted))
    assert got == wanted


def test_the_same_message_again_makes_no_second_notice(tmp_path: Path) -> None:
    got, verdict, _ = asyncio.run(after(tmp_path, "notify: [operator], operator: op@example.test", times=3))
    assert got == ["op: 1"] and isinstance(verdict, Reject)


def test_a_shadow_tells_nobody(tmp_path: Path) -> None:
    got, verdict, lines = asyncio.run(after(tmp_path, "notify: [operator], operator: op@example.test", hooks="{mode: shadow}"))
    assert got == [] and verdict is PASS and "clamav.found" in lines.events()


def test_a_notice_the_disk_refuses_changes_no_verdict(tmp_path: Path) -> None:
    async def main() -> None:
        lines = Lines()
        async with fake_clamd(tmp_path / "c"):
            yaml = "server: m.example.test\nplugins: {tab: {watch: false}, clamav: {socket: c, notify: [operator], operator: a@b.test}}\n"
            async with site_in(tmp_path, yaml, log=lines) as parts:

                async def full(*_: object) -> None:
                    raise SpoolError("the disk is full", full=True)

                parts.site.spool.accept = full  # type: ignore[assignment,method-assign]
                verdict, _ = await parts.host.ask.transfer("mta_pickup", event(small(SICK)))
                assert isinstance(verdict, Reject)
                await plugin_of(parts).scanner.courier.drain()
                plugin_of(parts).scanner.pool.close()
                assert "clamav.notice_failed" in lines.events("warning")

    run(main())


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_a_notice_is_not_shown_to_the_scanner_that_sent_it(tmp_path: Path) -> None:
    async def main() -> None:
        seen: list[Envelope] = []
        async with fake_clamd(tmp_path / "c") as clamd:
            yaml = "server: m.example.test\nplugins: {tab: {watch: false}, clamav: {socket: c, notify: [operator], operator: a@b.test}}\n"
            async with site_in(tmp_path, yaml) as parts:
                accept = parts.site.spool.accept

                async def watched(envelope: Envelope, message: Any) -> Any:
                    seen.append(envelope)
                    return await accept(envelope, message)

                parts.site.spool.accept = watched  # type: ignore[method-assign]
                message = MemoryMessage(new_id(), SICK)
                envelope = Envelope(message.id, message.id, "SMTP", None, (Recipient(smtp("x@y.test")),), 0.0)
                assert isinstance(await parts.mta.accept(envelope, message), Reject)
                await plugin_of(parts).scanner.courier.drain()
                await parts.mta.drain()
                plugin_of(parts).scanner.pool.close()
                assert [one.skip for one in seen] == [frozenset(), frozenset({"clamav"})]
                assert len(clamd.streams) == 1

    run(main())
