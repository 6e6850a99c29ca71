"""`postroom group`: one address for several people. Members are mailboxes, other groups, or addresses elsewhere."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from postroom_cli import options
from postroom_cli.output import as_json, facts, table
from postroom_cli.rows import on_rows, origin, told

if TYPE_CHECKING:
    from postroom.providers import Providers

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Group = Annotated[str, typer.Argument(metavar="NAME@DOMAIN")]
Members = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MEMBER]...", help="Addresses, or bracket forms such as [SF:POSTOFFICE/NAME].", show_default=False),
]


@app.command()
def add(group: Group, members: Members = None, site: options.Site = None, json: options.Json = False) -> None:
    """Add a group with its address and members."""
    from postroom_cli import names, provision

    address = names.Address.parse(group)

    async def make(providers: Providers) -> dict[str, object]:
        who = [await provision.member(providers, text) for text in members or []]
        where = await provision.add_group(providers, address, who)
        addresses = [f"{where.name}@{domain}" for domain in where.domains]
        return {"group": f"{where.postoffice}/{where.name}", "addresses": addresses, "members": [str(each) for each in dict.fromkeys(who)]}

    made = on_rows(site, make)
    as_json(made) if json else facts(made)


@app.command("list")
def list_(site: options.Site = None, json: options.Json = False) -> None:
    """All groups."""

    async def look(providers: Providers) -> list[dict[str, object]]:
        members = Counter((row.postoffice.casefold(), row.group.casefold()) for row in await providers.postoffice.members.find())
        return [
            {
                "postoffice": row.postoffice,
                "group": row.group,
                "members": members[row.postoffice.casefold(), row.group.casefold()],
                "reached by": row.recipient,
                "row": origin(row, site),
            }
            for row in await providers.postoffice.groups.find()
        ]

    rows = on_rows(site, look)
    if json:
        as_json(rows)
        return
    lines = [(row["postoffice"], row["group"], row["members"], row["reached by"]) for row in rows]
    table(
        ("post office", "group", "members#", "reached by"),
        lines,
        empty="No groups yet. Add one with: postroom group add NAME@DOMAIN MEMBER...",
    )


@app.command()
def show(group: Group, site: options.Site = None, json: options.Json = False) -> None:
    """One group: its members, and every address that leads to it."""
    from postroom_cli import names, provision

    address = names.Address.parse(group)

    async def look(providers: Providers) -> dict[str, object]:
        where, row = await provision.find_group(providers, address)
        return {
            "postoffice": row.postoffice,
            "group": row.group,
            "reached by": row.recipient,
            "addresses": [each.source for each in await provision.addresses_of(providers, where.address)],
            "members": [each.address for each in await provision.members_of(providers, where)],
            "row": origin(row, site),
        }

    found = on_rows(site, look)
    as_json(found) if json else facts(found)


@app.command("set")
def set_(
    group: Group,
    add: Annotated[
        list[str] | None, typer.Option(metavar="MEMBER", help="Take this member in; may be given again.", show_default=False)
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="MEMBER", help="Take this member out; may be given again.", show_default=False)
    ] = None,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Change who is in a group."""
    from postroom_cli import names, provision

    address = names.Address.parse(group)
    if not add and not remove:
        raise typer.BadParameter("nothing to change; give --add or --remove")

    async def change(providers: Providers) -> list[str]:
        where, _ = await provision.find_group(providers, address)
        come = [await provision.member(providers, text) for text in add or []]
        leave = [await provision.member(providers, text) for text in remove or []]
        return await provision.change_group(providers, where, come, leave)

    told("changed", on_rows(site, change), as_program=json, group=str(address))


@app.command()
def delete(group: Group, site: options.Site = None, json: options.Json = False) -> None:
    """Delete a group and the addresses that lead to it; its members stay."""
    from postroom_cli import names, provision

    address = names.Address.parse(group)
    done = on_rows(site, lambda providers: provision.delete_group(providers, address))
    told("deleted", done, as_program=json, group=str(address))
