"""Three neighbours on loopback for tests that need an internet: two postroom sites and Debian's Postfix, a domain each, with a name server and
an authority for their certificates.

A site is made and served as an operator would: `postroom init`, a few lines of its YAML, `postroom mailbox add`, `postroom serve` in a child
process. North and south listen on 127.0.0.1 and differ by their port. A site sends to one port only (`outbound: {port}`), as the world
sends to port 25; so Postfix has an address of its own, 127.0.0.2, and listens there on both ports. DNS with MX and A leads the sites.
Postfix cannot be told of a name server at another port than 53; a transport map leads it to the same addresses and ports.

Whoever is asked to wait waits for a process, a socket or a file, with a bound.
"""

from __future__ import annotations

import asyncio
import json
import poplib
import pwd
import re
import select
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import dns.message
import dns.query
import dns.rdataclass
import dns.rdatatype
import trustme

from bench import peers
from bench.meter import Group, waited
from bench.ours import program, said
from bench.server import HOST, Absent, free_ports
from tests.demo import PATIENCE, await_change
from tests.nameserver import NameServer

NORTH, SOUTH, EAST = "north.test", "south.test", "east.test"
PEOPLE = {NORTH: "nora", SOUTH: "sam", EAST: "eve"}
PASSWORD = "Secret-of-the-neighbours-1"
EAST_HOST = "127.0.0.2"


def person(domain: str) -> str:
    """Who lives there."""
    return f"{PEOPLE[domain]}@{domain}"


def letter(sender: str, to: str, mark: str, *, text: str = "Good morning.\n") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = sender, to, mark, f"<{mark}@{sender.partition('@')[2]}>"
    mail.set_content(text)
    return mail


def submit(host: str, port: int, authority: trustme.CA, login: str, mails: list[EmailMessage]) -> Iterator[EmailMessage]:
    """Log in over STARTTLS and send; yields each mail that got its 250. smtplib's errors."""
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with smtplib.SMTP(host, port, timeout=PATIENCE) as client:
        client.starttls(context=trust)
        client.login(login, PASSWORD)
        for mail in mails:
            client.send_message(mail)
            yield mail


class Zone:
    """What DNS says, served by a thread."""

    def __init__(self) -> None:
        self._up, self._loop = threading.Event(), asyncio.new_event_loop()
        self.server = NameServer()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()], daemon=True)
        self._thread.start()
        assert self._up.wait(PATIENCE)

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        async with self.server:
            self._up.set()
            await self._over.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    def txt(self, name: bytes, timeout: float = 5.0) -> bytes | None:
        """A TXT record, asked of the server as any verifier would; the form dkimpy wants."""
        query = dns.message.make_query(name.decode(), "TXT")
        answer = dns.query.udp_with_fallback(query, HOST, timeout, self.server.port)[0]
        for found in answer.get_rrset(answer.answer, query.question[0].name, dns.rdataclass.IN, dns.rdatatype.TXT) or ():
            return b"".join(found.strings)
        return None


