"""SPF as far as `check` needs it: the mechanisms of RFC 7208, its limits, and what nobody can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from postroom_cli.spf import LOOKUPS, Evaluation, evaluation

ZONE = {
    "A mail.example.org": ["192.0.2.1"],
    "AAAA mail.example.org": ["2001:db8::1"],
    "A example.org": ["192.0.2.9"],
    "MX example.org": ["10 mail.example.org."],
    "TXT _spf.example.net": ["v=spf1 ip4:198.51.100.0/24 -all"],
    "TXT good.example.net": ["v=spf1 ip4:192.0.2.1 -all"],
    "TXT loop.example.net": ["v=spf1 include:loop.example.net -all"],
    "TXT macro.example.net": ["v=spf1 exists:%{i}.example.net -all"],
}


def ask_of(record: str | Sequence[str], ip: str) -> tuple[str, Evaluation]:
    zone = {**ZONE, "TXT example.org": [record] if isinstance(record, str) else list(record)}

    async def ask(name: str, kind: str) -> Sequence[str]:
        return zone.get(f"{kind} {name}", [])

    asked = evaluation(ask, ip)
    return asyncio.run(asked.result("example.org")), asked


@pytest.mark.parametrize(
    ("record", "result"),
    [
        ("v=spf1 mx -all", "pass"),
        ("V=SPF1 MX -ALL", "pass"),
        ("v=spf1 a -all", "fail"),
        ("v=spf1 a:mail.example.org -all", "pass"),
        ("v=spf1 a/24 -all", "pass"),
        ("v=spf1 a/29 -all", "fail"),
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass"),
        ("v=spf1 ip4:192.0.2.1 ~all", "pass"),
        ("v=spf1 ip6:2001:db8::/32 ~all", "softfail"),
        ("v=spf1 ?all", "neutral"),
        ("v=spf1", "neutral"),
        ("v=spf1 -mx all", "fail"),
        ("v=spf1 include:good.example.net -all", "pass"),
        ("v=spf1 include:_spf.example.net -all", "fail"),
        ("v=spf1 redirect=good.example.net", "pass"),
        ("v=spf1 redirect=good.example.net -all", "fail"),
        ("v=spf1 exp=why.example.net unknown=x mx -all", "pass"),
        ("v=spf1 include:macro.example.net -all", "unknown"),
        ("v=spf1 exists:%{i}._spf.example.net -all", "unknown"),
        (["something else", "v=spf10 mx"], "none"),
        ([], "none"),
        (["v=spf1 mx -all", "v=spf1 a -all"], "permerror"),
        ("v=spf1 mx ipv4:192.0.2.1 -all", "pass"),  # matched before the mistake is met
        ("v=spf1 ipv4:192.0.2.1 mx -all", "permerror"),
        ("v=spf1 ip4:192.0.2.300 -all", "permerror"),
        ("v=spf1 ip4:2001:db8::1 -all", "permerror"),
        ("v=spf1 include:nothing.example.net -all", "permerror"),
        ("v=spf1 include -all", "permerror"),
        ("v=spf1 redirect=nothing.example.net", "permerror"),
        ("v=spf1 include:loop.example.net -all", "permerror"),
        ("v=spf1 " + "a:x.example.net " * 9 + "mx -all", "pass"),
        ("v=spf1 " + "a:x.example.net " * 10 + "mx -all", "permerror"),
    ],
)
def test_what_a_record_says_of_our_address(record: str | Sequence[str], result: str) -> None:
    said, asked = ask_of(record, "192.0.2.1")
    assert said == result
    assert asked.lookups <= LOOKUPS + 1 and bool(asked.why) == (result == "permerror")


@pytest.mark.parametrize(
    ("record", "result"),
    [
        ("v=spf1 mx -all", "pass"),
        ("v=spf1 a:mail.example.org//64 -all", "pass"),
        ("v=spf1 ip4:192.0.2.1 -all", "fail"),
        ("v=spf1 ip6:2001:db8::/32 -all", "pass"),
    ],
)
def test_the_same_of_ipv6(record: str, result: str) -> None:
    assert ask_of(record, "2001:db8::1")[0] == result
