"""TLS-RPT: what became of TLS with a domain's hosts in a day, told to whom the domain names (RFC 8460).

Pure. A `Tally` holds a bounded number of domains, policies and kinds of failure; what is beyond is counted without its details, or not at all.
Tallies of several workers are merged, so one report goes out for all. Texts that came from peers are cut and lose their control characters.
"""

from __future__ import annotations

import gzip
import json
import re
from base64 import encodebytes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Final, Literal, cast
from urllib.parse import unquote

DAY: Final = 86_400  # seconds
DOMAINS, POLICIES, FAILURES = 10_000, 10, 50  # kept in a day, of each domain, of each policy
_DESTINATIONS = 5  # that a domain may name
_TEXT = 300  # characters of what a peer said
_TXT: Final = re.compile(rb"v=TLSRPTv1[ \t]*;[ \t]*([^\0-\x08\x0a-\x1f\x7f-\xff]*)")
_MAILBOX: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9_.-]{1,253}")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

PolicyKind = Literal["tlsa", "sts", "no-policy-found"]
Result = Literal[  # section 4.3
    "starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted", "validation-failure",
    "tlsa-invalid", "dnssec-invalid", "dane-required", "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Applied:
    """The policy that was applied to a session (section 4.4); `domain` is the recipients'."""

    domain: str
    kind: PolicyKind = "no-policy-found"
    strings: tuple[str, ...] = ()  # the policy itself
    mx: tuple[str, ...] = ()  # hosts it names


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of failed session."""

    result: Result
    host: str = ""  # the one that was to take the mail
    ip: str = ""  # its address
    sending_ip: str = ""  # ours
    reason: str = ""  # for people

    def cut(self) -> Failure:
        return replace(self, reason=_CONTROLS.sub(" ", self.reason)[:_TEXT], host=_CONTROLS.sub("", self.host)[:255])


@dataclass(slots=True)
class Count:
    """Sessions under one policy."""

    good: int = 0
    failed: dict[Failure, int] = field(default_factory=dict)

    @property
    def bad(self) -> int:
        return sum(self.failed.values())


@dataclass(slots=True)
class Tally:
    """A day's sessions; `day` counts days since 1970, UTC (section 4.1)."""

    day: int
    domains: dict[str, dict[Applied, Count]] = field(default_factory=dict)
    lost: int = 0  # sessions that found no room

    def note(self, applied: Applied, failure: Failure | None = None, times: int = 1) -> None:
        """A session went well, or did not."""
        count = self._count(applied)
        if count is None:
            self.lost += times
        elif failure is None:
            count.good += times
        else:
            failure = failure.cut()
            if failure not in count.failed and len(count.failed) >= FAILURES:
                failure = Failure(failure.result)  # at most one more of each result
            count.failed[failure] = count.failed.get(failure, 0) + times

    def merge(self, other: Tally) -> None:
        """Take in what another counted on the same day."""
        for policies in other.domains.values():
            for applied, count in policies.items():
                if count.good:
                    self.note(applied, None, count.good)
                for failure, times in count.failed.items():
                    self.note(applied, failure, times)
        self.lost += other.lost

    def _count(self, applied: Applied) -> Count | None:
        policies = self.domains.get(applied.domain)
        if policies is None:
            if len(self.domains) >= DOMAINS:
                return None
            policies = self.domains[applied.domain] = {}
        if applied not in policies and len(policies) >= POLICIES:
            return None
        return policies.setdefault(applied, Count())

    def to_json(self) -> bytes:
        """For a file."""
        rows = [
            [asdict(applied), count.good, [[asdict(failure), times] for failure, times in count.failed.items()]]
            for policies in self.domains.values()
            for applied, count in policies.items()
        ]
        return json.dumps({"day": self.day, "lost": self.lost, "sessions": rows}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Tally:
        """ValueError where a file holds none."""
        try:
            said = cast("dict[str, Any]", json.loads(text))
            tally = cls(int(said["day"]), lost=int(said["lost"]))
            for facts, good, failed in said["sessions"]:
                applied = Applied(facts["domain"], facts["kind"], tuple(facts["strings"]), tuple(facts["mx"]))
                if good:
                    tally.note(applied, None, int(good))
                for failure, times in failed:
                    tally.note(applied, Failure(**failure), int(times))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no tally: {error}") from None
        return tally


# ---------------------------------------------------------------- where reports go


@dataclass(frozen=True, slots=True)
class Destinations:
    """Whom a domain names."""

    mail: tuple[str, ...] = ()
    web: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.mail or self.web)


def destinations(records: Iterable[bytes]) -> Destinations:
    """What the one TXT record at `_smtp._tls.` asks for (section 3); nothing where there is none, or more than one."""
    ours = [record for record in records if re.match(rb"v=TLSRPTv1[ \t]*;", record)]
    found = _TXT.fullmatch(ours[0]) if len(ours) == 1 and len(ours[0]) <= 4096 else None
    if found is None:
        return Destinations()
    pairs = (part.partition("=") for part in found[1].decode().split(";"))
    said = {key.strip(): value.strip() for key, _, value in reversed([*pairs])}  # of what comes twice the first counts
    mail, web = [], []
    for uri in [one.strip() for one in said.get("rua", "").split(",")][:_DESTINATIONS]:
        scheme, _, rest = uri.partition(":")
        if scheme.lower() == "mailto" and _MAILBOX.fullmatch(address := unquote(rest.partition("?")[0])):
            mail.append(address)
        elif scheme.lower() == "https" and rest.startswith("//"):
            web.append(uri)
    return Destinations(tuple(dict.fromkeys(mail)), tuple(dict.fromkeys(web)))


# ---------------------------------------------------------------- the report


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports."""

    organization: str
    contact: str  # a mail address
    host: str


@dataclass(frozen=True, slots=True)
class Report:
    """A day of one domain. Its id follows from both, so a report that is sent again is known as the same."""

    by: Reporter
    domain: str
    day: int
    policies: Mapping[Applied, Count]

    @property
    def id(self) -> str:
        return f"{self._begins.date().isoformat()}.{self.domain}@{self.by.host}"

    @property
    def _begins(self) -> datetime:
        return datetime.fromtimestamp(self.day * DAY, UTC)

    def to_json(self) -> bytes:
        """Section 4.4."""
        date = self._begins.date().isoformat()
        return json.dumps(
            {
                "organization-name": self.by.organization,
                "date-range": {"start-datetime": f"{date}T00:00:00Z", "end-datetime": f"{date}T23:59:59Z"},
                "contact-info": self.by.contact,
                "report-id": self.id,
                "policies": [_policy(applied, count) for applied, count in self.policies.items()],
            }
        ).encode()

    def packed(self) -> bytes:
        """Section 5.2; the same octets each time."""
        return gzip.compress(self.to_json(), mtime=self.day * DAY)

    @property
    def file_name(self) -> str:
        """Section 5.1."""
        return f"{self.by.host}!{self.domain}!{self.day * DAY}!{self.day * DAY + DAY - 1}.json.gz"

    def compose(self, to: Sequence[str], now: float) -> bytes:
        """As a message (section 5.3). It goes out whatever TLS there is: it may tell that there is none (RFC 8689 section 3)."""
        boundary = f"=_tlsrpt_{self.day}"
        head = (
            f"From: {_phrase(self.by.organization)} <{self.by.contact}>",
            "To: " + ",\r\n ".join(f"<{one}>" for one in to),
            f"Subject: Report Domain: {self.domain}\r\n Submitter: {self.by.host}\r\n Report-ID: <{self.id}>",
            f"Date: {formatdate(now)}",
            f"Message-ID: <tlsrpt.{self.id}>",
            f"TLS-Report-Domain: {self.domain}",
            f"TLS-Report-Submitter: {self.by.host}",
            "TLS-Required: No",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            f'Content-Type: multipart/report; report-type="tlsrpt";\r\n boundary="{boundary}"',
        )
        good, bad = (sum(values) for values in zip(*((one.good, one.bad) for one in self.policies.values()), strict=True))
        text = (
            f"This is an aggregate TLS report from {self.by.host}.\r\n\r\nDomain: {self.domain}\r\nDay: {self._begins.date()} (UTC)\r\n"
            f"Sessions that went well: {good}\r\nSessions that failed: {bad}\r\n"
        )
        parts = (
            ("Content-Type: text/plain; charset=us-ascii", "", text),
            (
                "Content-Type: application/tlsrpt+gzip",
                "Content-Transfer-Encoding: base64",
                f'Content-Disposition: attachment;\r\n filename="{self.file_name}"',
                "",
                encodebytes(self.packed()).decode().replace("\n", "\r\n"),
            ),
        )
        body = "".join(f"--{boundary}\r\n" + "\r\n".join(part) + "\r\n" for part in parts)
        return ("\r\n".join((*head, "", body)) + f"--{boundary}--\r\n").encode()


def _policy(applied: Applied, count: Count) -> dict[str, object]:
    policy: dict[str, object] = {"policy-type": applied.kind, "policy-domain": applied.domain}
    if applied.strings:
        policy["policy-string"] = list(applied.strings)
    if applied.mx:
        policy["mx-host"] = list(applied.mx)
    summary = {"total-successful-session-count": count.good, "total-failure-session-count": count.bad}
    details = [_details(failure, times) for failure, times in count.failed.items()]
    return {"policy": policy, "summary": summary, **({"failure-details": details} if details else {})}


def _details(failure: Failure, times: int) -> dict[str, object]:
    named = {
        "sending-mta-ip": failure.sending_ip,
        "receiving-mx-hostname": failure.host,
        "receiving-ip": failure.ip,
        "failure-reason-code": failure.reason,
    }
    return {"result-type": failure.result, **{name: value for name, value in named.items() if value}, "failed-session-count": times}


def _phrase(text: str) -> str:
    """A display name (RFC 5322 section 3.2.5)."""
    plain = _CONTROLS.sub(" ", text).encode("ascii", "replace").decode()
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"')[:200] + '"'
