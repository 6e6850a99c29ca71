"""The command `postroom plugin verify`: its signature and help; the work is `postroom_cli.verification`'s."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postroom_cli import options


def verify(
    package: Annotated[str, typer.Argument(metavar="PACKAGE", help="An installed package, or the name of its plugin.")],
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="YAML: the plugin's table, where it needs one.")
    ] = None,
    contract: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Its contract tests; found by name unless said.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the report here; as JSON where the name ends in .json.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Run the conformance kit's suites on a plugin and say whether it conforms; exit code 1 where it does not."""
    from postroom_cli import verification

    raise typer.Exit(verification.run(package, settings=settings, contract=contract, report=report, as_program=json))
