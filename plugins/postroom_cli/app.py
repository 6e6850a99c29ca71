"""All commands, grouped by topic as `postroom` alone shows them.

Every function here is its signature, its help text and one call: what it needs is imported when it runs, so that help costs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postroom_cli import addresses, domains, groups, mailboxes, options, plugins, quarantine, queue, stores
from postroom_cli.options import Folder, Json, Site
from postroom_cli.topics import CARE, PEOPLE, ROAD, START, Topics

app = typer.Typer(
    name="postroom",
    cls=Topics,
    rich_markup_mode=None,
    help="A mail server. Try it with postroom demo; make a real site with postroom init.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(domains.app, name="domain", help="Domains this site answers for.", rich_help_panel=PEOPLE)
app.add_typer(mailboxes.app, name="mailbox", help="People: mailboxes, logins, passwords, quotas, redirects.", rich_help_panel=PEOPLE)
app.add_typer(groups.app, name="group", help="One address for several people.", rich_help_panel=PEOPLE)
app.add_typer(addresses.app, name="address", help="The address map: aliases, catch-alls, routes.", rich_help_panel=PEOPLE)
app.add_typer(queue.app, name="queue", help="Messages that wait.", rich_help_panel=ROAD)
app.add_typer(quarantine.app, name="quarantine", help="Messages that a hook set aside.", rich_help_panel=ROAD)
app.add_typer(plugins.app, name="plugin", help="What is loaded, how it fares, and plugins of your own.", rich_help_panel=CARE)
app.add_typer(stores.app, name="store", help="Mailboxes on disk.", rich_help_panel=CARE)


def _version(wanted: bool) -> None:
    if wanted:
        from postroom import __version__

        typer.echo(f"postroom {__version__}")
        raise typer.Exit


@app.callback()
def _postroom(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None: ...


@app.command(rich_help_panel=START)
def demo(
    site: Annotated[
        Path,
        typer.Option("--site", metavar="DIR", envvar=options.ENVIRONMENT, show_envvar=False, help="Where the demo site is, or is made."),
    ] = Path("postroom-demo"),
    port_base: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=64000,
            help="Ports count from here: smtp +525, submission +587, submissions +465, pop3 +110, pop3s +995, imap +143, imaps +993. 0 takes free ones.",
            show_default="2000",
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes that serve.", show_default="1")] = None,
    json: Json = False,
) -> None:
    """Make a demo site where there is none, and serve it on this machine only."""
    from postroom_cli import demo as demonstration

    demonstration.run(site.absolute(), port_base=port_base, workers=workers, as_program=json)


@app.command(rich_help_panel=START)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new site's folder.")],
    domain: Annotated[str, typer.Option("--domain", "-d", metavar="DOMAIN", help="The first domain to take mail for.")],
    server: Annotated[str, typer.Option(metavar="HOST", help="This machine's name; mail.DOMAIN unless said.")] = "",
    json: Json = False,
) -> None:
    """Make a site, and print the DNS records to publish."""
    from postroom_cli import creation

    creation.run(folder.absolute(), domain, server, as_program=json)


@app.command(rich_help_panel=START)
def serve(folder: Folder = None, site: Site = None, json: Json = False) -> None:
    """Serve a site in the foreground, until SIGTERM or Ctrl-C."""
    from postroom_cli import serving

    serving.run(options.folder(folder, site), as_program=json)


@app.command(rich_help_panel=START)
def check(
    folder: Folder = None,
    site: Site = None,
    dns: Annotated[bool, typer.Option("--dns/--no-dns", help="Ask DNS what it says of the server and its domains.")] = True,
    json: Json = False,
) -> None:
    """Say all that is wrong with a site's settings, rows, folders and DNS; changes nothing."""
    from postroom_cli import checking

    checking.run(options.folder(folder, site), as_program=json, with_dns=dns)


@app.command(rich_help_panel=ROAD)
def why(
    sender: Annotated[str, typer.Argument(metavar="SENDER", help="The envelope's sender; <> for none.")],
    recipient: Annotated[str, typer.Argument(metavar="RECIPIENT")],
    message: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="A message, for what depends on its text.")
    ] = None,
    site: Site = None,
    json: Json = False,
) -> None:
    """Tell every step of a message's route, and which row decided it; nothing is sent."""
    from postroom_cli import whys

    whys.run(options.folder(site), sender, recipient, message, as_program=json)


@app.command(rich_help_panel=CARE)
def health(site: Site = None, json: Json = False) -> None:
    """What is wrong with the running site; exit code 1 where something is."""
    from postroom_cli import running

    running.health(options.folder(site), as_program=json)


@app.command(rich_help_panel=CARE)
def metrics(site: Site = None, json: Json = False) -> None:
    """The running site's counters, in Prometheus' text format."""
    from postroom_cli import running

    running.metrics(options.folder(site), as_program=json)


@app.command(rich_help_panel=CARE)
def reload(site: Site = None, json: Json = False) -> None:
    """Read the settings again: new workers start, the old ones finish what they do."""
    from postroom_cli import running

    running.reload(options.folder(site), as_program=json)


@app.command(rich_help_panel=CARE)
def stop(site: Site = None, json: Json = False) -> None:
    """Stop the running site; sessions under way may end first."""
    from postroom_cli import running

    running.stop(options.folder(site), as_program=json)
