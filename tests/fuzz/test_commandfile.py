"""Any octets are an envelope or a CommandFileError that names the item; what was read is written and read again as the same."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from postroom import commandfile
from postroom.address import InternalAddress
from postroom.errors import AddressError, CommandFileError

ITEM = "AB" * 16
KEYS = st.sampled_from(
    ["Recipients", "Sender", "Retries", "NextTime", "Message", "Notify", "ORCPT", "Settled", "TimeAcquired", "Crashes", "X"]
)
LINES = st.tuples(KEYS, st.text(max_size=60)).map(lambda pair: f"{pair[0]}={pair[1]}")
FILES = st.one_of(
    st.binary(max_size=400), st.lists(LINES, max_size=8).map(lambda lines: "\r\n".join(lines).encode("utf-8", "surrogatepass"))
)


@given(FILES)
@example(b"Recipients=[SMTP:a@b];[SMTP:c@d]\r\nTimeAcquired=nan\r\n")
@example(b"Retries=99999999999999999999999\r\n")
def test_a_command_file(data: bytes) -> None:
    try:
        envelope = commandfile.decode(data, item=ITEM, source="SMTP")
    except CommandFileError as error:
        assert ITEM in str(error)
        return
    text = commandfile.encode(envelope)
    again = commandfile.decode(text, item=ITEM, source="SMTP")
    assert commandfile.encode(again) == text
    assert again.recipients == envelope.recipients and again.settled == envelope.settled


@given(st.text(max_size=80))
def test_an_address(text: str) -> None:
    """Any text is an address that writes itself and is read again as the same, or an AddressError."""
    try:
        address = InternalAddress.parse(text)
    except AddressError:
        return
    assert InternalAddress.parse(str(address)) == address
