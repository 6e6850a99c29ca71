"""How much one login, and one address, sends in an hour. Bounded memory, nothing waits: the answer is the time until there is room."""

from __future__ import annotations

from postroom.envelope import Peer
from postroom_net.limits import RateLimit, network_of
from postroom_smtp import replies
from postroom_smtp.settings import Rates

_HOUR = 3600.0


class SendingRates:
    """The buckets of one worker. Each question that is answered None has been counted."""

    def __init__(self, settings: Rates) -> None:
        self._messages = _bucket(settings.login_messages), _bucket(settings.address_messages)
        self._recipients = _bucket(settings.login_recipients), _bucket(settings.address_recipients)
        self.limits_strangers = bool(settings.address_messages or settings.address_recipients)

    def message(self, peer: Peer, now: float) -> bytes | None:
        """The reply to a message too many."""
        return _take(self._messages, "messages", peer, now)

    def recipient(self, peer: Peer, now: float) -> bytes | None:
        """The reply to a recipient too many."""
        return _take(self._recipients, "recipients", peer, now)


def _bucket(an_hour: int) -> RateLimit | None:
    return RateLimit(an_hour / _HOUR, an_hour) if an_hour else None


def _take(buckets: tuple[RateLimit | None, RateLimit | None], what: str, peer: Peer, now: float) -> bytes | None:
    """From both buckets or from none."""
    keys = (peer.user.casefold(), "login"), (network_of(peer.ip), "address")
    wanted = [(bucket, key, whose) for bucket, (key, whose) in zip(buckets, keys, strict=True) if bucket is not None and key]
    for bucket, key, whose in wanted:
        if wait := bucket.wait(key, now):
            return replies.too_fast(what, whose, wait)
    for bucket, key, _ in wanted:
        bucket.take(key, now)
    return None
