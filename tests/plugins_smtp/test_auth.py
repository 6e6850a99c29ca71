"""AUTH at a submission listener (RFC 4954), in memory; case 44."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from pydantic import ValidationError

from postroom.envelope import Peer
from postroom_smtp.settings import Listen, SmtpSettings
from tests.kernel_net import scram_client
from tests.kernel_net.test_oidc import KEYS, claims, token
from tests.plugins_smtp.desk import PASSWORD, Talk, run
from tests.plugins_smtp.served import Client, Served, certificate, trusting
from tests.plugins_smtp.submitting import ALICE, logged_in, plain, submission

AUTH_LINE = b"250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n"


def test_auth_is_told_of_and_then_not_again(tmp_path: Path) -> None:
    async def main() -> None:
        talk = submission(tmp_path)
        await talk.connect()
        assert AUTH_LINE in await talk.say("EHLO laptop.test")
        assert await talk.say(plain()) == b"235 2.7.0 Welcome\r\n"
        assert b"AUTH" not in await talk.say("EHLO laptop.test")
        assert await talk.say(plain()) == b"503 5.5.1 Already authenticated\r\n"
        assert await talk.say(f"MAIL FROM:<{ALICE}>") == b"250 2.1.0 Sender ok\r\n"
        await talk.end()

    run(main())


def test_the_message_says_who_sent_it(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        await talk.say(f"MAIL FROM:<{ALICE}> AUTH=<>", "RCPT TO:<far@away.test>", "DATA")
        assert (await talk.send(b"Subject: x\r\n\r\nbody\r\n.\r\n")).startswith(b"250 2.0.0")
        ((envelope, data),) = talk.intake.taken
        assert (envelope.peer.user, envelope.peer.account, envelope.peer.trusted) == (ALICE, "example.test", True)
        assert b"with ESMTPSA id" in data
        assert talk.log.of("smtp.accepted")[0]["login"] == ALICE
        await talk.end()

    run(main())


def test_login_in_three_steps(tmp_path: Path) -> None:
    async def main() -> None:
        talk = submission(tmp_path)
        await talk.connect()
        words = ["EHLO laptop.test", "auth login", b64encode(ALICE.encode()).decode(), b64encode(PASSWORD.encode()).decode()]
        said = await talk.say(*words)
        assert said.endswith(b"334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 2.7.0 Welcome\r\n")
        await talk.end()

    run(main())


@pytest.mark.parametrize("with_initial", [True, False])
def test_scram(tmp_path: Path, with_initial: bool) -> None:
    async def main() -> None:
        talk, client = submission(tmp_path), scram_client.Client(ALICE, PASSWORD)
        await talk.connect()
        await talk.say("EHLO laptop.test")
        first = b64encode(client.first()).decode()
        if with_initial:
            said = await talk.say(f"AUTH SCRAM-SHA-256 {first}")
        else:
            assert await talk.say("AUTH SCRAM-SHA-256") == b"334 \r\n"
            said = await talk.say(first)
        said = await talk.say(b64encode(client.final(b64decode(said[4:]))).decode())
        assert b64decode(said[4:]) == client.expected
        assert await talk.say("") == b"235 2.7.0 Welcome\r\n"
        await talk.end()

    run(main())


def test_cram_md5_where_the_operator_wants_it(tmp_path: Path) -> None:
    import hashlib
    import hmac

    async def main() -> None:
        for login, wanted in (("clara@example.test", b"235"), (ALICE, b"535")):  # a hash cannot serve it
            talk = submission(tmp_path, auth={"mechanisms": ["CRAM-MD5"]})
            await talk.connect()
            challenge = b64decode((await talk.say("EHLO laptop.test", "AUTH CRAM-MD5")).splitlines()[-1][4:])
            digest = hmac.new(PASSWORD.encode(), challenge, hashlib.md5).hexdigest()
            assert (await talk.say(b64encode(f"{login} {digest}".encode()).decode())).startswith(wanted)
            await talk.end()

    run(main())


def test_no_password_before_tls(tmp_path: Path) -> None:
    """Where nobody can listen is for TLS to see to; AUTH is not even told of."""

    async def main() -> None:
        talk = submission(tmp_path, Listen(port=0, submission=True))
        await talk.connect()
        assert b"AUTH" not in await talk.say("EHLO laptop.test")
        assert await talk.say(plain()) == b"538 5.7.11 Encryption required for authentication: say STARTTLS first\r\n"
        assert await talk.say(f"MAIL FROM:<{ALICE}>") == b"530 5.7.0 Must issue a STARTTLS command first\r\n"
        await talk.end()
        talk = submission(tmp_path, Listen(port=0, submission=True, tls="none"), auth={"without_tls": True})
        await talk.connect()
        assert AUTH_LINE in await talk.say("EHLO laptop.test")
        assert await talk.say(plain()) == b"235 2.7.0 Welcome\r\n"
        await talk.end()

    run(main())


def test_no_mail_before_a_login(tmp_path: Path) -> None:
    async def main() -> None:
        talk = submission(tmp_path)
        await talk.connect()
        assert (await talk.say("EHLO x.test", f"MAIL FROM:<{ALICE}>")).endswith(b"530 5.7.0 Authentication required\r\n")
        await talk.end()

    run(main())


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["AUTH PLAIN"], b"503 5.5.1 Say EHLO first"),
        (["EHLO x.test", "AUTH GSSAPI"], b"504 5.5.4"),
        (["EHLO x.test", "AUTH"], b"501 5.5.4"),
        (["EHLO x.test", "AUTH PLAIN a b"], b"501 5.5.4"),
        (["EHLO x.test", "AUTH PLAIN !!!"], b"501 5.5.2"),
        (["EHLO x.test", "AUTH PLAIN ="], b"501 5.5.2"),
        (["EHLO x.test", "AUTH PLAIN", "*"], b"501 5.7.0 Authentication cancelled"),
        (["EHLO x.test", "AUTH LOGIN", "A" * 12_289], b"500 5.5.6"),
        (["EHLO x.test", "AUTH LOGIN", "A" * 13_000], b"500 5.5.6"),
        (["EHLO x.test", "AUTH LOGIN", "QUFB" * 3072], b"334"),  # a name of 9,216 octets is only unknown
        (["EHLO x.test", plain(password="wrong")], b"535 5.7.8 Authentication failed"),
        (["EHLO x.test", plain("nobody@example.test")], b"535 5.7.8 Authentication failed"),
        (["EHLO x.test", plain("off@example.test")], b"535 5.7.13"),
        (["EHLO x.test", plain("off@example.test", "wrong")], b"535 5.7.8 Authentication failed"),
        (["EHLO x.test", "AUTH PLAIN " + b64encode(f"eve\0{ALICE}\0{PASSWORD}".encode()).decode()], b"535 5.7.8 Acting"),
        (["EHLO x.test", plain(), f"MAIL FROM:<{ALICE}>", plain()], b"503 5.5.1"),
    ],
)
def test_refusals(tmp_path: Path, lines: list[str], wanted: bytes) -> None:
    async def main() -> None:
        talk = submission(tmp_path)
        await talk.connect()
        said = (await talk.say(*lines)).splitlines()
        assert said[-1].startswith(wanted), said
        assert (await talk.say("NOOP" if not wanted.startswith(b"334") else "*"))[:1] in b"25"
        await talk.end()

    run(main())


def test_a_third_wrong_password_ends_the_connection(tmp_path: Path) -> None:
    async def main() -> None:
        talk = submission(tmp_path)
        await talk.connect()
        said = await talk.say("EHLO x.test", *[plain(password=f"wrong{n}") for n in range(3)])
        assert said.endswith(b"421 4.7.0 Too many failed logins, try again later\r\n") and talk.wire.is_closed
        assert [line["reason"] for line in talk.log.of("smtp.login_refused")] == ["bad"] * 3
        await talk.end()

    run(main())


def test_guessing_gets_slower_and_then_is_not_heard(tmp_path: Path) -> None:
    async def main() -> None:
        talk = submission(tmp_path, auth={"failures": 100}, limits={"errors": 1000})
        await talk.connect()
        await talk.say("EHLO x.test")
        for n in range(3):
            assert (await talk.say(plain(password=f"wrong{n}"))).startswith(b"535")
        for n, seconds in enumerate((1, 2, 4, 8, 15)):
            assert await talk.say(plain(password=f"more{n}")) == b""  # the answer is held back
            assert await talk.turn(seconds - 0.1) == b""
            assert (await talk.turn(0.2)).startswith(b"535")
        policy = talk.login.throttle.policy
        while (await talk.say(plain(password=f"x{talk.clock.monotonic()}"))) == b"":
            await talk.turn(policy.longest_delay)
            assert talk.clock.monotonic() < 3600
        assert (await talk.say(plain())).startswith(b"454 4.7.0 Too many failed logins; try again in ")
        await talk.end()

    run(main())


def test_somebody_elses_rubbish_costs_me_nothing(tmp_path: Path) -> None:
    """Case 44: a peer that sends no base64 hears so, and the connection beside it logs in."""

    async def main() -> None:
        talk = submission(tmp_path)
        await talk.connect("192.0.2.66")
        said = await talk.say("EHLO x.test", "AUTH PLAIN", "\\xff*=;", "AUTH LOGIN", "===", "AUTH PLAIN", "ÄÖÜ")
        assert said.count(b"501 5.5.2") == 3 and talk.wire.is_closed
        await talk.heard()
        await talk.connect("192.0.2.77")
        assert (await talk.say("EHLO laptop.test", plain())).endswith(b"235 2.7.0 Welcome\r\n")
        await talk.end()

    run(main())


def test_a_database_that_is_away_is_for_later(tmp_path: Path) -> None:
    async def main() -> None:
        talk = submission(tmp_path)

        async def broken(name: str) -> None:
            raise OSError("away")

        talk.login.lookup = broken
        await talk.connect()
        assert (await talk.say("EHLO x.test", plain())).endswith(b"454 4.7.0 Logins cannot be checked now, try again later\r\n")
        await talk.end()

    run(main())


def test_a_login_is_kept_by_ehlo_and_lost_by_starttls(tmp_path: Path) -> None:
    """RFC 3207 section 4.2."""

    async def main() -> None:
        talk = await logged_in(tmp_path)
        assert (await talk.say("EHLO again.test", f"MAIL FROM:<{ALICE}>", "RSET")).count(b"\r\n250 2.") == 2
        session = talk.connection._session
        assert session is not None and session.peer.user == ALICE and session.peer.trusted
        session.secured("TLSv1.3")
        assert session.peer == Peer(ip=talk.ip, tls="TLSv1.3")
        assert (await talk.say("EHLO again.test", f"MAIL FROM:<{ALICE}>")).endswith(b"530 5.7.0 Authentication required\r\n")
        await talk.end()

    run(main())


def test_no_password_stays_in_the_memory_of_commands(tmp_path: Path) -> None:
    from postroom_smtp import grammar

    async def main() -> None:
        before = grammar.alone.cache_info().currsize, grammar._remembered.cache_info().currsize
        talk = await logged_in(tmp_path)
        assert (grammar.alone.cache_info().currsize, grammar._remembered.cache_info().currsize) == before
        await talk.end()

    run(main())


def test_pipelined_behind_auth_waits_for_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        talk = submission(tmp_path)
        await talk.connect()
        await talk.say("EHLO x.test")
        said = await talk.send(f"{plain()}\r\nMAIL FROM:<{ALICE}>\r\n".encode())
        assert said == b"235 2.7.0 Welcome\r\n250 2.1.0 Sender ok\r\n"
        await talk.end()

    run(main())


def test_port_25_offers_no_login_unless_it_is_told_to(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        said = await talk.say("EHLO x.test", plain())
        assert b"AUTH" not in said.rpartition(b"HELP\r\n")[0] and said.endswith(b"502 5.5.1 Command not implemented\r\n")
        await talk.end()
        talk = submission(tmp_path, Listen(port=0, auth=True, tls="implicit"))
        await talk.connect()
        assert (await talk.say("EHLO x.test", "MAIL FROM:<stranger@else.test>", "RSET")).endswith(
            b"250 2.1.0 Sender ok\r\n250 2.0.0 Ok\r\n"
        )
        assert await talk.say(plain()) == b"235 2.7.0 Welcome\r\n"
        assert (await talk.say("MAIL FROM:<stranger@else.test>")).startswith(b"550 5.7.1")
        await talk.end()

    run(main())


def test_a_token_of_the_issuer_is_a_login(tmp_path: Path) -> None:
    """OAUTHBEARER and XOAUTH2 against keys in the site's folder; what the verifier refuses ends after the client's empty answer."""
    (tmp_path / "keys.json").write_bytes(KEYS)
    oauth = {"issuer": "https://id.test", "audience": "postroom", "keys": "keys.json"}
    settings = SmtpSettings.model_validate(
        {"listen": [{"port": 0, "submission": True, "tls": "implicit"}], "auth": {"mechanisms": ["OAUTHBEARER", "XOAUTH2"], "oauth": oauth}}
    )

    async def main() -> None:
        served = Served(tmp_path, settings, certificate(tmp_path))
        clock = served.agent.house.clock
        good = token(claims(exp=clock.now() + 60, email=ALICE))
        late = token(claims(exp=clock.now() - 120, email=ALICE))
        foreign = token(claims(exp=clock.now() + 60, email="nobody@example.test"))
        async with served:
            client = await Client.connect(served.ports["submissions"], trusting())
            await client.reply()
            said = await client.say("EHLO laptop.test", f"AUTH OAUTHBEARER {bearer(ALICE, late)}", "AQ==")
            assert b"AUTH OAUTHBEARER XOAUTH2\r\n" in said[0] and said[1].startswith(b"334 ") and said[2].startswith(b"535 5.7.8")
            said = await client.say(f"AUTH OAUTHBEARER {bearer('nobody@example.test', foreign)}", "AQ==")
            assert said[1].startswith(b"535 5.7.8")
            assert (await client.say(f"AUTH OAUTHBEARER {bearer(ALICE, good)}"))[0] == b"235 2.7.0 Welcome\r\n"
            client.writer.close()
            client = await Client.connect(served.ports["submissions"], trusting())
            await client.reply()
            old = b64encode(f"user={ALICE}\x01auth=Bearer {good}\x01\x01".encode()).decode()
            assert (await client.say("EHLO laptop.test", f"AUTH XOAUTH2 {old}"))[1] == b"235 2.7.0 Welcome\r\n"
            client.writer.close()

    run(main())


def bearer(login: str, shown: str) -> str:
    return b64encode(f"n,a={login},\x01auth=Bearer {shown}\x01\x01".encode()).decode()


@pytest.mark.parametrize("table", [{"mechanisms": ["XOAUTH2"]}, {"oauth": {"issuer": "x"}}])
def test_tokens_need_an_issuer(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SmtpSettings.model_validate({"auth": table})
