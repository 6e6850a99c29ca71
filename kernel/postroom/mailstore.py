"""The post office repository as POP3, IMAP4, HTTPMail, web mail and the SF connector see it.

A mailbox holds folders, a folder holds messages. A folder numbers its messages by UID, which only grows; every change gets a
MODSEQ, which only grows (RFC 7162). Sessions share one view of a folder per worker and keep no list of their own: they hold
a `View`, which never changes, and compare it with the next.

What returns is durable: a crash after `await` loses none of it (`deliver` says what it rests on). Errors: `StoreError` and its kin
when the caller asked for what cannot be, `DiskError` when the disk refused. Folder names are people's text, levels joined by "/",
"Inbox" first; names of post offices, mailboxes and folders compare without case and keep the case they were made with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from postroom.message import Message

INBOX, EXPUNGED = "Inbox", "/private/vendor/vendor.postroom/expunged"  # the latter an attribute that can only be set: Mailbox.annotate
SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16
SYSTEM_FLAGS = {"\\Seen": SEEN, "\\Answered": ANSWERED, "\\Flagged": FLAGGED, "\\Deleted": DELETED, "\\Draft": DRAFT}


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a message came to lie."""

    folder: str
    uid: int
    uidvalidity: int
    doubled: bool = False  # it was there already (a replay): nothing was stored, nothing is wrong


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """Counters of a folder (RFC 9051 section 6.3.11, RFC 7162, RFC 8438, RFC 8474)."""

    name: str
    object_id: str  # RFC 8474 MAILBOXID: stays through renames
    uidvalidity: int
    uidnext: int
    modseq: int  # HIGHESTMODSEQ
    messages: int
    unseen: int
    deleted: int
    octets: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message as the index knows it; nothing here opens the message's file."""

    uid: int
    id: str  # of the message; its file's name
    flags: int
    modseq: int
    octets: int
    arrived: float  # INTERNALDATE, unix seconds
    saved: float  # SAVEDATE of RFC 8514
    sent: float  # the Date field, or `arrived` where it has none


class View(Protocol):
    """A folder at one moment. Rows are in UID order; sequence number n is row n - 1. Never changes."""

    @property
    def status(self) -> FolderStatus: ...
    @property
    def uids(self) -> Sequence[int]: ...
    @property
    def flags(self) -> Sequence[int]: ...
    @property
    def modseqs(self) -> Sequence[int]: ...
    @property
    def octets(self) -> Sequence[int]: ...
    @property
    def ids(self) -> Sequence[str]:
        """Message ids. A slice is made with a few calls whatever its length; ask for slices, not for one after the other."""

    def __len__(self) -> int: ...
    def message(self, row: int) -> StoredMessage: ...
    def envelope(self, row: int) -> bytes:
        """The ENVELOPE as IMAP sends it, parentheses included; computed at delivery."""

    def bodystructure(self, row: int) -> bytes:
        """The BODYSTRUCTURE as IMAP sends it; computed at delivery."""

    def parts(self, row: int) -> bytes:
        """The part offsets, for postroom_mime.parts to read."""

    def header(self, row: int) -> bytes:
        """The cached header fields, for postroom_mime to read; enough for HEADER.FIELDS of the usual ones and for THREAD."""

    def subject(self, row: int) -> bytes:
        """The subject decoded and case-folded, UTF-8: what SEARCH SUBJECT looks in."""

    def base_subject(self, row: int) -> bytes:
        """The base subject of RFC 5256 section 2.1, for SORT and THREAD."""

    def texts(self, what: str, first: int, after: int) -> Sequence[bytes]:
        """`envelope`, `bodystructure`, `parts`, `header`, `subject` or `base_subject` of many rows at once, for what goes through all of them.
        NoSuchMessage where one of the rows is gone."""

    def messages(self, rows: Sequence[int], *, waits: bool = True) -> Sequence[bytes]:
        """The whole texts of these messages. It waits for the disk, so where `Folder.peek` of the first is None a thread is to ask; without `waits`
        only those before the first that is not at hand. NoSuchMessage where one of the rows is gone; DiskError."""

    def numbers(self, what: str, first: int, after: int) -> Sequence[float]:
        """`arrived`, `saved` or `sent` likewise, seconds since 1970; `sent_zone`, the minutes east of UTC in which the Date field was written, as
        SENTBEFORE and its kin compare the written day; `is_plain`, whether all text is 7-bit and unencoded: only then may a search of the raw
        octets say no."""


