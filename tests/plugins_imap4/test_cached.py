"""Header fields out of the store's packs: the same that postroom_mime.fields says of one message, for many."""

from __future__ import annotations

import pytest

from postroom_imap4 import cached
from postroom_mime import fields
from postroom_mime.headers import unfold
from postroom_mime.scan import scan
from postroom_testing.mail import HOSTILE
from tests.plugins_imap4.shelf import mail

PACKS = [
    scan(data).fields for data in [mail(), mail("x", "a\r\n folded", "To: again@x", "References: <a@x>\r\n\t<b@x>"), *HOSTILE.values()]
]


@pytest.mark.parametrize("names", [(b"from",), (b"subject", b"to"), (b"references", b"date", b"from", b"bcc"), (b"x-other", b"from"), ()])
def test_selected_fields(names: tuple[bytes, ...]) -> None:
    assert cached.header_fields(PACKS, names) == [fields.header_fields(pack, names) for pack in PACKS]
    assert cached.are_kept(names) is (b"x-other" not in names)


@pytest.mark.parametrize("name", [b"from", b"to", b"subject", b"references", b"in-reply-to"])
def test_first_fields(name: bytes) -> None:
    for pack, every, first in zip(PACKS, cached.each_field(PACKS, name), cached.first_fields(PACKS, (b"date", name))):
        if not fields.is_whole(pack):
            assert every is None and first is None
            continue
        assert every is not None and first is not None
        told = first[1]
        assert told == (every[0] if every else None)
        assert (unfold(told.partition(b":")[2].replace(b"\n", b"\0")) if told else None) == fields.value(pack, name.upper())


def test_a_name_that_is_not_kept_is_not_told() -> None:
    assert list(cached.each_field(PACKS[:2], b"x-other")) == [None, None]
