"""`postroom init`, and what it shares with `demo` and `domain add`: a folder with a YAML file becomes a site, a site gets a domain.

A site that exists is never written over. When something fails half-way the YAML file goes again, so the same command can be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from postroom.errors import DiskError, PostroomError
from postroom.settings import FILE_NAME
from postroom_cli import dns, dnscheck, names, profile, provision
from postroom_cli.dns import DnsRecord
from postroom_cli.files import write
from postroom_cli.opened import opened
from postroom_cli.output import answer, refuse
from postroom_run.assembly import Assembled

Rows = Callable[[Assembled], Awaitable[None]]


def run(root: Path, domain: str, server: str, *, as_program: bool) -> None:
    """Make a real site and say what to do next."""
    domain, host = names.domain_name(domain), names.domain_name(server) if server else f"mail.{names.domain_name(domain)}"
    if (root / FILE_NAME).exists():
        refuse(f"{root} is a site already; add a domain to it with: postroom domain add {domain} --site {root}")
    plugins = profile.installed()
    write(root, FILE_NAME, profile.fill(profile.read("site"), {"server": host}, plugins))
    try:
        asyncio.run(_fill(root, domain))
    except BaseException:
        (root / FILE_NAME).unlink(missing_ok=True)
        raise
    records = dns.to_publish(domain, host, plugins, dkim=dnscheck.dkim_records(root / "dkim" / domain))
    following = [f"postroom mailbox add NAME@{domain} --site {root}", f"postroom check {root}", f"postroom serve {root}"]
    lines = [
        f"The site for {domain} is in {root}.",
        "",
        *publish(records),
        "",
        dns.PTR.format(server=host),
        f"Then put a certificate for {host} under `tls:` in {root / FILE_NAME}, and go on with:",
        *(f"  {command}" for command in following),
    ]
    answer({"site": str(root), "domain": domain, "server": host, "dns": plain(records), "next": following}, lines, as_program=as_program)


def publish(records: Iterable[DnsRecord]) -> list[str]:
    """Records for people, each with its reason."""
    return ["Publish in DNS:", *(line for record in records for line in (f"  {record}", f"      {record.why}"))]


def plain(records: Iterable[DnsRecord]) -> list[dict[str, str]]:
    """Records for programs."""
    return [{"name": record.name, "type": record.kind, "value": record.value} for record in records]


async def _fill(root: Path, domain: str) -> None:
    async with opened(root) as parts:
        await first_rows(parts, domain)


async def first_rows(parts: Assembled, domain: str) -> None:
    """The first domain, the way out, and what each plugin wants to have; where missing."""
    providers = parts.site.providers
    if await providers.smtp.domains.get(domain) is None:
        await provision.add_domain(providers, domain)
    if await providers.address_map.rows.get(provision.OUTSIDE.source, provision.OUTSIDE.destination) is None:
        await providers.address_map.rows.put(provision.OUTSIDE)
    await parts.host.site_created(parts.site, domain)


async def add_domain(parts: Assembled, domain: str, postoffice: str) -> tuple[list[str], Sequence[DnsRecord]]:
    """A further domain with all that plugins want for it (keys), and the records to publish: what was done, a sentence each. A plugin that
    fails leaves the domain added, and is told of."""
    site = parts.site
    done = await provision.add_domain(site.providers, domain, postoffice)
    try:
        await parts.host.site_created(site, domain)
    except (PostroomError, DiskError) as error:
        refuse(f"{domain} is added, but what a plugin needs for it could not be made: {error}")
    keys = dnscheck.dkim_records(site.root / "dkim" / domain)
    plugins, ports = {entry.plugin for entry in site.settings.plugins.values()}, dnscheck.submission_ports(site.settings)
    records = dns.to_publish(domain, site.settings.server, plugins, submission=ports, dkim=keys)
    return done, [record for record in records if record.kind != "A"]  # the server is there already
