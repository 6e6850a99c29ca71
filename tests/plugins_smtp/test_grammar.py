"""postroom_smtp.grammar: lines and the commands they are. RFC 5321 section 4.1.2, as tables of cases."""

from __future__ import annotations

import pytest

from postroom.address import smtp
from postroom.envelope import Recipient
from postroom_smtp import replies
from postroom_smtp.grammar import (
    LINE,
    Auth,
    Bdat,
    ChunkSizeUnknown,
    Command,
    Data,
    Etrn,
    Hello,
    Help,
    Mail,
    Noop,
    NotOffered,
    Quit,
    Rcpt,
    Reset,
    StartTls,
    Verify,
    Wrong,
    alone,
    mailbox,
    parse,
    xtext,
)


def code(command: Command) -> int:
    assert isinstance(command, Wrong), command
    return int(command.reply[:3])


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"EHLO mail.peer.test", Hello("mail.peer.test", True)),
        (b"helo peer", Hello("peer", False)),
        (b"EHLO [192.0.2.1]", Hello("[192.0.2.1]", True)),
        (b"EHLO [IPv6:2001:db8::1] ", Hello("[IPv6:2001:db8::1]", True)),
        (b"DATA", Data()),
        (b"data  ", Data()),
        (b"BDAT 0 LAST", Bdat(0, True)),
        (b"bdat 86400 last", Bdat(86400, True)),
        (b"BDAT 17", Bdat(17, False)),
        (b"RSET", Reset()),
        (b"NOOP", Noop()),
        (b"NOOP anything at all", Noop()),
        (b"QUIT", Quit()),
        (b"VRFY alice", Verify()),
        (b"HELP MAIL", Help()),
        (b"STARTTLS", StartTls()),
        (b"EXPN list", NotOffered()),
        (b"AUTH PLAIN", Auth("PLAIN")),
        (b"auth plain AGEAYg==", Auth("PLAIN", b"AGEAYg==")),
        (b"AUTH LOGIN =", Auth("LOGIN", b"=")),
        (b"ETRN @x", Etrn("@x")),
        (b"ETRN example.test ", Etrn("example.test")),
        (b"BDAT", ChunkSizeUnknown()),
        (b"BDAT -1 LAST", ChunkSizeUnknown()),
        (b"BDAT 1 2", ChunkSizeUnknown()),
        (b"BDAT 9999999999999999", ChunkSizeUnknown()),
        (b"BDAT 10 LAST LAST", ChunkSizeUnknown()),
    ],
)
def test_commands(line: bytes, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        (b"<a@b.test>", "a@b.test"),
        (b"<First.Last+tag@B.Test>", "First.Last+tag@B.Test"),
        (b"<!#$%&'*+-/=?^_`{|}~@b>", "!#$%&'*+-/=?^_`{|}~@b"),
        (b"<a@1.2.3.test>", "a@1.2.3.test"),
        (b'<"john doe"@b.test>', '"john doe"@b.test'),
        (b'<"john.doe"@b.test>', "john.doe@b.test"),  # quotes that say nothing
        (b'<"\\j\\o"@b.test>', "jo@b.test"),
        (b'<"a\\"b\\\\c"@b.test>', '"a\\"b\\\\c"@b.test'),
        (b'<""@b.test>', '""@b.test'),
        (b'<"a@b"@c.test>', '"a@b"@c.test'),
        (b'<"a>b"@c.test>', '"a>b"@c.test'),
        (b"<@one.test,@two.test:a@b.test>", "a@b.test"),  # RFC 5321 appendix C: read and stripped
        (b"<a@[192.0.2.7]>", "a@[192.0.2.7]"),
        (b"<a@[IPv6:2001:DB8:0::1]>", "a@[IPv6:2001:db8::1]"),
        (b"<a@" + b"x" * 63 + b".test>", "a@" + "x" * 63 + ".test"),
        (b"<" + b"l" * 64 + b"@b.test>", "l" * 64 + "@b.test"),
        (b"<SRS0=" + b"l" * 250 + b"@b.test>", "SRS0=" + "l" * 250 + "@b.test"),  # what forwarders make of a long address
        (b"<srs1+" + b"l" * 95 + b"@b.test>", "srs1+" + "l" * 95 + "@b.test"),
    ],
)
def test_paths(path: bytes, detail: str) -> None:
    assert parse(b"MAIL FROM:" + path) == Mail(smtp(detail))
    assert parse(b"rcpt to: " + path) == Rcpt(Recipient(smtp(detail)))
    command = parse(b"MAIL FROM:" + path)
    assert isinstance(command, Mail) and command.sender is not None and command.sender.detail == detail  # as written, case and all


