"""Where mailboxes, folders and messages lie, and how any name becomes one component of a path. Pure.

`SITE/Postoffices/<PO>/MAILROOT/<mailbox>/<Folder>/<32 hex>.MAI`, sub-folders are sub-directories (facts: MailEnable's own tree, read as it
is). `encode` and `decode` undo each other; no encoded name leaves its parent, hides, or meets a file of ours. Names are equal when their `key` is:
case and Unicode composition do not count. A name that cannot lie on a disk is a StoreError that says why.
"""

from __future__ import annotations

import re
import unicodedata

from postroom.errors import StoreError

COMPONENT = 255  # octets of one component, the limit of every common file system
DEPTH = 32  # levels of folders
LOG, VIEW, DAMAGED = "log", "view", "log.damaged"
FORGOTTEN, SUBSCRIPTIONS = "forgotten", "subscriptions"
CHANGED = "_change.dty"  # "index this folder again": written by hand or by a panel
DELETED = ".deleted"  # the folder is gone, its children are not
SUFFIX = ".MAI"
OURS = frozenset({LOG, VIEW, DAMAGED, FORGOTTEN, SUBSCRIPTIONS})
TAKEN = (
    ".mai",
    ".new",
    ".dty",
    ".xml",
    ".tmp",
    ".cfg",
    ".cf_",
    ".blk",
    ".vcf",
    ".cal",
    ".tsk",
    ".grp",
)  # suffixes of files beside messages

_UNSAFE = frozenset('%/\\:*?"<>|\x7f') | {chr(number) for number in range(32)}
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_SURROGATE = re.compile("[\ud800-\udfff]")  # octets that are no UTF-8
_MESSAGE = re.compile(r"[0-9A-F]{32}\.MAI")


def key(name: str) -> str:
    """What two names have in common when they are the same name."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def encode(name: str) -> str:
    """One name as one component of a path."""
    if not name:
        raise StoreError("a name is empty; between two slashes, and before and after them, something must stand")
    folded = name.casefold()
    last = len(name) - 1
    last_unsafe = name[last] in ". " or folded in OURS or folded.endswith(TAKEN)
    pieces = [
        _escape(letter) if letter in _UNSAFE or (place == 0 and letter in "._ ") or (place == last and last_unsafe) else letter
        for place, letter in enumerate(name)
    ]
    try:
        octets = len("".join(pieces).encode())
    except UnicodeEncodeError:
        raise StoreError(f"the name {name!r} holds what is no Unicode character") from None
    if octets > COMPONENT:
        raise StoreError(f"the name {name[:40]!r}... is too long: {octets} octets on disk, {COMPONENT} are possible")
    return "".join(pieces)


def decode(component: str) -> str:
    """The name of which `encode` made this component; of a component made by others, what it reads like."""
    return _ESCAPED.sub(_unescape, component)


def levels(folder: str) -> list[str]:
    """The components of a folder's name."""
    names = folder.split("/")
    if len(names) > DEPTH:
        raise StoreError(f"folders may lie {DEPTH} deep, not {len(names)}")
    return [encode(name) for name in names]


def is_folder_name(component: str) -> bool:
    """Whether a directory of this name can be somebody's folder; ours and hidden ones are not."""
    return not component.startswith(".") and component.casefold() not in OURS and not _SURROGATE.search(component)


def is_message_name(component: str) -> bool:
    """Whether a file is named as we name messages."""
    return _MESSAGE.fullmatch(component) is not None


def _escape(letter: str) -> str:
    return "".join(f"%{octet:02X}" for octet in letter.encode("utf-8", "surrogatepass"))


def _unescape(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[0].replace("%", "")).decode()
    except UnicodeDecodeError:
        return match[0]
