"""DNS records: their strings, and whether what a name server says is the key."""

from __future__ import annotations

import pytest

from postroom_dkim.records import Record, is_shown, name

RECORD = Record(name("s1", "example.test"), "v=DKIM1; k=rsa; p=QUJD")


def test_long_texts_are_several_strings() -> None:
    value = "v=DKIM1; k=rsa; p=" + "QUJD" * 170
    record = Record("s._domainkey.example.test", value)
    assert "".join(record.strings) == value and [len(one) <= 255 for one in record.strings] == [True, True, True]
    assert record.zone_value.count('"') == 6 and str(record).startswith("s._domainkey.example.test. TXT ")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ([b"v=DKIM1; k=rsa; p=QUJD"], True),
        ([b"v=DKIM1;p=QUJD;"], True),
        ([b"p = QU\r\n JD ; t=s; n=a note"], True),
        ([b"v=spf1 mx -all", b"k=rsa; p=QUJD"], True),
        ([b"v=DKIM1; k=ed25519; p=QUJD"], False),
        ([b"v=DKIM1; k=rsa; p="], False),
        ([b"v=DKIM2; k=rsa; p=QUJD"], False),
        ([b"p=QUJD; p=QUJD"], False),
        ([b"\xff", b""], False),
        ([], False),
    ],
)
def test_what_dns_says(said: list[bytes], shown: bool) -> None:
    assert is_shown(RECORD, said) is shown
