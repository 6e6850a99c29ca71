"""What any client may say, and how it logs in: CAPABILITY, NOOP, LOGOUT, ID, STARTTLS, AUTHENTICATE, LOGIN, ENABLE, UNAUTHENTICATE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import postroom
from postroom.errors import StoreError
from postroom_disk.disk import DiskError
from postroom_imap4 import capabilities as offered
from postroom_imap4.answers import NIL, quoted
from postroom_imap4.commands import Authenticate, Capability, Check, Enable, Id, LogIn, Logout, Noop, StartTls, Unauthenticate
from postroom_imap4.replies import Ended, bad, bye, no, ok
from postroom_imap4.world import SERVICE
from postroom_net.authentication import Authentication, Verdict
from postroom_net.lines import TOO_LONG
from postroom_net.login import Principal, Refused
from postroom_net.sasl import Challenge, Fault

if TYPE_CHECKING:
    from postroom_imap4.session import Session

_REFUSALS = {  # RFC 5530
    "bad": no("login failed", b"AUTHENTICATIONFAILED"),
    "disabled": no("this login is disabled; ask the administrator", b"AUTHORIZATIONFAILED"),
    "unavailable": no("logins cannot be checked now; try again later", b"UNAVAILABLE"),
}
_FAULTS = {
    Fault.CANCELLED: bad("cancelled"),
    Fault.TOO_LONG: bad("the answer is too long"),
    Fault.MALFORMED: bad("the answer cannot be read"),
    Fault.NOT_PROVEN: _REFUSALS["bad"],
    Fault.NOT_ALLOWED: no("acting for somebody else is not offered", b"AUTHORIZATIONFAILED"),
}


def capabilities(session: Session) -> bytes:
    """What is true on this connection in this state."""
    world = session.world
    if session.who is not None:
        return offered.after_login(append_limit=world.settings.append_limit, message_limit=world.settings.message_limit)
    mechanisms = world.authenticator.mechanisms.names(secure=session.secure, binding=session.binding is not None)
    return offered.before_login(mechanisms, starttls=session.starttls and not session.tls, secure=session.secure)


async def capability(session: Session, command: Capability) -> Ended:
    await session.wire.send(b"* CAPABILITY %b\r\n" % capabilities(session))
    return ok("that is all")


async def noop(session: Session, command: Noop | Check) -> Ended:
    return ok("done")  # news come with every answer


async def logout(session: Session, command: Logout) -> Ended:
    session.leave()
    session.deselect()
    session.over, session.ended = True, "logout"
    await session.wire.send(bye("good bye"))
    return ok("done")


async def identify(session: Session, command: Id) -> Ended:
    """RFC 2971."""
    said = {name.lower(): value for name, value in command.fields}
    session.client = " ".join(value for name in ("name", "version") if (value := said.get(name)))[:100]
    us = {"name": "postroom", "version": postroom.__version__}
    fields = b" ".join(b"%b %b" % (quoted(name), quoted(value)) for name, value in us.items())
    await session.wire.send(b"* ID %b\r\n" % (b"(%b)" % fields if fields else NIL))
    return ok("pleased to meet you")


async def start_tls(session: Session, command: StartTls) -> Ended | None:
    if session.tls:
        return bad("TLS is on already")
    if not session.starttls:
        return bad("TLS is not offered")
    if session.compressed:
        return bad("TLS cannot begin within compression")
    await session.wire.send(ok("begin TLS").line(session.tag))
    session.binding = await session.wire.start_tls()
    session.tls = session.secure = True
    return None


async def log_in(session: Session, command: LogIn) -> Ended:
    if not session.secure:
        return no("passwords are accepted over TLS only" + (": say STARTTLS first" if session.starttls else ""), b"PRIVACYREQUIRED")
    session.wire.flush()
    return await _admitted(session, command.login, await session.world.login.verify(command.login, command.password, session.peer, SERVICE))


async def authenticate(session: Session, command: Authenticate) -> Ended:
    """RFC 9051 section 6.2.2; the initial response is RFC 4959."""
    authenticator = session.world.authenticator
    trial = authenticator.begin(command.mechanism, session.peer, secure=session.secure, binding=session.binding)
    if trial is None:
        if not session.secure and authenticator.mechanisms.knows(command.mechanism):
            return no("this mechanism needs TLS", b"PRIVACYREQUIRED")
        return no("this mechanism is not offered here", b"CANNOT")
    verdict = await _conversed(session, trial, command.initial)
    if isinstance(verdict, Fault):
        session.failed += verdict in (Fault.NOT_PROVEN, Fault.NOT_ALLOWED)
        return _FAULTS[verdict]
    return await _admitted(session, trial.name, verdict)


async def _conversed(session: Session, trial: Authentication, initial: bytes | None) -> Principal | Refused | Fault:
    """Challenges and answers, to the end."""
    step = trial.exchange.begin(initial)
    while True:
        verdict: Verdict = step if isinstance(step, Challenge) else await trial.go(step)
        if not isinstance(verdict, Challenge):
            return verdict
        await session.wire.send(b"+ %b\r\n" % verdict.line)
        line = await session.wire.line()
        step = Fault.TOO_LONG if line is TOO_LONG else trial.exchange.answer(line)


async def _admitted(session: Session, login: str, verdict: Principal | Refused) -> Ended:
    ended = await _let_in(session, login, verdict)
    counts = session.world.counts
    (counts.logged_in if ended.is_ok else counts.refused).inc()
    session.failed += not ended.is_ok
    return ended


async def _let_in(session: Session, login: str, verdict: Principal | Refused) -> Ended:
    world = session.world
    if isinstance(verdict, Refused):
        world.log.warning("imap4.login_refused", login=login[:100], peer=session.peer, reason=verdict.reason)
        if verdict.reason == "throttled":
            return no(f"too many wrong passwords; try again in {int(verdict.wait) + 1} seconds", b"UNAVAILABLE")
        return _REFUSALS[verdict.reason]
    try:
        record = await world.postoffices.mailboxes.get(verdict.postoffice, verdict.mailbox)
        if record is None or not record.status:
            return no("this login has no mailbox here; ask the administrator", b"AUTHORIZATIONFAILED")
        mailbox = await world.store.mailbox(record.postoffice, record.mailbox)
    except (StoreError, DiskError) as error:
        world.log.error("imap4.mailbox_refused", login=verdict.username, peer=session.peer, error=str(error))
        return no("the mailbox cannot be opened now; try again later", b"UNAVAILABLE")
    session.who, session.mailbox, session.login = verdict, mailbox, verdict.username
    return ok("logged in", b"CAPABILITY " + capabilities(session))


async def unauthenticate(session: Session, command: Unauthenticate) -> None:
    """RFC 8437: as if the connection had just been made; TLS stays, compression ends with the answer."""
    session.reset()
    await session.wire.send(ok("logged out").line(session.tag))
    session.wire.plain()
    session.compressed = False


async def enable(session: Session, command: Enable) -> Ended:
    """RFC 5161: what is unknown is passed over, what is on already is not told again. UTF-8 is implied by nothing here, QRESYNC implies
    CONDSTORE (RFC 7162 section 3.2.3)."""
    enabled, was_on = [], session.modes.condstore
    for name in command.names:
        mode = offered.ENABLED_BY.get(name)
        if mode is None or getattr(session.modes, mode):
            continue
        setattr(session.modes, mode, True)
        enabled.append({"IMAP4REV2": "IMAP4rev2"}.get(name, name))
    session.modes.condstore |= session.modes.qresync
    noted = session.highest() if session.modes.condstore and not was_on else b""  # RFC 7162 section 3.1
    await session.wire.send(" ".join(("* ENABLED", *enabled)).encode() + b"\r\n" + noted)
    return ok("done")