@dataclass
class Site:
    """A postroom site; `start` and `kill` as often as wanted."""

    domain: str
    folder: Path
    zone: Zone
    authority: trustme.CA
    port: int  # of mail from other servers
    others: int  # where other servers take mail
    submission: int
    pop3: int
    group: Group | None = None
    workers: list[int] = field(default_factory=list)

    @property
    def settings(self) -> Path:
        return self.folder / "postroom.yaml"

    @property
    def mail(self) -> Path:
        """What changes when mail arrives."""
        return self.folder / "Postoffices"

    @property
    def inbox(self) -> Path:
        return self.mail / self.domain / "MAILROOT" / PEOPLE[self.domain] / "Inbox"

    def command(self, *words: str | Path, stdin: str | None = None) -> str:
        """What `postroom WORDS --site ...` printed; Absent where it said no."""
        return said(*words, "--site", self.folder, stdin=stdin)

    def begin(self) -> None:
        """From nothing to the ready line."""
        self.init()
        self.mail.mkdir()  # is watched before the first delivery would make it
        self.start()

    def init(self) -> None:
        """Make it and publish what it tells to publish."""
        told = json.loads(said("init", self.folder, "--domain", self.domain, "--json"))
        for record in told["dns"]:
            name, value = record["name"].rstrip("."), record["value"]
            if record["type"] == "A":
                value = HOST
            if not name.startswith("_mta-sts."):  # that one waits for a page on the web
                self.zone.server.put({f"{record['type']} {name}": value})
        for shown in sorted((self.folder / "dkim" / self.domain).glob("*.txt")):
            text = shown.read_text().strip()
            strings = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
            self.zone.server.put({f"TXT {shown.stem}._domainkey.{self.domain}": strings})
        self._configure()
        self.command("mailbox", "add", person(self.domain), "--password-stdin", stdin=PASSWORD + "\n")

    def _configure(self) -> None:
        """What an operator would write, with ports of this test and short times."""
        (self.folder / "tls").mkdir()
        certificate = self.authority.issue_cert(f"mail.{self.domain}", HOST)
        certificate.private_key_and_cert_chain_pem.write_to_path(self.folder / "tls/own.pem")
        self.authority.cert_pem.write_to_path(self.folder / "tls/ca.pem")
        text = self.settings.read_text()
        outbound = f"{{port: {self.others}, tls: verify, ca: {self.folder}/tls/ca.pem, down: 1}}"
        smtp = f"{{listen: [{{host: {HOST}, port: {self.port}}}, {{host: {HOST}, port: {self.submission}, submission: true}}], outbound: {outbound}}}"
        for key, value in {"smtp": smtp, "pop3": f"{{listen: [{{host: {HOST}, port: {self.pop3}}}]}}"}.items():
            text, found = re.subn(rf"(?m)^  {key}: .*$", f"  {key}: {value}", text)
            assert found == 1, text
        text = text.replace("workers: auto", "workers: 2")
        text += "\ntls: {certificate: tls/own.pem, key: tls/own.pem}\n"
        text += f"dns: {{servers: [{HOST}], port: {self.zone.server.port}}}\nretry: {{delays: [1]}}\n"
        self.settings.write_text(text)

    def start(self) -> None:
        """Serve it; returns at the ready line. Absent, with what it said, when that does not come."""
        log = self.folder.with_suffix(".out")
        self.group = Group(self.domain)
        process = self.group.start([program(), "serve", self.folder, "--json"], log, piped=True)
        assert process.stdout
        readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if readable else b""
        if not line:
            self.kill()
            raise Absent(f"{self.domain} does not serve: {log.read_text()[-2000:]}")
        self.workers = json.loads(line)["workers"]

    def kill(self) -> None:
        """`kill -9` of supervisor and workers at once; returns when all are gone."""
        if self.group:
            self.group.kill()
            self.group.close()
            self.group = None
        assert waited(lambda: not any(map(_is_alive, self.workers)), PATIENCE)

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Killed while the block runs, served afterwards."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def submit(self, *mails: EmailMessage) -> Iterator[EmailMessage]:
        """See `submit`."""
        return submit(HOST, self.submission, self.authority, person(self.domain), list(mails))

    def fetch(self) -> list[bytes]:
        """All mail of the domain's person, by POP3 over STLS."""
        trust = ssl.create_default_context()
        self.authority.configure_trust(trust)
        client = poplib.POP3(HOST, self.pop3, timeout=PATIENCE)
        try:
            client.stls(trust)
            client.user(person(self.domain))
            client.pass_(PASSWORD)
            count, _ = client.stat()
            return [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in range(1, count + 1)]
        finally:
            client.quit()

    def waiting(self) -> list[dict[str, object]]:
        """What `postroom queue list` shows."""
        found = json.loads(self.command("queue", "list", "--json"))
        assert isinstance(found, list)
        return found

    def logged(self, event: str) -> list[dict[str, object]]:
        """The lines of its log with this event, so far."""
        lines = (json.loads(line) for path in sorted((self.folder / "Logging").iterdir()) for line in path.read_bytes().splitlines())
        return [line for line in lines if line.get("event") == event]


