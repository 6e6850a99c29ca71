"""Who has logged in writes as nobody else of this site, however From is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom_smtp import header
from tests.plugins_smtp.desk import people, run
from tests.plugins_smtp.submitting import ALICE, logged_in, plain, submission

REFUSED = b"550 5.7.1 bob@example.test is not an address of the login alice@example.test\r\n"


async def told(folder: Path, head: bytes, sender: str = ALICE, **settings: object) -> bytes:
    """What is said to a message with this header, and whether anything was taken."""
    talk = await logged_in(folder, **settings)
    try:
        await talk.say(f"MAIL FROM:<{sender}>", "RCPT TO:<far@away.test>", "DATA")
        said = await talk.send(head + b"\r\n\r\nbody\r\n.\r\n")
        assert bool(talk.messages) == said.startswith(b"250") and not talk.files
        return said
    finally:
        await talk.end()


@pytest.mark.parametrize(
    "head",
    [
        b"From: bob@example.test",
        b"from : The Boss <BOB@Example.TEST>",
        b"From: alice@example.test, bob@example.test",
        b"From: alice@example.test\r\nFrom: bob@example.test",
        b"From: alice@example.test\r\nFROM:\r\n\tbob@example.test",
        b'From: "bob"@example.test',
        b'From: "b\\ob" @ (x) example.test',
        b"From: (alice@example.test) bob@example.test",
        b"From: all: alice@example.test, bob@example.test;",
        b"From: @route.test:bob@example.test",
        b"no field\r\nFrom: bob@example.test",
        b"Subject: " + b"x" * 900 + b"\r\nFrom: bob@example.test",
    ],
)
def test_somebody_elses_address_of_this_site_in_from_is_refused(tmp_path: Path, head: bytes) -> None:
    assert run(told(tmp_path, head)).lower() == REFUSED


def test_a_null_sender_does_not_hide_who_writes(tmp_path: Path) -> None:
    assert run(told(tmp_path, b"From: bob@example.test", sender="")) == REFUSED


@pytest.mark.parametrize(
    "head",
    [
        b"Subject: x",
        b"From: Alice <ALICE@example.test>",
        b"From: bob@example.test <alice@example.test>",
        b"From: alice@private.test",  # no address of this site
        b"X-From: bob@example.test\r\nReply-To: bob@example.test",
        b"From: alice",
    ],
)
def test_what_is_theirs_or_nobodys_here_passes(tmp_path: Path, head: bytes) -> None:
    assert run(told(tmp_path, head)).startswith(b"250")


def test_a_crowd_in_from_is_refused_without_looking_everybody_up(tmp_path: Path) -> None:
    head = b"From: " + b", ".join([b"alice@example.test"] * 101)
    assert run(told(tmp_path, head)) == b"554 5.6.0 Too many addresses in From\r\n"
    assert run(told(tmp_path, head.replace(b", alice@example.test", b"", 1))).startswith(b"250")


def test_the_operator_may_allow_it(tmp_path: Path) -> None:
    assert run(told(tmp_path, b"From: bob@example.test", own_from=False)).startswith(b"250")


def test_an_international_name_of_our_domain_is_ours_too(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        await talk.say(f"MAIL FROM:<{ALICE}> SMTPUTF8", "RCPT TO:<far@away.test>", "DATA")
        said = await talk.send("From: bob@bücher.test\r\n\r\nbody\r\n.\r\n".encode())
        assert said == b"550 5.7.1 bob@xn--bcher-kva.test is not an address of the login alice@example.test\r\n"
        await talk.end()

    run(main())


def test_an_administrator_writes_as_his_people(tmp_path: Path) -> None:
    async def main() -> None:
        talk = submission(tmp_path)
        talk.people.update(people("ADMIN"))
        await talk.connect()
        await talk.say("EHLO x.test", plain(), "MAIL FROM:<bob@example.test>", "RCPT TO:<far@away.test>", "DATA")
        assert (await talk.send(b"From: bob@example.test\r\n\r\nx\r\n.\r\n")).startswith(b"250")
        await talk.end()

    run(main())


def test_a_large_message_is_refused_by_its_header_before_it_meets_the_disk(tmp_path: Path) -> None:
    async def main() -> None:
        talk = await logged_in(tmp_path)
        await talk.say(f"MAIL FROM:<{ALICE}>", "RCPT TO:<far@away.test>", "DATA")
        assert not await talk.send(b"From: bob@example.test\r\n\r\n" + b"x" * 70 * 4000 + b"\r\n") and not talk.files
        assert await talk.send(b".\r\n") == REFUSED
        assert (await talk.say(f"MAIL FROM:<{ALICE}>")).startswith(b"250")
        await talk.say("RCPT TO:<far@away.test>")
        assert (await talk.send(b"BDAT 24 LAST\r\nFrom: bob@example.test\r\n")) == REFUSED
        await talk.say(f"MAIL FROM:<{ALICE}> BODY=BINARYMIME", "RCPT TO:<far@away.test>")
        assert (await talk.send(b"BDAT 38 LAST\r\nSubject: x\rFrom: bob@example.test\r\n\r\n\x00")) == REFUSED
        await talk.end()

    run(main())


def test_strangers_may_write_what_they_want(tmp_path: Path) -> None:
    """Their mail is for SPF, DKIM and DMARC to judge."""
    from tests.plugins_smtp.desk import Talk

    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        assert (await talk.send(b"From: bob@example.test\r\n\r\nx\r\n.\r\n")).startswith(b"250")
        await talk.end()

    run(main())


def test_authors_are_read_in_linear_time() -> None:
    assert list(header.authors(b"From: a@b.test\r\n" * 3)) == ["a@b.test"] * 3
    assert list(header.authors(b"From:" + b"\r\n " * 30_000 + b"a@b.test\r\n")) in ([], ["a@b.test"])
