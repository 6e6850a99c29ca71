"""postroom_smtp.outbound.auth."""

from __future__ import annotations

import pytest

from postroom_smtp.outbound.auth import Credentials, exchange

TIM = Credentials("tim", "tanstaaftanstaaf")


def test_the_example_of_rfc_2195() -> None:
    made = exchange({"CRAM-MD5"}, TIM, sealed=False)
    assert made is not None and made.command == b"AUTH CRAM-MD5"
    challenge = b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    assert made.answer(0, challenge) == b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"
    assert made.answer(1, challenge) is None and made.answer(0, b"\xff!") is None


@pytest.mark.parametrize(
    ("offered", "sealed", "in_clear", "wanted"),
    [
        ({"PLAIN", "LOGIN", "CRAM-MD5"}, True, False, b"AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm"),
        ({"LOGIN"}, True, False, b"AUTH LOGIN"),
        ({"PLAIN", "LOGIN", "CRAM-MD5"}, False, False, b"AUTH CRAM-MD5"),
        ({"PLAIN", "LOGIN"}, False, False, None),
        ({"PLAIN"}, False, True, b"AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm"),
        ({"GSSAPI"}, True, False, None),
        (set(), True, False, None),
    ],
)
def test_a_password_goes_out_only_where_nobody_listens(offered: set[str], sealed: bool, in_clear: bool, wanted: bytes | None) -> None:
    made = exchange(offered, Credentials(TIM.user, TIM.password, in_clear), sealed=sealed)
    assert (made.command if made else None) == wanted


def test_nothing_prints_a_password() -> None:
    assert "tanstaaf" not in repr(TIM) + repr(exchange({"LOGIN"}, TIM, sealed=True))
