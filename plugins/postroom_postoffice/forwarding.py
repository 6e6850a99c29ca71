"""Mail that leaves for outside under a name of ours: the secret on disk, which addresses are outside, and where a bounce goes.

Without a secret nothing is rewritten: mail goes on under its own sender, and `check` says what is missing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from postroom.address import InternalAddress, smtp
from postroom.envelope import Recipient
from postroom.errors import AddressError
from postroom.outcome import Expanded, Reply
from postroom.records import AddressMapRecord
from postroom.site import Site
from postroom_disk.disk import Disk
from postroom_postoffice.settings import SrsSettings
from postroom_postoffice.srs import MARK, Srs, is_marked

SHORTEST = 16  # octets of a secret
STALE = Reply(550, "5.1.1", "this return address was not made here, or is too old")


def read_secrets(path: Path) -> list[bytes]:
    """The secrets in a file, one a line; none where it is missing. OSError when it cannot be read."""
    try:
        return [line.strip() for line in path.read_bytes().splitlines() if len(line.strip()) >= SHORTEST]
    except FileNotFoundError:
        return []


def make_secret(disk: Disk, path: Path) -> None:
    """A fresh secret, durable, readable by its owner; one that is there stays. OSError."""
    if read_secrets(path):
        return
    disk.make_folders(path.parent)
    aside = path.with_name(f"{path.name}.new")
    fd = disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        disk.write_all(fd, secrets.token_hex(32).encode() + b"\n")
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.replace(aside, path)
    disk.sync_folder(path.parent)


def rows(domain: str, postoffice: str) -> list[AddressMapRecord]:
    """What the address map needs for bounces to come back: rewritten senders of this domain are the post office's."""
    return [AddressMapRecord(source=f"[SMTP:{mark}*@{domain}]", destination=f"[SF:{postoffice}/*]", account=postoffice) for mark in MARK]


class Forwarding:
    """The senders that forwarded mail has, and their way back."""

    def __init__(self, settings: SrsSettings, site: Site) -> None:
        self._site = site
        known = read_secrets(site.root / settings.secret) if settings.domain else []
        self._srs = Srs(settings.domain.lower(), known, settings.days) if known else None

    def returned(self, recipient: Recipient) -> tuple[Recipient, ...] | Reply | None:
        """Whom a rewritten sender stands for, or that it stands for nobody; None for all other addresses."""
        if self._srs is None or not is_marked(recipient.address.name):
            return None
        found = self._srs.restore(recipient.address.name, self._site.clock.now())
        try:
            return STALE if found is None else (Recipient(InternalAddress.parse(str(smtp(found))), recipient.original, recipient.notify),)
        except AddressError:
            return STALE

    def parted(self, expanded: Expanded, sender: InternalAddress | None) -> Sequence[Expanded]:
        """The same, with those who are outside apart where they get another sender."""
        name = self._name_for(sender)
        if name is None:
            return [expanded]
        near: list[Recipient] = []
        far: list[Recipient] = []
        for recipient in expanded.into:
            for address in self._destinations(recipient.address):
                own = recipient if address == recipient.address else Recipient(address, recipient.original, recipient.notify)
                (far if address.connector == "SMTP" else near).append(own)
        outside = [Expanded(expanded.recipient, tuple(far), sender_kept=False, sender=str(smtp(name)), kept=expanded.kept)] if far else []
        inside = [Expanded(expanded.recipient, tuple(near), kept=expanded.kept)] if near else []
        return [*inside, *outside] or [expanded]

    def _name_for(self, sender: InternalAddress | None) -> str | None:
        """The rewritten sender; None where the sender stays: nobody, one of ours, or one that cannot be rewritten."""
        if self._srs is None or sender is None or sender.connector != "SMTP":
            return None
        if sender.domain == self._srs.domain or self._site.router.is_ours(sender.domain):
            return None
        return self._srs.rewrite(sender.detail, self._site.clock.now())

    def _destinations(self, address: InternalAddress) -> Iterable[InternalAddress]:
        """Where the address map sends it, where that is not outside only: the two envelopes must never share a connector and hop."""
        to = self._site.router.resolve(address).to
        return to if any(one.connector != "SMTP" for one in to) else [address]


def faults(settings: SrsSettings, site: Site) -> Iterator[str]:
    """What keeps senders from being rewritten, or bounces from coming back."""
    if not settings.domain:
        return
    if not site.router.is_ours(settings.domain):
        yield f"postoffice.srs: {settings.domain} is no domain of this site, so bounces never come back. Add it with `postroom domain add`, or name another"
    try:
        if not read_secrets(site.root / settings.secret):
            yield f"postoffice.srs: {settings.secret} has no secret, so senders are not rewritten. Write one: openssl rand -hex 32 > {settings.secret}"
    except OSError as error:
        yield f"postoffice.srs: {settings.secret} cannot be read ({error}), so senders are not rewritten. Let the server's account read it"
    for mark in MARK:
        address = smtp(f"{mark}=x@{settings.domain}")
        if not any(to.connector == "SF" and to.name == address.local for to in site.router.resolve(address).to):
            row = rows(settings.domain, settings.domain)[MARK.index(mark)]
            yield f"postoffice.srs: bounces to {mark} addresses do not come back. Add {row.source} {row.destination} to the address map, above other masks"
