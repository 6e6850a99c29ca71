"""`postroom demo`: a site that can be tried at once, on loopback only, made where there is none.

`demo.json` (0600) keeps the passwords and says whether the site was finished; one that was not is finished at the next start. From then
on the site is the operator's: nothing in it is written again, but for ports that are asked for while the YAML file is as we wrote it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from postroom.clock import SystemClock
from postroom.errors import ConfigError, Origin
from postroom.settings import FILE_NAME
from postroom_cli import authority, password, profile
from postroom_cli.files import write
from postroom_cli.output import as_json, refuse, say
from postroom_run.control import Json
from postroom_run.supervisor import serve

DOMAIN, SERVER = "example.test", "mail.example.test"
PEOPLE = ("alice", "bob")
GROUP = "sales"
MEMORY = "demo.json"
PORT_BASE = 2000


@dataclass(frozen=True, slots=True)
class Memory:
    """What `demo.json` remembers."""

    accounts: list[dict[str, str]]
    ca: str = authority.CA
    profile: str = ""  # digest of the YAML file as we wrote it
    finished: bool = False

    @classmethod
    def read(cls, root: Path) -> Memory | None:
        """None where there is none; ConfigError where it is not ours."""
        path = root / MEMORY
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            remedy = "Delete the demo's folder to have a new one"
            raise ConfigError(f"cannot be read: {error}", origin=Origin(str(path)), remedy=remedy) from None

    @classmethod
    def fresh(cls) -> Memory:
        return cls([{"login": f"{name}@{DOMAIN}", "password": password.made_up()} for name in PEOPLE])

    def write(self, root: Path, *, profile: str, finished: bool) -> Memory:
        kept = Memory(self.accounts, self.ca, profile, finished)
        write(root, MEMORY, json.dumps(asdict(kept), indent=2) + "\n")
        return kept


def run(root: Path, *, port_base: int | None, workers: int | None, as_program: bool) -> None:
    """Make the site where it is missing, then serve it until it is stopped."""
    memory = prepare(root, port_base)
    serve(root, workers=workers, on_ready=lambda told: _tell(told, memory, as_program=as_program))


def prepare(root: Path, port_base: int | None) -> Memory:
    """A demo site, finished, with the ports asked for."""
    memory = Memory.read(root)
    if memory is None and (root / FILE_NAME).exists():
        refuse(f"{root} is a site, but not a demo; serve it with: postroom serve {root}")
    memory = memory or Memory.fresh()
    if not memory.finished:
        memory = memory.write(root, profile="", finished=False)
        digest = _write_profile(root, PORT_BASE if port_base is None else port_base)
        authority.provide(root, (SERVER, "localhost", "127.0.0.1", "::1"), SystemClock().now())
        _fill(root, memory)
        return memory.write(root, profile=digest, finished=True)
    authority.provide(root, (SERVER, "localhost", "127.0.0.1", "::1"), SystemClock().now())
    return memory if port_base is None else _with_ports(root, memory, port_base)


def _write_profile(root: Path, port_base: int) -> str:
    text = _profile(port_base)
    write(root, FILE_NAME, text)
    return _digest(text)


def _profile(port_base: int) -> str:
    return profile.fill(profile.read("demo"), {"server": SERVER, **profile.demo_ports(port_base)}, profile.installed())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _with_ports(root: Path, memory: Memory, port_base: int) -> Memory:
    """Other ports, where the file is as we wrote it."""
    wanted = _profile(port_base)
    there = (root / FILE_NAME).read_text("utf-8")
    if there == wanted:
        return memory
    if _digest(there) != memory.profile:
        refuse(f"{root / FILE_NAME} was changed by hand; change its ports there, and leave --port-base out")
    return memory.write(root, profile=_write_profile(root, port_base), finished=True)


def _fill(root: Path, memory: Memory) -> None:
    """What a new site holds. Only here the plugins are loaded into this process; one that merely serves stays light."""
    from postroom_cli.people import fill

    asyncio.run(fill(root, DOMAIN, GROUP, [(account["login"], account["password"]) for account in memory.accounts]))


def _tell(told: Json, memory: Memory, *, as_program: bool) -> None:
    """The ready line, or the same for people."""
    ca = str(Path(told["site"]) / memory.ca)
    if as_program:
        as_json({**told, "accounts": memory.accounts, "ca": ca})
        return
    say(*_page(told, memory, ca))


def _page(told: Json, memory: Memory, ca: str) -> list[str]:
    """What a person sees when the demo is ready."""
    endpoints, first = told["endpoints"], memory.accounts[0]
    lines = [f"The demo is ready; its site is {told['site']}.", ""]
    lines += [f"  {label:<12} {where}" for label, where in endpoints.items()]
    lines += ["", f"  {'login':<22} password", *(f"  {one['login']:<22} {one['password']}" for one in memory.accounts)]
    lines += ["", f"{GROUP}@{DOMAIN} reaches them all. TLS certificates are signed by {ca}", "", "Send and fetch a message:"]
    if "smtp" in endpoints:
        lines.append(f"  swaks --server {endpoints['smtp']} --from you@example.org --to {first['login']}")
    if "pop3" in endpoints:
        lines.append(f"  curl --user {first['login']}:{first['password']} pop3://{endpoints['pop3']}/1")
    if "imap" in endpoints:
        lines.append(f"  curl --user {first['login']}:{first['password']} 'imap://{endpoints['imap']}/INBOX;MAILINDEX=1'")
    return [*lines, "", "Ctrl-C stops it."]
