"""Commands of IMAP4rev1 and IMAP4rev2 with every extension we speak: one frame in, one frozen value out (RFC 9051 section 9). Pure.

`read` answers `Tagged` or `Wrong`, whatever octets the frame holds, in time linear in them; it never raises, and its value is nowhere deeper
than tokens.DEPTH. The literals of the frame are handed on in APPEND and REPLACE; whoever carried the command out, or not, closes the frame.
Whether a command is allowed now is the session's to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from postroom_imap4 import grammar_append as adding
from postroom_imap4 import grammar_fetch as messages
from postroom_imap4 import grammar_mailboxes as mailboxes
from postroom_imap4 import grammar_search as searching
from postroom_imap4 import grammar_sharing as sharing
from postroom_imap4.commands import (
    Authenticate,
    Capability,
    Check,
    Close,
    Command,
    Compress,
    Enable,
    Expunge,
    Id,
    Idle,
    LogIn,
    Logout,
    Namespace,
    Noop,
    StartTls,
    Tagged,
    Unauthenticate,
    Unselect,
    Wrong,
)
from postroom_imap4.framing import Frame
from postroom_imap4.tokens import Mistake, Reader

ID_FIELDS: Final = 30  # RFC 2971 section 3.3, as are the next two
ID_NAME: Final = 30
ID_VALUE: Final = 1024
CAPABILITIES: Final = 100  # of one ENABLE
_SHORT = re.compile(rb"([A-Za-z0-9.]{1,32}+) ([A-Za-z][^\x00-\x1f]{1,126}+)")
_SECRETS = frozenset((b"LO", b"AU"))  # LOGIN, AUTHENTICATE: passwords are not remembered


def read(frame: Frame, *, utf8: bool, is_rev2: bool) -> Tagged | Wrong:
    """The command in a frame. `utf8`, `is_rev2`: UTF8=ACCEPT or IMAP4rev2 was enabled; with either, mailbox names are UTF-8 and no longer
    modified UTF-7. Everything else reads the same in both revisions: what RFC 9051 dropped is still taken."""
    utf8 = utf8 or is_rev2
    first = frame.pieces[0]
    found = _SHORT.fullmatch(first) if isinstance(first, bytes) and len(frame.pieces) == 1 else None
    if found is not None and found[2][:2].upper() not in _SECRETS:
        try:
            return Tagged(found[1], _remembered(found[2], utf8))
        except Mistake:
            pass  # read again as it stands, so that the answer says where
    return _read(frame, utf8)


def _read(frame: Frame, utf8: bool) -> Tagged | Wrong:
    reader = Reader(frame, utf8=utf8)
    tag = None
    try:
        reader.skip_blank()
        tag = reader.tag()
        reader.blank()
        command = _command(reader)
        reader.end()
    except Mistake as mistake:
        return Wrong(tag, str(mistake), mistake.code, mistake.is_no, mistake.empties)
    return Tagged(tag, command)


@lru_cache(maxsize=2048)
def _remembered(text: bytes, utf8: bool) -> Command:
    """A short command without its tag: clients say the same few things again and again."""
    reader = Reader(Frame((text,)), utf8=utf8)
    command = _command(reader)
    reader.end()
    return command


def _command(reader: Reader) -> Command:
    word = reader.word("a command")
    if word == b"UID":
        reader.blank()
        return reader.one_of(_BY_NUMBER, "a command of UID")(reader, True)
    by_number = _BY_NUMBER.get(word)
    if by_number is not None:
        return by_number(reader, False)
    command = _COMMANDS.get(word)
    if command is None:
        raise reader.expected("a command", taken=True)
    return command(reader)


# Any state, login


def id_(reader: Reader) -> Id:
    """RFC 2971 section 3.1."""

    def pair() -> tuple[str, str | None]:
        name = reader.decoded(reader.string("a field's name"), "a field's name")
        reader.blank()
        value = reader.nstring("a field's value")
        text = None if value is None else value.decode("utf-8", "replace")
        if len(name) > ID_NAME or len(text or "") > ID_VALUE:
            raise Mistake(f"a field of ID has at most {ID_NAME} octets of name and {ID_VALUE} of value")
        return name, text

    reader.blank()
    if reader.skip_word(b"NIL"):
        return Id(())
    fields = reader.listed(pair, "fields of ID", least=0, most=ID_FIELDS)
    return Id(tuple(fields))


def authenticate(reader: Reader) -> Authenticate:
    """The initial response (RFC 4959) stays as it was written."""
    reader.blank()
    mechanism = reader.word("a mechanism").decode()
    initial = None
    if reader.skip_blank() and not reader.is_end:
        initial = reader.base64()
    return Authenticate(mechanism, initial)


def log_in(reader: Reader) -> LogIn:
    reader.blank()
    login = reader.decoded(reader.secret("a login"), "a login")
    reader.blank()
    return LogIn(login, reader.secret("a password"))


def enable(reader: Reader) -> Enable:
    """RFC 5161: what is not known is passed over by the session."""
    reader.blank()
    names = [reader.atom("a capability")]
    while reader.skip_blank() and not reader.is_end:
        names.append(reader.atom("a capability"))
        if len(names) > CAPABILITIES:
            raise Mistake(f"at most {CAPABILITIES} may be given: capabilities")
    return Enable(tuple([name.decode("ascii", "replace").upper() for name in names]))


def compress(reader: Reader) -> Compress:
    """RFC 4978."""
    reader.blank()
    return Compress(reader.word("an algorithm").decode())


def _expunge(reader: Reader, by_uid: bool) -> Expunge:
    """UID EXPUNGE is RFC 4315's."""
    if not by_uid:
        return Expunge()
    reader.blank()
    return Expunge(reader.numbers())


