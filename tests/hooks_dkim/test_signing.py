"""What goes out and what does not: which mail is signed, for which domain, how often, and what a wrong key means."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from postroom.envelope import Peer
from postroom.message import FileMessage, MemoryMessage
from postroom.transfer import Defer, Pass, Reject
from postroom_dkim.shelf import LIST
from postroom_testing.faults import FaultDisk
from tests.hooks_dkim.house import HERE, OUTSIDE, TEXT, Bench, large, signing, small, verdicts

TRACED = b"Return-Path: <ann@example.test>\r\nReceived: from pc\r\n\tby us\r\n" + TEXT
MADE_HERE = Peer()


def test_both_signatures_verify(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path) as bench:
            text = await bench.signed(small())
            assert verdicts(text, bench.zone()) == [True, True]
            assert text.endswith(TEXT) and text.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n\td=example.test; s=")
            assert b"l=" not in text.replace(b"rel", b"") and b"t=1700000000;" in text
            assert verdicts(text.replace(b"Subject: hello", b"Subject: other"), bench.zone()) == [False, False]

    asyncio.run(main())


def test_return_path_stays_in_front(tmp_path: Path) -> None:
    """Whoever relays it cuts it off where it stands first."""

    async def main() -> None:
        async with signing(tmp_path) as bench:
            text = await bench.signed(small(TRACED))
            assert text.startswith(b"Return-Path: <ann@example.test>\r\nDKIM-Signature: ") and text.endswith(TRACED[33:])
            assert verdicts(text.partition(b"\r\n")[2], bench.zone()) == [True, True]

    asyncio.run(main())


SHAPES = {
    "no body": TEXT.partition(b"\r\n\r\n")[0] + b"\r\n",
    "an empty body": TEXT.partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
    "no last line end": TEXT + b"so long",
    "bare line ends": TEXT + b"a\rb\nc\r\r\n\n\r",
    "8-bit": TEXT + "Grüße\r\n".encode(),
    "NULs": TEXT + b"\0\0 \0\r\n",
    "a field of folds": TEXT.replace(b"hello", b"\r\n \r\n\thello\r\n ,  you"),
    "blanks before a colon": TEXT.replace(b"Subject:", b"X-Own:"),
    "many of one name": b"To: a@example.org\r\nCc: c@example.org\r\nCc: d@example.org\r\n" + TEXT,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_verifies_as_it_is_sent(shape: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path, "algorithms: [ed25519]") as bench:
            text = await bench.signed(small(SHAPES[shape]))
            assert verdicts(text, bench.zone()) == [True]
            assert b"\r" not in text.replace(b"\r\n", b"") and b"\n" not in text.replace(b"\r\n", b"")

    asyncio.run(main())


@pytest.mark.parametrize("form", ["relaxed", "simple"])
def test_a_large_message_is_copied_signed_and_its_copy_goes(form: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path, f"simple_above: {0 if form == 'simple' else 100_000_000}") as bench:
            original = large(tmp_path, TRACED)
            before = original.path.read_bytes()
            verdict, after = await bench.ask(original)
            assert isinstance(after, FileMessage) and after.id == original.id and isinstance(verdict, Pass)
            text, path = after.path.read_bytes(), str(after.path)
            assert len(text) == after.size and text.endswith(before[33:]) and f"c=relaxed/{form};".encode() in text
            assert verdicts(text.partition(b"\r\n")[2], bench.zone()) == [True, True]
            assert original.path.read_bytes() == before
            again = replace(after, id="A" * 32)
            del after
            assert Path(path).exists()
            del again
            assert not Path(path).exists()

    asyncio.run(main())


def test_a_large_message_with_bare_line_ends_and_a_large_header(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path, "algorithms: [ed25519]") as bench:
            head = b"X-Long: " + b"a\r\n b" * 70_000 + b"\r\n" + TEXT
            text = await bench.signed(large(tmp_path, head, 1_500_000, line=b"0123456\r890\nabc\r\n"))
            assert verdicts(text, bench.zone()) == [True]

    asyncio.run(main())


PEERS = {
    "logged in": (HERE, "SMTP", True),
    "trusted": (Peer(ip="192.0.2.9", trusted=True), "SMTP", True),
    "a notice of ours": (MADE_HERE, "SMTP", True),
    "a list of ours": (MADE_HERE, "LS", True),
    "outside": (OUTSIDE, "SMTP", False),
    "fetched by POP": (MADE_HERE, "POP", False),
    "a login of another post office": (replace(HERE, account="other.test"), "SMTP", False),
}


@pytest.mark.parametrize("who", PEERS)
def test_only_what_we_originate_is_signed(who: str, tmp_path: Path) -> None:
    async def main() -> None:
        peer, source, signed = PEERS[who]
        async with signing(tmp_path) as bench:
            message = small()
            _, after = await bench.ask(message, peer=peer, source=source)
            assert (after is not message) is signed

    asyncio.run(main())


def test_another_post_offices_domain_where_the_operator_allows_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path, "any_postoffice: true") as bench:
            assert b"d=example.test" in await bench.signed(small(), peer=replace(HERE, account="other.test"))

    asyncio.run(main())


def test_mail_for_mailboxes_is_not_signed(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path) as bench:
            message = small()
            _, after = await bench.ask(message, target="SF")
            assert after is message

    asyncio.run(main())


def from_(value: bytes) -> bytes:
    return TEXT.replace(b"Ann <ann@example.test>", value)


FROMS = {
    "a domain of ours": (from_(b"ann@EXAMPLE.test"), b"d=example.test;"),
    "below a domain of ours": (from_(b"Mail delivery <postmaster@mail.example.test>"), b"d=example.test;"),
    "the nearest": (from_(b"ann@x.sub.example.test"), b"d=sub.example.test;"),
    "two authors of one domain": (from_(b"ann@example.test, bob@example.test"), b"d=example.test;"),
    "a group": (from_(b"team: ann@example.test;"), b"d=example.test;"),
    "an IDN": (from_("ann@bücher.test".encode()), b"d=xn--bcher-kva.test;"),
    "not ours": (from_(b"ann@example.org"), b""),
    "an address literal of ours": (from_(b"ann@[192.0.2.1]"), b""),
    "ours only in its end": (from_(b"ann@notexample.test"), b""),
    "a name that lies": (from_(b'"ann@example.test" <eve@example.org>'), b""),
    "two domains": (from_(b"ann@example.test, eve@example.org"), b""),
    "no address": (from_(b"Ann"), b""),
    "a path": (from_(b"ann@../../example.test"), b""),
    "no From": (TEXT.partition(b"\r\n")[2], b""),
    "two From": (b"From: eve@example.org\r\n" + TEXT, b""),
    "a line that is no field": (b"hello there\r\n" + TEXT, b""),
    "a fold before the first field": (b" \r\n" + TEXT, b""),
    "nothing": (b"", b""),
    "no header": (b"\r\n" + TEXT, b""),
    "a header without end": (TEXT.replace(b"\r\n\r\n", b"\r\nX: " + b"y\r\n\t" * 500_000), b""),
}


@pytest.mark.parametrize("how", FROMS)
def test_the_domain_is_that_of_from(how: str, tmp_path: Path) -> None:
    async def main() -> None:
        data, says = FROMS[how]
        domains = dict.fromkeys(("example.test", "sub.example.test", "xn--bcher-kva.test", "[192.0.2.1]"), "example.test")
        async with signing(tmp_path, "algorithms: [ed25519]", domains=domains) as bench:
            message = small(data)
            _, after = await bench.ask(message)
            text = await after.read()
            assert says in text if says else after is message
            assert says or "dkim.unsigned" in bench.lines.events("info")

    asyncio.run(main())


def test_a_domain_gets_its_keys_when_it_is_first_asked(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path) as bench:
            texts = await asyncio.gather(*(bench.signed(small(TEXT + b"%d\r\n" % n)) for n in range(8)))
            folder = tmp_path / "dkim/example.test"
            names = sorted(path.name for path in folder.iterdir())
            assert names == ["20231114e.ed25519.pem", "20231114e.txt", "20231114r.rsa.pem", "20231114r.txt", "keys.json"]
            assert all(verdicts(text, bench.zone()) == [True, True] for text in texts)
            assert {path.stat().st_mode & 0o777 for path in [*folder.glob("*.pem"), folder / LIST]} == {0o600}
            assert (folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777) == (0o700, 0o700)

    asyncio.run(main())


def test_signed_once_over_retries_and_a_second_signer(tmp_path: Path) -> None:
    """An attempt shows the stored message and gets the same signature; a message that comes with our signatures gets none."""

    async def main() -> None:
        async with signing(tmp_path) as bench:
            message = small()
            first, again = [await bench.signed(message) for _ in (1, 2)]
            assert first == again and first.count(b"DKIM-Signature:") == 2
            borne = small(first)
            _, after = await bench.ask(borne)
            assert after is borne
            forged = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.test; s=other; b=; bh=\r\nDKIM-Signature: rubbish; ;=\r\n" + TEXT
            assert (await bench.signed(small(forged))).count(b"DKIM-Signature:") == 4
            only = first.partition(b"\r\nDKIM-Signature: v=1; a=ed25519")[0] + b"\r\n" + TEXT
            completed = await bench.signed(small(only))
            assert completed.count(b"a=rsa-sha256") == completed.count(b"a=ed25519-sha256") == 1
            assert verdicts(completed, bench.zone()) == [True, True]

    asyncio.run(main())


def test_settings_of_a_signature(tmp_path: Path) -> None:
    async def main() -> None:
        options = "expire: 7, headers: [Subject, From], oversign: [Subject, Reply-To], algorithms: [ed25519]"
        async with signing(tmp_path, options) as bench:
            text = await bench.signed(small())
            assert b"t=1700000000; x=1700604800;" in text and b"h=from:from:subject:subject:reply-to;" in text
            assert verdicts(b"Reply-To: eve@example.org\r\n" + text, bench.zone()) == [False]

    asyncio.run(main())


def test_a_header_that_repeats_itself_makes_no_endless_signature(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path, "algorithms: [ed25519]") as bench:
            text = await bench.signed(small(b"To: a@example.org\r\n" * 5000 + TEXT))
            assert text.index(b"\r\nTo:") < 1500 and verdicts(text, bench.zone()) == [True]

    asyncio.run(main())


# Keys that are wrong.


async def spoilt(bench: Bench, name: str) -> None:
    await bench.signed(small())
    folder = bench.parts.site.root / "dkim/example.test"
    (rsa,) = folder.glob("*.rsa.pem")
    match name:
        case "missing":
            rsa.unlink()
        case "no key":
            rsa.write_text("nothing of the kind")
        case "no list":
            (folder / LIST).write_text('{"sets": []}')
        case "a list of other files":
            (folder / LIST).write_text('{"sets": [{"name": "x", "state": "active", "since": 0, "keys": ["../../etc/x.rsa.pem"]}]}')


@pytest.mark.parametrize("how", ["missing", "no key", "no list", "a list of other files"])
@pytest.mark.parametrize(("policy", "verdict"), [("defer", Defer), ("reject", Reject), ("pass", Pass)])
def test_a_wrong_key_is_told_and_the_operators_policy_holds(how: str, policy: str, verdict: type, tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path, f"on_bad_key: {policy}") as bench:
            await spoilt(bench, how)
            for _ in range(12):  # more than would open the breaker
                message = small(TEXT + b"again\r\n")
                said, after = await bench.ask(message)
                assert isinstance(said, verdict) and after is message
            told = [facts for _, event, facts in bench.lines.told if event == "dkim.key"]
            assert len(told) == 1 and str(tmp_path) in str(told[0]["error"]) and told[0]["domain"] == "example.test"
            assert [line for line in bench.parts.host.health(bench.parts.site) if "dkim" in line]
            assert bench.parts.host.check(bench.parts.site)
            _, outside = await bench.ask(message, peer=OUTSIDE)
            assert outside is message, "other mail goes on"

    asyncio.run(main())


def test_a_mended_key_is_taken_with_the_next_message(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path) as bench:
            await bench.signed(small())
            (rsa,) = (tmp_path / "dkim/example.test").glob("*.rsa.pem")
            pem = rsa.read_bytes()
            rsa.write_bytes(b"")
            assert isinstance((await bench.ask(small()))[0], Defer)
            rsa.write_bytes(pem)
            assert verdicts(await bench.signed(small()), bench.zone()) == [True, True]
            assert not [line for line in bench.parts.host.health(bench.parts.site) if "dkim" in line]

    asyncio.run(main())


def test_a_full_disk_defers_until_it_has_room_for_the_keys(tmp_path: Path) -> None:
    async def main() -> None:
        disk = FaultDisk()
        async with signing(tmp_path, "algorithms: [ed25519]", disk=disk) as bench:
            disk.calls.clear()
            disk.at, disk.how = 3, "full"
            assert isinstance((await bench.ask(small()))[0], Defer)
            disk.heal()
            assert verdicts(await bench.signed(small()), bench.zone()) == [True]

    asyncio.run(main())


def test_a_message_shorter_than_it_says_is_not_signed_half(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path) as bench:
            for message in (large(tmp_path), large(tmp_path, octets=1000)):
                short = replace(message, size=message.size + 1)
                verdict, after = await bench.ask(short)
                assert isinstance(verdict, Defer) and after is short and not list((tmp_path / "run/dkim/0").iterdir())

    asyncio.run(main())


def test_a_small_message_in_a_file_needs_no_copy(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path) as bench:
            _, after = await bench.ask(large(tmp_path, octets=100_000))
            assert isinstance(after, MemoryMessage)

    asyncio.run(main())
