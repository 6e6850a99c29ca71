"""Settings of the mailbox store."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class StoreSettings(BaseModel):
    """The table of `store` in postroom.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    open_logs: int = Field(
        default=512,
        ge=16,
        le=100_000,
        description="Folder logs that each worker keeps open (number; each costs a descriptor, two while a session reads envelopes from it).",
    )
    keep_expunged: float = Field(
        default=7.0,
        ge=0,
        le=3650,
        description="Days for which expunged messages can be brought back with `postroom mailbox undelete`; 0 removes them at once. They count for no quota.",
    )
