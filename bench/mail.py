"""Messages to send: real MIME of about four KiB, the same for every server, made from a seed and not from a dictionary."""

from __future__ import annotations

import random
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

SYLLABLES = [consonant + vowel for consonant in "bdfklmnprst" for vowel in "aeio"]
FRAME = 1130  # octets of header, boundaries and part headers


def message(octets: int, *, seed: int = 1) -> bytes:
    """Two alternatives and fifteen header fields with CRLF line ends, about that large (within a line or two)."""
    chance = random.Random(seed)
    lines: list[str] = []
    left = octets - FRAME
    while left > 0:
        lines.append(" ".join("".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(11)))
        left -= 2 * len(lines[-1]) + len("\r\n<p></p>\r\n")
    return _mime(lines, seed).as_bytes(policy=SMTP)


def file_for_smtp_source(path: Path, octets: int) -> Path:
    """As `smtp-source -F` wants it: it makes CRLF of LF itself."""
    path.write_bytes(message(octets).replace(b"\r\n", b"\n"))
    return path


def _mime(lines: list[str], seed: int) -> EmailMessage:
    mail = EmailMessage()
    for hop in (2, 1):
        mail["Received"] = (
            f"from mx{hop}.example.net (mx{hop}.example.net [192.0.2.{hop}]) by mail.example.org; Fri, 5 Jan 2024 10:00:0{hop} +0000"
        )
    mail["Date"] = "Fri, 05 Jan 2024 10:00:00 +0000"
    mail["From"] = '"Rita Sender" <rita@example.org>'
    mail["To"] = '"All of Us" <us@example.org>'
    mail["Cc"] = "one@example.com, two@example.com"
    mail["Reply-To"] = "rita@example.org"
    mail["Subject"] = " ".join(lines[0].split()[:6])
    mail["Message-ID"] = f"<{seed}.1704448800@mail.example.org>"
    mail["In-Reply-To"] = "<first@mail.example.org>"
    mail["References"] = "<first@mail.example.org> <second@mail.example.org>"
    mail["X-Mailer"] = "bench 1.0"
    mail["List-Id"] = "<us.example.org>"
    mail.set_content("\n".join(lines) + "\n", cte="7bit")
    html = "".join(f"<p>{line}</p>\n" for line in lines)
    mail.add_alternative(f"<html><body>\n{html}</body></html>\n", subtype="html", cte="7bit")
    mail.set_boundary("=_bench_alternative")
    return mail
