from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from postroom_net import mtasts
from postroom_net.https import Https, HttpsError, Request, Response, Untrusted
from postroom_net.mtasts import Kept, Policy, PolicyError, parse, record_id

# RFC 8461 section 3.2
EXAMPLE = b"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800\n"
POLICY = Policy("enforce", 604_800, ("mail.example.com", "*.example.net", "backupmx.example.com"))


@pytest.mark.parametrize(
    ("records", "id"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),  # RFC 8461 section 3.1
        ([b"v=STSv1; id=20160831085700Z"], "20160831085700Z"),
        ([b"v=STSv1;id=1;other=x"], "1"),
        ([b"v=STSv1 ; other=x ; id=1 ; "], "1"),
        ([b"v=STSv1; id=1; id=2"], "1"),
        ([b"something else", b"v=STSv1; id=1"], "1"),
        ([b"v=STSv1; id=1", b"v=STSv1; id=2"], None),  # more than one is none
        ([b"v=STSv1"], None),
        ([b"v=STSv1;"], None),
        ([b"v=STSv1; id="], None),
        ([b"v=STSv1; id=a-b"], None),
        ([b"v=STSv1; id=" + b"1" * 33], None),
        ([b"v=STSv1; xid=1"], None),
        ([b"v=STSv2; id=1"], None),
        ([b"V=STSv1; id=1"], None),
        ([b" v=STSv1; id=1"], None),
        ([b"id=1; v=STSv1"], None),
        ([b"v=STSv1; id=1; \xff=1"], None),
        ([], None),
    ],
)
def test_the_record(records: list[bytes], id: str | None) -> None:
    assert record_id(records) == id


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (EXAMPLE, POLICY),
        (EXAMPLE.replace(b"\n", b"\r\n"), POLICY),
        (EXAMPLE.rstrip(b"\n"), POLICY),
        (EXAMPLE.replace(b": ", b":"), POLICY),
        (EXAMPLE.replace(b"\n", b"  \n\n"), POLICY),
        (EXAMPLE + b"x-unknown: \xc3\xa9\nmode: none\nmax_age: 5\n", POLICY),  # of what comes twice the first counts
        (EXAMPLE.replace(b"mail.example.com", b"MAIL.example.com."), POLICY),
        (b"version: STSv1\nmode: none\nmax_age: 86400\n", Policy("none", 86_400)),
        (b"mode: testing\nmx: a.b\nmax_age: 9999999999\nversion: STSv1", Policy("testing", mtasts.LONGEST, ("a.b",))),
        (b"version: STSv1\nmode: testing\nmx: xn--bcher-kva.example\nmax_age: 0\n", Policy("testing", 0, ("xn--bcher-kva.example",))),
    ],
)
def test_a_policy(text: bytes, policy: Policy) -> None:
    assert parse(text) == policy
    assert parse("\n".join(policy.lines).encode()) == policy


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "version"),
        (EXAMPLE.replace(b"STSv1", b"STSv2"), "version"),
        (EXAMPLE.replace(b"enforce", b"Enforce"), "mode"),
        (EXAMPLE.replace(b"mode: enforce\n", b""), "mode"),
        (EXAMPLE.replace(b"604800", b"-1"), "max_age"),
        (EXAMPLE.replace(b"604800", b"1e9"), "max_age"),
        (EXAMPLE.replace(b"604800", b"\xd9\xa1"), "max_age"),  # a digit, but not ours
        (EXAMPLE.replace(b"max_age: 604800\n", b""), "max_age"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1\n", "no host"),
        (EXAMPLE.replace(b"*.example.net", b"*"), "names a host that is none"),
        (EXAMPLE.replace(b"*.example.net", b"mail.*.net"), "names a host that is none"),
        (EXAMPLE.replace(b"*.example.net", b"a b"), "names a host that is none"),
        (EXAMPLE.replace(b"*.example.net", b""), "names a host that is none"),
        (EXAMPLE + b"no colon\n", "a line that is none"),
        (b"<html>\n<title>: x</title>", "a line that is none"),
        (b"\xff\xfe", "no text"),
        (b"version: STSv1\n" + b"x: y\n" * 20_000, "too long"),
    ],
)
def test_no_policy(text: bytes, why: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(why)) as raised:
        parse(text)
    assert raised.value.kind == "sts-policy-invalid"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.com", True),
        ("Mail.Example.COM.", True),
        ("mx1.example.net", True),
        ("a.b.example.net", False),  # a star is one label (RFC 8461 section 4.1)
        ("example.net", False),
        (".example.net", False),
        ("mail.example.com.evil.test", False),
        ("evilmail.example.com", False),
    ],
)
def test_which_hosts_are_allowed(host: str, allowed: bool) -> None:
    assert POLICY.allows(host) is allowed


