"""`postroom mailbox`: people. A mailbox is a login, a mailbox row and an address in each domain of its post office."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postroom_cli import options, undeleting
from postroom_cli.output import as_json, facts, refuse, say, table
from postroom_cli.rows import STATUS, on_rows, origin, shown, told

if TYPE_CHECKING:
    from postroom.providers import Providers
    from postroom.records import MailboxRecord

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command()(undeleting.undelete)
Mailbox = Annotated[str, typer.Argument(metavar="NAME@DOMAIN")]
Quota = Annotated[str | None, typer.Option(metavar="SIZE", help="What it may hold: 500M, 2G or none.", show_default=False)]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin, one line.")]


@app.command()
def add(
    mailbox: Mailbox,
    quota: Quota = None,
    admin: Annotated[bool, typer.Option("--admin", help="May administer its post office.")] = False,
    password_stdin: FromStdin = False,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Add a mailbox with its login and addresses. Asks for a password at a terminal; otherwise makes one up and tells it once."""
    from postroom_cli import names, password, provision

    address, limit = names.Address.parse(mailbox), names.kibibytes(quota or "none")
    options.folder(site)
    word, is_made_up = password.ask(from_stdin=password_stdin)
    secret = password.hashed(word)
    rights = "ADMIN" if admin else "USER"
    where = on_rows(site, lambda providers: provision.add_mailbox(providers, address, secret, limit=limit, rights=rights))
    answer = {
        "mailbox": f"{where.postoffice}/{where.name}",
        "login": where.login,
        "addresses": [f"{where.name}@{domain}" for domain in where.domains],
    }
    if is_made_up:
        answer["password"] = word
    as_json(answer) if json else facts(answer)
    if is_made_up and not json:
        say("", "The password is not shown again; change it with: postroom mailbox set --password " + str(address))