@dataclass(frozen=True, slots=True)
class FlagChange:
    """The answer to a flag change."""

    modseq: int  # given to all that changed
    changed: Sequence[int]  # UIDs
    refused: Sequence[int]  # UIDs that had changed since `unchanged_since` (RFC 7162 section 3.1.3)


class Upload(NamedTuple):
    """A message that a user uploads."""

    message: Message
    flags: int = 0
    arrived: float | None = None  # None: now


class Folder(Protocol):
    """One folder, shared by all sessions of this worker."""

    @property
    def name(self) -> str: ...
    def view(self) -> View:
        """The folder as of now, other workers' and deliveries' changes included; costs an fstat when nothing changed. NoSuchFolder when
        it was deleted or renamed away meanwhile; a status with another `uidvalidity` than before is another folder of that name."""

    def keywords(self) -> Sequence[str]:
        """Names of the folder's keywords by number; keyword n has flag bit 1 << (5 + n)."""

    async def keyword(self, name: str) -> int:
        """The flag bit of this keyword, made where there is none. StoreError beyond 59: flags are 64 bits."""

    async def read(self, uid: int, offset: int = 0, n: int = -1) -> bytes:
        """Octets of a message's text; NoSuchMessage when it is gone."""

    def peek(self, uid: int, most: int) -> bytes | None:
        """The whole text of a message, where it is at hand and has at most `most` octets; else None: `read` it. Waits for no
        disk, as far as the system tells beforehand. NoSuchMessage, DiskError as `read`."""

    def path(self, uid: int) -> str:
        """The file of a message, for sendfile; NoSuchMessage when it is gone."""

    async def append(self, message: Message, *, flags: int = 0, arrived: float | None = None) -> Placed:
        """Add a message a user uploads. OverQuota when it does not fit."""

    async def append_all(self, new: Sequence[Upload]) -> Sequence[Placed]:
        """Add these, in order: all or none, through any crash (RFC 3502). OverQuota when they do not fit together."""

    async def replace(self, uid: int, new: Upload, target: Folder, *, uidvalidity: int | None = None) -> Placed:
        """Add one to `target`, at the same moment as this one is expunged here: both or neither, through any crash (RFC 8508). NoSuchMessage
        where it is gone; OverQuota where the new one needs more room than there is then. Goes on to its end when the caller is cancelled."""

    # `uidvalidity`, below: what the caller knew these UIDs under. NoSuchFolder, and nothing is touched, where another folder took this
    # one's place since, to the very moment of the change.

    async def change_flags(
        self, uids: Iterable[int], *, add: int = 0, remove: int = 0, unchanged_since: int | None = None, uidvalidity: int | None = None
    ) -> FlagChange:
        """Flags become flags & ~remove | add: with a `remove` of -1 they are replaced. UIDs that are gone are passed over."""

    async def expunge(self, uids: Iterable[int], *, uidvalidity: int | None = None, having: int = 0) -> Sequence[int]:
        """Remove these messages for good; the UIDs that were there. One that has not all flags of `having` at that very moment stays."""

    async def copy(self, uids: Iterable[int], target: Folder, *, uidvalidity: int | None = None, keep: int = -1) -> list[tuple[int, int]]:
        """Copy within the mailbox or to another one; pairs of old and new UID. All or none. Of the flags only those of `keep` come along."""

    async def move(self, uids: Iterable[int], target: Folder, *, uidvalidity: int | None = None, keep: int = -1) -> list[tuple[int, int]]:
        """As `copy`, and expunged here: all or nothing, through any crash (RFC 6851). Goes on to its end when the caller is cancelled."""

    def expunged_since(self, modseq: int) -> Sequence[int]:
        """UIDs expunged after that MODSEQ (RFC 7162 section 3.2.7), as far back as the log remembers; older asks get every gap."""

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` in the event loop soon after any change, by any worker; the answer ends it. A hint: ask `view()`."""


class Quota(NamedTuple):
    """What a mailbox may hold and holds, in octets; limit None means unlimited."""

    used: int
    limit: int | None


class Mailbox(Protocol):
    """One user's tree of folders."""

    @property
    def postoffice(self) -> str: ...
    @property
    def name(self) -> str: ...
    async def folders(self) -> Sequence[str]:
        """All folder names, Inbox first, then by name; parents before children."""

    async def folder(self, name: str, *, object_id: str = "") -> Folder:
        """NoSuchFolder where there is none. Inbox is made at first need. With an `object_id` (FolderStatus) that very folder, by whatever
        name it goes now; `name` is where it is looked for first."""

    async def create(self, name: str) -> Folder:
        """FolderExists; parents are made too."""

    async def delete(self, name: str) -> None:
        """The folder and its messages, not its children. StoreError for Inbox."""

    async def rename(self, old: str, new: str) -> None:
        """With children. Renaming Inbox moves its messages (RFC 9051 section 6.3.6)."""

    async def subscriptions(self) -> Sequence[str]: ...
    async def subscribe(self, name: str, on: bool = True) -> None: ...
    def follow(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """As `Folder.follow`, for all of the mailbox: called with the name of the folder in which something changed, its attributes
        included, in any spelling; with "" where folders came, went or were renamed, and after subscriptions and attributes."""

    async def quota(self) -> Quota: ...
    async def attributes(self, folder: str) -> Mapping[str, bytes]:
        """What is kept beside a folder by name (rights, special use, annotations of RFC 5464); of the mailbox where the folder is ""."""

    async def all_attributes(self) -> Mapping[str, Mapping[str, bytes]]:
        """The attributes of all folders that have any, and of the mailbox under "", in one pass; a folder whose attributes cannot be read
        is left out."""

    async def annotate(self, folder: str, changes: Mapping[str, bytes | None]) -> None:
        """Set those attributes, remove those that are None: all or none. StoreError beyond 1 MiB of them. EXPUNGED of the mailbox is kept
        by nobody: annotating it with ids, or "all", brings those expunged messages back into their folders."""

    async def expunged(self) -> bytes:
        """Messages that can be brought back, the latest expunged first, 1,000 at most: a line of JSON each with id, folder, subject, octets,
        expunged and arrived (UTC)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where one copy of a delivery goes."""

    postoffice: str
    mailbox: str
    folder: str = INBOX  # made where missing
    flags: int = 0
    limit: int | None = None  # octets the mailbox may hold, as the post office provider says; None for no limit


class MailStore(Protocol):
    """The repository of all mailboxes of a site."""

    async def open(self) -> None:
        """Ready to serve; replayers are registered before this. DiskError when the store cannot be read."""

    async def close(self) -> None: ...

    async def deliver(
        self, message: Message, targets: Sequence[Target], *, arrived: float, again: bool = False, own: bool = False
    ) -> Sequence[Placed | Exception]:
        """Put one message into mailboxes; an answer per target, in order. Does not suspend on a local disk, unless
        a folder is to be made or another worker has its lock.

        `again`: this message id may have been delivered before (a replay, a retry, what came out of a group or a queue folder): every
        place that could know it is searched. False, for what this process accepted itself and never handed out, asks only this
        process's memory, which is what makes a fresh delivery cheap.

        `own`: no acceptance has these octets, because a filter made them for one mailbox. They are brought to the journal with the arrival.

        Idempotent: a (message id, mailbox) that was ever delivered answers `doubled` and stores nothing, whatever expunge, move, folder
        deletion or compaction did since, for as long as a journal could bring the message back. Durable with the journal's
        record of the acceptance, not before: the caller keeps that until it settles. StoreError (OverQuota) and DiskError as values.
        """

    async def mailbox(self, postoffice: str, name: str) -> Mailbox:
        """Opens it; made on disk at first need. Whether it may exist is the post office provider's word, not the store's."""

    async def remove(self, postoffice: str, name: str) -> None:
        """All of a mailbox, for good: a later mailbox of that name starts empty with new UIDVALIDITYs."""

    async def check(self, postoffice: str, name: str, *, repair: bool = False) -> Sequence[str]:
        """What is wrong on disk, a sentence each; with `repair`, set right without changing a UID while the log lives."""

    def settle(self) -> None:
        """Called by the kernel in the loop, right before journal segments are cut: hand to the file system whatever only memory holds."""

    async def tend(self) -> None:
        """Called by the caretaker now and then: forget what no journal can bring back, compact logs that are mostly garbage, finish
        deletions a crash left half done, index folders changed by hand. Does a bounded share of the site at each call."""
