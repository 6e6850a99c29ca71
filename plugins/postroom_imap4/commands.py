"""What a client can ask for, as values: the grammar makes them, everything behind it reads nothing else.

Mailbox names are people's text (decoded from modified UTF-7 or UTF-8), levels joined by "/". Times are unix seconds, days are days since
1970-01-01. Section numbers are those of RFC 9051, or of the extension named beside the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol, TypeAlias

STAR = 0  # stands for the largest number in use: "*"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A sequence set (section 9, sequence-set): runs as written, each (first, last) with STAR for "*"; `saved` is "$" (RFC 5182)."""

    runs: tuple[tuple[int, int], ...] = ()
    saved: bool = False


@dataclass(frozen=True, slots=True)
class Partial:
    """A window of results (RFC 9394): from the first-th to the last-th, negative numbers count from the end."""

    first: int
    last: int


class Octets(Protocol):
    """A literal's octets. Small ones lie in memory; a message to be appended may lie in a file that goes when it is let go."""

    @property
    def size(self) -> int: ...
    def peek(self) -> bytes | None:
        """All of it where it is in memory."""

    async def read(self, offset: int = 0, n: int = -1) -> bytes: ...
    def close(self) -> None:
        """Let it go; twice is no error."""


# Any state.


@dataclass(frozen=True, slots=True)
class Capability: ...


@dataclass(frozen=True, slots=True)
class Noop: ...


@dataclass(frozen=True, slots=True)
class Logout: ...


@dataclass(frozen=True, slots=True)
class Id:
    """RFC 2971; an absent value is NIL."""

    fields: tuple[tuple[str, str | None], ...]


# Before login.


@dataclass(frozen=True, slots=True)
class StartTls: ...


@dataclass(frozen=True, slots=True)
class Authenticate:
    mechanism: str
    initial: bytes | None  # SASL-IR (RFC 4959), as written: base64 or "="


@dataclass(frozen=True, slots=True)
class LogIn:
    login: str
    password: bytes = field(repr=False)


# After login.


@dataclass(frozen=True, slots=True)
class Unauthenticate:
    """RFC 8437."""


@dataclass(frozen=True, slots=True)
class Enable:
    names: tuple[str, ...]  # upper case


@dataclass(frozen=True, slots=True)
class Resync:
    """The QRESYNC parameter of SELECT (RFC 7162 section 3.2.5)."""

    uidvalidity: int
    modseq: int
    known: Numbers | None = None
    match: tuple[Numbers, Numbers] | None = None  # sequence numbers and their UIDs


@dataclass(frozen=True, slots=True)
class Select:
    name: str
    readonly: bool = False  # EXAMINE
    condstore: bool = False
    resync: Resync | None = None


@dataclass(frozen=True, slots=True)
class Create:
    name: str
    use: tuple[str, ...] = ()  # CREATE-SPECIAL-USE (RFC 6154), as "\\Sent"


@dataclass(frozen=True, slots=True)
class Delete:
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    name: str
    on: bool  # False: UNSUBSCRIBE


@dataclass(frozen=True, slots=True)
class List:
    """LIST, LSUB, and LIST-EXTENDED with its returns (RFC 5258, 5819, 8440, 9590). Patterns stay patterns: "%" and "*"."""

    reference: str
    patterns: tuple[str, ...]
    is_lsub: bool = False
    select: frozenset[str] = frozenset()  # SUBSCRIBED REMOTE RECURSIVEMATCH SPECIAL-USE
    returns: frozenset[str] = frozenset()  # SUBSCRIBED CHILDREN SPECIAL-USE MYRIGHTS
    status: tuple[str, ...] = ()  # RETURN (STATUS (...))
    metadata: tuple[str, ...] = ()  # RETURN (METADATA (...))
    is_extended: bool = False  # any of the syntax of RFC 5258 was used


@dataclass(frozen=True, slots=True)
class Status:
    name: str
    items: tuple[
        str, ...
    ]  # upper case: MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ APPENDLIMIT MAILBOXID RECENT DELETED-STORAGE


@dataclass(frozen=True, slots=True)
class MessageUrl:
    """A part of a message named by URL (CATENATE, RFC 4469)."""

    url: str


@dataclass(frozen=True, slots=True)
class NewMessage:
    """One message of APPEND (RFC 3502) or REPLACE."""

    pieces: tuple[Octets | MessageUrl, ...]  # one literal, or what CATENATE lists
    flags: tuple[str, ...] = ()
    arrived: float | None = None
    utf8: bool = False  # came as UTF8 (literal8), RFC 6855


@dataclass(frozen=True, slots=True)
class Append:
    name: str
    messages: tuple[NewMessage, ...]


