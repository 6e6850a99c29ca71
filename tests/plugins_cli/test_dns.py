"""What is to be published."""

from __future__ import annotations

import pytest

from postroom_cli import dns
from postroom_net import mtasts, tlsrpt


def published(**options: object) -> dict[str, str]:
    records = dns.to_publish("example.org", "mail.example.org", ["smtp", "imap4", "pop3"], **options)  # type: ignore[arg-type]
    return {f"{record.kind} {record.name}": record.value for record in records}


def test_what_a_domain_needs() -> None:
    assert list(published()) == [
        "A mail.example.org.",
        "MX example.org.",
        "TXT example.org.",
        "TXT _dmarc.example.org.",
        "TXT _smtp._tls.example.org.",
        "TXT _mta-sts.example.org.",
        "SRV _submissions._tcp.example.org.",
        "SRV _submission._tcp.example.org.",
        "SRV _imaps._tcp.example.org.",
        "SRV _pop3s._tcp.example.org.",
    ]


def test_keys_and_the_certificate_where_they_are_known() -> None:
    said = published(dkim={"s1": "v=DKIM1; p=" + "A" * 400}, tlsa="3 1 1 ab", submission=())
    assert said["TLSA _25._tcp.mail.example.org."] == "3 1 1 ab"
    assert said["TXT s1._domainkey.example.org."] == dns.strings("v=DKIM1; p=" + "A" * 400)
    assert not [name for name in said if "_submission" in name]


def test_what_is_printed_can_be_read_by_those_who_will() -> None:
    said = published()
    assert mtasts.record_id([said["TXT _mta-sts.example.org."].strip('"').encode()])
    policy = mtasts.parse(dns.sts_policy("mail.example.org").encode())
    assert policy.mode == "testing" and policy.allows("mail.example.org")
    assert tlsrpt.destinations([said["TXT _smtp._tls.example.org."].strip('"').encode()]).mail == ("postmaster@example.org",)


@pytest.mark.parametrize(("length", "count"), [(1, 1), (255, 1), (256, 2), (510, 2), (511, 3)])
def test_long_texts_are_several_strings(length: int, count: int) -> None:
    text = dns.strings("x" * length)
    assert text.count('"') == 2 * count and text.replace('"', "").replace(" ", "") == "x" * length
