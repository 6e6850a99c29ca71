from __future__ import annotations

import email
import email.policy
import gzip
import json
from dataclasses import replace

import pytest

from postroom_net import tlsrpt
from postroom_net.tlsrpt import Applied, Destinations, Failure, Report, Reporter, Tally, destinations

DAY = 16_892  # 2016-04-01
STS = Applied("company-y.example", "sts", ("version: STSv1", "mode: testing"), ("*.mail.company-y.example",))
BY = Reporter("Company-X", "sts-reporting@company-x.example", "mail.company-x.example")


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        ([b"v=TLSRPTv1; rua=mailto:reports@example.com"], Destinations(("reports@example.com",))),  # RFC 8460 section 3.1
        ([b"v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt"], Destinations((), ("https://reporting.example.com/v1/tlsrpt",))),
        (
            [b"v=TLSRPTv1;rua=mailto:a@example.com , https://b.example/x,mailto:a@example.com;"],
            Destinations(("a@example.com",), ("https://b.example/x",)),
        ),
        ([b"v=TLSRPTv1; x=y; rua=mailto:a%2bb@example.com?subject=x"], Destinations(("a+b@example.com",))),
        ([b"other", b"v=TLSRPTv1; rua=mailto:a@example.com"], Destinations(("a@example.com",))),
        ([b"v=TLSRPTv1; rua=mailto:a@example.com; rua=mailto:b@example.com"], Destinations(("a@example.com",))),
        ([b"v=TLSRPTv1; rua=mailto:a@b.example", b"v=TLSRPTv1; rua=mailto:c@d.example"], Destinations()),
        ([b"v=TLSRPTv1; rua=mailto:a@b.example%0d%0aBcc:x@y.example"], Destinations()),
        ([b"v=TLSRPTv1; rua=mailto:%22a b%22@example.com,http://x.example/,mailto:,mailto:nobody,ftp:x"], Destinations()),
        ([b"v=TLSRPTv1; rua="], Destinations()),
        ([b"v=TLSRPTv1"], Destinations()),
        ([b"v=TLSRPTv12; rua=mailto:a@example.com"], Destinations()),
        ([b"v=TLSRPTv1; rua=mailto:\xff@example.com"], Destinations()),
        ([], Destinations()),
    ],
)
def test_whom_a_domain_names(records: list[bytes], wanted: Destinations) -> None:
    assert destinations(records) == wanted


def test_no_more_than_five_hear_of_it() -> None:
    record = b"v=TLSRPTv1; rua=" + b",".join(b"mailto:a%d@example.com" % number for number in range(50))
    assert len(destinations([record]).mail) == 5


def filled() -> Tally:
    """The sessions of RFC 8460 appendix B."""
    tally = Tally(DAY)
    tally.note(STS, None, 5326)
    ip = "2001:db8:abcd:0012::1"
    tally.note(STS, Failure("certificate-expired", "mx1.mail.company-y.example", sending_ip=ip), 100)
    tally.note(STS, Failure("starttls-not-supported", "mx2.mail.company-y.example", "203.0.113.56", "2001:db8:abcd:0013::1"), 200)
    tally.note(STS, Failure("validation-failure", "mx-backup.mail.company-y.example", reason="X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"), 3)
    return tally


