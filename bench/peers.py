"""Start the servers that ours is compared with: Debian's Postfix and Dovecot, and aiosmtpd, each in a folder of its own on loopback.

Configuration, queue, mail and logs lie below that folder. Postfix and Dovecot must be started by root, as they change users. What
cannot be had raises `Absent` with the reason; nothing is left behind then.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.meter import Group
from bench.server import HOST, Absent, Account, Server, free_ports, listening

OWNER = "mail"
DOMAIN = "bench.test"
PASSWORD = "secret"
SESSIONS = 2500  # of Postfix; a process each, started at need
MASTER_CF = Path("/usr/share/postfix/master.cf.dist")

MAIN_CF = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.bench.test
mydestination =
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
message_size_limit = 67108864
virtual_mailbox_limit = 0
virtual_mailbox_domains = bench.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = texthash:{folder}/etc/virtual
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_transport = {transport}
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtp_tls_security_level = none
"""

DOVECOT_CONF = """
base_dir = {run}
state_dir = {run}
instance_name = {name}
log_path = {folder}/log
protocols = {protocol} lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_username_format = %Ln
first_valid_uid = 1
first_valid_gid = 1
mail_location = {format}
mail_max_userip_connections = 10000
default_process_limit = 1024
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home/%n allow_all_users=yes
}}
service {protocol}-login {{
  inet_listener {protocol} {{
    port = {port}
  }}
  inet_listener {protocol}s {{
    port = 0
  }}
{login}
}}
service {protocol} {{
{session}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
"""

CYRUS = Path("/usr/lib/cyrus/bin")  # of cyrus-common; imapd and idled may lie elsewhere, as Debian's package shuts out dovecot-imapd
CYRUS_IMAPD = Path(os.environ.get("POSTROOM_CYRUS", CYRUS))
CYRUS_IMAPD_CONF = """
configdirectory: {folder}/cfg
defaultpartition: default
partition-default: {folder}/spool
sasl_pwcheck_method: alwaystrue
sasl_mech_list: PLAIN LOGIN
allowplaintext: yes
cyrus_user: {owner}
cyrus_group: {owner}
autocreate_quota: 0
autocreate_post: yes
altnamespace: yes
unixhierarchysep: yes
idlesocket: {folder}/cfg/socket/idle
lmtpsocket: {folder}/cfg/socket/lmtp
sievedir: {folder}/sieve
servername: mx.bench.test
"""
CYRUS_CONF = """
START {{
  recover cmd="{programs}/ctl_cyrusdb -C {folder}/imapd.conf -r"
  idled cmd="{imapd}/idled -C {folder}/imapd.conf"
}}
SERVICES {{
  imap cmd="{imapd}/imapd -C {folder}/imapd.conf -U 30" listen="127.0.0.1:{imap}" prefork=0 maxchild=6000
  lmtp cmd="{programs}/lmtpd -C {folder}/imapd.conf -a" listen="127.0.0.1:{lmtp}" prefork=0 maxchild=100
}}
EVENTS {{
}}
"""

# "High-performance mode" of the login service in Dovecot's manual, with session processes used again.
FAST_LOGIN = "  service_count = 0\n  process_min_avail = 2"
FAST_SESSION = "  service_count = 10000\n  process_min_avail = 2"
MANY_SESSIONS = "  process_limit = 4096"  # a process each


