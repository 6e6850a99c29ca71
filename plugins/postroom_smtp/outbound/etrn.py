"""ETRN, both ways (RFC 1985): trying now what waits for a domain, and asking a host for what it holds for ours.

`try_now` only makes items due; the caretaker takes them up within its next round. What was never tried yet waits for a reason of its
own (its sender asked for a later time), and what an operator holds stays held.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from postroom.clock import Clock
from postroom.envelope import Envelope
from postroom.errors import CommandFileError, DiskError
from postroom.site import Log
from postroom.spool import Queue, Spool
from postroom_net.resolver import Temporary
from postroom_ops.files import retime
from postroom_smtp.outbound.finder import Finder
from postroom_smtp.outbound.lane import NoWay
from postroom_smtp.outbound.pool import Pool
from postroom_smtp.outbound.reply import Answer, explained
from postroom_smtp.outbound.route import Host
from postroom_smtp.outbound.tlspolicy import TlsPolicy, Unfit

_FAR = 365 * 86400.0  # seconds: what is due later than that is held by an operator
_NODE = re.compile(r"[@#]?[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?|\[[0-9A-Fa-f:.IPvip]{2,50}\]")


def is_node(text: str) -> bool:
    """Whether this may stand behind ETRN."""
    return _NODE.fullmatch(text) is not None


def concerns(envelope: Envelope, node: str) -> bool:
    """Whether an item is for this node: a domain, or with "@" in front one and all below it (RFC 1985 section 5.3)."""
    name = node.lower().lstrip("@")
    domains = [recipient.address.domain for recipient in envelope.recipients]
    return any(domain == name or (node.startswith("@") and domain.endswith("." + name)) for domain in domains)


async def try_now(spool: Spool, clock: Clock, node: str) -> int:
    """Make due what waits for this node after a failed attempt; how many messages. DiskError."""
    return await asyncio.to_thread(_make_due, spool["SMTP"].outgoing, clock.now(), node)


def _make_due(queue: Queue, now: float, node: str) -> int:
    count = 0
    for item, due in list(queue.items()):
        if now < due < now + _FAR and _is_for(queue, item, node):
            try:
                if not retime(queue.spool.disk, queue.command_path(item), now, before=now + _FAR):
                    continue  # finished or held meanwhile, or on its way
            except OSError as error:
                raise DiskError(f"making {item} due: {error}") from error
            queue.spool.rested(queue, item, "", now)
            count += 1
    return count


def _is_for(queue: Queue, item: str, node: str) -> bool:
    try:
        envelope = queue.look(item)
    except CommandFileError:  # whoever claims it tells
        return False
    return envelope is not None and envelope.attempt.count > 0 and concerns(envelope, node)


class Asker:
    """Asks hosts for the mail they hold, now and then."""

    def __init__(
        self, wishes: Mapping[str, Sequence[str]], every: float, finder: Finder, pool: Pool, policy: TlsPolicy, clock: Clock, log: Log
    ) -> None:
        self._wishes, self._every, self._finder, self._pool, self._policy = wishes, every, finder, pool, policy
        self._clock, self._log = clock, log

    async def run(self) -> None:
        """Until cancelled; what fails is logged and asked again at the next time."""
        while True:
            for host, nodes in self._wishes.items():
                await self.ask(host, nodes)
            await self._clock.sleep(self._every)

    async def ask(self, name: str, nodes: Sequence[str]) -> None:
        """One host, for these domains."""
        host = Host(name.lower().rstrip("."), self._finder.settings.port, secure=True)
        try:
            answers = await self._answers(host, nodes)
        except (NoWay, Temporary, Unfit) as error:
            self._log.warning("smtp.etrn_failed", host=name, error=str(error))
            return
        for node, answer in answers:
            self._log.info("smtp.etrn", host=name, domain=node, reply=answer)

    async def _answers(self, host: Host, nodes: Sequence[str]) -> list[tuple[str, str]]:
        where = await self._finder.where(host)
        wanted = await self._policy.wanted(host.name, host.name, host.port, False)
        refusal: NoWay | None = None
        for ip in where.ips:
            try:
                channel = await self._pool.connection(host, ip, wanted, host.name)
            except NoWay as no:
                refusal = no
                continue
            found = []
            try:
                for node in nodes if channel.dialogue.offers.etrn else ():
                    channel.dialogue.ask(b"ETRN %s\r\n" % node.encode())
                    channel.flush()
                    await channel.turn()
                    word = channel.dialogue.results[0]
                    found.append((node, str(explained(word) if isinstance(word, Answer) else word)))
                    if channel.dialogue.fault is not None:
                        break
            finally:
                self._pool.release(channel)
            await self._pool.parted(channel)
            return found or [(node, "the host does not offer ETRN") for node in nodes]
        raise refusal or Temporary(f"{host.name} has no address")
