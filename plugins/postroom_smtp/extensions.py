"""What EHLO offers, each keyword with the document that defines it. What is not true now is not said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extension:
    """One line of the EHLO reply."""

    keyword: str
    rfc: int
    argument: str = ""


def offered(
    *, size: int, recipients: int, messages: int, starttls: bool, mechanisms: str = "", hold: str = "", etrn: bool = False
) -> tuple[Extension, ...]:
    """In the order in which they are said. `mechanisms` and `hold` are the arguments of AUTH and FUTURERELEASE, which are not offered where
    they are empty."""
    return (
        Extension("PIPELINING", 2920),
        Extension("SIZE", 1870, str(size)),
        *((Extension("STARTTLS", 3207),) if starttls else ()),
        *((Extension("AUTH", 4954, mechanisms),) if mechanisms else ()),
        Extension("8BITMIME", 6152),
        Extension("SMTPUTF8", 6531),
        Extension("CHUNKING", 3030),
        Extension("BINARYMIME", 3030),
        Extension("ENHANCEDSTATUSCODES", 2034),
        Extension("DSN", 3461),
        Extension("LIMITS", 9422, f"RCPTMAX={recipients} MAILMAX={messages}"),
        *((Extension("FUTURERELEASE", 4865, hold),) if hold else ()),
        *((Extension("ETRN", 1985),) if etrn else ()),
        Extension("HELP", 5321),
    )


def lines(extensions: tuple[Extension, ...]) -> bytes:
    """All but the first line of an EHLO reply (RFC 5321 section 4.1.1.1)."""
    *others, last = (f"{extension.keyword} {extension.argument}".rstrip() for extension in extensions)
    return "".join([*(f"250-{line}\r\n" for line in others), f"250 {last}\r\n"]).encode()
