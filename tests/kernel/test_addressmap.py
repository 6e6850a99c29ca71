"""Where an address goes, by table."""

import pytest

from postroom.address import InternalAddress, Mask, smtp
from postroom.addressmap import AddressMap
from postroom.errors import AddressError, Origin
from postroom.records import AddressMapRecord, DomainRecord

ROWS = [
    ("[SMTP:*@*]", "[SMTP:*]"),  # a system-wide row in the first place, as old files have it
    ("[SMTP:bob@example.test]", "[SF:PO/bob]"),
    ("[SMTP:robert@example.test]", "[SMTP:bob@example.test]"),
    ("[SMTP:both@example.test]", "[SF:PO/bob]"),
    ("[SMTP:both@example.test]", "[SF:PO/alice]"),
    ("[SMTP:away@example.test]", "[SMTP:x@elsewhere.test]"),
    ("[SMTP:sales-*@example.test]", "[SF:PO/sales]"),
    ("[SMTP:*@catch.test]", "[SF:CATCH/*]"),
    ("[SMTP:*@relay.test]", "[SMTP:*]"),
    ("[SMTP:a@circle.test]", "[SMTP:b@circle.test]"),
    ("[SMTP:b@circle.test]", "[SMTP:a@circle.test]"),
    ("[SMTP:*@Mixed.Test]", "[SF:PO/mixed]"),
    ("[SMTP:half]", "no address"),
]
DOMAINS = [
    DomainRecord("example.test", account="PO"),
    DomainRecord("catch.test"),
    DomainRecord("circle.test"),
    DomainRecord("mixed.test"),
    DomainRecord("off.test", status=0),
    DomainRecord("passed-on.test", redirect_status=1, redirect_hosts="mx.passed-on.test"),
]
MAP = AddressMap.of([AddressMapRecord(*row, origin=Origin("ADDRESS-MAP.TAB", line)) for line, row in enumerate(ROWS, 1)], DOMAINS)


@pytest.mark.parametrize(
    ("address", "to", "lines"),
    [
        ("bob@example.test", ["[SF:PO/bob]"], [2]),
        ("BOB@EXAMPLE.TEST", ["[SF:PO/bob]"], [2]),
        ("robert@example.test", ["[SF:PO/bob]"], [3, 2]),
        ("both@example.test", ["[SF:PO/bob]", "[SF:PO/alice]"], [4, 5]),
        ("away@example.test", ["[SMTP:x@elsewhere.test]"], [6]),
        ("sales-north@example.test", ["[SF:PO/sales]"], [7]),
        ("anybody@catch.test", ["[SF:CATCH/anybody]"], [8]),
        ("u@relay.test", ["[SMTP:u@relay.test]"], [9]),
        ("u@mixed.test", ["[SF:PO/mixed]"], [12]),
        ("u@far.test", ["[SMTP:u@far.test]"], [1]),
        ("u@off.test", ["[SMTP:u@off.test]"], [1]),
        ("u@passed-on.test", ["[SMTP:u@passed-on.test]"], [1]),
        ("nobody@example.test", [], []),
        ("a@circle.test", [], [10, 11] * 5),
        ("[SF:PO/alice]", ["[SF:PO/alice]"], []),
        ("[LS:PO/news]", ["[LS:PO/news]"], []),
    ],
)
def test_where_it_goes_and_which_row_decided(address: str, to: list[str], lines: list[int]) -> None:
    found = MAP.resolve(InternalAddress.parse(address) if address.startswith("[") else smtp(address))
    assert list(map(str, found.to)) == to
    if to or lines:
        assert [row.origin.line for row in found.by if row.origin] == lines


def test_an_unknown_user_of_ours_is_never_relayed_and_the_answer_says_why() -> None:
    assert "is ours and has no such address" in MAP.resolve(smtp("nobody@example.test")).why
    assert "circle" in MAP.resolve(smtp("a@circle.test")).why


def test_a_broken_row_is_a_problem_with_its_line_and_harms_no_other() -> None:
    (problem,) = MAP.problems
    assert "ADDRESS-MAP.TAB:13" in str(problem)


@pytest.mark.parametrize(
    "text", ["", "[SMTP:]", "SMTP:a@b", "[:a@b]", "[SMTP:a@b", "[SMTP:a\r\nb]", "[SMTP:a@b];[SMTP:c@d]", "[SMTP:a[b]c]", "[SF:PO/x\0]"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        InternalAddress.parse(text)


@pytest.mark.parametrize("text", ["[SF:PO/MAILBOX]", "[SMTP:user@[192.0.2.1]]", '[SMTP:"];[SF:PO/x"@d]', "[LS:PO/LIST]", "[SMTP:*@*]"])
def test_parse_and_str_undo_each_other(text: str) -> None:
    assert str(InternalAddress.parse(text)) == text


def test_a_source_route_is_stripped() -> None:
    assert InternalAddress.parse("@MailEnable.com:Andrew@Activemedia.com.au") == smtp("andrew@activemedia.com.au")
    assert InternalAddress.parse("@C:AndrewSproul@MailEnable.com.au").detail == "AndrewSproul@MailEnable.com.au"


def test_a_mask_of_many_stars_is_matched_in_linear_time() -> None:
    import time

    mask = Mask.parse("[SMTP:" + "*a" * 20 + "*@x.test]")
    hostile = smtp("a" * 480 + "@y.test")
    start = time.process_time()
    for _ in range(100):
        assert mask.match(hostile) is None
    assert time.process_time() - start < 1.0
