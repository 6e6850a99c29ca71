"""How much one peer may have of us: connections at a time, and events over time.

Everything here is bounded: the counters hold live connections only, the buckets forget whoever was seen longest ago. Nothing waits and
nothing fails; the answer is yes or no, and the caller says it in its protocol's words.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network


@lru_cache(maxsize=16384)
def network_of(ip: str) -> str:
    """What one customer usually holds: the address itself for IPv4 (mapped ones too), the /64 for IPv6, the text where it is no address."""
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return ip
    if not isinstance(address, IPv6Address):
        return ip
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class ConnectionLimits:
    """Counts of live connections: in all, per address and per network. Each `admit` that said yes needs its `release`.

    `exempt` lists addresses and CIDR networks (a web mail host, a load balancer) that only the total limits.
    """

    def __init__(self, total: int = 10_000, per_ip: int = 50, per_network: int = 100, exempt: Sequence[str] = ()) -> None:
        self.total, self.per_ip, self.per_network = total, per_ip, per_network
        self.count = 0
        self._ips: dict[str, int] = {}
        self._networks: dict[str, int] = {}
        nets = [ip_network(text, strict=False) for text in exempt]
        self._is_exempt = lru_cache(maxsize=4096)(lambda ip: any(ip_address(network_of(ip).partition("/")[0]) in net for net in nets))
        self._has_exempt = bool(nets)

    def admit(self, ip: str) -> bool:
        """Whether one more connection from there may be served; it is counted when so."""
        network = network_of(ip)
        here, near = self._ips.get(ip, 0), self._networks.get(network, 0)
        is_full = here >= self.per_ip or near >= self.per_network
        if self.count >= self.total or (is_full and not (self._has_exempt and self._is_exempt(ip))):
            return False
        self.count += 1
        self._ips[ip], self._networks[network] = here + 1, near + 1
        return True

    def release(self, ip: str) -> None:
        """An admitted connection ended."""
        self.count -= 1
        _drop_one(self._ips, ip)
        _drop_one(self._networks, network_of(ip))


def _drop_one(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]


class RateLimit:
    """Token buckets by key: `burst` events at once, `rate` events a second after that. Remembers the `size` keys seen last.

    A forgotten key starts with a full bucket: whoever can afford that many addresses is not stopped by a bucket.
    """

    def __init__(self, rate: float, burst: float, size: int = 65_536) -> None:
        self.rate, self.burst, self.size = rate, burst, size
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key: tokens, when

    def take(self, key: str, now: float, tokens: float = 1.0) -> bool:
        """Whether `tokens` events of this key may happen at `now` (monotonic seconds); they are counted when so."""
        left = self.left(key, now) - tokens
        if left < 0:
            return False
        self._buckets[key] = (left, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self.size:
            self._buckets.popitem(last=False)
        return True

    def left(self, key: str, now: float) -> float:
        """Tokens this key has at `now`."""
        had, since = self._buckets.get(key, (self.burst, now))
        return min(self.burst, had + max(now - since, 0.0) * self.rate)

    def wait(self, key: str, now: float, tokens: float = 1.0) -> float:
        """Seconds until `take` would say yes."""
        return max(tokens - self.left(key, now), 0.0) / self.rate
