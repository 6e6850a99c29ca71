"""What a program is told and what its end means. Pure.

Arguments hold nothing a sender can choose: ids, acronyms, names of the operator's. Sender, recipients and the rest of the envelope
stand in the environment only, each without a control character and cut to a length that no kernel refuses: one long list
of recipients must not be a way past the scanner. The old contract: facts of the old server, sections 1.3 and 1.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from postroom.address import InternalAddress
from postroom.errors import PostroomError
from postroom.transfer import TransferEvent

if TYPE_CHECKING:
    from postroom_postoffice.api import MailboxDelivery

Stage = Literal["pickup", "delivery", "mailbox"]
Word = Literal["pass", "reject", "defer", "quarantine", "discard"]
Answer = Word | Literal["replace"]

PLACEHOLDERS: Final = ("{file}", "{connector}", "{message}", "{command}", "{id}", "{postoffice}", "{mailbox}", "{stage}")
OLD: Final[Mapping[Stage, tuple[str, ...]]] = {
    "pickup": ("{file}", "{connector}"),
    "delivery": ("{file}", "{connector}"),
    "mailbox": ("{postoffice}", "{mailbox}", "{file}"),
}
CLEAN: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_LONGEST: Final = 8 * 1024  # characters of one value
_LIST: Final = 24 * 1024  # characters of the list of recipients; Linux takes 128 KiB of octets in one variable
_WHY: Final = 400
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")  # and what no octets stand for
_UNPRINTED = re.compile(r"[^ -~]+")


class ProgramFailed(PostroomError):
    """The program gave no verdict: it could not run, was killed, or ended with a code that means none. The policy `on_error` decides."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the private pair lies, as the program is to be told."""

    name: str  # of both files: `<32 hex>.MAI`
    command: str
    message: str
    site: str
    quarantine: str


@dataclass(frozen=True, slots=True)
class Found:
    """What is left of the private pair when the program has ended."""

    has_message: bool = True
    has_command: bool = True
    is_changed: bool = False  # the message is there, with other octets
    is_held: bool = False  # what is gone lies in the quarantine folder


UNTOUCHED: Final = Found()


def strange(arguments: Iterable[str]) -> list[str]:
    """Placeholders that nobody knows."""
    return [name for argument in arguments for name in _PLACEHOLDER.findall(argument) if name not in PLACEHOLDERS]


def connector_of(stage: Stage, event: TransferEvent) -> str:
    """The connector this event is about: where the message came from at pickup, where it goes afterwards."""
    return event.source if stage == "pickup" else event.target


def arguments(own: Sequence[str] | None, stage: Stage, event: TransferEvent, files: Files | None) -> list[str]:
    """What follows the program's own words on its command line."""
    box = _box(stage, event)
    known = {
        "{file}": files.name if files else "",
        "{connector}": connector_of(stage, event),
        "{message}": files.message if files else "",
        "{command}": files.command if files else "",
        "{id}": event.envelope.id,
        "{postoffice}": box.postoffice if box else "",
        "{mailbox}": box.mailbox if box else "",
        "{stage}": stage,
    }
    return [_PLACEHOLDER.sub(lambda found: known[found[0]], argument) for argument in (OLD[stage] if own is None else own)]


def environment(own: Mapping[str, str], stage: Stage, event: TransferEvent, files: Files | None) -> dict[str, str]:
    """All that the program finds in its environment."""
    envelope, box = event.envelope, _box(stage, event)
    told = {
        "STAGE": stage,
        "ID": envelope.id,
        "MESSAGE_ID": envelope.message,
        "CONNECTOR": connector_of(stage, event),
        "SOURCE": event.source,
        "TARGET": event.target,
        "SENDER": plain(envelope.sender) if envelope.sender else "",
        "RECIPIENTS": listed([plain(recipient.address) for recipient in envelope.recipients]),
        "RECIPIENT_COUNT": str(len(envelope.recipients)),
        "SIZE": str(event.message.size),
        "CLIENT_IP": envelope.peer.ip,
        "HELO": envelope.peer.helo,
        "USER": envelope.peer.user,
        "ACCOUNT": envelope.peer.account,
    }
    if box is not None:
        told |= {"POSTOFFICE": box.postoffice, "MAILBOX": box.mailbox, "FOLDER": box.folder}
    if files is not None:
        told |= {"MESSAGE": files.message, "COMMAND_FILE": files.command, "SITE": files.site, "QUARANTINE": files.quarantine}
    return {
        **CLEAN,
        **own,
        **{f"POSTROOM_{name}": _CONTROL.sub(" ", value[:_LIST]) if name != "RECIPIENTS" else value for name, value in told.items()},
    }


def plain(address: InternalAddress) -> str:
    """`user@domain` of an SMTP address, the bracket form of all others; one line, of bounded length."""
    text = address.detail if address.connector.upper() == "SMTP" else str(address)
    return _CONTROL.sub(" ", text[:_LONGEST])


def listed(addresses: Sequence[str]) -> str:
    """One address a line, whole ones only, as many as fit; the command file has all."""
    kept, length = [], 0
    for address in addresses:
        length += len(address) + 1
        if length > _LIST:
            break
        kept.append(address)
    return "\n".join(kept)


def answer(code: int, found: Found, verdicts: Mapping[int, Word]) -> Answer:
    """What the end of a program means. A verdict named for its exit code counts, then what it did to the files; ProgramFailed otherwise.

    Killed by a signal it says nothing at all: what it did to the files may be half of what it meant."""
    if code < 0:
        raise ProgramFailed(f"was killed by signal {-code}")
    word = verdicts.get(code, "pass" if code == 0 else None)
    if word is not None and word != "pass":
        return word
    if not found.has_message and not found.has_command:  # the old contract: a pair that vanished was handled
        return "quarantine" if found.is_held else "discard"
    if word is None:
        raise ProgramFailed(f"ended with exit code {code}, which `verdicts` does not name")
    if not found.has_message or not found.has_command:
        return "quarantine" if found.is_held else "discard"
    return "replace" if found.is_changed else "pass"


def reason(output: bytes, otherwise: str) -> str:
    """The last line that says something, as it may stand in a reply; else the other text. What a program prints may be a sender's words."""
    for line in reversed(output.decode("utf-8", "replace").splitlines()):
        if said := _UNPRINTED.sub("?", " ".join(line.split())):
            return said[:_WHY]
    return otherwise


def meaning(word: Answer, program: str) -> str:
    """The reason of a verdict whose program gave none."""
    name = _UNPRINTED.sub("?", Path(program).name)
    return {
        "reject": f"refused by {name}",
        "defer": f"put off by {name}",
        "quarantine": f"set aside by {name}",
        "discard": f"removed by {name}",
    }.get(word, "")


def _box(stage: Stage, event: TransferEvent) -> MailboxDelivery | None:
    if stage != "mailbox":
        return None
    from postroom_postoffice.api import MailboxDelivery  # only where such an event can come

    return event if isinstance(event, MailboxDelivery) else None
