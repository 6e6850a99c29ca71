"""Signs the messages that go out: the DELIVERY event, from the question to the verdict.

What is not ours passes. What is ours and cannot be signed for a reason of its own (no From, a header that is none) passes too, and the log
says why. A key that is missing or wrong is the operator's, who says by `on_bad_key` what becomes of the mail meanwhile; one domain's key never
opens the breaker for the mail of all. Errors of the disk while a message is read or copied are the host's, by `on_error`.
"""

from __future__ import annotations

import hashlib
from typing import Final

from postroom.errors import DiskError
from postroom.message import SMALL, MemoryMessage, Message
from postroom.site import Ground, Site
from postroom.transfer import PASS, Defer, Reject, Replace, TransferEvent, Verdict
from postroom_disk.disk import refused
from postroom_dkim import origin, signing
from postroom_dkim.copies import Copies
from postroom_dkim.errors import KeyFault
from postroom_dkim.narrowing import Which, is_wanted, narrowed
from postroom_dkim.origin import Unsigned
from postroom_dkim.ring import Ring
from postroom_dkim.settings import DkimSettings
from postroom_dkim.shelf import Shelf, is_domain
from postroom_mime import dkim
from postroom_mime.canonical import CRLF, Mender
from postroom_mime.headers import MAX_HEADER
from postroom_mime.sevenbit import CannotConvert, Look

_BLOCK: Final = 256 * 1024  # octets of one slice of the loop's time
_BLANK: Final = b"\r\n\r\n"


class Signer:
    """The signer of one worker and instance."""

    def __init__(self, settings: DkimSettings, ground: Ground) -> None:
        self.shelf = Shelf(ground.root, ground.disk, ground.clock, settings)
        self.copies = Copies(ground.root / "run" / (ground.name or "dkim") / str(ground.worker), ground.disk)
        self.faults: dict[str, str] = {}  # by domain, what is wrong with its keys now
        self._settings, self._clock, self._log = settings, ground.clock, ground.log
        self._ring = Ring(self.shelf)
        self._wishes = signing.Wishes.of(settings)
        self._site: Site | None = None
        counter = ground.metrics.counter
        self._signed = counter("dkim_signed_total", "Messages that were signed", signer=ground.name)
        self._unsigned = counter("dkim_unsigned_total", "Messages of this site that got no signature", signer=ground.name)
        self._failed = counter("dkim_failed_total", "Messages whose key was missing or wrong", signer=ground.name)

    def open(self, site: Site) -> None:
        """From now on it is known which domains are ours."""
        self._site = site

    async def delivery(self, event: TransferEvent) -> Verdict:
        """The message with its signatures, or Pass."""
        if event.target.upper() not in self._settings.connectors or not origin.is_ours(event.envelope, self._settings.foreign):
            return PASS
        try:
            signed = await self._sign(event)
        except Unsigned as why:
            self._unsigned.inc()
            self._log.info("dkim.unsigned", id=event.envelope.message, why=str(why))
            return PASS
        except _NoKey as fault:
            return self._keyless(event, fault)
        if signed is None:
            return PASS
        self._signed.inc()
        return Replace(signed)

    async def _sign(self, event: TransferEvent) -> Message | None:
        """The signed message; None where it bears our signatures already."""
        message = event.message
        data = message.peek()
        if data is None and message.size <= SMALL:
            data = await message.read()
            if len(data) != message.size:
                raise OSError(f"the message {message.id} has {len(data)} of {message.size} octets")
        if data is not None:
            message = MemoryMessage(message.id, data)
        if event.envelope.body == "BINARYMIME":
            return await self._with_signatures(event, await self._unbinary(message))
        which = self._settings.convert
        if data is not None:
            look = Look()
            look.update(data[data.find(_BLANK) :])
            return await self._with_signatures(event, await self._narrowed(message) if is_wanted(which, look) else message)
        try:
            return await self._with_signatures(event, message, unless=which)
        except _Wanted:
            return await self._with_signatures(event, await self._narrowed(message))

    async def _unbinary(self, message: Message) -> Message:
        """No signature outlasts a way on which hardly a server takes binary octets (RFC 3030 section 3)."""
        if self._settings.convert == "never":
            raise Unsigned("the message is binary")
        try:
            return await narrowed(message)
        except CannotConvert as why:
            raise Unsigned(f"the message is binary, and {why}") from None

    async def _narrowed(self, message: Message) -> Message:
        """In 7 bits; itself where that cannot be: then the signature holds as long as nobody changes the message."""
        try:
            return await narrowed(message)
        except CannotConvert as why:
            self._log.info("dkim.not_converted", id=message.id, why=str(why))
            return message

    async def _with_signatures(self, event: TransferEvent, message: Message, *, unless: Which = "never") -> Message | None:
        """The signed message; None where it bears our signatures already. _Wanted where the body of a large one turns out to be such that it
        is to be converted first."""
        octets = _Octets(message)
        head, rest = await _head(octets)
        header = dkim.fields(head)
        if header is None:
            raise Unsigned("the header has a line that is no field")
        plan = await self._plan(event, header)
        if plan is None:
            return None
        at = len(header[0]) + 2 if dkim.name_of(header[0]) == b"return-path" else 0
        if octets.is_at_end:
            return MemoryMessage(message.id, b"%b%b%b%b" % (head[:at], plan.fields(_digest(plan, rest)), head[at:], rest))
        return await self._copied(octets, plan, head, at, rest, unless)

    async def _plan(self, event: TransferEvent, header: list[bytes]) -> signing.Plan | None:
        row = origin.signing_domain(origin.author_domain(header), self._site.router.map.domains if self._site is not None else {})
        if not self._settings.any_postoffice:
            origin.check_owner(event.envelope.peer, row)
        domain = row.domain.lower()
        if not is_domain(domain):
            raise Unsigned(f"DNS cannot have keys of {domain}")
        try:
            keys = await self._ring.of(domain)
        except (KeyFault, DiskError) as error:
            raise _NoKey(domain, str(error)) from error
        self.faults.pop(domain, None)
        if not (missing := signing.unsigned(header, domain, keys)):
            return None
        return signing.plan(header, domain, missing, self._wishes, now=self._clock.now(), size=event.message.size)

    async def _copied(self, octets: _Octets, plan: signing.Plan, head: bytes, at: int, rest: bytes, unless: Which) -> Message:
        """A large message into a file of its own: read once, written once, a slice of the loop's time a block."""
        digest, look = hashlib.sha256(), Look()
        look.update(rest)
        body = plan.body(digest.update)
        try:
            copy = self.copies.begin(at + plan.size)
            try:
                copy.write(head[at:])
                copy.write(rest)
                body.update(rest.removeprefix(CRLF))
                while block := await octets.next():
                    copy.write(block)
                    body.update(block)
                    look.update(block)
                    if is_wanted(unless, look):
                        raise _Wanted
                    await self._clock.sleep(0)
                body.finish()
                return copy.finish(head[:at] + plan.fields(digest.digest()), octets.message.id)
            finally:
                copy.close()
        except OSError as error:
            raise refused(error, f"copying message {octets.message.id}") from error

    def _keyless(self, event: TransferEvent, fault: _NoKey) -> Verdict:
        self._failed.inc()
        if self.faults.get(fault.domain) != str(fault):
            self.faults[fault.domain] = str(fault)
            self._log.error("dkim.key", domain=fault.domain, error=str(fault), then=self._settings.on_bad_key)
        why = f"the message cannot be signed for {fault.domain}: its key is missing or wrong"
        match self._settings.on_bad_key:
            case "defer":
                return Defer(why)
            case "reject":
                return Reject(why)
            case "pass":
                self._log.warning("dkim.unsigned", id=event.envelope.message, why=why)
                return PASS


