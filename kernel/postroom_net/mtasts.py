"""MTA-STS: a domain's word that its mail hosts speak TLS with good certificates, and how long that word holds (RFC 8461).

Pure but for `fetch`. PolicyError says why something is no policy; `known` and `is_fresh` decide what is done with one that was kept. A policy
that was fetched once holds until its time is over, whatever DNS and the web say meanwhile: that is its point (section 10.2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, cast

from postroom_net.https import Https, HttpsError, Request, Untrusted

Mode = Literal["enforce", "testing", "none"]
LONGEST: Final = 31_557_600  # seconds (section 3.2)
LARGEST: Final = 64 * 1024  # octets (section 3.3)
DAY: Final = 86_400.0  # after which a policy in use is fetched again (section 10.2 asks for it well before the end)
_MX_MOST: Final = 1000  # patterns kept
_TXT: Final = re.compile(rb"v=STSv1(?:[ \t]*;[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[\x21-\x3a\x3c\x3e-\x7e]+))+[ \t]*;?[ \t]*")
_ID: Final = re.compile(rb";[ \t]*id=([A-Za-z0-9]{1,32})[ \t]*(?:;|\Z)")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_PATTERN: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.?")
_AGE: Final = re.compile(r"[0-9]{1,10}")
FailureKind = Literal["sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid"]


class PolicyError(Exception):
    """No policy can be had; `kind` is the word for it in a TLS report (RFC 8460 section 4.3.2.2)."""

    def __init__(self, what: str, kind: FailureKind = "sts-policy-invalid") -> None:
        self.kind = kind
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain says (section 3.2)."""

    mode: Mode
    max_age: int  # seconds
    mx: tuple[str, ...] = ()  # host names; `*.` stands for one label

    def allows(self, host: str) -> bool:
        """Section 4.1: whether a host is one of the domain's."""
        host = host.lower().rstrip(".")
        label, _, rest = host.partition(".")
        return any(pattern == host or (bool(label) and pattern == f"*.{rest}") for pattern in self.mx)

    @property
    def lines(self) -> list[str]:
        """As in the file; for reports."""
        return ["version: STSv1", f"mode: {self.mode}", *(f"mx: {pattern}" for pattern in self.mx), f"max_age: {self.max_age}"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy and when it was fetched."""

    domain: str
    id: str
    policy: Policy
    at: float  # unix seconds

    def holds(self, now: float) -> bool:
        """Whether it binds us still."""
        return now < self.at + self.policy.max_age

    def is_fresh(self, id: str | None, now: float) -> bool:
        """Whether it need not be fetched before it is used. `id` is what DNS says now; None: nothing, or nobody can tell."""
        return self.holds(now) and (id is None or id == self.id)

    def is_old(self, now: float) -> bool:
        """Whether it should be fetched again soon, though DNS shows no change."""
        return now >= self.at + min(DAY, self.policy.max_age / 2)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Kept:
        """ValueError where a file is none."""
        try:
            said = json.loads(text)
            policy, domain, id, at = said["policy"], said["domain"], said["id"], said["at"]
            found = Policy(policy["mode"], policy["max_age"], tuple(policy["mx"]))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no policy: {error}") from None
        if found.mode not in ("enforce", "testing", "none") or not all(isinstance(one, str) for one in (domain, id, *found.mx)):
            raise ValueError("no policy")
        return cls(domain, id, replace(found, max_age=int(found.max_age)), float(at))


def record_id(records: Iterable[bytes]) -> str | None:
    """The id of the one TXT record at `_mta-sts.` (section 3.1); None where there is none, or more than one."""
    ours = [record for record in records if re.match(rb"v=STSv1[ \t]*;", record)]
    if len(ours) != 1 or len(ours[0]) > 4096 or not _TXT.fullmatch(ours[0]):
        return None
    found = _ID.search(ours[0])
    return found[1].decode() if found else None


def parse(text: bytes) -> Policy:
    """A policy file. What is not known is skipped, of what comes twice the first counts (section 3.2). PolicyError."""
    if len(text) > LARGEST:
        raise PolicyError("the policy is too long")
    try:
        lines = text.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        raise PolicyError("the policy is no text") from None
    said: dict[str, list[str]] = {}
    for line in filter(str.strip, lines):
        key, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", key.strip(" \t")):
            raise PolicyError(f"the policy has a line that is none: {line[:60]!r}")
        said.setdefault(key.strip(" \t"), []).append(value.strip(" \t"))
    if said.get("version", [""])[0] != "STSv1":
        raise PolicyError("the policy's version is not STSv1")
    mode, age = said.get("mode", [""])[0], said.get("max_age", [""])[0]
    if mode not in ("enforce", "testing", "none"):
        raise PolicyError(f"the policy's mode is {mode[:40]!r}")
    if not _AGE.fullmatch(age):
        raise PolicyError(f"the policy's max_age is {age[:40]!r}")
    return Policy(cast(Mode, mode), min(int(age), LONGEST), _patterns(said.get("mx", ()), mode))


def _patterns(said: Collection[str], mode: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(pattern.lower().rstrip(".") for pattern in said))
    for pattern in found:
        if not _PATTERN.fullmatch(pattern) or len(pattern) > 255:
            raise PolicyError(f"the policy names a host that is none: {pattern[:60]!r}")
    if not found and mode != "none":
        raise PolicyError("the policy names no host")
    return found[:_MX_MOST]


async def fetch(https: Https, domain: str, port: int = 443) -> Policy:
    """From the domain's web server (section 3.3). PolicyError."""
    request = Request(f"mta-sts.{domain}", port, "/.well-known/mta-sts.txt", fields={"Accept": "text/plain"})
    try:
        answer = await https.ask(request)
    except Untrusted as error:
        raise PolicyError(str(error), "sts-webpki-invalid") from None
    except HttpsError as error:
        raise PolicyError(str(error), "sts-policy-fetch-error") from None
    if answer.status != 200:  # nothing is followed: 3xx is no policy
        raise PolicyError(f"{request.host} answered {answer.status}", "sts-policy-fetch-error")
    if answer.media_type != "text/plain":
        raise PolicyError(f"{request.host} answered with {answer.media_type[:60] or 'no media type'}, not with text/plain")
    return parse(answer.body)
