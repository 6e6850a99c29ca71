"""postroom_smtp.trace: the lines in front of a message."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from postroom.envelope import Peer
from postroom_smtp import trace


def lines(peer: Peer, recipient: str = "alice@example.test", sender: str = "carol@sender.test") -> str:
    return trace.lines(
        server="mail.example.test", peer=peer, sender=sender, recipient=recipient, message_id="ID", now=1_800_000_000.9, how="ESMTP"
    ).decode()


def test_in_the_clear() -> None:
    assert lines(Peer(ip="192.0.2.1", helo="peer.test")) == (
        "Return-Path: <carol@sender.test>\r\n"
        "Received: from peer.test ([192.0.2.1])\r\n"
        "\tby mail.example.test (postroom) with ESMTP id ID\r\n"
        "\tfor <alice@example.test>;\r\n"
        "\tFri, 15 Jan 2027 08:00:00 +0000\r\n"
    )


def test_over_tls_from_ipv6_to_many_with_the_null_sender() -> None:
    said = lines(Peer(ip="2001:db8::1", helo="[IPv6:2001:db8::1]", tls="TLSv1.3 TLS_AES_256_GCM_SHA384 256 bits"), recipient="", sender="")
    assert said.startswith("Return-Path: <>\r\nReceived: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\t(TLSv1.3 TLS_AES")
    assert " for " not in said and "\tfor" not in said


@pytest.mark.parametrize("seconds", [0, 951_782_400, 1_800_000_000, 4_102_444_799])
def test_date(seconds: int) -> None:
    assert parsedate_to_datetime(trace.date(seconds)).timestamp() == seconds


@pytest.mark.parametrize(
    ("extended", "tls", "authenticated", "utf8", "how"),
    [
        (False, False, False, False, "SMTP"),
        (False, True, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, True, False, False, "ESMTPS"),
        (True, True, True, False, "ESMTPSA"),
        (True, True, False, True, "UTF8SMTPS"),
    ],
)
def test_protocol(extended: bool, tls: bool, authenticated: bool, utf8: bool, how: str) -> None:
    assert trace.protocol(extended=extended, tls=tls, authenticated=authenticated, utf8=utf8) == how