class _Wanted(Exception):
    """The message is to be converted before it is signed."""


class _NoKey(Exception):
    """There is no key to sign with."""

    def __init__(self, domain: str, why: str) -> None:
        self.domain = domain
        super().__init__(why)


class _Octets:
    """A message from its begin to its end, as SMTP sends it: signed is what arrives."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.is_at_end = False
        self._mender = Mender()
        self._at = 0

    async def next(self) -> bytes:
        """The next block; nothing at the end. DiskError, OSError."""
        block = b""
        while not block and not self.is_at_end:
            whole = self.message.peek()
            data = whole if whole is not None and len(whole) <= SMALL else await self.message.read(self._at, _BLOCK)
            self._at += len(data)
            self.is_at_end = self._at >= self.message.size
            if not data and not self.is_at_end:
                raise OSError(f"the message {self.message.id} ended at {self._at} of {self.message.size} octets")
            block = self._mender.mended(data, is_last=self.is_at_end)
        return block


async def _head(octets: _Octets) -> tuple[bytes, bytes]:
    """The header with the line end of its last field, and what follows of the octets read for it: blank line and some of the body. Unsigned
    where the header does not end within reason."""
    data, seen = b"", 0
    while block := await octets.next():
        data += block
        if (end := data.find(_BLANK, max(seen - 3, 0))) >= 0:
            return data[: end + 2], data[end + 2 :]
        if (seen := len(data)) > MAX_HEADER:
            raise Unsigned(f"the header is larger than {MAX_HEADER} octets")
    return data, b""


def _digest(plan: signing.Plan, rest: bytes) -> bytes:
    """Of a body at once; `rest` begins with the blank line."""
    digest = hashlib.sha256()
    body = plan.body(digest.update)
    body.update(rest.removeprefix(CRLF))
    body.finish()
    return digest.digest()
