"""One connection to clamd, kept in a session: asked one thing at a time, answers matched to questions by their numbers.

Whatever is not the one answer that is owed ends the connection: an octet too much, a wrong number, a reply before its message was sent
whole. The question under way then raises `ScannerError`. A question given up (cancelled) ends the connection too, because its answer
would come later. A large message is sent in blocks, the next when the one before has left: memory does not grow with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Final, cast

from postroom.message import Message
from postroom_clamav.errors import HungUp, ScannerError
from postroom_clamav.grammar import (
    CLEAN,
    END,
    INSTREAM,
    LONGEST,
    SESSION,
    Clean,
    Found,
    ProtocolError,
    Refused,
    Reply,
    ReplyReader,
    Said,
    TooLarge,
    chunk,
    instream,
    parse,
)

BLOCK: Final = 256 * 1024  # octets of a large message in memory at a time
Judged = Clean | Found | TooLarge


class Session(asyncio.Protocol):
    """Made by the pool, which is told through `lost` when it is over."""

    __slots__ = ("_asked", "_lost", "_reader", "_reply", "_room", "_transport", "idle_since", "is_open")

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._reader = ReplyReader()
        self._asked = 0
        self._reply: asyncio.Future[Reply] | None = None
        self._room: asyncio.Future[None] | None = None  # there while clamd does not read what we wrote
        self.is_open = False
        self.idle_since = 0.0  # the pool's

    async def scan(self, message: Message) -> Judged:
        """What clamd thinks of these octets. ScannerError, HungUp of them, when it does not say; the session is over then."""
        try:
            data = message.peek()
            reply = await (self._ask(instream(data)) if data is not None else self._stream(message))
        except BaseException:
            self.end()
            raise
        if reply is CLEAN or isinstance(reply, Found):
            return reply
        self.end()  # clamd hangs up behind an error
        if isinstance(reply, TooLarge):
            return reply
        raise ScannerError(f"clamd could not scan: {reply.why if isinstance(reply, Refused) else 'it answered another question'}")

    async def say(self, command: bytes) -> str:
        """The answer to PING or VERSION. ScannerError when there is none."""
        reply = await self._ask(command)
        if isinstance(reply, Said):
            return reply.text
        raise ScannerError(f"clamd did not answer {command[1:-1].decode()}: {reply}")

    def end(self) -> None:
        """Hang up; who still waits for an answer is not told more."""
        self.is_open = False
        waiting, self._reply = self._reply, None
        if waiting is not None:
            waiting.cancel()
        self._transport.abort()

    # What is asked

    def _ask(self, request: bytes) -> asyncio.Future[Reply]:
        """Send a command, the first behind the word that opens the session; what comes is its reply."""
        if not self.is_open:
            raise HungUp("clamd closed the connection", silent=True)
        self._asked += 1
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request if self._asked > 1 else SESSION + request)
        return self._reply

    async def _stream(self, message: Message) -> Reply:
        """Send block by block until all is sent, or clamd has had enough of it."""
        reply, at = self._ask(INSTREAM), 0
        while at < message.size and not reply.done():
            block = await message.read(at, BLOCK)
            if not block:
                raise ScannerError(f"message {message.id} ends after {at} of {message.size} octets")
            self._transport.write(chunk(block))
            at += len(block)
            await (self._room or asyncio.sleep(0))  # in any case the loop looks at what clamd says
        if not reply.done():
            self._transport.write(END)
        elif not isinstance(reply.result(), TooLarge | Refused):
            raise ScannerError("clamd judged a message before it had it whole")
        return await reply

    # The event loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        try:
            for line in self._reader.feed(data):
                self._answer(*parse(line))
        except ProtocolError as error:
            self._fail(ScannerError(str(error)))
            self.end()

    def _answer(self, number: int, reply: Reply) -> None:
        waiting, self._reply = self._reply, None
        if waiting is None:
            if self.is_open:
                raise ProtocolError(f"clamd said {reply} unasked")
        elif number != self._asked:
            self._reply = waiting
            raise ProtocolError(f"clamd answered question {number}, not {self._asked}")
        elif not waiting.done():
            waiting.set_result(reply)
            self.resume_writing()  # it may come in the middle of a message, and clamd reads no more

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None and self._reply is not None:
            self._hear_last_words()
        self.is_open = False
        why = f": {error}" if error else ""
        self._fail(HungUp(f"clamd closed the connection before it answered{why}", silent=not self._reader.held))
        self.resume_writing()
        self._lost()

    def _hear_last_words(self) -> None:
        """A clamd that has had enough says so and hangs up; a write that fails of it comes before the reading, and the words are still there."""
        with contextlib.suppress(OSError):
            self.data_received(os.read(self._transport.get_extra_info("socket").fileno(), LONGEST))

    def _fail(self, error: ScannerError) -> None:
        waiting, self._reply = self._reply, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
