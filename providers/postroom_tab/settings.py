"""What an operator may set for the TAB provider."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TabSettings(BaseModel):
    """`tab:` in the site's YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field(
        default="Config", description="Where the TAB files lie: a path, relative to the site's folder unless absolute.", min_length=1
    )
    watch: bool = Field(
        default=True, description="Ask the operating system to tell of edits made by hand or by a panel, so that they count at once."
    )
    poll_seconds: float = Field(
        default=30.0, description="Seconds between looks at all files, which find what watching missed or cannot see.", gt=0, le=86400
    )
    settle_seconds: float = Field(
        default=2.0,
        description="Seconds for which a file that vanished or became empty is taken for one that a panel is just writing; its last rows stay in force.",
        ge=0,
        le=600,
    )
    lock_timeout_seconds: float = Field(
        default=10.0,
        description="Seconds to wait for another process that is changing the files, before a change is refused.",
        gt=0,
        le=600,
    )
