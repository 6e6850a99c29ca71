"""URLs of CATENATE to what they name."""

from __future__ import annotations

import pytest

from postroom_imap4.urls import Place, parse


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("/INBOX;UIDVALIDITY=785799047/;UID=113330;SECTION=1.5.9", Place("INBOX", 785799047, 113330, "1.5.9")),
        ("/INBOX/;UID=7/;SECTION=HEADER", Place("INBOX", None, 7, "HEADER")),
        ("/Work/Old;UIDVALIDITY=1/;UID=2", Place("Work/Old", 1, 2)),
        ("imap://bob@host/Dr%C3%A4fts;UIDVALIDITY=1/;UID=2/;SECTION=1.mime", Place("Dräfts", 1, 2, "1.MIME")),
        (";UID=20/;SECTION=1.2", Place("", None, 20, "1.2")),
        ("/INBOX/;UID=7/;PARTIAL=10.20", Place("INBOX", None, 7, "", (10, 20))),
        ("/INBOX/;UID=7/;PARTIAL=10", Place("INBOX", None, 7, "", (10, -1))),
        ("/INBOX", None),
        ("/INBOX/;UID=x", None),
        ("/INBOX/;UID=7;URLAUTH=anonymous", None),
        ("/IN%FFBOX/;UID=7", None),
        ("http://host/;UID=7", None),
        ("/" + "a" * 100_000, None),
    ],
)
def test_a_url(url: str, place: Place | None) -> None:
    assert parse(url) == place
