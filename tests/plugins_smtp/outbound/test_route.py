"""postroom_smtp.outbound.route: RFC 5321 section 5.1 by tables."""

from __future__ import annotations

from random import Random

import pytest
from pydantic import SecretStr, ValidationError

from postroom.outcome import Reply
from postroom_smtp.outbound import route as routes
from postroom_smtp.outbound.route import Host, Records, of_domain, of_literal, of_smart_host, ordered, redirect_hosts
from postroom_smtp.outbound.settings import OutboundSettings, SmartHost
from postroom_smtp.outbound.tlspolicy import Level


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        (Records(((20, "b.test"), (10, "a.test"))), ["a.test", "b.test"]),
        (Records(has_address=True), ["d.test"]),
        (Records(), routes.NO_HOST),
        (Records(exists=False), routes.NO_DOMAIN),
        (Records(((0, ""),)), routes.NO_MAIL),
        (Records(((0, ""), (10, "a.test"))), ["a.test"]),
        (Records(((10, "a.test"), (20, "us.test"), (30, "b.test"))), ["a.test"]),
        (Records(((10, "us.test"), (10, "a.test"))), routes.OURSELVES),
        (Records(((5, "a.test"), (10, "b.test"), (10, "us.test"))), ["a.test"]),
        (Records(((10, "us.test"),)), routes.OURSELVES),
    ],
)
def test_by_dns(records: Records, wanted: list[str] | Reply) -> None:
    route = of_domain("d.test", records, 25, lambda name: name == "us.test")
    assert route.refusal is wanted if isinstance(wanted, Reply) else [host.name for host in route.hosts] == wanted
    assert bool(route.refusal) != bool(route.hosts)


def test_a_domain_that_is_our_own_name_is_a_loop() -> None:
    assert of_domain("us.test", Records(has_address=True), 25, lambda name: name == "us.test").refusal is routes.OURSELVES


@pytest.mark.parametrize(
    ("domain", "address"),
    [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:DB8::1]", "2001:db8::1"),
        ("[ipv6:::1]", "::1"),
        ("[]", ""),
        ("[300.1.1.1]", ""),
        ("[x:1]", ""),
    ],
)
def test_literals(domain: str, address: str) -> None:
    route = of_literal(domain, 25)
    assert [host.address for host in route.hosts] == ([address] if address else [])
    assert (route.refusal is None) is bool(address)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.test", [("a.test", 25)]),
        ("a.test:2525; B.test. ;", [("a.test", 2525), ("b.test", 25)]),
        ("192.0.2.1:26", [("192.0.2.1", 26)]),
        ("[192.0.2.1]:26", [("192.0.2.1", 26)]),
        ("[2001:db8::1]:26", [("2001:db8::1", 26)]),
        ("2001:db8::1", [("2001:db8::1", 25)]),
        ("[2001:db8::1]", [("2001:db8::1", 25)]),
        ("a.test:0", None),
        ("a.test:70000", None),
        ("a test", None),
        ("a.test:x", None),
        ("", []),
    ],
)
def test_redirect_hosts(text: str, wanted: list[tuple[str, int]] | None) -> None:
    found = redirect_hosts(text, 25)
    assert found is None if wanted is None else found is not None and [(host.name, host.port) for host in found] == wanted


def test_redirect_hosts_keep_their_order() -> None:
    hosts = redirect_hosts(";".join(f"h{n}.test" for n in range(9)), 25) or ()
    for seed in range(20):
        assert ordered(hosts, Random(seed)) == list(hosts)


def test_equal_preference_is_in_random_order_and_no_other() -> None:
    hosts = [Host("a", 25, 5), Host("b", 25, 10), Host("c", 25, 10), Host("d", 25, 20)]
    seen = {tuple(host.name for host in ordered(hosts, Random(seed))) for seed in range(40)}
    assert seen == {("a", "b", "c", "d"), ("a", "c", "b", "d")}
    assert ordered(hosts, Random(7)) == ordered(hosts, Random(7))


@pytest.mark.parametrize(
    ("tls", "level", "implicit", "in_clear"),
    [
        ("verify", Level.NAMED, False, False),
        ("implicit", Level.NAMED, True, False),
        ("required", Level.MUST, False, False),
        ("none", Level.NONE, False, True),
    ],
)
def test_smart_hosts(tls: str, level: Level, implicit: bool, in_clear: bool) -> None:
    smart = SmartHost.model_validate({"host": "Relay.test", "user": "u", "password": "secret", "tls": tls})
    (host,) = of_smart_host("k", smart).hosts
    assert host.wanted is not None and host.login is not None
    assert (host.wanted.level, host.wanted.implicit, host.login.in_clear) == (level, implicit, in_clear)
    assert host.wanted.names == (("relay.test",) if level is Level.NAMED else ())
    assert "secret" not in repr(smart) + repr(host) + repr(host.login)


@pytest.mark.parametrize(
    "table",
    [
        {"smart_host": {"host": "x", "user": "u"}},
        {"smart_host": {"host": "x", "user": "u", "password": "p", "tls": "may"}},
        {"source": ["192.0.2.1", "192.0.2.2"]},
        {"port": 0},
        {"helo": "a b"},
        {"idle": -1},
        {"unknown": 1},
        {"etrn_every": 1},
    ],
)
def test_settings_that_make_no_sense(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OutboundSettings.model_validate(table)


def test_every_setting_says_what_it_is_for() -> None:
    for model in (OutboundSettings, SmartHost):
        assert all(field.description for field in model.model_fields.values())
    assert SmartHost(host="x", user="u", password=SecretStr("p")).password.get_secret_value() == "p"