def postfix(folder: Path, mailboxes: int, *, lmtp: Server | None = None, more: str = "") -> Server:
    """Postfix with its own `virtual` agent writing Maildirs or, given a Dovecot, handing over by LMTP; the counts are then both's.

    `more` are further lines of main.cf."""
    _needs("postfix", "smtp-source")
    if not MASTER_CF.exists():
        raise Absent(f"this Postfix has no {MASTER_CF}")
    (port,) = free_ports(1)
    owner = _owner()
    for name in ("etc", "spool", "data", "mail"):
        _made(folder / name)
    shutil.chown(folder / "data", "postfix")
    shutil.chown(folder / "mail", owner.pw_uid, owner.pw_gid)
    accounts = lmtp.accounts if lmtp else [_account(i, folder / f"mail/u{i}/Maildir/new") for i in range(mailboxes)]
    transport = f"lmtp:inet:{HOST}:{lmtp.ports['lmtp']}" if lmtp else "virtual"
    (folder / "etc/main.cf").write_text(MAIN_CF.format(folder=folder, uid=owner.pw_uid, gid=owner.pw_gid, transport=transport) + more)
    (folder / "etc/master.cf").write_text(_services(port))
    (folder / "etc/virtual").write_text("".join(f"u{i}@{DOMAIN} u{i}/Maildir/\n" for i in range(mailboxes)))
    name = "postfix-lmtp" if lmtp else "postfix"
    group = _started(name, ["postfix", "-c", folder / "etc", "start-fg"], folder, port)
    return Server(
        name,
        _said("postconf", "-d", "-h", "mail_version") + (f" with Dovecot {lmtp.version}" if lmtp else ""),
        "its queue file, by fsync" + ("; Dovecot then syncs message and folder" if lmtp else ""),
        [group, *(lmtp.groups if lmtp else ())],
        accounts,
        {"smtp": port},
        scratch=[folder],
    )


def dovecot(folder: Path, mailboxes: int, *, fast_login: bool = False) -> Server:
    """Dovecot on Maildir with POP3 and LMTP, in the distribution's login mode or in the manual's high-performance one."""
    name = "dovecot-fast" if fast_login else "dovecot"
    fast = {"login": FAST_LOGIN, "session": FAST_SESSION} if fast_login else {}
    return _dovecot(folder, mailboxes, name, "pop3", "maildir:~/Maildir", "Maildir/new", **fast)


def dovecot_sdbox(folder: Path, mailboxes: int) -> Server:
    """Dovecot with IMAP and LMTP on its own mailbox format, in the distribution's login mode."""
    return _dovecot(folder, mailboxes, "dovecot-sdbox", "imap", "sdbox:~/sdbox", "sdbox/mailboxes/INBOX/dbox-Mails", session=MANY_SESSIONS)


def _dovecot(
    folder: Path, mailboxes: int, name: str, protocol: str, format: str, inbox: str, *, login: str = "", session: str = ""
) -> Server:
    """Dovecot with this protocol and LMTP; `inbox` is where new mail lies below a user's home, the last two are lines of its services."""
    _needs("dovecot")
    port, lmtp = free_ports(2)
    owner = _owner()
    shutil.chown(_made(folder / "home"), owner.pw_uid, owner.pw_gid)
    run = Path(tempfile.mkdtemp(prefix="dovecot-"))  # its socket names would not fit below a deep folder
    run.chmod(0o755)
    conf = DOVECOT_CONF.format(
        run=run,
        name=name,
        folder=folder,
        protocol=protocol,
        format=format,
        password=PASSWORD,
        uid=owner.pw_uid,
        gid=owner.pw_gid,
        port=port,
        lmtp=lmtp,
        login=login,
        session=session,
    )
    (folder / "dovecot.conf").write_text(conf)
    group = _started(name, ["dovecot", "-F", "-c", folder / "dovecot.conf"], folder, port)
    accounts = [_account(i, folder / f"home/u{i}" / inbox) for i in range(mailboxes)]
    version = _said("dovecot", "--version").split()[0]
    return Server(name, version, "message and folder, by fsync", [group], accounts, {protocol: port, "lmtp": lmtp}, scratch=[folder, run])


