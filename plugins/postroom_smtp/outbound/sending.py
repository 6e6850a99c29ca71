"""One message to some recipients by one connection: as many transactions as the server's limits ask for.

Answers come back by recipient, in the order asked. A large message is read block by block as the server takes it; where our own disk
fails half-way the connection is cut before the end of the message, so the server has nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from postroom.envelope import Recipient
from postroom.errors import DiskError
from postroom.outcome import Reply
from postroom_smtp.outbound import letter as letters
from postroom_smtp.outbound.channel import Channel
from postroom_smtp.outbound.dialogue import ACCEPTED, Move
from postroom_smtp.outbound.letter import Letter
from postroom_smtp.outbound.octets import Octets
from postroom_smtp.outbound.reply import Answer, Offers, explained

AHEAD = 64 * 1024  # octets that leave with the envelope, before anybody said that they are wanted
ENDED = Reply(451, "4.4.2", "The conversation ended")
Addressee = tuple[Recipient, bytes]  # and the path
Word = Answer | Reply  # what was said of a recipient


async def send(channel: Channel, letter: Letter, octets: Octets, to: Sequence[Addressee]) -> list[Word]:
    """What the server said of each. A server without DSN would report failures to who wants none: for such recipients it gets the message
    with the null sender (RFC 3461 section 5.2.2)."""
    quiet = [] if channel.dialogue.offers.dsn else [one for one in to if "NEVER" in one[0].notify]
    if not quiet or not letter.sender:
        return await _send(channel, letter, octets, to)
    others = [one for one in to if "NEVER" not in one[0].notify]
    told = iter(await _send(channel, letter, octets, others) if others else ())
    untold = iter(await _send(channel, replace(letter, sender=b""), octets, quiet))
    return [next(untold if "NEVER" in recipient.notify else told) for recipient, _ in to]


async def _send(channel: Channel, letter: Letter, octets: Octets, to: Sequence[Addressee]) -> list[Word]:
    dialogue = channel.dialogue
    offers = dialogue.offers
    if (why := letters.obstacle(letter, offers, sealed=bool(dialogue.sealed))) is not None:
        return [why] * len(to)
    if len(to) == 1 and (offers.utf8 or to[0][1].isascii()):
        await _transaction(channel, letter, octets, to)
        return [_said(word) for word in dialogue.results]
    said: list[Word | None] = [None if offers.utf8 or where.isascii() else letters.NEEDS_UTF8 for _, where in to]
    left = [number for number, word in enumerate(said) if word is None]
    while left:
        some = _batch(left, to, offers)
        await _transaction(channel, letter, octets, [to[number] for number in some])
        words = dict(zip(some, [_said(word) for word in dialogue.results], strict=True))
        went = any(_is_good(word) for word in words.values())
        again = {number for number, word in words.items() if went and _is_one_too_many(word)}
        for number, word in words.items():
            said[number] = None if number in again else word
        left = [number for number in left if number in again or number not in words]
        if left and dialogue.move is not Move.READY:
            fault = dialogue.fault or ENDED
            return [word or fault for word in said]
    return [word for word in said if word is not None]


def _batch(left: list[int], to: Sequence[Addressee], offers: Offers) -> list[int]:
    """The next recipients within the limits of RFC 9422; a hundred may always be said (RFC 5321 section 4.5.3.1.8)."""
    most = offers.recipients or 100
    if not offers.domains:
        return left[:most]
    some: list[int] = []
    domains: set[bytes] = set()
    for number in left:
        domain = to[number][1].rpartition(b"@")[2].lower()
        if len(some) < most and (domain in domains or len(domains) < offers.domains):
            domains.add(domain)
            some.append(number)
    return some


def _said(word: Word | None) -> Word:
    """What was said in the end; that RCPT was taken is not enough."""
    return word if word is not None and word is not ACCEPTED else Reply(451, "4.5.0", "The server said nothing of this recipient")


def _is_good(word: Word) -> bool:
    return isinstance(word, Answer) and word.is_good


def _is_one_too_many(word: Word) -> bool:
    """RFC 5321 section 4.5.3.1.10: 452, and 552 of old servers, where they do not mean a mailbox: the rest comes in another transaction."""
    if not isinstance(word, Answer) or word.code not in (452, 552):
        return False
    return explained(word).enhanced in ("4.5.3", "5.5.3", "4.0.0", "5.0.0")


async def _transaction(channel: Channel, letter: Letter, octets: Octets, to: Sequence[Addressee]) -> None:
    dialogue = channel.dialogue
    if dialogue.move is not Move.READY:  # it ended while we made the message fit
        dialogue.results = [dialogue.fault or ENDED] * len(to)
        return
    offers = dialogue.offers
    utf8 = letters.needs_utf8([where for _, where in to], letter)
    rcpts = [letters.rcpt(where, recipient, offers, utf8=utf8) for recipient, where in to]
    whole = octets.whole
    if whole is not None and len(whole) > AHEAD and offers.chunking and offers.pipelining:
        whole = None
    dialogue.begin(letters.mail(letter, offers, utf8=utf8), rcpts, whole)
    channel.flush()
    if await channel.turn() is Move.BODY:
        await _stream(channel, octets)


async def _stream(channel: Channel, octets: Octets) -> None:
    """Block by block; one is held back, for the last must be told as such."""
    held: bytes | None = None
    try:
        async for block in octets.blocks():
            if held is not None and not await _put(channel, held, last=False):
                return None
            held = block
    except (DiskError, OSError) as error:
        return channel.give_up(Reply(451, "4.3.0", f"The message could not be read here: {error}"))
    if await _put(channel, held or b"", last=True):
        await channel.turn()
    return None


async def _put(channel: Channel, block: bytes, *, last: bool) -> bool:
    """Whether the server still wants more."""
    dialogue = channel.dialogue
    if await channel.turn() is not Move.BODY:
        return False
    dialogue.body(block, last=last)
    channel.flush()
    await channel.drained()
    await asyncio.sleep(0)  # a server that takes everything at once must not keep the loop from others
    return True
