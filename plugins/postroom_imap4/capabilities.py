"""What this server can do, as clients are told (RFC 9051 section 7.2.2). The manual has the same list with the RFC of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from postroom_imap4.rights import ADDED

ALWAYS: Final = ("IMAP4rev1", "IMAP4rev2", "LITERAL+", "SASL-IR", "ID", "ENABLE")  # RFC 3501, 9051, 7888, 4959, 2971, 5161

AFTER_LOGIN: Final = (
    "ACL",  # RFC 4314
    "BINARY",  # RFC 3516
    "CATENATE",  # RFC 4469
    "CHILDREN",  # RFC 3348
    "COMPRESS=DEFLATE",  # RFC 4978
    "CONDSTORE",  # RFC 7162
    "CREATE-SPECIAL-USE",  # RFC 6154
    "ESEARCH",  # RFC 4731
    "ESORT",  # RFC 5267
    "IDLE",  # RFC 2177
    "INPROGRESS",  # RFC 9585
    "LIST-EXTENDED",  # RFC 5258
    "LIST-METADATA",  # RFC 9590
    "LIST-MYRIGHTS",  # RFC 8440
    "LIST-STATUS",  # RFC 5819
    "METADATA",  # RFC 5464
    "MOVE",  # RFC 6851
    "MULTIAPPEND",  # RFC 3502
    "MULTISEARCH",  # RFC 7377
    "NAMESPACE",  # RFC 2342
    "NOTIFY",  # RFC 5465
    "OBJECTID",  # RFC 8474
    "PARTIAL",  # RFC 9394
    "PREVIEW",  # RFC 8970
    "QRESYNC",  # RFC 7162
    "QUOTA",  # RFC 9208
    "QUOTA=RES-STORAGE",
    "REPLACE",  # RFC 8508
    f"RIGHTS={ADDED}",  # RFC 4314
    "SAVEDATE",  # RFC 8514
    "SEARCH=FUZZY",  # RFC 6203
    "SEARCHRES",  # RFC 5182
    "SORT",  # RFC 5256
    "SORT=DISPLAY",  # RFC 5957
    "SPECIAL-USE",  # RFC 6154
    "STATUS=SIZE",  # RFC 8438
    "THREAD=ORDEREDSUBJECT",  # RFC 5256
    "THREAD=REFERENCES",
    "UIDONLY",  # RFC 9586
    "UIDPLUS",  # RFC 4315
    "UNAUTHENTICATE",  # RFC 8437
    "UNSELECT",  # RFC 3691
    "UTF8=ACCEPT",  # RFC 6855
    "WITHIN",  # RFC 5032
)

ENABLED_BY: Final = {"IMAP4REV2": "rev2", "UTF8=ACCEPT": "utf8", "CONDSTORE": "condstore", "QRESYNC": "qresync", "UIDONLY": "uidonly"}


def before_login(mechanisms: Sequence[str], *, starttls: bool, secure: bool) -> bytes:
    """To who has not logged in: how to."""
    return " ".join((*ALWAYS, *_ways(mechanisms, starttls=starttls, secure=secure))).encode()


def _ways(mechanisms: Sequence[str], *, starttls: bool, secure: bool) -> Iterator[str]:
    if starttls:
        yield "STARTTLS"
    if not secure:
        yield "LOGINDISABLED"  # RFC 9051 section 6.2.3
    yield from (f"AUTH={name}" for name in mechanisms)


def after_login(*, append_limit: int, message_limit: int) -> bytes:
    """To who has: all the rest."""
    limits = [f"APPENDLIMIT={append_limit}"]  # RFC 7889
    if message_limit:
        limits.append(f"MESSAGELIMIT={message_limit}")  # RFC 9738
    return " ".join((*ALWAYS, *AFTER_LOGIN, *limits)).encode()