def cyrus(folder: Path, mailboxes: int) -> Server:
    """Cyrus with IMAP, LMTP and its notifier; it believes every password."""
    if not (CYRUS / "master").exists() or not (CYRUS_IMAPD / "imapd").exists() or os.geteuid() != 0:
        raise Absent(
            "cyrus-common is not installed, POSTROOM_CYRUS does not name the folder of its imapd (bench/README.md), or we are not root"
        )
    imap, lmtp = free_ports(2)
    owner = _owner()
    for name in ("", "cfg", "cfg/db", "cfg/proc", "cfg/socket", "cfg/log", "cfg/msg", "spool"):
        shutil.chown(_made(folder / name), owner.pw_uid, owner.pw_gid)
    (folder / "imapd.conf").write_text(CYRUS_IMAPD_CONF.format(folder=folder, owner=OWNER))
    (folder / "cyrus.conf").write_text(CYRUS_CONF.format(folder=folder, programs=CYRUS, imapd=CYRUS_IMAPD, imap=imap, lmtp=lmtp))
    command: list[str | Path] = [CYRUS / "master", "-C", folder / "imapd.conf", "-M", folder / "cyrus.conf", "-p", folder / "master.pid"]
    group = _started("cyrus", command, folder, imap)
    accounts = [_account(i, folder / f"spool/user/u{i}") for i in range(mailboxes)]
    version = _said("dpkg-query", "-W", "-f", "${Version}", "cyrus-imapd")
    return Server("cyrus", version, "message and folder, by fsync", [group], accounts, {"imap": imap, "lmtp": lmtp}, scratch=[folder])


def postfix_lmtp(folder: Path, mailboxes: int) -> Server:
    """The pair most sites run: Postfix in front, Dovecot's LMTP behind it."""
    behind = dovecot(_made(folder / "dovecot"), mailboxes)
    try:
        return dataclasses.replace(postfix(_made(folder / "postfix"), mailboxes, lmtp=behind), scratch=[*behind.scratch, folder])
    except Absent:
        behind.stop()
        raise


def aiosmtpd(folder: Path, mailboxes: int) -> Server:
    """aiosmtpd with a handler that writes Maildirs in threads: no queue, the 250 comes when the mailbox has the mail."""
    (port,) = free_ports(1)
    group = _started("aiosmtpd", [sys.executable, "-m", "bench.aiosmtpd_peer", str(port), folder / "mail"], folder, port)
    accounts = [_account(i, folder / f"mail/u{i}/new") for i in range(mailboxes)]
    version = importlib.metadata.version("aiosmtpd")
    return Server("aiosmtpd", version, "the message in its mailbox, by fsync", [group], accounts, {"smtp": port}, scratch=[folder])


def new_folder(inside: Path, name: str) -> Path:
    """A fresh folder that the peers' own users may enter; Absent where one above it keeps them out."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=inside))
    folder.chmod(0o755)
    for above in folder.resolve().parents:
        if not above.stat().st_mode & 0o001:
            folder.rmdir()
            raise Absent(f"{above} keeps other users out, and {name} works as one: choose another --dir")
    return folder


def _needs(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            raise Absent(f"{program} is not installed (apt-get install postfix dovecot-imapd dovecot-pop3d dovecot-lmtpd)")
    if os.geteuid() != 0:
        raise Absent(f"{programs[0]} must be started by root")


def _started(name: str, command: Sequence[str | Path], folder: Path, port: int) -> Group:
    group, log = Group(name), folder / "out"
    try:
        listening(port, group.start(command, log), log)
    except BaseException:
        group.close()
        raise
    return group


def _services(port: int) -> str:
    """The distribution's services: smtpd on our port with SESSIONS, nobody in a chroot (that needs files copied there)."""
    rows = re.sub(r"(?m)^smtp +inet .*$", f"{HOST}:{port} inet n - n - {SESSIONS} smtpd", MASTER_CF.read_text())
    return re.sub(r"(?m)^(\S+ +unix(?:-dgram)? +\S +\S +)y", r"\1n", rows)


def _account(number: int, inbox: Path) -> Account:
    return Account(f"u{number}@{DOMAIN}", f"u{number}", PASSWORD, inbox)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    return folder


def _owner() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(OWNER)
    except KeyError:
        raise Absent(f"there is no user {OWNER!r} for the peers' mail to belong to") from None


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
