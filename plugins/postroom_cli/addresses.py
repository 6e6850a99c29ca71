"""`postroom address`: the address map. A row leads an address, or all that a mask matches, to where its mail goes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from postroom_cli import options
from postroom_cli.output import as_json, table
from postroom_cli.rows import on_rows, origin, shown, told

if TYPE_CHECKING:
    from pathlib import Path

    from postroom.providers import Providers
    from postroom.records import AddressMapRecord

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Source = Annotated[str, typer.Argument(metavar="ADDRESS", help="name@domain, *@domain, or a bracket form.")]
Destination = Annotated[str, typer.Argument(metavar="DESTINATION", help="name@domain, or a bracket form such as [SF:POSTOFFICE/NAME].")]


@app.command()
def add(source: Source, destination: Destination, site: options.Site = None, json: options.Json = False) -> None:
    """Lead an address to a mailbox, a group, or an address elsewhere. An address with two rows leads to both."""
    from postroom_cli import names, provision

    mask = names.mask(source)
    row = on_rows(site, lambda providers: provision.add_address(providers, mask, destination))
    told("added", [f"{row.source} -> {row.destination}"], as_program=json, **_plain(row, site))


@app.command("list")
def list_(
    domain: Annotated[str, typer.Argument(metavar="[DOMAIN]", help="Only this domain's rows.", show_default=False)] = "",
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """All rows in the order in which masks are tried, or those of one domain."""
    from postroom_cli import names, provision

    async def look(providers: Providers) -> list[AddressMapRecord]:
        return await provision.mapped(providers, names.domain_name(domain)) if domain else list(await providers.address_map.rows.find())

    _print(on_rows(site, look), site, json)


@app.command()
def show(source: Source, site: options.Site = None, json: options.Json = False) -> None:
    """The rows of one address. What the whole map makes of it is told by: postroom why."""
    from postroom_cli import names, provision

    mask = names.mask(source)
    _print(on_rows(site, lambda providers: provision.rows_of(providers, mask)), site, json)


@app.command("set")
def set_(source: Source, destination: Destination, site: options.Site = None, json: options.Json = False) -> None:
    """Lead an address elsewhere from now on; its row keeps its place."""
    from postroom_cli import names, provision

    mask = names.mask(source)

    async def change(providers: Providers) -> AddressMapRecord:
        rows = await provision.rows_of(providers, mask)
        if len(rows) > 1:
            raise provision.Refused(f"{mask} has {len(rows)} rows; delete the wrong ones by: postroom address delete {source} DESTINATION")
        new = replace(rows[0], destination=str(await provision.member(providers, destination)))
        if new.destination.casefold() == rows[0].destination.casefold():
            return rows[0]
        await providers.address_map.rows.put(new, before=rows[0])
        await providers.address_map.rows.delete(rows[0])
        return new

    row = on_rows(site, change)
    told("changed", [f"{row.source} -> {row.destination}"], as_program=json, **_plain(row, site))


@app.command()
def delete(
    source: Source,
    destination: Annotated[str, typer.Argument(metavar="[DESTINATION]", help="Only the row that leads there.", show_default=False)] = "",
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Delete the rows of exactly this address or mask; a star is never read as one."""
    from postroom_cli import names, provision

    mask = names.mask(source)

    async def remove(providers: Providers) -> list[str]:
        rows = await provision.rows_of(providers, mask)
        if destination:
            wanted = str(await provision.member(providers, destination)).casefold()
            rows = [row for row in rows if row.destination.strip().casefold() == wanted]
        if not rows:
            raise provision.Refused(f"{mask} does not lead to {destination}; see: postroom address show {source}")
        await providers.address_map.rows.delete(*rows)
        return [f"{row.source} -> {row.destination}" for row in rows]

    told("deleted", on_rows(site, remove), as_program=json)


def _print(rows: list[AddressMapRecord], site: Path | None, as_program: bool) -> None:
    if as_program:
        as_json([_plain(row, site) for row in rows])
        return
    lines = [(row.origin.line if row.origin else "", shown(row.source), shown(row.destination)) for row in rows]
    table(("line#", "address", "leads to"), lines, empty="No such rows. Add one with: postroom address add ADDRESS DESTINATION")


def _plain(row: AddressMapRecord, site: Path | None) -> dict[str, object]:
    return {"source": row.source, "destination": row.destination, "account": row.account, "row": origin(row, site)}
