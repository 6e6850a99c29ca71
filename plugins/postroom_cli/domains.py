"""`postroom domain`: the domains this site answers for, each with the post office its people are in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postroom_cli import options
from postroom_cli.output import answer, as_json, facts, table
from postroom_cli.rows import STATUS, on_rows, on_site, origin, told

if TYPE_CHECKING:
    from postroom.providers import Providers
    from postroom.records import DomainRecord

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Domain = Annotated[str, typer.Argument(metavar="DOMAIN")]


@app.command()
def add(
    domain: Domain,
    postoffice: Annotated[str, typer.Option(help="The post office; the domain's own name unless said.")] = "",
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Answer for a domain: its post office, its postmaster, the addresses postmaster@ and abuse@, its keys. Prints the DNS records to publish."""
    from postroom_cli import creation, names

    name = names.domain_name(domain)
    done, records = on_site(site, lambda parts: creation.add_domain(parts, name, postoffice))
    facts_ = {"added": done, "domain": name, "postoffice": postoffice or name, "dns": creation.plain(records)}
    answer(facts_, [*(f"added: {each}" for each in done), "", *creation.publish(records)], as_program=json)


@app.command("list")
def list_(site: options.Site = None, json: options.Json = False) -> None:
    """All domains."""
    rows = on_rows(site, lambda providers: providers.smtp.domains.find())
    if json:
        as_json([_plain(row, site) for row in rows])
        return
    lines = [(row.domain, row.account, STATUS.get(row.status, row.status), row.redirect_hosts) for row in rows]
    table(("domain", "post office", "status", "sent on to"), lines, empty="No domains yet. Add one with: postroom domain add DOMAIN")


@app.command()
def show(domain: Domain, site: options.Site = None, json: options.Json = False) -> None:
    """One domain, its people and its addresses."""
    from postroom_cli import names, provision

    name = names.domain_name(domain)

    async def look(providers: Providers) -> dict[str, object]:
        row = await _row(providers, name)
        mailboxes = [
            each.mailbox for each in await providers.postoffice.mailboxes.find() if each.postoffice.casefold() == row.account.casefold()
        ]
        groups = [each.group for each in await providers.postoffice.groups.find() if each.postoffice.casefold() == row.account.casefold()]
        mapped = [f"{each.source} -> {each.destination}" for each in await provision.mapped(providers, name)]
        return _plain(row, site) | {"mailboxes": mailboxes, "groups": groups, "addresses": mapped}

    found = on_rows(site, look)
    as_json(found) if json else facts(found)


@app.command("set")
def set_(
    domain: Domain,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Answer for it, or for the time being not.", show_default=False)
    ] = None,
    send_on: Annotated[
        str | None,
        typer.Option(
            "--send-on", metavar="HOSTS", help="Pass its mail on to these hosts (host or host:port, joined by ;); empty keeps it here."
        ),
    ] = None,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Change a domain."""
    from dataclasses import replace

    from postroom_cli import names

    name = names.domain_name(domain)

    async def change(providers: Providers) -> DomainRecord:
        row = await _row(providers, name)
        if enable is not None:
            row = replace(row, status=int(enable))
        if send_on is not None:
            row = replace(row, redirect_status=int(bool(send_on)), redirect_hosts=send_on)
        await providers.smtp.domains.put(row)
        return row

    row = on_rows(site, change)
    told("changed", [f"domain {name}"], as_program=json, **_plain(row, site))


@app.command()
def delete(domain: Domain, site: options.Site = None, json: options.Json = False) -> None:
    """Answer for a domain no longer. People and groups of its post office go first."""
    from postroom_cli import names, provision

    name = names.domain_name(domain)
    done = on_rows(site, lambda providers: provision.delete_domain(providers, name))
    told("deleted", done, as_program=json, domain=name)


async def _row(providers: Providers, domain: str) -> DomainRecord:
    from postroom_cli.provision import Refused

    row = await providers.smtp.domains.get(domain)
    if row is None:
        raise Refused(f"there is no domain {domain}; see: postroom domain list")
    return row


def _plain(row: DomainRecord, site: Path | None) -> dict[str, object]:
    return {
        "domain": row.domain,
        "postoffice": row.account,
        "status": STATUS.get(row.status, str(row.status)),
        "sent on to": row.redirect_hosts if row.redirect_status else "",
        "row": origin(row, site),
    }