@pytest.mark.parametrize(
    "path",
    [
        b"", b"a@b.test", b"<a@b.test", b"a@b.test>", b"<a>", b"<@>", b"<@", b"<a@>", b"<@b.test>", b"<<a@b.test>>", b"<a@b@c>",
        b"< a@b.test >", b"<a @b.test>", b"<a@b .test>", b"<a(comment)@b.test>", b"<a@(comment)b.test>", b"<.a@b>", b"<a.@b>", b"<a..b@c>",
        b"<a@.b>", b"<a@b.>", b"<a@b..c>", b"<a@-b.test>", b"<a@b-.test>", b"<a@b_c.test>", b"<a@[192.0.2]>", b"<a@[192.0.2.256]>",
        b"<a@[1.2.3.4.]>", b"<a@[IPv6:::1::]>", b"<a@[IPv6:1.2.3.4]>", b"<a@[2001:db8::1]>", b"<a@[]>", b'<"a"b@c>', b'<"a@c>', b'<a"@c>',
        b'<"a\\"@c>', b"<group:a@b.test;>", b"<a@b.test>, <c@d.test>", b"<a@b.test>x", b"<@one.test:>", b"<@one.test,a@b.test>", b"<one.test:a@b>",
        b"<" + b"l" * 65 + b"@b.test>", b"<SRS0=" + b"l" * 251 + b"@b.test>", b"<SRS0x" + b"l" * 60 + b"@b.test>", b"<a@" + b"x" * 64 + b".test>", b"<a@" + b".".join([b"x" * 50] * 6) + b">", b"<a@b.test\\>",
    ],
)  # fmt: skip
def test_paths_that_are_none(path: bytes) -> None:
    """Case 25: no IndexError, no guess, no half of an address."""
    assert code(parse(b"MAIL FROM:" + path)) == 501
    assert code(parse(b"RCPT TO:" + path)) == 501


def test_the_null_path_is_a_sender_only() -> None:
    assert parse(b"MAIL FROM:<>") == Mail(None)
    assert code(parse(b"RCPT TO:<>")) == 501
    assert parse(b"RCPT TO:<postMASTER>") == Rcpt(Recipient(smtp("postMASTER")))
    assert code(parse(b"MAIL FROM:<postmaster>")) == 501