@dataclass(frozen=True, slots=True)
class Idle: ...


@dataclass(frozen=True, slots=True)
class Namespace: ...


@dataclass(frozen=True, slots=True)
class Compress:
    mechanism: str


@dataclass(frozen=True, slots=True)
class GetQuota:
    root: str


@dataclass(frozen=True, slots=True)
class GetQuotaRoot:
    name: str


@dataclass(frozen=True, slots=True)
class SetQuota:
    root: str
    limits: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class SetAcl:
    """RFC 4314; `mode` is "" (replace), "+" or "-". DELETEACL is an empty replacement."""

    name: str
    identifier: str
    mode: Literal["", "+", "-"]
    rights: str
    is_delete: bool = False


@dataclass(frozen=True, slots=True)
class GetAcl:
    name: str


@dataclass(frozen=True, slots=True)
class ListRights:
    name: str
    identifier: str


@dataclass(frozen=True, slots=True)
class MyRights:
    name: str


@dataclass(frozen=True, slots=True)
class GetMetadata:
    """RFC 5464; name "" is the server."""

    name: str
    entries: tuple[str, ...]
    most: int | None = None  # MAXSIZE
    depth: Literal["0", "1", "infinity"] = "0"


@dataclass(frozen=True, slots=True)
class SetMetadata:
    name: str
    values: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class EventGroup:
    """One event-group of NOTIFY SET (RFC 5465)."""

    which: Literal["selected", "selected-delayed", "inboxes", "personal", "subscribed", "subtree", "mailboxes"]
    names: tuple[str, ...] = ()  # of subtree and mailboxes
    events: tuple[str, ...] = ()  # as written in the RFC: MessageNew, FlagChange, ...; empty is NONE
    fetch: tuple[FetchItem, ...] = ()  # of MessageNew


@dataclass(frozen=True, slots=True)
class Notify:
    """NOTIFY SET; no groups is NOTIFY NONE."""

    groups: tuple[EventGroup, ...] = ()
    status: bool = False


# With a folder selected.


@dataclass(frozen=True, slots=True)
class Check: ...


@dataclass(frozen=True, slots=True)
class Close: ...


@dataclass(frozen=True, slots=True)
class Unselect: ...


@dataclass(frozen=True, slots=True)
class Expunge:
    uids: Numbers | None = None  # UID EXPUNGE


class Macro(Enum):
    """FETCH items that take no argument. The value is how it is written."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    MODSEQ = b"MODSEQ"
    EMAILID = b"EMAILID"
    THREADID = b"THREADID"
    SAVEDATE = b"SAVEDATE"
    PREVIEW = b"PREVIEW"
    PREVIEW_LAZY = b"PREVIEW (LAZY)"


@dataclass(frozen=True, slots=True)
class Section:
    """BODY[section]<partial>, BINARY[...], BINARY.SIZE[...], RFC822, RFC822.HEADER, RFC822.TEXT.

    `label` is how the answer is named, without "<origin>"; `section` as postroom_mime.parts.Parts.section reads it ("", "HEADER", "1.2.MIME"
    upper case); `fields` those of HEADER.FIELDS (lower case), `excludes` for HEADER.FIELDS.NOT; `window` is (offset, octets)."""

    label: bytes
    section: bytes = b""
    fields: tuple[bytes, ...] | None = None
    excludes: bool = False
    window: tuple[int, int] | None = None
    peeks: bool = True  # False: sets \Seen
    kind: Literal["body", "binary", "binary.size"] = "body"


FetchItem: TypeAlias = Macro | Section


@dataclass(frozen=True, slots=True)
class Fetch:
    """FETCH and UID FETCH; ALL, FAST and FULL are spelled out by the grammar."""

    numbers: Numbers
    items: tuple[FetchItem, ...]
    by_uid: bool = False
    changed_since: int | None = None  # RFC 7162
    vanished: bool = False
    partial: Partial | None = None  # RFC 9394


@dataclass(frozen=True, slots=True)
class Store:
    numbers: Numbers
    mode: Literal["", "+", "-"]
    flags: tuple[str, ...]
    silent: bool = False
    by_uid: bool = False
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY and MOVE (RFC 6851)."""

    numbers: Numbers
    name: str
    by_uid: bool = False
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Replace:
    """RFC 8508."""

    number: Numbers  # one
    name: str
    message: NewMessage
    by_uid: bool = False


# Search.


@dataclass(frozen=True, slots=True)
class Not:
    key: SearchKey


