"""Where `postroom` starts: runs a command and turns what went wrong into a sentence and an exit code.

Exit codes: 0 done, 1 the command said no (or the site did), 2 wrong usage. Ctrl-C and a closed pipe end quietly. Only a mistake of
ours shows a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script; always ends in SystemExit."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """One command; its exit code."""
    from postroom_cli.app import app
    from postroom_cli.output import SAID_NO, WRONG_USAGE, complain

    try:
        outcome = app(args=arguments or ["--help"], prog_name="postroom", standalone_mode=True)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else SAID_NO
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes stdout once more at its end
        return SAID_NO
    except Exception as error:
        from postroom_cli.names import Wrong

        if (sentence := _sentence(error)) is None:
            raise
        complain(*(f"postroom: {line}" for line in sentence.splitlines()))
        return WRONG_USAGE if isinstance(error, Wrong) else SAID_NO
    return int(outcome or 0)


def _sentence(error: Exception) -> str | None:
    """What went wrong where it is the operator's or the world's, and none of ours: settings, rows, a disk that refuses."""
    from postroom.errors import DiskError, PostroomError
    from postroom_cli.names import Wrong

    if isinstance(error, PostroomError | Wrong | DiskError):
        return str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"  # a file that cannot be read
    return None


if __name__ == "__main__":
    main()