def _is_alive(pid: int) -> bool:
    """A process that nobody has waited for yet is dead too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


MAIN_CF = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.east.test
mydestination =
mynetworks = 192.0.2.0/24
alias_maps =
virtual_mailbox_domains = east.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{eve@east.test=eve/Maildir/}}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
transport_maps = inline:{{north.test=smtp:[127.0.0.1]:{north}, south.test=smtp:[127.0.0.1]:{south}}}
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{auth}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
smtpd_tls_cert_file = {folder}/own.pem
smtpd_tls_key_file = {folder}/own.pem
smtp_tls_security_level = encrypt
smtp_tls_CAfile = {folder}/ca.pem
smtp_tls_loglevel = 1
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s
"""
SERVICES = """
{host}:{north} inet n - n - - smtpd
{host}:{south} inet n - n - - smtpd
{host}:{submission} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
"""
DOVECOT_CONF = """
base_dir = {folder}/run
state_dir = {folder}/run
instance_name = east
log_path = {folder}/dovecot.log
protocols = none
ssl = no
auth_mechanisms = plain login
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home=/nonexistent
}}
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


@dataclass
class East:
    """Postfix, and a Dovecot that it asks who may log in."""

    folder: Path
    submission: int
    authority: trustme.CA

    @property
    def mail(self) -> Path:
        """What changes when mail arrives."""
        return self.folder / "mail"

    @property
    def inbox(self) -> Path:
        return self.folder / "mail/eve/Maildir/new"

    def submit(self, *mails: EmailMessage) -> Iterator[EmailMessage]:
        """See `submit`."""
        return submit(EAST_HOST, self.submission, self.authority, person(EAST), list(mails))

    def fetch(self) -> list[bytes]:
        """All mail of the domain's person, with the line ends of the wire."""
        if not self.inbox.is_dir():
            return []
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in self.inbox.iterdir()]

    def waiting(self) -> list[str]:
        """What `postqueue` shows."""
        command = ["postqueue", "-c", str(self.folder / "etc"), "-j"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def east(authority: trustme.CA, north: int, south: int) -> Iterator[East]:
    """Postfix for east.test, which takes mail on both ports. Absent with the reason."""
    folder = peers.new_folder(Path(tempfile.gettempdir()), "east")
    auth, submission = free_ports(2)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        authority.issue_cert("mail.east.test", EAST_HOST).private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        (folder / "dovecot.conf").write_text(DOVECOT_CONF.format(folder=folder, password=PASSWORD, port=auth))
        started(stack, "east-auth", ["dovecot", "-F", "-c", folder / "dovecot.conf"], HOST, auth, folder / "dovecot.log")
        _configure(folder, north, south, submission, auth)
        started(stack, "east", ["postfix", "-c", folder / "etc", "start-fg"], EAST_HOST, submission, folder / "log")
        yield East(folder, submission, authority)


def started(stack: ExitStack, name: str, command: list[str | Path], host: str, port: int, log: Path) -> None:
    """A server that answers there and ends with the stack. Absent, with what it logged."""
    if not shutil.which(str(command[0])):
        raise Absent(f"{command[0]} is not installed (apt-get install postfix dovecot-core)")
    group = Group(name)
    stack.callback(group.close)
    stack.callback(group.kill)
    process = group.start(command, log.with_suffix(".out"))

    def answers() -> bool:
        with suppress(OSError), socket.create_connection((host, port), PATIENCE):
            return True
        return process.poll() is not None

    if not waited(answers, PATIENCE) or process.poll() is not None:
        raise Absent(f"{name} does not come up: {log.read_text()[-600:] if log.exists() else log.with_suffix('.out').read_text()}")


def _configure(folder: Path, north: int, south: int, submission: int, auth: int) -> None:
    """The distribution's services, with ours in the place of port 25, and nobody in a chroot (that needs files copied there)."""
    owner = pwd.getpwnam(peers.OWNER)
    for name in ("etc", "spool", "data", "mail"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    shutil.chown(folder / "mail", owner.pw_uid, owner.pw_gid)
    main = MAIN_CF.format(folder=folder, uid=owner.pw_uid, gid=owner.pw_gid, north=north, south=south, auth=auth)
    (folder / "etc/main.cf").write_text(main)
    rows = re.sub(r"(?m)^smtp +inet .*$", "", peers.MASTER_CF.read_text())
    rows = re.sub(r"(?m)^(\S+ +unix(?:-dgram)? +\S +\S +)y", r"\1n", rows)
    (folder / "etc/master.cf").write_text(rows + SERVICES.format(host=EAST_HOST, north=north, south=south, submission=submission))


@dataclass
class Neighbours:
    """All three."""

    north: Site
    south: Site
    east: East
    zone: Zone

    def at(self, domain: str) -> Site | East:
        houses: dict[str, Site | East] = {NORTH: self.north, SOUTH: self.south, EAST: self.east}
        return houses[domain]

    def waiting(self) -> list[object]:
        """What anybody has left to send, those that do not run included."""
        return [item for house in (self.north, self.south, self.east) for item in house.waiting()]

    def arrived(self, domain: str, marks: set[str]) -> dict[str, list[bytes]]:
        """What came to a domain's person under these subjects, once all are there and nobody has anything left to send."""
        house, found = self.at(domain), dict[str, list[bytes]]()

        def all_there() -> bool:
            found.clear()
            for text in house.fetch():
                subject = re.search(rb"(?m)^Subject: (\S+)\r$", text)
                if subject and (mark := subject[1].decode()) in marks:
                    found.setdefault(mark, []).append(text)
            return found.keys() == marks and not self.waiting()

        await_change(house.mail, all_there)
        return found


@contextmanager
def neighbours(folder: Path) -> Iterator[Neighbours]:
    """All three, served. Absent with the reason where Postfix or Dovecot cannot be had."""
    authority = trustme.CA()
    ports = free_ports(6)
    with ExitStack() as stack:
        zone = stack.enter_context(closing(Zone()))
        zone.server.put({"MX east.test": "10 mail.east.test.", "A mail.east.test": EAST_HOST})
        postfix = stack.enter_context(east(authority, ports[0], ports[1]))
        north = Site(NORTH, folder / "north", zone, authority, ports[0], ports[1], ports[2], ports[3])
        south = Site(SOUTH, folder / "south", zone, authority, ports[1], ports[0], ports[4], ports[5])
        for site in (north, south):
            stack.callback(site.kill)
        with ThreadPoolExecutor() as both:
            list(both.map(Site.begin, (north, south)))
        yield Neighbours(north, south, postfix, zone)
