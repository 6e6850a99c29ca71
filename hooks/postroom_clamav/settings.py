"""Settings of the virus scanner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Action = Literal["reject", "quarantine", "discard", "mark"]
TooLargeAction = Literal["on_error", "pass", "defer", "reject", "quarantine"]
Party = Literal["sender", "recipients", "operator"]
Acronym = Annotated[str, StringConstraints(to_upper=True, min_length=1)]
R = TypeVar("R", bound="Rules")


class Rules(BaseModel):
    """What is done with a message; may differ by the connector it came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scan: bool = Field(default=True, description="whether mail is scanned")
    only_untrusted: bool = Field(default=False, description="scan only mail from outside: not of people who logged in or may relay")
    action: Action = Field(
        default="reject",
        description="what a virus means: reject (554 before the reply), quarantine, discard, or mark (delivered with `X-Virus`)",
    )
    max_size: int = Field(
        default=25 << 20, ge=1024, description="octets; what is larger is not sent to clamd. Not above its StreamMaxLength"
    )
    too_large: TooLargeAction = Field(
        default="on_error", description="what becomes of mail too large to be scanned; on_error: what `hooks: {on_error}` says"
    )
    strip: bool = Field(default=True, description="take header fields that begin with X-Virus out of mail from outside")
    add_header: bool = Field(
        default=False, description="add `X-Virus-Scanned` and `X-Virus-Status: Clean` to clean mail; it is copied for that"
    )
    notify: tuple[Party, ...] = Field(
        default=(), description="who gets a notice of a virus: sender (logged in or trusted ones only), recipients (of this site), operator"
    )


class ClamavSettings(Rules):
    """The table of an instance of the plugin `clamav`."""

    socket: Path = Field(default=Path("/run/clamav/clamd.ctl"), description="clamd's UNIX socket; relative to the site")
    host: str = Field(default="", description="where clamd listens by TCP; then `socket` is not used")
    port: int = Field(default=3310, ge=1, le=65535, description="its port there")
    connections: int = Field(
        default=10, ge=1, le=1000, description="messages a worker lets clamd scan at a time; clamd has MaxThreads for all"
    )
    connect_timeout: float = Field(default=5.0, gt=0, description="seconds until a connection to clamd is given up")
    stage: Literal["pickup", "delivery"] = Field(
        default="pickup", description="when it is scanned: once when it comes in, or whenever it goes to a connector"
    )
    operator: str = Field(default="", description="address that gets the notices of `notify: [operator]`")
    connectors: dict[Acronym, Rules] = Field(default={}, description="what differs for mail that came in by this connector, such as `POP`")

    @model_validator(mode="after")
    def _fit_together(self) -> ClamavSettings:
        if self.host and "socket" in self.model_fields_set:
            raise ValueError("clamd is reached by `socket` or by `host` and `port`: say one of them")
        if "port" in self.model_fields_set and not self.host:
            raise ValueError("`port` needs a `host`")
        if not self.operator and any("operator" in rules.notify for rules in (self, *self.connectors.values())):
            raise ValueError("`notify` names the operator: give the address as `operator`")
        if self.operator and not 0 < self.operator.find("@") < len(self.operator) - 1:
            raise ValueError(f"`operator` must be an address, not {self.operator!r}")
        return self

    def rules_of(self, source: str) -> Rules:
        """The rules for mail from this connector: what its own table does not say is as for all."""
        own = self.connectors.get(source)
        if own is None:
            return self
        return self.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