@dataclass(frozen=True, slots=True)
class AnyOf:
    """OR."""

    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """A list of keys; none is ALL."""

    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class HasFlag:
    """ANSWERED, UNSEEN, KEYWORD name...: `flag` as in STORE, "\\Seen" or a keyword. RECENT, NEW and OLD are rewritten by the grammar: no
    message is recent (RFC 9051 removed it), so RECENT finds none."""

    flag: str
    on: bool = True


@dataclass(frozen=True, slots=True)
class InSet:
    numbers: Numbers
    by_uid: bool


@dataclass(frozen=True, slots=True)
class Size:
    """LARGER n, SMALLER n."""

    larger: bool
    octets: int


@dataclass(frozen=True, slots=True)
class OnDay:
    """BEFORE ON SINCE, SENT…, SAVED…: `what` says which date, `how` the comparison with the day as written."""

    what: Literal["arrived", "sent", "saved"]
    how: Literal["before", "on", "since"]
    day: int


@dataclass(frozen=True, slots=True)
class Within:
    """YOUNGER and OLDER, in seconds (RFC 5032)."""

    younger: bool
    seconds: int


@dataclass(frozen=True, slots=True)
class InHeader:
    """SUBJECT FROM TO CC BCC and HEADER name: `name` in lower case; an empty text asks whether there is such a field."""

    name: bytes
    text: str


@dataclass(frozen=True, slots=True)
class InText:
    """TEXT (headers and body) or BODY."""

    text: str
    headers: bool


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """RFC 6203."""

    key: SearchKey


@dataclass(frozen=True, slots=True)
class ModSeq:
    """RFC 7162 section 3.1.5; per-flag MODSEQ is not kept, so the entry name says nothing."""

    modseq: int


@dataclass(frozen=True, slots=True)
class ById:
    """EMAILID, THREADID (RFC 8474)."""

    what: Literal["email", "thread"]
    id: str


@dataclass(frozen=True, slots=True)
class HasSaveDate:
    """SAVEDATESUPPORTED (RFC 8514): true of every message here."""


SearchKey: TypeAlias = (
    Not | AnyOf | AllOf | HasFlag | InSet | Size | OnDay | Within | InHeader | InText | Fuzzy | ModSeq | ById | HasSaveDate
)


@dataclass(frozen=True, slots=True)
class Returns:
    """RETURN (…) of SEARCH, SORT and THREAD (RFC 9051 section 6.4.4, 5267, 5182, 9394). `is_given`: the client wrote RETURN."""

    is_given: bool = False
    items: frozenset[str] = frozenset()  # MIN MAX ALL COUNT SAVE RELEVANCY
    partial: Partial | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Folders of MULTISEARCH (RFC 7377), as in NOTIFY."""

    which: Literal["selected", "selected-delayed", "inboxes", "personal", "subscribed", "subtree", "subtree-one", "mailboxes"]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    key: SearchKey
    by_uid: bool = False
    returns: Returns = Returns()
    sources: tuple[Source, ...] = ()  # ESEARCH IN (…)


@dataclass(frozen=True, slots=True)
class SortKey:
    by: str  # ARRIVAL CC DATE FROM SIZE SUBJECT TO DISPLAYFROM DISPLAYTO (RFC 5957)
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Sort:
    """RFC 5256, 5267."""

    keys: tuple[SortKey, ...]
    key: SearchKey
    by_uid: bool = False
    returns: Returns = Returns()


@dataclass(frozen=True, slots=True)
class Thread:
    """RFC 5256."""

    algorithm: Literal["ORDEREDSUBJECT", "REFERENCES", "REFS"]
    key: SearchKey
    by_uid: bool = False


Command: TypeAlias = (
    Capability | Noop | Logout | Id | StartTls | Authenticate | LogIn | Unauthenticate | Enable | Select | Create | Delete | Rename
    | Subscribe | List | Status | Append | Idle | Namespace | Compress | GetQuota | GetQuotaRoot | SetQuota | SetAcl | GetAcl
    | ListRights | MyRights | GetMetadata | SetMetadata | Notify | Check | Close | Unselect | Expunge | Fetch | Store | Copy | Replace
    | Search | Sort | Thread
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tagged:
    """A whole command."""

    tag: bytes
    command: Command


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is no command: answer `tag BAD text`, or `* BAD text` where not even a tag could be read."""

    tag: bytes | None
    text: str
    code: bytes = b""  # a response code without brackets: BADCHARSET (UTF-8), TOOBIG, ...
    is_no: bool = False  # NO instead of BAD: the command is right and cannot be done
    empties: bool = False  # it was a search whose result was to be "$", which is nothing now (RFC 5182 section 2.1)


Read: TypeAlias = Tagged | Wrong
Sources: TypeAlias = Sequence[Source]
