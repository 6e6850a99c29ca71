"""Which mail is ours, and for which domain it is signed. Pure.

Ours is what an authenticated or trusted peer sent, and what was made here: notices, lists, web mail. Mail that others wrote and that only passes,
by a redirect, a group or a list, keeps its peer and is not signed. Nothing is signed for a domain that is not this site's, nor for the domain of
another post office than the sender's: a signature says that the domain stands for the message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from postroom.envelope import Envelope, Peer
from postroom.records import DomainRecord
from postroom_mime import addresses, dkim


class Unsigned(Exception):
    """Why a message of ours gets no signature; nothing is wrong here, and it goes on."""


def is_ours(envelope: Envelope, foreign: Collection[str]) -> bool:
    """Whether it was written by people of this site or by the site itself."""
    peer = envelope.peer
    return bool(peer.user or peer.trusted) or (not peer.ip and envelope.source.upper() not in foreign)


def author_domain(header: Sequence[bytes]) -> str:
    """The domain of From, as DNS has it. Unsigned where From does not stand once, or names several domains: a verifier would choose."""
    found = [dkim.value_of(field) for field in header if dkim.name_of(field) == b"from"]
    if len(found) != 1:
        raise Unsigned(f"From stands {len(found)} times")
    hosts = {(address.host or b"").rstrip(b".").lower() for address in addresses.mailboxes(found[0])}
    if len(hosts) != 1:
        raise Unsigned(f"From names {len(hosts)} domains")
    return _ascii(hosts.pop())


def _ascii(host: bytes) -> str:
    if host.isascii():
        return host.decode()
    import idna

    try:
        return idna.encode(host.decode(), uts46=True).decode()  # RFC 8616 section 3: A-labels in d=
    except (idna.IDNAError, UnicodeDecodeError):
        raise Unsigned("the domain of From cannot be in DNS") from None


def signing_domain(author: str, domains: Mapping[str, DomainRecord]) -> DomainRecord:
    """The author's domain, or the nearest one above it that is ours: DMARC takes it for aligned (RFC 7489 section 3.1.1), and the notices of
    `mail.example.com` have keys by it. Unsigned where none is."""
    labels = author.split(".")
    for at in range(len(labels) - 1):
        if (row := domains.get(".".join(labels[at:]))) is not None:
            return row
    raise Unsigned(f"{author or 'the domain of From'} is no domain of this site")


def check_owner(peer: Peer, row: DomainRecord) -> None:
    """Unsigned where the sender belongs to one post office and the domain to another."""
    if peer.account and row.account and peer.account.casefold() != row.account.casefold():
        raise Unsigned(f"{peer.user or 'the sender'} is of {peer.account}, and {row.domain} of {row.account}")
