"""What people are told of a virus: plain words, never the virus.

One notice a message and party: its id follows from both, so a message that comes again after a crash makes the same notice and nobody gets
two. A sender hears of it only where he is trusted, a recipient only where he has his mailbox here, so no notice goes to somebody whose
name was forged. A notice has the null sender (RFC 5321 section 4.5.5) and is marked as automatic (RFC 3834 section 5).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from postroom.address import InternalAddress, smtp
from postroom.envelope import Envelope, Recipient
from postroom.errors import ConfigError, DiskError
from postroom.message import MemoryMessage, derived_id
from postroom.site import Site
from postroom_clamav.settings import Action, Party, Rules
from postroom_mime.headers import values
from postroom_mime.words import decode_words

_UNSAFE = re.compile(r"[^\w!-/:-@\[-`{-~ ]+")  # letters of any script, digits, ASCII's signs: nothing that draws or controls
_LONGEST: Final = 120  # characters of a text from outside
_HERE: Final = "SF"  # the acronym of what lives in mailboxes here
_MOST: Final = 50  # recipients that are told; who addresses a thousand does not make a thousand notices
_BECAME: Final[dict[Action, str]] = {
    "reject": "It was refused.",
    "quarantine": "It was set aside in quarantine, and was not delivered.",
    "discard": "It was dropped, and was not delivered.",
    "mark": "It was delivered with a mark: do not open what is attached to it.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A virus in a message."""

    virus: str
    envelope: Envelope
    subject: str  # as the header says it, decoded
    action: Action


@dataclass(frozen=True, slots=True)
class Notice:
    """Who is told, as what."""

    party: Party
    to: InternalAddress


def subject_of(head: bytes) -> str:
    """The subject of a message, decoded."""
    found = values(head, b"Subject")
    return decode_words(found[0]) if found else ""


def compose(notice: Notice, finding: Finding, name: str, *, server: str, now: float) -> bytes:
    """The notice as an RFC 5322 message. Pure; nothing from outside makes a line of its own."""
    lines = (
        "Return-Path: <>",
        f"From: Virus scanner <postmaster@{_safe(server)}>",
        f"To: <{_safe(notice.to.detail)}>",  # written and not parsed: the standard library's parser raises for some addresses
        f"Subject: Virus found: {_safe(finding.virus)}",
        f"Date: {formatdate(now)}",
        f"Message-ID: <{name}@{_safe(server)}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        *_text(notice.party, finding),
    )
    return "".join(f"{line}\r\n" for line in lines).encode()


def _text(party: Party, finding: Finding) -> Iterator[str]:
    envelope = finding.envelope
    whose = {"sender": "A message that you sent", "recipients": "A message to you", "operator": "A message"}[party]
    yield f"{whose} contains a virus. {_BECAME[finding.action]}"
    yield ""
    yield f"Virus:   {_safe(finding.virus)}"
    yield f"From:    {_safe(envelope.sender.detail) if envelope.sender else '(no sender)'}"
    yield f"Subject: {_safe(finding.subject) or '(none)'}"
    if party != "recipients":  # a recipient does not learn of the others
        yield from (f"To:      {_safe(one.address.detail)}" for one in envelope.recipients[:_MOST])
        if len(envelope.recipients) > _MOST:
            yield f"         and {len(envelope.recipients) - _MOST} more"
    if party == "operator":
        yield f"Came by: {_safe(envelope.source)} {_safe(envelope.peer.ip)} {_safe(envelope.peer.user)}".rstrip()
    yield f"Message: {_safe(envelope.message)}"


def _safe(text: str) -> str:
    return " ".join(_UNSAFE.sub(" ", text).split())[:_LONGEST]


class Courier:
    """Sends notices beside the road of the message they are about: a slow one delays no verdict."""

    def __init__(self, operator: str) -> None:
        self._operator = smtp(operator) if operator else None
        self._site: Site | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def open(self, site: Site) -> None:
        """From now on notices can be sent."""
        self._site = site

    def tell(self, finding: Finding, rules: Rules) -> None:
        """Send what the rules ask for."""
        site = self._site
        if site is None or not (notices := list(self._notices(site, finding, rules))):
            return
        task = asyncio.get_running_loop().create_task(self._send(site, finding, notices))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _notices(self, site: Site, finding: Finding, rules: Rules) -> Iterator[Notice]:
        envelope = finding.envelope
        trusted = envelope.sender is not None and envelope.peer.trusted
        if "sender" in rules.notify and envelope.sender is not None and trusted and finding.action != "reject":
            yield Notice("sender", envelope.sender)  # a refused one hears it in the reply, or by the kernel's own notice
        if "recipients" in rules.notify:
            here = (one.address for one in envelope.recipients[:_MOST] if _is_here(site, one.address))
            yield from (Notice("recipients", address) for address in dict.fromkeys(here))
        if "operator" in rules.notify and self._operator is not None:
            yield Notice("operator", self._operator)

    async def _send(self, site: Site, finding: Finding, notices: Sequence[Notice]) -> None:
        for notice in notices:
            # Of the message and not of the part: at delivery every hop finds the same virus.
            name = derived_id(finding.envelope.message, "notice", site.name, notice.party, str(notice.to))
            text = compose(notice, finding, name, server=site.settings.server, now=site.clock.now())
            envelope = Envelope(
                name,
                name,
                finding.envelope.source,
                None,
                (Recipient(notice.to),),
                site.clock.now(),
                body="8BITMIME",
                utf8=not notice.to.detail.isascii(),
            )
            try:
                await site.intake.accept(envelope, MemoryMessage(name, text))
            except DiskError as error:
                site.log.warning("clamav.notice_failed", id=finding.envelope.message, to=str(notice.to), error=str(error))

    async def drain(self) -> None:
        """Return when all are sent."""
        while self._sending:
            await asyncio.wait(self._sending)


def _is_here(site: Site, address: InternalAddress) -> bool:
    """Whether a notice to this address ends in a mailbox here: not at another server, and not on a list."""
    try:
        return any(to.connector == _HERE for to in site.router.resolve(address).to)
    except ConfigError:
        return False
