"""The text form of an Envelope beside its message: `Key=Value` lines with CRLF, as other programs read and write them.

Keys we do not know are kept. In addresses "%" and ";" are written %25 and %3B, so a quoted local part cannot smuggle a second
recipient; control characters never come out. `CommandFileError` says what could not be read; the pair then goes to Bad Mail.
Overview section 4.1; facts of the old format: real samples (keys, order, status words).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from postroom.address import InternalAddress
from postroom.envelope import FIRST, NOTHING, Attempt, Envelope, Peer, Recipient
from postroom.errors import AddressError, CommandFileError
from postroom_disk.keyed import quote, read, some, unquote, written
from postroom_ops.files import amended, whole

# fmt: off
_KNOWN = frozenset([
    "Recipients", "Sender", "MessageID", "Message", "Source", "TimeAcquired", "ClientIP", "AuthenticationStatus", "User",
    "Account", "Helo", "TLS", "Trusted", "Status", "CommandType", "Subject", "Priority", "DomainName", "Retries", "NextTime",
    "LastError", "Told", "Crashes", "Body", "UTF8", "RET", "ENVID", "RequireTLS", "Notify", "ORCPT", "Expanded", "Settled", "Skip"
])
# fmt: on


def encode(envelope: Envelope, *, status: str = "Undelivered") -> bytes:
    """The command file of an envelope. Empty values are left out, except those every reader expects."""
    peer, sender = envelope.peer, envelope.sender
    lines = [
        f"Recipients={_join([recipient.address for recipient in envelope.recipients])}",
        f"Sender={quote(str(sender)) if sender else ''}",
        f"MessageID={envelope.id}.MAI",
        f"Source={envelope.source}",
        f"TimeAcquired={envelope.arrived!r}",
        f"ClientIP={peer.ip}",
        f"AuthenticationStatus={'1' if peer.user else '0'}",
        f"Retries={envelope.attempt.count}",
        f"Priority={envelope.priority}",
        f"Status={status}",
    ]
    if peer.helo:
        lines.append(f"Helo={peer.helo}")
    if _has_rare(envelope, peer):
        lines += [f"{key}={value}" for key, value in _rare(envelope) if value]
    return written(lines)


def _has_rare(envelope: Envelope, peer: Peer) -> bool:
    """Whether `_rare` has anything to say; for most messages it has not, and this look costs a tenth of asking it."""
    return bool(
        peer.trusted or peer.tls or peer.user or peer.account or envelope.hop or envelope.subject or envelope.body != "7BIT"
        or envelope.utf8 or envelope.ret or envelope.envid or envelope.require_tls or envelope.sender is None
        or envelope.message != envelope.id or envelope.attempt is not FIRST or envelope.expanded or envelope.settled
        or envelope.skip or envelope.extra or any([recipient.notify or recipient.original for recipient in envelope.recipients])
    )  # fmt: skip


def _rare(envelope: Envelope) -> Iterator[tuple[str, str]]:
    """The keys that most items do not have."""
    peer, attempt = envelope.peer, envelope.attempt
    yield from (
        ("Subject", envelope.subject),
        ("DomainName", envelope.hop),
        ("CommandType", "" if envelope.sender else "NDR"),
        ("Message", "" if envelope.message == envelope.id else envelope.message),
        ("TLS", peer.tls),
        ("User", peer.user),
        ("Account", peer.account),
        ("Trusted", "1" if peer.trusted else ""),
        ("Body", "" if envelope.body == "7BIT" else envelope.body),
        ("UTF8", "1" if envelope.utf8 else ""),
        ("RET", envelope.ret),
        ("ENVID", envelope.envid),
        ("RequireTLS", "1" if envelope.require_tls else ""),
    )
    if attempt is not FIRST:
        yield from (
            ("NextTime", repr(attempt.due) if attempt.due else ""),
            ("LastError", attempt.error),
            ("Told", str(attempt.told or "")),
            ("Crashes", str(attempt.crashes or "")),
        )
    if any(recipient.notify or recipient.original for recipient in envelope.recipients):
        yield "Notify", some(",".join(sorted(recipient.notify)) for recipient in envelope.recipients)
        yield "ORCPT", some(quote(recipient.original) for recipient in envelope.recipients)
    if envelope.expanded or envelope.settled or envelope.skip:
        yield "Expanded", _join(envelope.expanded)
        yield "Settled", _join(sorted(envelope.settled, key=str))
        yield "Skip", ";".join(sorted(envelope.skip))
    yield from envelope.extra.items()


def decode(data: bytes, *, item: str, source: str, due: float = 0.0, held: int = 0) -> Envelope:
    """The envelope of a command file found as `item` in a queue of connector `source`, due as its mtime says, and by so many processes more
    that hold it; CommandFileError when it is none."""
    pairs = read(whole(data))
    try:
        return _envelope(pairs, item, source, due, held)
    except (AddressError, ValueError) as error:
        raise CommandFileError(f"command file {item}.MAI: {error}") from error


def amendment(old: Envelope, new: Envelope, *, status: str) -> bytes:
    """Lines that make the command file of `old`, which a process holds, that of `new`."""
    return written(amended(read(encode(old)), read(encode(new, status=status)), always=("Crashes", "Status")))


def _envelope(pairs: Mapping[str, str], item: str, source: str, due: float, held: int) -> Envelope:
    sender = pairs.get("Sender", "")
    extra = {key: value for key, value in pairs.items() if key not in _KNOWN}
    return Envelope(
        id=item,
        message=_id(pairs.get("Message", "")) or item,
        source=pairs.get("Source") or source,
        sender=InternalAddress.parse(unquote(sender)) if sender.strip() and pairs.get("CommandType") != "NDR" else None,
        recipients=_recipients(pairs),
        arrived=float(pairs.get("TimeAcquired") or 0),
        peer=Peer(
            ip=pairs.get("ClientIP", ""),
            helo=pairs.get("Helo", ""),
            user=pairs.get("User", ""),
            account=pairs.get("Account", ""),
            tls=pairs.get("TLS", ""),
            trusted=pairs.get("Trusted") == "1" or pairs.get("AuthenticationStatus") == "1",
        ),
        attempt=Attempt(
            count=int(pairs.get("Retries") or 0),
            due=due or float(pairs.get("NextTime") or 0),
            told=int(pairs.get("Told") or 0),
            error=pairs.get("LastError", ""),
            crashes=int(pairs.get("Crashes") or 0) + held,
        ),
        priority=pairs.get("Priority") or "Normal",
        hop=pairs.get("DomainName", ""),
        body=pairs.get("Body") or "7BIT",
        utf8=pairs.get("UTF8") == "1",
        ret=pairs.get("RET", ""),
        envid=pairs.get("ENVID", ""),
        require_tls=pairs.get("RequireTLS") == "1",
        subject=pairs.get("Subject", ""),
        expanded=tuple(addresses(pairs.get("Expanded", ""))),
        settled=frozenset(addresses(pairs.get("Settled", ""))),
        skip=frozenset(filter(None, pairs.get("Skip", "").split(";"))),
        extra=extra or NOTHING,
    )


def _id(name: str) -> str:
    name = name.removesuffix(".MAI")
    if name and not re.fullmatch(r"[0-9A-F]{32}", name):
        raise ValueError(f"{name!r} is no message id")
    return name


def _recipients(pairs: Mapping[str, str]) -> tuple[Recipient, ...]:
    listed = list(addresses(pairs.get("Recipients", "")))
    notify, original = pairs.get("Notify", "").split(";"), pairs.get("ORCPT", "").split(";")
    return tuple(
        Recipient(
            address,
            unquote(original[index]) if index < len(original) else "",
            frozenset(filter(None, notify[index].split(","))) if index < len(notify) else frozenset(),
        )
        for index, address in enumerate(listed)
    )


def addresses(text: str) -> Iterable[InternalAddress]:
    """The bracket addresses of a list joined by ";"; AddressError at the first that is none."""
    return (InternalAddress.parse(unquote(piece)) for piece in text.split(";") if piece.strip())


def _join(addresses: Iterable[InternalAddress]) -> str:
    return ";".join([quote(str(address)) for address in addresses])
