"""What is wrong with a command instance before any message comes: told at the start, with the line of the settings and a remedy."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from postroom.errors import ConfigError
from postroom.settings import ConfigErrors
from postroom.site import Ground
from postroom_command.launcher import Account
from postroom_command.settings import CommandSettings


def account_or_errors(settings: CommandSettings, ground: Ground) -> Account | None:
    """The account the programs run as (None: the server's own); ConfigErrors with all that is wrong."""
    account = None
    mistakes = list(_programs(settings, ground))
    if settings.user:
        try:
            account = _account(settings.user, ground)
        except ConfigError as error:
            mistakes.append(error)
    if mistakes:
        raise ConfigErrors(mistakes)
    return account


def _programs(settings: CommandSettings, ground: Ground) -> Iterator[ConfigError]:
    for stage, argv in settings.programs().items():
        if (wrong := _wrong(Path(argv[0]))) is not None:
            what, remedy = wrong
            yield ground.settings.error(f"{argv[0]} {what}", "plugins", ground.name, stage, 0, remedy=remedy)


def _wrong(program: Path) -> tuple[str, str] | None:
    """What is wrong with a program, and the remedy."""
    if not program.is_absolute():
        return "is no absolute path", "Write the whole path; no shell searches for it"
    if not program.exists():
        return "is not there", "Install the program, or mend the path"
    if not program.is_file() or not os.access(program, os.X_OK):
        return "cannot be executed", f"Name a program; a script needs its first line and `chmod +x {program}`"
    return None


def _account(name: str, ground: Ground) -> Account | None:
    key = ("plugins", ground.name, "user")
    try:
        row = pwd.getpwnam(name)
    except KeyError:
        raise ground.settings.error(f"there is no account {name}", *key, remedy="Make it, or name another") from None
    if name == ground.settings.user or (row.pw_uid == os.geteuid() and not ground.settings.user):
        return None
    if os.geteuid() != 0 or ground.settings.user:
        why = "only a server that runs as root can start programs under another account"
        raise ground.settings.error(why, *key, remedy="Take `user` out of this table; the program then runs as the server does")
    return Account(row.pw_uid, row.pw_gid, tuple(os.getgrouplist(name, row.pw_gid)))
