"""Who may send to whom (overview section 3.1.1): what is refused to strangers, and the four things that make one a friend.

An address that stays in this house, and one of ours that a map row forwards, is anybody's to write to. Whatever else would leave by SMTP is
relayed, and needs one of the rules that the settings switch; where none holds, every form of address hears the same words. Answered from
memory: the ordinary recipient, at a domain that we keep, costs one look-up more than its route.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from postroom.address import InternalAddress, mailbox
from postroom.addressmap import Resolution
from postroom.clock import Clock
from postroom.envelope import Peer
from postroom.outcome import Reply
from postroom.site import Bus
from postroom_net.login import Login, Principal
from postroom_smtp.access import plain_ip
from postroom_smtp.gate import Gate
from postroom_smtp.replies import RELAYING_DENIED
from postroom_smtp.settings import RelaySettings

_SEEN = 10_000  # addresses remembered
_TOPIC = "smtp.seen"
_SENDING = "smtp"


class Routes(Protocol):
    """The part of the router that is asked here."""

    def resolve(self, address: InternalAddress) -> Resolution: ...
    def is_ours(self, domain: str) -> bool: ...


class SeenAddresses:
    """POP-before-SMTP: addresses from which somebody fetched mail lately, in this worker or, by hints, in others."""

    def __init__(self, clock: Clock, seconds: float, bus: Bus | None = None) -> None:
        self._clock, self._seconds, self._bus = clock, seconds, bus
        self._until: OrderedDict[str, float] = OrderedDict()

    def follow(self, login: Login) -> Callable[[], None]:
        """Hear of logins, here and elsewhere; the answer ends it."""
        login.arrivals.append(self._arrived)
        deaf = self._bus.listen(_TOPIC, lambda payload: self.saw(payload.decode("ascii", "replace"))) if self._bus is not None else None

        def end() -> None:
            login.arrivals.remove(self._arrived)
            if deaf is not None:
                deaf()

        return end

    def _arrived(self, who: Principal, peer_ip: str, service: str) -> None:
        if service != _SENDING:  # who sends has the right already, and must not keep it for others behind the same address
            self.saw(peer_ip)
            if self._bus is not None:
                self._bus.send(_TOPIC, peer_ip.encode())

    def saw(self, ip: str) -> None:
        try:
            ip = plain_ip(ip)  # other services may write an IPv4 address as one of IPv6
        except ValueError:
            return
        self._until[ip] = self._clock.monotonic() + self._seconds
        self._until.move_to_end(ip)
        if len(self._until) > _SEEN:
            self._until.popitem(last=False)

    def __contains__(self, ip: str) -> bool:
        until = self._until.get(ip)
        return until is not None and until > self._clock.monotonic()


class Relay:
    """The rules, over tables that others keep current."""

    def __init__(
        self, settings: RelaySettings, routes: Routes, gate: Gate, seen: SeenAddresses, verify: Callable[[InternalAddress], Reply | None]
    ) -> None:
        self._settings, self._routes, self._gate, self._seen, self._verify = settings, routes, gate, seen, verify

    def refuses(self, peer: Peer, address: InternalAddress) -> Reply | None:
        """What this peer is told of this recipient; None: it is taken."""
        if address.domain in self._gate.kept:
            refusal = self._verify(address)
            return None if refusal is None or refusal == RELAYING_DENIED else refusal  # a row of ours sends it on: that is no relaying
        return self._refuses_elsewhere(peer, address)

    def _refuses_elsewhere(self, peer: Peer, address: InternalAddress) -> Reply | None:
        found = self._routes.resolve(address)
        if found.to and all(destination.connector != "SMTP" for destination in found.to):
            return self._verify(address)  # a row takes it in, whatever its domain
        if self._is_redirected(peer, address) or self.may_relay(peer):
            return None if found.to else self._verify(address)
        return RELAYING_DENIED

    def _is_redirected(self, peer: Peer, address: InternalAddress) -> bool:
        """Whether DOMAIN.TAB passes this domain on, for this peer: status 1 for everybody, 2 for who has logged in."""
        row = self._gate.domain(address.domain) if self._settings.redirected_domains else None
        return row is not None and bool(row.redirect_hosts) and (row.redirect_status == 1 or (row.redirect_status == 2 and bool(peer.user)))

    def may_relay(self, peer: Peer) -> bool:
        """Whether this peer may send anywhere."""
        settings = self._settings
        return (
            (settings.authenticated and bool(peer.user))
            or (settings.addresses and self._gate.access.decide(peer.ip).may_relay)
            or (settings.pop_before_smtp > 0 and peer.ip in self._seen)
        )

    def owns(self, who: Principal, sender: InternalAddress) -> bool:
        """Whether this login may send as this address: it leads to the login's mailbox, or into its post office where the login has ADMIN
        rights, or is any of ours where it has SYSADMIN rights."""
        rights, to = who.rights.strip().upper(), self._routes.resolve(sender).to
        if rights == "SYSADMIN":
            return self._routes.is_ours(sender.domain)
        if rights == "ADMIN":
            office = who.postoffice.casefold()
            return any(one.connector in ("SF", "LS") and one.postoffice.casefold() == office for one in to)
        return mailbox(who.postoffice, who.mailbox) in to

    def poses(self, who: Principal, author: InternalAddress) -> bool:
        """Whether this login writes under an address of this site that is somebody else's. Addresses of others are for DMARC to judge."""
        return self._routes.is_ours(author.domain) and not self.owns(who, author)
