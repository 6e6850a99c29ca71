"""The settings of a command instance: which programs are asked when, what they are handed, and what they may use up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from postroom_command.contract import PLACEHOLDERS, Word, strange

Argv = Annotated[tuple[str, ...], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Section):
    """What one program may use up; each process of it by itself, as the operating system counts. 0: no limit."""

    cpu: int = Field(default=0, ge=0, description="seconds of processor time")
    memory: int = Field(default=0, ge=0, description="MiB of address space; programs that reserve more than they use need a generous one")
    open_files: int = Field(default=0, ge=0, description="files open at a time")
    file_size: int = Field(default=1024, ge=0, description="MiB of a file that it writes")


class CommandSettings(_Section):
    """What stands under the instance's name in the YAML file."""

    pickup: Argv | None = Field(default=None, description="program and its arguments, asked when a message was taken from a connector")
    delivery: Argv | None = Field(default=None, description="program and its arguments, asked when a message goes to a connector")
    mailbox: Argv | None = Field(default=None, description="program and its arguments, asked when a message is about to enter a mailbox")
    connectors: tuple[str, ...] = Field(
        default=(), description="connectors whose messages are shown: sources at pickup, targets at delivery; all where empty"
    )
    arguments: tuple[str, ...] | None = Field(
        default=None,
        description=f"what follows on the command line in place of FILE CONNECTOR (at pickup and delivery) and POSTOFFICE MAILBOX FILE "
        f"(mailbox); knows {' '.join(PLACEHOLDERS)}",
    )
    files: bool = Field(default=True, description="write the message and its command file as a private pair that the program may change")
    stdin: bool = Field(default=False, description="hand the message to the program's standard input")
    verdicts: Mapping[Annotated[int, Field(ge=0, le=255)], Word] = Field(
        default={0: "pass"}, description="verdict of each exit code; 0 passes unless said, every code that is not named is an error"
    )
    reason: bool = Field(default=True, description="take the last line of standard output for the reason of a verdict")
    environment: Mapping[str, str] = Field(default={}, description="variables the program gets beside those of postroom")
    user: str = Field(default="", description="account the program runs as; needs a server that runs as root. Empty: the server's own")
    processes_at_once: int = Field(default=4, ge=1, le=64, description="programs of this instance that a worker runs at a time")
    limits: Limits = Field(default=Limits(), description="what one program may use up")

    @field_validator("environment")
    @classmethod
    def _own_names(cls, names: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in names.items():
            if not name or "=" in name or "\0" in name + value or name.startswith("POSTROOM_"):
                raise ValueError(f"{name!r} cannot be set; a name has neither = nor NUL and does not begin with POSTROOM_")
        return names

    @field_validator("pickup", "delivery", "mailbox", "arguments")
    @classmethod
    def _whole_words(cls, words: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if any("\0" in word for word in words or ()):
            raise ValueError("an argument cannot hold a NUL")
        return words

    @model_validator(mode="after")
    def _possible(self) -> CommandSettings:
        if not (self.pickup or self.delivery or self.mailbox):
            raise ValueError("names no program; give at least one of pickup, delivery and mailbox")
        for name in strange(self.arguments or ()):
            raise ValueError(f"the placeholder {name} is not known; there are {' '.join(PLACEHOLDERS)}")
        if not self.files and self.arguments is None:
            raise ValueError("without files the arguments of the old contract name none; say which `arguments` it gets, or `arguments: []`")
        return self

    def programs(self) -> Mapping[Literal["pickup", "delivery", "mailbox"], tuple[str, ...]]:
        """The programs by the stage at which they are asked."""
        found: dict[Literal["pickup", "delivery", "mailbox"], tuple[str, ...]] = {}
        if self.pickup:
            found["pickup"] = self.pickup
        if self.delivery:
            found["delivery"] = self.delivery
        if self.mailbox:
            found["mailbox"] = self.mailbox
        return found
