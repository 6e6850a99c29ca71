"""One SASL authentication of one client, carried out: what an exchange asks for is looked up, proven or refused. Shared by every service.

`go` takes a step that is no challenge and returns what the service has to say next: another challenge, who has logged in, why not, or the
fault of the exchange. It never raises for what a client sent. Whatever mechanism is used, attempts go through the one `Login`, so they are
slowed down together and an unknown login looks like a wrong password.
"""

from __future__ import annotations

from typing import Protocol

from postroom_net.login import Known, Login, Principal, Refused
from postroom_net.sasl import Bearer, Binding, Challenge, Credentials, Exchange, Fault, Lookup, Mechanism, Mechanisms, Proven, Step

Verdict = Challenge | Principal | Refused | Fault


class Tokens(Protocol):
    """Who can tell whether a token is good."""

    async def vouches(self, token: str, login: str) -> bool | None:
        """Whether its issuer means this login; None where that cannot be found out now."""


class Authentication:
    """An exchange and what it needs of the world."""

    def __init__(self, exchange: Exchange, login: Login, peer_ip: str, service: str, tokens: Tokens | None = None) -> None:
        self.exchange = exchange
        self.name = ""  # the login that was tried, for the log
        self._login, self._peer_ip, self._service, self._tokens = login, peer_ip, service, tokens
        self._known: Known | None = None
        self._doubted = False  # the token's issuer could not be asked

    @property
    def mechanism(self) -> Mechanism:
        return self.exchange.mechanism

    async def go(self, step: Step) -> Verdict:
        """Carry out steps until there is something to say."""
        while not isinstance(step, Challenge):
            match step:
                case Credentials(login=login, password=password):
                    self.name = login
                    if not step.acts_for_itself:
                        return Fault.NOT_ALLOWED
                    return await self._login.verify(login, password, self._peer_ip, self._service)
                case Lookup(login=login, kind=kind):
                    if not step.acts_for_itself:
                        return Fault.NOT_ALLOWED
                    if (refused := await self._look_up(login)) is not None:
                        return refused
                    known = self._known
                    step = self.exchange.found(known.secret(kind), known.attempt.account) if known is not None else Fault.NOT_PROVEN
                case Bearer(login=login, token=token):
                    if (refused := await self._look_up(login)) is not None:
                        return refused
                    step = self.exchange.judged(await self._vouched(token, login))
                case Proven():
                    return await self._settled(True)
                case Fault.NOT_PROVEN:
                    return await self._settled(False)
                case Fault():
                    return step
        return step

    async def _look_up(self, login: str) -> Refused | None:
        self.name = login
        known = await self._login.look_up(login, self._peer_ip, self._service)
        if isinstance(known, Refused):
            return known
        self._known = known
        return None

    async def _vouched(self, token: str, login: str) -> bool:
        """Asked also for a login that does not exist, so that the time it takes tells nothing."""
        row = self._known.row if self._known is not None else None
        said = await self._tokens.vouches(token, row.username if row is not None else login) if self._tokens is not None else False
        self._doubted = said is None
        return bool(said) and row is not None

    async def _settled(self, right: bool) -> Principal | Refused:
        if self._doubted:
            return Refused("unavailable")
        if self._known is None:  # it failed before any login was named
            return Refused("bad")
        return await self._login.settle(self._known, right)


class Authenticator:
    """What one service offers, and where it is decided. One per service and worker."""

    def __init__(self, mechanisms: Mechanisms, login: Login, service: str, tokens: Tokens | None = None) -> None:
        self.mechanisms = mechanisms
        self._login, self._service, self._tokens = login, service, tokens

    def begin(self, name: str, peer_ip: str, *, secure: bool, binding: Binding | None) -> Authentication | None:
        """An authentication by this mechanism; None where it is not offered on this connection."""
        exchange = self.mechanisms.exchange(name, secure=secure, binding=binding)
        return None if exchange is None else self.carries(exchange, peer_ip)

    def carries(self, exchange: Exchange, peer_ip: str) -> Authentication:
        """The authentication of an exchange that was begun already."""
        return Authentication(exchange, self._login, peer_ip, self._service, self._tokens)