@pytest.mark.parametrize(
    ("tail", "fields"),
    [
        (b"SIZE=123", {"size": 123}),
        (b"size=00", {"size": 0}),
        (b"BODY=8bitmime", {"body": "8BITMIME"}),
        (b"BODY=BINARYMIME SMTPUTF8", {"body": "BINARYMIME", "utf8": True}),
        (b"RET=hdrs ENVID=QQ314159", {"ret": "HDRS", "envid": "QQ314159"}),
        (b"ENVID=a+2Bb+20C", {"envid": "a+b C"}),  # the case of an envelope id is its sender's business
        (b"AUTH=<>", {"auth": "<>"}),
        (b"AUTH=e+3Dmc2@b.test", {"auth": "e=mc2@b.test"}),
        (b"AUTH=<>  RET=FULL", {"auth": "<>", "ret": "FULL"}),
    ],
)
def test_mail_parameters(tail: bytes, fields: dict[str, str | int | bool]) -> None:
    command = parse(b"MAIL FROM:<a@b.test> " + tail)
    assert isinstance(command, Mail)
    assert {name: getattr(command, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("tail", "notify", "original"),
    [
        (b"NOTIFY=NEVER", {"NEVER"}, ""),
        (b"notify=success,Delay", {"SUCCESS", "DELAY"}, ""),
        (b"ORCPT=rfc822;Bob+2BNews@Ivory.EDU", set(), "rfc822;Bob+News@Ivory.EDU"),
        (b"NOTIFY=FAILURE ORCPT=utf-8;\\x{FC}ber@b.test", {"FAILURE"}, "utf-8;über@b.test"),
    ],
)
def test_rcpt_parameters(tail: bytes, notify: set[str], original: str) -> None:
    command = parse(b"RCPT TO:<a@b.test> " + tail)
    assert isinstance(command, Rcpt)
    assert (command.recipient.notify, command.recipient.original) == (frozenset(notify), original)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"MAIL FROM:<a@b> SIZE", 501),
        (b"MAIL FROM:<a@b> SIZE=", 501),
        (b"MAIL FROM:<a@b> SIZE=-1", 501),
        (b"MAIL FROM:<a@b> SIZE=" + b"9" * 21, 501),
        (b"MAIL FROM:<a@b> SIZE=1 size=1", 501),
        (b"MAIL FROM:<a@b> SIZE=1=2", 501),
        (b"MAIL FROM:<a@b> BODY=9BIT", 501),
        (b"MAIL FROM:<a@b> SMTPUTF8=yes", 501),
        (b"MAIL FROM:<a@b> RET=ALL", 501),
        (b"MAIL FROM:<a@b> ENVID=" + b"x" * 101, 501),
        (b"MAIL FROM:<a@b> ENVID=a+0D+0Ab", 501),  # CRLF in an xtext would reach a notice's header
        (b"MAIL FROM:<a@b> ENVID=a+0d", 501),
        (b"MAIL FROM:<a@b> FUTURE=1", 555),
        (b"MAIL FROM:<a@b>SIZE=1", 501),
        (b"MAIL FROM:<a@b> =1", 501),
        (b"MAIL FROM:<a@b> NOTIFY=NEVER", 555),
        (b"RCPT TO:<a@b> NOTIFY=NEVER,DELAY", 501),
        (b"RCPT TO:<a@b> NOTIFY=SUCCESS,SUCCESS", 501),
        (b"RCPT TO:<a@b> NOTIFY=", 501),
        (b"RCPT TO:<a@b> ORCPT=rfc822", 501),
        (b"RCPT TO:<a@b> ORCPT=rfc822;", 501),
        (b"RCPT TO:<a@b> ORCPT=rfc822;a+00", 501),
        (b"RCPT TO:<a@b> ORCPT=utf-8;\\x{D800}", 501),
        (b"RCPT TO:<a@b> ORCPT=utf-8;\\x{FFFFFF}", 501),
        (b"RCPT TO:<a@b> ORCPT=rfc822;" + b"x" * 500, 501),
        (b"RCPT TO:<a@b> SIZE=1", 555),
        (b"MAILFROM:<a@b>", 501),
        (b"MAIL<a@b>", 501),
        (b"MAILXFROM:<a@b>", 501),
        (b"MAIL", 501),
        (b"RCPT", 501),
        (b"MAIL FROM", 501),
        (b"RCPT FROM:<a@b>", 501),
        (b"EHLO", 501),
        (b"EHLO <script>", 501),
        (b"EHLO a" + b"b" * 255, 501),
        (b"QUIT now", 501),
        (b"STARTTLS x", 501),
        (b"", 500),
        (b" ", 500),
        (b" NOOP", 500),
        (b"DATAX", 500),
        (b"BDATX 3", 500),
        (b"XCLIENT ADDR=127.0.0.1", 500),
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2", 500),
        (b"GET / HTTP/1.1", 500),
        (b"NOOP " + b"x" * LINE, 500),
    ],
)
def test_lines_that_are_refused(line: bytes, wanted: int) -> None:
    assert code(parse(line)) == wanted