def test_the_report_of_the_rfc() -> None:
    report = Report(BY, "company-y.example", DAY, filled().domains["company-y.example"])
    said = json.loads(report.to_json())
    (policy,) = said.pop("policies")
    assert said == {
        "organization-name": "Company-X",
        "date-range": {"start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z"},
        "contact-info": "sts-reporting@company-x.example",
        "report-id": "2016-04-01.company-y.example@mail.company-x.example",
    }
    assert policy["policy"] == {
        "policy-type": "sts",
        "policy-string": ["version: STSv1", "mode: testing"],
        "policy-domain": "company-y.example",
        "mx-host": ["*.mail.company-y.example"],
    }
    assert policy["summary"] == {"total-successful-session-count": 5326, "total-failure-session-count": 303}
    assert policy["failure-details"] == [
        {
            "result-type": "certificate-expired",
            "sending-mta-ip": "2001:db8:abcd:0012::1",
            "receiving-mx-hostname": "mx1.mail.company-y.example",
            "failed-session-count": 100,
        },
        {
            "result-type": "starttls-not-supported",
            "sending-mta-ip": "2001:db8:abcd:0013::1",
            "receiving-mx-hostname": "mx2.mail.company-y.example",
            "receiving-ip": "203.0.113.56",
            "failed-session-count": 200,
        },
        {
            "result-type": "validation-failure",
            "receiving-mx-hostname": "mx-backup.mail.company-y.example",
            "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
            "failed-session-count": 3,
        },
    ]


def test_a_report_as_mail() -> None:
    """RFC 8460 section 5.3, read by the standard library."""
    report = Report(replace(BY, organization='X "& Sons"\r\nBcc: y'), "company-y.example", DAY, filled().domains["company-y.example"])
    text = report.compose(["a@company-y.example"], now=1_459_555_200.0)
    assert b"\n" not in text.replace(b"\r\n", b"") and max(map(len, text.split(b"\r\n"))) < 998 and text.isascii()
    mail = email.message_from_bytes(text, policy=email.policy.default)
    assert not mail.defects and mail["bcc"] is None
    assert mail.get_content_type() == "multipart/report" and mail.get_param("report-type") == "tlsrpt"
    assert mail["TLS-Report-Domain"] == "company-y.example" and mail["TLS-Report-Submitter"] == "mail.company-x.example"
    assert mail["Subject"] == f"Report Domain: company-y.example Submitter: mail.company-x.example Report-ID: <{report.id}>"
    assert (mail["To"], mail["TLS-Required"]) == ("a@company-y.example", "No")
    words, packed = mail.iter_parts()
    assert "Sessions that failed: 303" in words.get_content()
    assert packed.get_content_type() == "application/tlsrpt+gzip"
    assert packed.get_filename() == "mail.company-x.example!company-y.example!1459468800!1459555199.json.gz"
    assert gzip.decompress(packed.get_content()) == report.to_json()
    assert text == report.compose(["a@company-y.example"], now=1_459_555_200.0)


def test_what_workers_counted_is_added_up() -> None:
    one, other = filled(), filled()
    other.note(Applied("else.example"), None)
    other.lost = 2
    one.merge(Tally.from_json(other.to_json()))
    assert one.domains[STS.domain][STS].good == 2 * 5326 and one.domains[STS.domain][STS].bad == 2 * 303
    assert set(one.domains) == {STS.domain, "else.example"} and one.lost == 2


def test_a_tally_comes_back_from_its_file() -> None:
    assert Tally.from_json(filled().to_json()) == filled()


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"day": 1, "lost": 0, "sessions": [[1]]}'])
def test_a_file_that_is_none(text: bytes) -> None:
    with pytest.raises(ValueError):
        Tally.from_json(text)


def test_a_tally_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlsrpt, "DOMAINS", 3)
    tally = Tally(DAY)
    for number in range(5):
        tally.note(Applied(f"d{number}.example"))
    assert len(tally.domains) == 3 and tally.lost == 2
    for number in range(100):
        tally.note(Applied("d0.example", "sts", (str(number),)))
    assert len(tally.domains["d0.example"]) == tlsrpt.POLICIES and tally.lost == 2 + 100 - 9
    for number in range(1000):
        tally.note(Applied("d1.example"), Failure("validation-failure", reason=f"{number}"))
    count = tally.domains["d1.example"][Applied("d1.example")]
    assert count.bad == 1000 and len(count.failed) == tlsrpt.FAILURES + 1


def test_what_peers_said_is_cut() -> None:
    said = Failure("validation-failure", "h\r\n", reason="a\r\nb\x00" + "x" * 10_000).cut()
    assert said.reason.startswith("a b x") and len(said.reason) == 300 and said.host == "h"
