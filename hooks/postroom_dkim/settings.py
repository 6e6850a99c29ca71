"""Settings of the DKIM signer."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Acronym = Annotated[str, StringConstraints(to_upper=True, min_length=1)]
_NAME = re.compile(r"[!-9;-~]+")
_NEVER: Final = {"return-path", "received", "dkim-signature", "bcc", "x-google-dkim-signature", "authentication-results"}


def _field_name(text: str) -> str:
    """RFC 6376 section 5.4: what changes on the way, and what is taken out, is not signed."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r} is no name of a header field")
    if name in _NEVER:
        raise ValueError(f"{text} changes on its way or is taken out, so it cannot be signed")
    return name


FieldName = Annotated[str, AfterValidator(_field_name)]

# RFC 6376 section 5.4.1, and what List-Unsubscribe-Post needs (RFC 8058 section 4).
USUAL: Final = (
    "from", "sender", "reply-to", "subject", "date", "message-id", "to", "cc", "mime-version", "content-type", "content-transfer-encoding",
    "content-id", "content-description", "resent-date", "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-message-id",
    "in-reply-to", "references", "list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post", "list-subscribe", "list-post",
    "list-owner", "list-archive", "auto-submitted",
)  # fmt: skip


class DkimSettings(BaseModel):
    """The table of an instance of the plugin `dkim`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithms: tuple[Literal["rsa", "ed25519"], ...] = Field(
        default=("rsa", "ed25519"), min_length=1, description="kinds of keys that are made for a domain; a message gets a signature by each"
    )
    rsa_bits: int = Field(default=2048, ge=1024, le=4096, description="size of new RSA keys; many verifiers take no more than 2048")
    headers: tuple[FieldName, ...] = Field(default=USUAL, description="header fields that are signed where a message has them")
    oversign: tuple[FieldName, ...] = Field(
        default=("from",), description="header fields of which nobody may add another one later; From is always among them"
    )
    convert: Literal["needed", "8bit", "never"] = Field(
        default="needed",
        description="what is put into quoted-printable or base64 before it is signed, so that no server on the way has to do it and break the "
        "signature: needed takes binary messages and lines of more than 998 octets; 8bit also 8-bit messages, which nearly every server takes "
        "as they are; never leaves binary messages unsigned",
    )
    simple_above: int = Field(
        default=8 << 20, ge=0, description="octets; the body of a larger message is signed in simple form, which costs a third less"
    )
    expire: float = Field(default=0.0, ge=0, le=365, description="days after which a signature is not valid any more (x=); 0: never")
    connectors: tuple[Acronym, ...] = Field(default=("SMTP",), min_length=1, description="connectors whose outgoing mail is signed")
    foreign: tuple[Acronym, ...] = Field(
        default=("POP",), description="connectors whose mail was written elsewhere although they name no peer; it is not signed"
    )
    any_postoffice: bool = Field(
        default=False, description="sign also what people of one post office send with another post office's domain in From"
    )
    on_bad_key: Literal["defer", "pass", "reject"] = Field(
        default="defer", description="what becomes of mail that cannot be signed because a key is missing or wrong; pass: it goes unsigned"
    )
    activate_after: float = Field(
        default=24.0,
        ge=0,
        description="hours after `postroom dkim rotate` until a new key that DNS shows signs; 0: only by `dkim activate`",
    )
    look_every: float = Field(default=600.0, ge=10, description="seconds between two looks whether DNS shows a new key")
    keep: float = Field(
        default=14.0, ge=0, description="days an old key is kept, and its record is to stay, after a new one took its place"
    )
