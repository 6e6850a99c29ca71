"""`postroom init`, and what it shares with `demo`: a folder with a YAML file becomes a site.

A site that exists is never written over. When something fails half-way the YAML file goes again, so the same command can be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from postroom.settings import FILE_NAME
from postroom_cli import dns, names, profile, provision
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
    records = dns.to_publish(domain, host, plugins)
    following = [f"postroom mailbox add NAME@{domain} --site {root}", f"postroom check {root}", f"postroom serve {root}"]
    lines = [
        f"The site for {domain} is in {root}.",
        "",
        "Publish in DNS:",
        *(line for record in records for line in (f"  {record}", f"      {record.why}")),
        "",
        dns.PTR.format(server=host),
        f"Then put a certificate for {host} under `tls:` in {root / FILE_NAME}, and go on with:",
        *(f"  {command}" for command in following),
    ]
    plain = [{"name": record.name, "type": record.kind, "value": record.value} for record in records]
    answer({"site": str(root), "domain": domain, "server": host, "dns": plain, "next": following}, lines, as_program=as_program)


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