def _only(command: Command) -> Callable[[Reader], Command]:
    """A command that takes no argument."""
    return lambda reader: command


_BY_NUMBER: Final[dict[bytes, Callable[[Reader, bool], Command]]] = {
    b"FETCH": messages.fetch,
    b"STORE": messages.store,
    b"COPY": messages.copy,
    b"MOVE": messages.move,
    b"SEARCH": searching.search,
    b"SORT": searching.sort,
    b"THREAD": searching.thread,
    b"EXPUNGE": _expunge,
    b"REPLACE": adding.replace,
}
_COMMANDS: Final[dict[bytes, Callable[[Reader], Command]]] = {
    b"CAPABILITY": _only(Capability()),
    b"NOOP": _only(Noop()),
    b"LOGOUT": _only(Logout()),
    b"ID": id_,
    b"STARTTLS": _only(StartTls()),
    b"AUTHENTICATE": authenticate,
    b"LOGIN": log_in,
    b"UNAUTHENTICATE": _only(Unauthenticate()),
    b"ENABLE": enable,
    b"SELECT": mailboxes.select,
    b"EXAMINE": mailboxes.examine,
    b"CREATE": mailboxes.create,
    b"DELETE": mailboxes.delete,
    b"RENAME": mailboxes.rename,
    b"SUBSCRIBE": mailboxes.subscribe,
    b"UNSUBSCRIBE": mailboxes.unsubscribe,
    b"LIST": mailboxes.list_,
    b"LSUB": mailboxes.lsub,
    b"STATUS": mailboxes.status,
    b"NAMESPACE": _only(Namespace()),
    b"APPEND": adding.append,
    b"IDLE": _only(Idle()),
    b"COMPRESS": compress,
    b"GETQUOTA": sharing.get_quota,
    b"GETQUOTAROOT": sharing.get_quota_root,
    b"SETQUOTA": sharing.set_quota,
    b"SETACL": sharing.set_acl,
    b"DELETEACL": sharing.delete_acl,
    b"GETACL": sharing.get_acl,
    b"LISTRIGHTS": sharing.list_rights,
    b"MYRIGHTS": sharing.my_rights,
    b"GETMETADATA": sharing.get_metadata,
    b"SETMETADATA": sharing.set_metadata,
    b"NOTIFY": sharing.notify,
    b"CHECK": _only(Check()),
    b"CLOSE": _only(Close()),
    b"UNSELECT": _only(Unselect()),
    b"ESEARCH": searching.esearch,
}
