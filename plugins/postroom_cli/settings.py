"""The command line has nothing to be set in a site's file; its options are given with each command."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class CliSettings(BaseModel):
    """`cli:` in the YAML file: empty."""

    model_config = ConfigDict(extra="forbid", frozen=True)