@pytest.mark.parametrize("octet", [*range(32), 127, *range(128, 256)])
def test_octets_that_no_command_may_hold(octet: int) -> None:
    """Case 23: 8-bit and NUL in commands are 500, whatever the command."""
    for line in (b"NOOP a%cb", b"EHLO a%c", b"MAIL FROM:<a%c@b>", b"RCPT TO:<a@b> ORCPT=rfc822;%c", b"D%cTA"):
        assert code(parse(line % octet, utf8=True)) == 500


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("MAIL FROM:<jürgen@b.test> SMTPUTF8", "jürgen@b.test"),
        ("MAIL FROM:<a@Bücher.test> SMTPUTF8", "a@xn--bcher-kva.test"),
        ('MAIL FROM:<"ü ü"@b.test> SMTPUTF8', '"ü ü"@b.test'),
        ("MAIL FROM:<用户@例子.test> SMTPUTF8 BODY=8BITMIME", "用户@xn--fsqu00a.test"),
    ],
)
def test_addresses_beyond_ascii(line: str, detail: str) -> None:
    command = parse(line.encode())
    assert isinstance(command, Mail) and command.sender is not None and command.sender.detail == detail


def test_addresses_beyond_ascii_need_leave() -> None:
    """RFC 6531 section 3.5: 553 5.6.7 without SMTPUTF8; 500 for what is no UTF-8."""
    assert parse("MAIL FROM:<ü@b.test>".encode()) == Wrong(replies.wire(replies.NOT_ASCII))
    assert parse("MAIL FROM:<ü@b.test> SIZE=1".encode()) == Wrong(replies.wire(replies.NOT_ASCII))
    assert parse("RCPT TO:<ü@b.test>".encode()) == Wrong(replies.wire(replies.NOT_ASCII))
    assert isinstance(parse("RCPT TO:<ü@b.test>".encode(), utf8=True), Rcpt)
    assert code(parse("MAIL FROM:<a@\u2028.test> SMTPUTF8".encode())) == 501
    assert code(parse(b"MAIL FROM:<\xc3@b.test> SMTPUTF8")) == 500
    assert code(parse(("MAIL FROM:<" + "ü" * 33 + "@b.test> SMTPUTF8").encode())) == 501  # 66 octets of local part


def test_xtext() -> None:
    assert xtext("a+2Bb") == "a+b"
    assert xtext("") == ""
    assert [xtext(text) for text in ("+", "+2", "+2b", "a=b", "a b", "+7F", "+FF", "ü")] == [None] * 8


def test_a_mailbox_alone() -> None:
    assert mailbox(b"a@b.test") == "a@b.test"
    assert mailbox(b"<a@b.test>") is None
    assert mailbox(b"\xff@b.test") is None


@pytest.mark.parametrize(
    "line",
    [b"NOOP", b"EHLO peer.test", b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@d.test>", b"DATA", b"", b"what", b"NOOP \x01", b"MAIL FROM:<a"],
)
def test_a_packet_of_one_line_is_its_command(line: bytes) -> None:
    assert alone(line + b"\r\n", False) == parse(line)


def test_utf8_counts_in_a_packet_of_one_line_too() -> None:
    line = "RCPT TO:<ü@b.test>".encode()
    assert alone(line + b"\r\n", True) == parse(line, True) != alone(line + b"\r\n", False)


@pytest.mark.parametrize(
    "packet", [b"NOOP", b"NOOP\n", b"NOOP\r", b"NOOP\r\nNOOP\r\n", b"NOOP\nNOOP\r\n", b"\n\r\n", b"BDAT 0 LAST\r\n", b"bdat 5\r\n"]
)
def test_what_is_no_packet_of_one_line_is_read_line_by_line(packet: bytes) -> None:
    assert alone(packet, False) is None


@pytest.mark.parametrize("foul", ["\x85", "\u2028", "\u202e", "\ufeff"])
def test_line_ends_and_controls_beyond_ascii_are_no_part_of_an_address(foul: str) -> None:
    for line in (f"MAIL FROM:<a{foul}b@c.test> SMTPUTF8", f'MAIL FROM:<"a{foul}b"@c.test> SMTPUTF8'):
        assert code(parse(line.encode())) == 501
