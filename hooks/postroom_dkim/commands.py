"""`postroom dkim`: the keys of each domain, and what to publish of them.

The command line finds the site and loads this plugin; the commands work on that site's keys, beside a running server too: its workers see a
changed list with the next message. Only public keys are ever printed.
"""

from __future__ import annotations

import asyncio
import json as json_
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from postroom.site import Ground
from postroom_dkim import sets
from postroom_dkim.errors import KeyFault
from postroom_dkim.keys import Key
from postroom_dkim.records import Record
from postroom_dkim.sets import KeySet, Sets
from postroom_dkim.shelf import Shelf
from postroom_dkim.tending import not_shown
from postroom_net.resolver import Resolver, Temporary

Domain = Annotated[str, typer.Argument(metavar="DOMAIN")]
Domains = Annotated[str, typer.Argument(metavar="[DOMAIN]", help="All that have keys unless said.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Folder = Annotated[Path | None, typer.Option("--site", metavar="DIR", help="The site's folder (or POSTROOM_SITE; else the current one).")]
Selector = Annotated[str, typer.Option(metavar="NAME", help="The selector of the key in --key.", show_default=False)]
KeyFile = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", exists=True, dir_okay=False, help="A private key (PEM) that DNS knows already.")
]
LookUp = Annotated[bool, typer.Option("--dns", help="Look whether DNS has them; exit code 1 where it has not.")]
Now = Annotated[bool, typer.Option("--now", help="Do not ask DNS.")]


def grouped(ground: Ground, shelf: Shelf, keep: float) -> typer.Typer:
    """The commands for a site that keeps old keys for so many days."""
    app, desk = typer.Typer(no_args_is_help=True, rich_markup_mode=None), Desk(ground, shelf, keep)
    app.command("add")(desk.add)
    app.command("list")(desk.list)
    app.command("show")(desk.show)
    app.command("rotate")(desk.rotate)
    app.command("activate")(desk.activate)
    return app


class Desk:
    """The commands, on one site's keys."""

    def __init__(self, ground: Ground, shelf: Shelf, keep: float) -> None:
        self._ground, self._shelf, self._keep = ground, shelf, keep

    def add(self, domain: Domain, selector: Selector = "", key: KeyFile = None, site: Folder = None, json: Json = False) -> None:
        """Make the first keys of a domain, or bring along the one it had elsewhere; its mail is signed from now on."""
        self._is_at(site)
        name = domain_name(domain)
        if bool(selector) != bool(key):
            raise typer.BadParameter("--selector and --key belong together")
        made = self._shelf.add(name, [_brought(selector, key)]) if key is not None else self._first(name)
        self._tell([(name, made)], "The mail of {} is signed from now on. Publish in DNS:", as_program=json)

    def list(self, site: Folder = None, json: Json = False) -> None:
        """All keys: which sign, which wait, which are kept for a while."""
        self._is_at(site)
        rows = [(name, one, file) for name in self._shelf.domains() for one in self._shelf.sets(name) for file in one.keys]
        plain = [
            {"domain": name, "selector": sets.selector_of(file), "kind": file.split(".")[-2], "state": one.state, "since": _day(one.since)}
            for name, one, file in rows
        ]
        if json:
            _print_json(plain)
            return
        width = max((len(each["domain"]) for each in plain), default=0)
        for each in plain:
            typer.echo(f"{each['domain']:<{width}}  {each['selector']:<14} {each['kind']:<8} {each['state']:<8} since {each['since']}")
        if not plain:
            typer.echo("No keys yet. Make them with: postroom dkim add DOMAIN")

    def show(self, domain: Domains = "", dns: LookUp = False, site: Folder = None, json: Json = False) -> None:
        """The records that DNS must have."""
        self._is_at(site)
        found = [(one, record) for name in self._meant(domain) for one in self._shelf.sets(name) for record in self._readable(name, one)]
        missing = asyncio.run(self._missing([record for _, record in found])) if dns else []
        if json:
            _print_json([_plain(one, record) | ({"published": record not in missing} if dns else {}) for one, record in found])
        else:
            for one, record in found:
                seen = "" if not dns else ", not in DNS" if record in missing else ", in DNS"
                typer.echo(f"; {_MEANS[one.state]}{seen}")
                _print_records([record])
        if missing:
            raise typer.Exit(1)

    def rotate(self, domain: Domains = "", site: Folder = None, json: Json = False) -> None:
        """Make new keys and print their records; the old ones sign until DNS has them."""
        self._is_at(site)
        made = [(name, [one for one in self._shelf.rotate(name) if one.state == "next"]) for name in self._meant(domain)]
        self._tell(made, "New keys of {} wait until DNS has them. Publish these records, and leave the old ones:", as_program=json)

    def activate(self, domain: Domains = "", now: Now = False, site: Folder = None, json: Json = False) -> None:
        """Sign with the keys that wait, once DNS has them."""
        self._is_at(site)
        done = [(name, self._activated(name, look=not now)) for name in self._meant(domain, only="next")]
        if json:
            _print_json([{"domain": name, "active": selectors} for name, selectors in done])
            return
        for name, selectors in done:
            signs = " and ".join(selectors)
            typer.echo(f"The mail of {name} is signed by {signs} from now on. Leave the old records for {self._keep:g} days.")

    def _is_at(self, site: Path | None) -> None:
        """Wrong usage where another site is meant than the one whose plugin this is."""
        if site is not None and site.absolute().resolve() != self._ground.root.resolve():
            raise typer.BadParameter(f"this is {self._ground.root}; set POSTROOM_SITE={site}, or go into that folder")

    def _meant(self, domain: str, only: sets.State | None = None) -> Sequence[str]:
        """The domain that was named, or all that have keys (in this state)."""
        if domain:
            name = domain_name(domain)
            if not self._shelf.sets(name):
                raise KeyFault(f"{name} has no keys yet; make them with: postroom dkim add {name}")
            return [name]
        found = [name for name in self._shelf.domains() if only is None or sets.find(self._shelf.sets(name), only)]
        if not found and only:
            raise KeyFault("no keys wait; make new ones with: postroom dkim rotate")
        if not found:
            raise KeyFault("no domain has keys yet; make them with: postroom dkim add DOMAIN")
        return found

    def _first(self, domain: str) -> Sets:
        """New keys of a domain that has none."""
        if self._shelf.sets(domain):
            raise KeyFault(f"{domain} has keys already; new ones are made by: postroom dkim rotate {domain}")
        return self._shelf.ensure(domain)

    def _readable(self, domain: str, one: KeySet) -> Sequence[Record]:
        """The records of a set; one whose key is lost is told of, and the others are shown all the same."""
        try:
            return self._shelf.records(domain, one)
        except KeyFault as fault:
            typer.echo(f"postroom: {fault}", err=True)
            return ()

    def _tell(self, made: Iterable[tuple[str, Iterable[KeySet]]], text: str, *, as_program: bool) -> None:
        """What was made for each domain, and what to publish of it."""
        found = [(domain, [(one, record) for one in many for record in self._shelf.records(domain, one)]) for domain, many in made]
        if as_program:
            _print_json([{"domain": domain, "records": [_plain(one, record) for one, record in pairs]} for domain, pairs in found])
            return
        for domain, pairs in found:
            typer.echo(text.format(domain))
            _print_records(record for _, record in pairs)

    def _activated(self, domain: str, *, look: bool) -> Sequence[str]:
        """The selectors that sign from now on. KeyFault where DNS has them not yet, if it is to be looked at."""
        waiting = sets.find(self._shelf.sets(domain), "next")
        if look and waiting is not None and (missing := asyncio.run(self._missing(self._shelf.records(domain, waiting)))):
            names = ", ".join(record.name for record in missing)
            raise KeyFault(f"DNS does not have {names} yet; wait, or say --now. The old keys of {domain} sign meanwhile")
        active = sets.find(self._shelf.activate(domain), "active")
        return active.selectors if active else ()

    async def _missing(self, wanted: Sequence[Record]) -> Sequence[Record]:
        """Asked anew, of the name servers that the site asks. KeyFault where they cannot tell."""
        said = self._ground.settings.dns
        resolver = Resolver(self._ground.clock, said.servers, said.port, said.timeout)
        try:
            return await not_shown(resolver, wanted)
        except Temporary as error:
            raise KeyFault(f"DNS cannot be asked now: {error}") from None
        finally:
            await resolver.close()


def _brought(selector: str, path: Path) -> tuple[str, Key]:
    if not sets.is_selector(selector.lower()):
        raise typer.BadParameter(f"{selector!r} is no selector; it is one label, of letters, digits and dashes")
    return selector.lower(), Key.read(path.read_bytes(), str(path), in_full=True)


def domain_name(text: str) -> str:
    """As DNS has it."""
    name = text.strip().rstrip(".").lower()
    if name.isascii():
        return name
    import idna

    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise KeyFault(f"{text!r} is no domain name: {error}") from None


_MEANS: dict[sets.State, str] = {"active": "signs", "next": "waits for DNS", "retired": "retired; leave it for mail that is on its way"}


def _plain(one: KeySet, record: Record) -> dict[str, object]:
    return {"name": record.name, "type": "TXT", "value": record.value, "zone": record.zone_value, "state": one.state}


def _print_records(found: Iterable[Record]) -> None:
    for record in found:
        typer.echo(f"{record.name}. IN TXT ( {record.zone_value} )")


def _print_json(value: object) -> None:
    typer.echo(json_.dumps(value, ensure_ascii=False))


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