@app.command("list")
def list_(
    domain: Annotated[str, typer.Argument(metavar="[DOMAIN]", help="Only the mailboxes of its post office.", show_default=False)] = "",
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """All mailboxes, or those of one domain."""

    async def look(providers: Providers) -> list[dict[str, object]]:
        rows = await _of(providers, domain)
        logins = {row.username.casefold(): row.status for row in await providers.authentication.logins.find()}
        return [_plain(row, site) | {"login": _login(logins.get(f"{row.mailbox}@{row.postoffice}".casefold()))} for row in rows]

    rows = on_rows(site, look)
    if json:
        as_json(rows)
        return
    columns = ("postoffice", "mailbox", "status", "login", "quota", "redirect")
    lines = [[_people(row[column]) for column in columns] for row in rows]
    table(("post office", *columns[1:]), lines, empty="No mailboxes yet. Add one with: postroom mailbox add NAME@DOMAIN")


@app.command()
def show(mailbox: Mailbox, site: options.Site = None, json: options.Json = False) -> None:
    """One mailbox: its row, its login, every address that leads to it, the groups it is in."""
    from postroom_cli import names, provision

    address = names.Address.parse(mailbox)

    async def look(providers: Providers) -> dict[str, object]:
        where, row = await provision.find_mailbox(providers, address)
        login = await providers.authentication.logins.get(where.login)
        return _plain(row, site) | {
            "login": where.login if login else "",
            "login status": STATUS.get(login.status, str(login.status)) if login else "",
            "rights": login.rights if login else "",
            "addresses": [each.source for each in await provision.addresses_of(providers, where.address)],
            "groups": [each.group for each in await provision.memberships(providers, where.address)],
        }

    found = on_rows(site, look)
    as_json(found) if json else facts({name: _people(value) for name, value in found.items()})


@app.command("set")
def set_(
    mailbox: Mailbox,
    quota: Quota = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Take mail for it, or refuse it.", show_default=False)] = None,
    login: Annotated[
        bool | None, typer.Option("--login/--no-login", help="Let its owner in, or not; mail comes all the same.", show_default=False)
    ] = None,
    redirect: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Send its mail on to this address; may be given again.", show_default=False)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="With --redirect: keep a copy as well.")] = False,
    no_redirect: Annotated[bool, typer.Option("--no-redirect", help="Send nothing on.")] = False,
    new_password: Annotated[
        bool, typer.Option("--password", help="Ask for a new password, or make one up where there is no terminal.")
    ] = False,
    password_stdin: FromStdin = False,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Change a mailbox, its login or its password."""
    from postroom_cli import names, password, provision

    address, limit = names.Address.parse(mailbox), names.kibibytes(quota) if quota else None
    if redirect and no_redirect:
        raise typer.BadParameter("--redirect and --no-redirect contradict each other")
    options.folder(site)
    word, is_made_up = password.ask(from_stdin=password_stdin) if new_password or password_stdin else ("", False)
    secret = password.hashed(word) if word else ""

    async def change(providers: Providers) -> list[str]:
        where, row = await provision.find_mailbox(providers, address)
        to = [] if no_redirect else [str(await provision.member(providers, text)) for text in redirect or []]
        done = await provision.change_mailbox(
            providers, row, limit=limit, enable=enable, redirect=to if redirect or no_redirect else None, keep=keep
        )
        return done + await provision.change_login(providers, where, secret=secret, enable=login)

    done = on_rows(site, change)
    if not done:
        raise typer.BadParameter("nothing to change; see: postroom mailbox set --help")
    told("changed", done, as_program=json, **({"password": word} if is_made_up else {}))
    if is_made_up and not json:
        say(f"password  {word}", "It is not shown again.")


@app.command()
def delete(
    mailbox: Mailbox,
    purge: Annotated[bool, typer.Option("--purge", help="Delete its mail too, for good.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    site: options.Site = None,
    json: options.Json = False,
) -> None:
    """Delete a mailbox, its login and the addresses that lead to it. Its mail stays on disk, unless --purge is said."""
    import asyncio

    from postroom_cli import names, purging

    address, root = names.Address.parse(mailbox), options.folder(site)
    if purge and not yes and not typer.confirm(f"Delete {address} and all its mail for good?", err=True):
        refuse("nothing was deleted")
    gone = asyncio.run(purging.delete(root, address, purge=purge))
    mail = {"octets": gone.octets, "where": None if gone.where is None else str(gone.where)}
    told("deleted", gone.done, as_program=json, mailbox=str(address), left=gone.left, mail=mail)
    if json:
        return
    say(*(f"left as it is: {each}" for each in gone.left))
    if gone.where is not None:
        size = f" ({names.size(gone.octets)})" if gone.octets else ""  # what was never indexed has no size yet
        say(f"left as it is: its mail{size} in {gone.where}", f"It goes with: postroom mailbox delete {address} --purge")


async def _of(providers: Providers, domain: str) -> Sequence[MailboxRecord]:
    rows = await providers.postoffice.mailboxes.find()
    if not domain:
        return rows
    row = await providers.smtp.domains.get(domain)
    wanted = (row.account if row else domain).casefold()
    return [each for each in rows if each.postoffice.casefold() == wanted]


def _plain(row: MailboxRecord, site: Path | None) -> dict[str, object]:
    kept = {1: "", 2: " (and kept)"}.get(row.redirect_status)
    return {
        "postoffice": row.postoffice,
        "mailbox": row.mailbox,
        "status": STATUS.get(row.status, str(row.status)),
        "quota": row.limit * 1024 if row.limit >= 0 else None,
        "redirect": "" if kept is None else ";".join(map(shown, row.redirect_address.split(";"))) + kept,
        "row": origin(row, site),
    }


def _login(status: int | None) -> str:
    return "" if status is None else STATUS.get(status, str(status))


def _people(value: object) -> object:
    """A quota in its unit; everything else as it is."""
    from postroom_cli.names import size

    return size(value) if isinstance(value, int) and not isinstance(value, bool) else value
