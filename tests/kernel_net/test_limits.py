from __future__ import annotations

import pytest

from postroom_net.limits import ConnectionLimits, RateLimit, network_of


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_network(ip: str, network: str) -> None:
    assert network_of(ip) == network


def test_an_address_has_its_share_and_gets_it_back() -> None:
    limits = ConnectionLimits(total=10, per_ip=2, per_network=3)
    assert [limits.admit("2001:db8::1") for _ in range(3)] == [True, True, False]
    assert limits.admit("2001:db8::2")
    assert not limits.admit("2001:db8::3")  # the /64 is full
    limits.release("2001:db8::1")
    assert limits.admit("2001:db8::3")
    assert limits.count == 3


def test_the_total_holds_for_the_exempt_too() -> None:
    limits = ConnectionLimits(total=3, per_ip=1, per_network=1, exempt=("127.0.0.0/8", "::1"))
    assert [limits.admit("127.0.0.9") for _ in range(4)] == [True, True, True, False]


def test_released_addresses_leave_nothing() -> None:
    limits = ConnectionLimits()
    for n in range(1000):
        limits.admit(f"10.0.{n % 256}.{n // 256}")
    for n in range(1000):
        limits.release(f"10.0.{n % 256}.{n // 256}")
    assert limits.count == 0 and not limits._ips and not limits._networks


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    rate = RateLimit(rate=2.0, burst=3.0)
    assert [rate.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert rate.wait("a", 0.0) == 0.5
    assert not rate.take("a", 0.4) and rate.take("a", 0.5)
    assert rate.take("b", 0.5)


def test_buckets_are_bounded() -> None:
    rate = RateLimit(rate=1.0, burst=1.0, size=10)
    for n in range(100):
        rate.take(str(n), 0.0)
    assert len(rate._buckets) == 10 and not rate.take("99", 0.0)
