"""The manual's table of extensions against what the server says it can do, and against what was asked for."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

import pytest

from tests.plugins_imap4.house import Served
from tests.plugins_imap4.test_conversations import served

MANUAL = Path(__file__).parents[2] / "docs" / "manual.md"
STATES = ("done", "off", "not done")
ON = (  # what is off by itself, turned on
    "plaintext: false, message_limit: 100, mechanisms: [SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN, CRAM-MD5, OAUTHBEARER, XOAUTH2], "
    "oauth: {issuer: 'https://id.test', audience: mail, keys: keys.json}"
)
ASKED = (
    "IDLE ENABLE ID SASL-IR LITERAL+ UNSELECT CHILDREN NAMESPACE UIDPLUS MOVE CONDSTORE QRESYNC SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED "
    "LIST-STATUS LIST-MYRIGHTS ESEARCH SEARCHRES WITHIN SEARCH=FUZZY MULTISEARCH PARTIAL SORT SORT=DISPLAY ESORT THREAD=REFERENCES "
    "THREAD=ORDEREDSUBJECT QUOTA ACL METADATA NOTIFY BINARY CATENATE MULTIAPPEND REPLACE APPENDLIMIT STATUS=SIZE SAVEDATE OBJECTID PREVIEW "
    "UTF8=ACCEPT COMPRESS=DEFLATE UIDONLY MESSAGELIMIT INPROGRESS UNAUTHENTICATE IMAP4rev1 IMAP4rev2 AUTH=PLAIN AUTH=LOGIN AUTH=SCRAM-SHA-256 "
    "AUTH=SCRAM-SHA-256-PLUS AUTH=OAUTHBEARER AUTH=XOAUTH2 LOGINDISABLED STARTTLS"
)


@cache
def rows() -> list[list[str]]:
    """Cells of the table's lines."""
    chapter = MANUAL.read_text("utf-8").split("\n## IMAP\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in chapter.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def with_state(*states: str) -> set[str]:
    return {row[0] for row in rows() if row[2] in states}


async def _said(at: Served) -> set[str]:
    """Capabilities in every state and way to connect, without the numbers that two of them say."""
    at.trust.maximum_version = ssl.TLSVersion.TLSv1_2  # where channel binding can be had
    found = set[str]()
    plain, sealed = await at.connect(), await at.connect("imaps")
    lines = [*await plain.ok("CAPABILITY"), *await sealed.ok("CAPABILITY")]
    await sealed.log_in()
    for line in (*lines, *await sealed.ok("CAPABILITY")):
        found |= {word.split("=")[0] if "LIMIT=" in word else word for word in line.decode().split()[2:]}
    await plain.close()
    await sealed.close()
    return found


@pytest.mark.parametrize(("settings", "states"), [("plaintext: false", ("done",)), (ON, ("done", "off"))])
def test_the_table_is_what_the_server_says(tmp_path: Path, settings: str, states: tuple[str, ...]) -> None:
    async def test(at: Served) -> None:
        assert await _said(at) == with_state(*states)

    served(tmp_path, test, settings)


def test_every_line_of_the_table_can_be_read() -> None:
    assert len(rows()) == len({row[0] for row in rows()})
    for extension, rfc, state, _ in rows():
        assert extension and state in STATES and (not rfc or rfc.isdigit()), extension
    names = [row[0] for row in rows()[2:]]
    assert names == sorted(names), "by name, the two protocols first"


def test_nothing_that_was_asked_for_is_passed_over() -> None:
    asked = set(ASKED.split())
    assert not asked - with_state(*STATES)
    assert not asked & with_state("not done")


@pytest.mark.parametrize(
    "command",
    [
        "CANCELUPDATE x",
        "GENURLAUTH x INTERNAL",
        "CONVERSIONS text/plain text/html",
    ],
)
def test_what_is_not_done_is_refused(tmp_path: Path, command: str) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        assert (await client.say(command))[-1].startswith(b"T BAD")
        await client.close()

    served(tmp_path, test)
