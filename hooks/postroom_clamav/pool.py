"""The connections of one worker to clamd: at most so many, kept in sessions while mail comes, closed when they rest.

A kept connection may have been closed by clamd (a restart, a time limit): what was asked on it is asked once more on a new one, unless
part of an answer had come. Everything else that goes wrong is the caller's to hear as a `ScannerError`. `failure` is the last such error
until something goes well again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import Gauge

from postroom.clock import Clock
from postroom.message import Message
from postroom_clamav.errors import HungUp, ScannerError
from postroom_clamav.grammar import PING
from postroom_clamav.session import Judged, Session

REST: Final = 20.0  # seconds a connection is kept without work; clamd's own limits are longer


@dataclass(frozen=True, slots=True)
class Address:
    """Where clamd listens: a UNIX socket, or host and port."""

    path: Path | None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"{self.host} port {self.port}"


class Pool:
    """Asks clamd for as many messages at a time as it has connections; who comes on top waits for one."""

    def __init__(self, address: Address, most: int, connect_timeout: float, clock: Clock, gauge: Gauge) -> None:
        self.address = address
        self.failure = ""
        self._connect_timeout, self._clock, self._gauge = connect_timeout, clock, gauge
        self._slots = asyncio.Semaphore(most)
        self._idle: list[Session] = []  # the one used last is used next, so that those not needed come to rest
        self._heard = clock.monotonic()

    async def scan(self, message: Message) -> Judged:
        """What clamd thinks of a message. ScannerError when it does not say."""
        try:
            async with self._slots:
                judged = await self._scan(message)
        except ScannerError as error:
            self.failure = str(error)
            raise
        self._heard_well()
        return judged

    async def _scan(self, message: Message) -> Judged:
        if (kept := self._kept()) is not None:
            try:
                return await self._scan_on(kept, message)
            except HungUp as gone:
                if not gone.silent:
                    raise
                self.close()  # clamd ended one that rested: the others are of the same age
        return await self._scan_on(await self._connect(), message)

    async def _scan_on(self, session: Session, message: Message) -> Judged:
        judged = await session.scan(message)
        if session.is_open:
            session.idle_since = self._clock.monotonic()
            self._idle.append(session)
        return judged

    def _kept(self) -> Session | None:
        while self._idle:
            if (session := self._idle.pop()).is_open:
                return session
        return None

    async def _connect(self) -> Session:
        loop, address = asyncio.get_running_loop(), self.address

        def made() -> Session:
            return Session(self._gauge.dec)

        try:
            async with asyncio.timeout(self._connect_timeout):
                if address.path is not None:
                    _, session = await loop.create_unix_connection(made, str(address.path))
                else:
                    _, session = await loop.create_connection(made, address.host, address.port)
        except TimeoutError:
            raise ScannerError(f"clamd at {address} does not take a connection within {self._connect_timeout:g} seconds") from None
        except OSError as error:
            raise ScannerError(f"clamd at {address} cannot be reached: {error.strerror or error}") from None
        self._gauge.inc()
        return session

    async def tend(self) -> None:
        """Close what rests, and ask for a sign of life where nothing was heard for a while. Never raises for what clamd does."""
        now = self._clock.monotonic()
        rested = [session for session in self._idle if not session.is_open or now - session.idle_since >= REST]
        self._idle = [session for session in self._idle if session not in rested]
        for session in rested:
            session.end()
        if now - self._heard >= REST or self.failure:
            await self._ping()

    async def _ping(self) -> None:
        try:
            session = await self._connect()
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await session.say(PING)
            finally:
                session.end()
        except TimeoutError:
            self.failure = f"clamd at {self.address} does not answer within {self._connect_timeout:g} seconds"
        except ScannerError as error:
            self.failure = str(error)
        else:
            self._heard_well()

    def _heard_well(self) -> None:
        self._heard, self.failure = self._clock.monotonic(), ""

    def close(self) -> None:
        """Hang up on all that rest; those at work end theirs."""
        for session in self._idle:
            session.end()
        self._idle.clear()