def test_how_long_a_policy_binds() -> None:
    kept = Kept("example.com", "1", POLICY, at=1000.0)
    end = 1000.0 + 604_800
    assert kept.holds(end - 1) and not kept.holds(end)
    assert kept.is_fresh("1", 2000.0) and kept.is_fresh(None, 2000.0) and not kept.is_fresh("2", 2000.0) and not kept.is_fresh("1", end)
    assert not kept.is_old(1000.0 + mtasts.DAY - 1) and kept.is_old(1000.0 + mtasts.DAY)
    brief = replace(kept, policy=replace(POLICY, max_age=600))
    assert brief.is_old(1300.0) and not brief.is_old(1299.0)


def test_what_is_kept_comes_back() -> None:
    kept = Kept("example.com", "1", POLICY, at=1000.5)
    assert Kept.from_json(kept.to_json()) == kept


@pytest.mark.parametrize("change", [b"", b"{}", b"[]", b"nonsense", b'{"domain": 1}', b"\xff", b"[" * 100_000])
def test_a_file_that_is_none(change: bytes) -> None:
    with pytest.raises(ValueError):
        Kept.from_json(change)
    text = Kept("example.com", "1", POLICY, 1.0).to_json()
    with pytest.raises(ValueError):
        Kept.from_json(text.replace(b'"enforce"', b'"whatever"'))
    with pytest.raises(ValueError):
        Kept.from_json(text.replace(b"604800", b'"x"'))


class Web:
    """Stands for Https: says what it was told to."""

    def __init__(self, said: Response | HttpsError) -> None:
        self.said, self.asked = said, list[Request]()

    async def ask(self, request: Request) -> Response:
        self.asked.append(request)
        if isinstance(self.said, HttpsError):
            raise self.said
        return self.said


def fetch(said: Response | HttpsError) -> tuple[Policy, Request]:
    web: Any = Web(said)
    https: Https = web
    return asyncio.run(mtasts.fetch(https, "example.com")), web.asked[0]


def test_where_a_policy_is_fetched() -> None:
    policy, request = fetch(Response(200, {"content-type": "Text/Plain; charset=utf-8"}, EXAMPLE))
    assert policy == POLICY
    assert (request.host, request.port, request.target) == ("mta-sts.example.com", 443, "/.well-known/mta-sts.txt")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Response(301, {"location": "https://elsewhere.example/"}, EXAMPLE), "sts-policy-fetch-error"),
        (Response(404, {"content-type": "text/plain"}, EXAMPLE), "sts-policy-fetch-error"),
        (Response(200, {"content-type": "text/html"}, EXAMPLE), "sts-policy-invalid"),
        (Response(200, {}, EXAMPLE), "sts-policy-invalid"),
        (Response(200, {"content-type": "text/plain"}, b""), "sts-policy-invalid"),
        (HttpsError("no way"), "sts-policy-fetch-error"),
        (Untrusted("expired"), "sts-webpki-invalid"),
    ],
)
def test_what_is_no_answer(said: Response | HttpsError, kind: str) -> None:
    with pytest.raises(PolicyError) as raised:
        fetch(said)
    assert raised.value.kind == kind
