"""How a command ends: OK, NO or BAD, a response code (RFC 9051 section 7.1, RFC 5530), a text for people."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import basename
from typing import Final

from postroom.errors import FolderExists, NoSuchFolder, NoSuchMessage, OverQuota, StoreError
from postroom_disk.disk import DamagedFile, DiskError
from postroom_imap4.answers import line_text
from postroom_imap4.names import BadName
from postroom_imap4.numbers import BadNumber
from postroom_imap4.rights import NotPermitted


@dataclass(frozen=True, slots=True)
class Ended:
    """One tagged response, without its tag."""

    status: bytes
    text: str
    code: bytes = b""  # without brackets

    @property
    def is_ok(self) -> bool:
        return self.status == b"OK"

    def line(self, tag: bytes) -> bytes:
        code = b"[%b] " % self.code if self.code else b""
        return b"%b %b %b%b\r\n" % (tag, self.status, code, line_text(self.text))


def ok(text: str, code: bytes = b"") -> Ended:
    return Ended(b"OK", text, code)


def no(text: str, code: bytes = b"") -> Ended:
    return Ended(b"NO", text, code)


def bad(text: str, code: bytes = b"") -> Ended:
    return Ended(b"BAD", text, code)


NO_NUMBERS: Final = bad("message numbers are off, say it with UID", b"UIDREQUIRED")  # RFC 9586 section 3


def untagged(text: str, code: bytes = b"") -> bytes:
    """`* OK [code] text`."""
    return ok(text, code).line(b"*")


def bye(text: str, code: bytes = b"") -> bytes:
    return Ended(b"BYE", text, code).line(b"*")


def refusal(error: Exception) -> Ended | None:
    """What a client is told of an error that it or the world caused; None for one of ours."""
    match error:
        case BadNumber():
            return bad(str(error))
        case BadName():
            return no(str(error), b"CANNOT")
        case OverQuota():
            return no("the mailbox is full", b"OVERQUOTA")
        case FolderExists():
            return no(str(error), b"ALREADYEXISTS")
        case NoSuchFolder():
            return no(str(error), b"NONEXISTENT")
        case NoSuchMessage():
            return no("a message was expunged meanwhile", b"EXPUNGEISSUED")
        case NotPermitted():
            return no(str(error), b"NOPERM")
        case StoreError():
            return no(str(error), b"CANNOT")
        case DamagedFile():  # which one, and what to do, is for the operator's log
            return no(f"a file of this folder is damaged ({basename(error.path)}); ask the administrator", b"CORRUPTION")  # RFC 5530
        case DiskError():
            return no("the disk refuses; try again later", b"UNAVAILABLE")
        case _:
            return None
