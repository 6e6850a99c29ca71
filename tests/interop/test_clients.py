"""The clients of Python's standard library, which read replies more strictly than people do."""

from __future__ import annotations

import poplib
import smtplib
import ssl

import pytest

from bench.ours import said
from tests.demo import PATIENCE, Demo, letter


def test_smtplib_to_poplib(demo: Demo) -> None:
    with demo.smtp() as client:
        assert client.send_message(letter("clients-plain")) == {}
    assert b"Subject: about clients-plain" in demo.arrived("alice@example.test", "clients-plain")


def test_one_connection_many_messages(demo: Demo) -> None:
    with demo.smtp() as client:
        for number in range(20):
            client.send_message(letter(f"clients-many-{number}-"))
            client.rset()
    for number in range(20):
        assert demo.arrived("alice@example.test", f"Subject: about clients-many-{number}-")


def test_a_group_reaches_its_members(demo: Demo) -> None:
    with demo.smtp() as client:
        client.send_message(letter("clients-group", to="sales@example.test"))
    assert demo.arrived("alice@example.test", "clients-group")
    assert demo.arrived("bob@example.test", "clients-group")


def test_some_recipients_refused_the_others_served(demo: Demo) -> None:
    with demo.smtp() as client:
        refused = client.send_message(letter("clients-some"), to_addrs=["alice@example.test", "nobody@example.test"])
    assert list(refused) == ["nobody@example.test"]
    assert refused["nobody@example.test"][0] == 550
    assert demo.arrived("alice@example.test", "clients-some")


def test_the_thousand_and_first_recipient_is_put_off(demo: Demo) -> None:
    """RFC 5321 section 4.5.3.1.8: at least 100; we take 1,000, as others do, and say 452 to more. Section 4.5.3.1.10."""
    said("address", "add", "*@many.test", "alice@example.test", "--site", demo.server.site)
    with demo.smtp() as client:
        client.ehlo()
        client.mail("rita@example.org")
        codes = [client.rcpt(f"person{number}@many.test")[0] for number in range(1001)]
        assert set(codes[:1000]) == {250}
        assert codes[1000] == 452
        client.data(letter("clients-thousand").as_bytes())
    assert demo.arrived("alice@example.test", "clients-thousand")


def test_a_message_that_says_it_is_too_large_is_refused_at_mail(demo: Demo) -> None:
    """RFC 1870 section 6.1."""
    with demo.smtp() as client:
        client.ehlo()
        limit = int(client.esmtp_features["size"])
        assert client.mail("rita@example.org", [f"SIZE={limit + 1}"])[0] == 552
        assert client.mail("rita@example.org", [f"SIZE={limit}"])[0] in (250, 452)


def test_submissions_with_tls_from_the_first_octet(demo: Demo) -> None:
    host, port = demo.endpoint("submissions")
    login = "alice@example.test"
    with smtplib.SMTP_SSL(host, port, timeout=PATIENCE, context=_at_an_address(demo.trust())) as client:
        client.login(login, demo.password(login))
        client.send_message(letter("clients-tls", to="bob@example.test"), from_addr=login)
    assert demo.arrived("bob@example.test", "clients-tls")


def test_pop3_over_tls_and_stls(demo: Demo) -> None:
    login, trust = "alice@example.test", _at_an_address(demo.trust())
    with_tls = poplib.POP3_SSL(*demo.told.endpoints["pop3s"], timeout=PATIENCE, context=trust)
    upgraded = poplib.POP3(*demo.told.endpoints["pop3"], timeout=PATIENCE)
    upgraded.stls(trust)
    counts = []
    for client in (with_tls, upgraded):
        client.user(login)
        client.pass_(demo.password(login))
        counts.append(client.stat())
        client.quit()
    assert counts[0] == counts[1]


def test_a_wrong_password_says_no_more_than_an_unknown_name(demo: Demo) -> None:
    said = []
    for login in ("alice@example.test", "stranger@example.test"):
        client = poplib.POP3(*demo.told.endpoints["pop3"], timeout=PATIENCE)
        client.user(login)
        with pytest.raises(poplib.error_proto) as refusal:
            client.pass_("wrong")
        said.append(str(refusal.value))
        client.close()
    assert said[0] == said[1]


def test_deleted_stays_deleted_and_a_broken_session_deletes_nothing(demo: Demo) -> None:
    """RFC 1939 section 6: only QUIT updates."""
    with demo.smtp() as client:
        client.send_message(letter("clients-delete", to="bob@example.test"))
    demo.arrived("bob@example.test", "clients-delete")
    broken = demo.pop3("bob@example.test")
    last = broken.stat()[0]
    broken.dele(last)
    broken.close()
    assert demo.arrived("bob@example.test", "clients-delete")
    whole = demo.pop3("bob@example.test")
    whole.dele(last)
    whole.quit()
    assert not [text for text in demo.fetch("bob@example.test") if b"clients-delete" in text]


def test_uidl_and_top_agree_with_retr(demo: Demo) -> None:
    with demo.smtp() as client:
        client.send_message(letter("clients-top", text="one\ntwo\nthree\n"))
    whole = demo.arrived("alice@example.test", "clients-top")
    session = demo.pop3("alice@example.test")
    names = session.uidl()[1]
    assert len({name.split()[1] for name in names}) == len(names) == session.stat()[0]
    number = next(n for n in range(1, len(names) + 1) if b"\r\n".join(session.retr(n)[1]) + b"\r\n" == whole)
    top = b"\r\n".join(session.top(number, 2)[1]) + b"\r\n"
    assert top == whole[: whole.index(b"three")]
    assert session.list()[1][number - 1] == b"%d %d" % (number, len(whole))
    session.quit()


def _at_an_address(trust: ssl.SSLContext) -> ssl.SSLContext:
    """We connect to 127.0.0.1; the name in the certificate is checked by the tests of TLS contexts."""
    trust.check_hostname = False
    return trust
