"""Internal addresses and masks: the words in which every route is spoken.

`[SF:PO/MAILBOX]`, `[SMTP:user@domain]`, `[LS:PO/LIST]`: a connector's acronym and a detail that only that connector reads.
`parse` and `str` undo each other. Names compare without case and keep the case they were written in.
Source: the system overview, sections 3 and 4.1.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from postroom.errors import AddressError

_TEXT = r"[^\[\]\x00-\x1f\x7f]"
_BRACKET = re.compile(  # brackets stand inside only as an address literal at the end or in a quoted local part
    rf'\[([A-Za-z][A-Za-z0-9]{{0,15}}):((?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f]){{0,256}}"@)?(?:{_TEXT}{{1,512}}|(?={_TEXT}{{0,512}}\[){_TEXT}{{0,512}}\[{_TEXT}{{1,64}}\]))\]'
)
_ROUTE = re.compile(r"@[^:,@\s]+(?:,@[^:,@\s]+)*:(.+)", re.DOTALL)  # RFC 5321 appendix C: "@a,@b:user@domain"


@dataclass(frozen=True, slots=True)
class InternalAddress:
    """Where a message comes from or goes to: a connector, and what that connector makes of it."""

    connector: str
    detail: str
    key: tuple[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.connector.upper(), self.detail.casefold()))

    @classmethod
    def parse(cls, text: str) -> InternalAddress:
        """Read the bracket form, or the source-route form `@C:user@domain` that old command files hold; AddressError otherwise."""
        text = text.strip()
        if match := _BRACKET.fullmatch(text):
            return cls(match[1].upper(), match[2])
        if (match := _ROUTE.fullmatch(text)) and "@" in match[1] and not set(match[1]) & set("[]\r\n"):
            return cls("SMTP", match[1])
        raise AddressError(f"not an internal address: {text!r}; write it as [SMTP:user@domain] or [SF:POSTOFFICE/MAILBOX]")

    @property
    def postoffice(self) -> str:
        """The part before the slash of an SF or LS detail; the whole where there is none."""
        return self.detail.partition("/")[0]

    @property
    def name(self) -> str:
        """The part after the slash of an SF or LS detail: a mailbox, group or list."""
        return self.detail.partition("/")[2]

    @property
    def local(self) -> str:
        """The part before the last at sign of an SMTP detail."""
        return self.detail.rpartition("@")[0]

    @property
    def domain(self) -> str:
        """The part after the last at sign of an SMTP detail, in lower case."""
        return self.detail.rpartition("@")[2].lower()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InternalAddress) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return f"[{self.connector}:{self.detail}]"


def smtp(address: str) -> InternalAddress:
    """`user@domain` as an internal address."""
    return InternalAddress("SMTP", address)


def mailbox(postoffice: str, name: str) -> InternalAddress:
    """A mailbox or group of a post office as an internal address."""
    return InternalAddress("SF", f"{postoffice}/{name}")


@dataclass(frozen=True, slots=True)
class Mask:
    """`[SMTP:*@domain]`: an address in which each star stands for any run of characters, never across the bracket."""

    connector: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Mask:
        """Read the bracket form, with or without stars; AddressError otherwise."""
        address = InternalAddress.parse(text)
        return cls(address.connector, address.detail)

    @property
    def is_exact(self) -> bool:
        return "*" not in self.pattern

    @property
    def is_system_wide(self) -> bool:
        """Whether it matches every domain, so that it must never beat a mask that names one."""
        return self.pattern.rpartition("@")[2].strip("*") == ""

    def match(self, address: InternalAddress) -> str | None:
        """What the first star stood for (the whole detail where the mask has no star), or None when it does not match."""
        if address.connector != self.connector.upper():
            return None
        found = _compile(self.pattern).fullmatch(address.detail)
        return None if found is None else found[1] if found.re.groups else address.detail

    def fill(self, address: InternalAddress) -> InternalAddress:
        """As the right side of a map row: `[SMTP:*]` keeps the address's whole detail, `[SF:PO/*]` puts its local part for the star."""
        if self.is_exact:
            return InternalAddress(self.connector.upper(), self.pattern)
        kept = address.detail if self.pattern == "*" else address.local
        return InternalAddress(self.connector.upper(), self.pattern.replace("*", kept, 1))

    def __str__(self) -> str:
        return f"[{self.connector}:{self.pattern}]"


@lru_cache(maxsize=65536)
def _compile(pattern: str) -> re.Pattern[str]:
    """One regular expression a mask. Each star but the last takes the shortest run up to the next literal and never reconsiders
    (an atomic group), so matching is linear in the address for each star."""
    first, *rest = (re.escape(piece) for piece in re.sub(r"\*+", "*", pattern).split("*"))
    if not rest:
        return re.compile(first, re.IGNORECASE | re.DOTALL)
    *middle, last = rest
    body = "".join(f"(?>{'(.*?)' if index == 0 else '.*?'}{piece})" for index, piece in enumerate(middle))
    return re.compile(f"{first}{body}{'.*' if middle else '(.*)'}{last}", re.IGNORECASE | re.DOTALL)
