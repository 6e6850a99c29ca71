"""Where a new password comes from: a line of stdin, a person at a terminal, or chance. Only its hash goes any further."""

from __future__ import annotations

import secrets
import sys

from postroom_cli.names import Wrong

ALPHABET = "abcdefghjkmnpqrstuvwxyzACDEFGHJKLMNPQRSTUVWXYZ2345679"  # nothing that is read aloud as something else
LENGTH = 18  # letters: 103 bits


def made_up() -> str:
    """A password nobody chose."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def ask(*, from_stdin: bool) -> tuple[str, bool]:
    """A password, and whether it was made up here and must be told once."""
    if from_stdin:
        word = sys.stdin.readline().rstrip("\r\n")
        if not word:
            raise Wrong("--password-stdin found no password on stdin")
        return word, False
    word = _from_terminal() if sys.stdin.isatty() else ""
    return (word, False) if word else (made_up(), True)


def _from_terminal() -> str:
    import getpass

    word = getpass.getpass("New password (empty: make one up): ")
    if word and getpass.getpass("Once more: ") != word:
        raise Wrong("the two passwords differ; nothing was changed")
    return word


def hashed(word: str) -> str:
    """As it is stored: argon2id."""
    from postroom_net.passwords import hash_password

    return hash_password(word)
