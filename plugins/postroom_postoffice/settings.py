"""The settings of the post office connector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SrsSettings(BaseModel):
    """`srs:` in the table of `postoffice`: the sender under which mail is forwarded to outside."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    domain: str = Field(
        default="",
        description="The domain of ours that rewritten senders are of; empty forwards under the original sender, which fails the SPF of its domain.",
    )
    secret: Path = Field(
        default=Path("Config/SRS.KEY"),
        description="File with the secret, relative to the site, made with a new site. Of several lines the first signs, and all are believed.",
    )
    days: int = Field(default=21, ge=1, le=1000, description="Days for which a bounce to a rewritten sender finds back.")


class PostofficeSettings(BaseModel):
    """`postoffice:` in the YAML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when_full: Literal["defer", "bounce"] = Field(
        "defer",
        description="What a message to a mailbox beyond its quota meets: `defer` tries again later (452 4.2.2), `bounce` tells the sender at once (552 5.2.2).",
    )
    full_memory: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="Seconds for which a mailbox that was found full is refused at RCPT; 0 asks the store for each message.",
    )
    junk: bool = Field(True, description="Whether `X-ME-Content: Deliver-To=Junk` in a message's header files it into the junk folder.")
    junk_folder: str = Field(
        "Junk E-Mail", min_length=1, max_length=200, description="The folder for junk, a name with levels joined by `/`."
    )
    max_members: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="Members that a group may come to, nested groups included, and addresses of a redirect; beyond it mail is refused.",
    )
    srs: SrsSettings = Field(SrsSettings(), description="The sender under which mail is forwarded to outside.")
