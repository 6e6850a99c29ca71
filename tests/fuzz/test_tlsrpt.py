"""Invariant: whatever a domain publishes and peers say, a report is one message without a line of theirs in its header, and adding up
tallies loses no session; what is no tally is refused with a ValueError."""

from __future__ import annotations

import email
import email.policy

from hypothesis import given
from hypothesis import strategies as st

from postroom_net.tlsrpt import Applied, Failure, Report, Reporter, Tally, destinations

PARTS = st.sampled_from([b"v=TLSRPTv1", b";", b" ", b"rua=", b"mailto:", b"https://", b"a@b.example", b",", b"%0d%0a", b"?", b"\xff", b"x"])
TEXT = st.text(max_size=40)


@given(st.lists(st.one_of(st.binary(max_size=60), st.lists(PARTS, max_size=12).map(b"".join)), max_size=3))
def test_whom_a_domain_names(records: list[bytes]) -> None:
    wanted = destinations(records)
    assert all(one.isascii() and one.isprintable() and one.count("@") == 1 and not set(' <>,"') & set(one) for one in wanted.mail)
    assert all(one.isprintable() and one.lower().startswith("https://") for one in wanted.web)


@given(TEXT, st.lists(st.tuples(TEXT, TEXT, st.integers(1, 9)), min_size=1, max_size=9))
def test_a_report_holds_what_was_counted(organization: str, said: list[tuple[str, str, int]]) -> None:
    tally, other = Tally(20_000), Tally(20_000)
    applied = Applied("a.example", "sts", (organization,))
    for host, reason, times in said:
        tally.note(applied, Failure("validation-failure", host, reason=reason), times)
        other.note(applied, None, times)
    again = Tally.from_json(tally.to_json())
    again.merge(other)
    count = again.domains["a.example"][applied]
    assert count.good == count.bad == sum(times for _, _, times in said)
    text = Report(Reporter(organization, "x@b.example", "b.example"), "a.example", 20_000, again.domains["a.example"]).compose(
        ["y@a.example"], 1.0
    )
    assert text.isascii() and b"\n" not in text.replace(b"\r\n", b"")
    mail = email.message_from_bytes(text, policy=email.policy.compat32)
    names = "From To Subject Date Message-ID TLS-Report-Domain TLS-Report-Submitter TLS-Required Auto-Submitted MIME-Version Content-Type"
    assert mail.keys() == names.split()


@given(st.binary(max_size=99))
def test_a_file_survives_anything(text: bytes) -> None:
    try:
        Tally.from_json(text)
    except ValueError:
        pass
