"""THREAD (RFC 5256 section 3): ORDEREDSUBJECT and REFERENCES, exactly; REFS, which is REFERENCES without its step 5.

A message is a number: its place among those that were found. Ids that no message has become dummies, numbered behind the messages; but one that is met
once, behind another, changes no tree and gets no node. No recursion, so a thread may be as deep as the folder. What was worked out of a
whole folder is kept until a message comes or goes. No step holds the loop.

Bounded where mail was made to hurt: ids beyond MAX_IDS that nobody has as his own are passed over, and after MAX_STEPS for each message the search for a loop
gives up as if it had found one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

from postroom.mailstore import Folder, View
from postroom_imap4 import cached, sorting
from postroom_imap4.pace import LOOK, ROW, Pace, slices
from postroom_imap4.remembered import REMEMBERED
from postroom_mime.envelope import MAX_REFERENCES
from postroom_mime.headers import values

MAX_IDS: Final = 1_000_000
MAX_STEPS: Final = 200
NOBODY: Final = -1
_LOOKS: Final = 500  # messages between two counts of what was done
_PACKS: Final = 100  # rows whose cached fields are taken apart
_FEW: Final = 50  # the same where one may take long
_IDS: Final = re.compile(rb"<([^<>\s]{1,998}+)>")  # RFC 5322 section 2.1.1: no line is longer
_QUOTED: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)"@(.++)', re.DOTALL)


# A message's own id, empty where it has none, and its references, oldest first. A plain tuple: of these the garbage collector looks at none twice.
Ids: TypeAlias = tuple[bytes, tuple[bytes, ...]]


class Forest(NamedTuple):
    """Threads: the children of each message, the messages below each dummy, and the first ones of all, in the order in which they are told."""

    tops: list[int]
    children: dict[int, list[int]]
    dummies: dict[int, list[int]]


async def thread(folder: Folder, view: View, rows: Sequence[int], algorithm: str, by_uid: bool) -> bytes:
    """What stands behind "* THREAD" in the answer, its blank included; nothing where there is no message."""
    what = ("thread", algorithm, by_uid)
    is_all = len(rows) == len(view)
    kept = REMEMBERED.now(folder, view, what) if is_all else None
    if isinstance(kept, bytes):
        return kept
    pace = Pace()
    forest = await (_by_subject(view, rows, pace) if algorithm == "ORDEREDSUBJECT" else _by_references(folder, view, rows, algorithm, pace))
    uids = view.uids
    if is_all:
        numbers: Sequence[int] = uids if by_uid else range(1, len(rows) + 1)
    else:
        numbers = [uids[row] if by_uid else row + 1 for row in rows]
    text = await written(forest, numbers, pace)
    if is_all:
        REMEMBERED.keep(folder, view, what, text, len(text))
    return text


async def _by_subject(view: View, rows: Sequence[int], pace: Pace) -> Forest:
    return await ordered_subject(await sorting.texts(view, rows, "base_subject", pace), await sorting.sent_order(view, rows, pace), pace)


async def ordered_subject(bases: Sequence[bytes], order: Sequence[int], pace: Pace) -> Forest:
    """Poor man's threading: the first of a subject has all others as its children. A dictionary keeps the order of the first ones."""
    first: dict[bytes, int] = {}
    children: dict[int, list[int]] = {}
    for some in slices(order, _LOOKS):
        for message in some:
            top = first.setdefault(bases[message], message)
            if top != message:
                children.setdefault(top, []).append(message)
        await pace.did(len(some) * ROW)
    return Forest(list(first.values()), children, {})


async def _by_references(folder: Folder, view: View, rows: Sequence[int], algorithm: str, pace: Pace) -> Forest:
    ids = await _ids(folder, view, rows, pace)
    if algorithm == "REFS":
        arrived = view.numbers("arrived", 0, len(view))
        times = [arrived[row] for row in rows]
        return await refs(ids, await sorting.ordered(times, pace), pace)
    order = await sorting.sent_order(view, rows, pace)
    subjects = await sorting.texts(view, rows, "subject", pace)
    return await references(ids, order, subjects, await sorting.texts(view, rows, "base_subject", pace), pace)


# What messages say.


async def _ids(folder: Folder, view: View, rows: Sequence[int], pace: Pace) -> list[Ids]:
    found: list[Ids] = []
    for some in slices(rows, _PACKS):
        packs = sorting.texts_of(view, some, "header")
        for row, told in zip(some, cached.first_fields(packs, _NAMES)):
            if told is None:
                block = await sorting.header_block(folder, view, row, pace)
                told = [next(iter(values(block, name)), None) for name in _NAMES]
            found.append(_ids_in(*told))
        await pace.did(len(some) * LOOK)
    return found


_NAMES: Final = (b"message-id", b"references", b"in-reply-to")


def _ids_in(own: bytes | None, many: bytes | None, one: bytes | None) -> Ids:
    """Of each field the first counts (features case 33). In-Reply-To only where References names nobody, and its first id only."""
    found = _IDS.findall(many) if many else []
    if len(found) > MAX_REFERENCES:
        found = [found[0], *found[1 - MAX_REFERENCES :]]
    if not found and one and (match := _IDS.search(one)):
        found = [match[1]]
    match = _IDS.search(own) if own else None
    return normal(match[1]) if match else b"", tuple(map(normal, found))


def normal(message_id: bytes) -> bytes:
    """Without quotes that mean nothing: <"a"@b> is <a@b> (RFC 5256 section 3)."""
    if 0x22 in message_id and (match := _QUOTED.fullmatch(message_id)):
        return re.sub(rb"\\(.)", rb"\1", match[1]) + b"@" + match[2]
    return message_id


def thread_ids(packs: Sequence[bytes], message_ids: Sequence[str]) -> list[str]:
    """THREADID (RFC 8474 section 5.2) out of the header alone: the oldest id a message refers to, else its own. It never changes, is the same in
    every folder, and costs a look at cached fields; of an answer that refers to its parent only it sees no more than that."""
    found = []
    for told, message_id in zip(cached.first_fields(packs, _NAMES), message_ids):
        own, references = _ids_in(*told) if told else _NOBODY
        root = references[0] if references else own or message_id.encode()
        found.append(f"T{blake2b(root, digest_size=12).hexdigest()}")
    return found


_NOBODY: Final[Ids] = (b"", ())


def is_reply(subject: bytes, base: bytes) -> bool:
    """Whether a folded subject is that of a reply or forward: finding its base (RFC 5256 section 2.1) takes a subj-refwd, a "(fwd)" trailer or a
    "[fwd: ...]" away, not only blobs and blanks."""
    if subject == base or not subject:
        return False
    text = _SPACES.sub(b" ", subject).strip(b" ")
    if text.endswith(b"(fwd)"):
        return True
    blobs = _BLOBS.match(text)
    after = blobs.end() if blobs else 0
    if _REPLY.match(text, after):
        return True
    rest = text[after:] if after < len(text) else text[text.rindex(b"[") :]
    return rest.startswith(b"[fwd:") and rest.endswith(b"]")


_SPACES: Final = re.compile(rb"[ \t\r\n]++")
_BLOBS: Final = re.compile(rb"(?:\[[^\[\]]*+\] ?+)++")  # 1*subj-blob
_REPLY: Final = re.compile(rb"(?:re|fwd?) ?+(?:\[[^\[\]]*+\] ?+)?+:")  # subj-refwd


# REFERENCES, steps 1 to 3.


class _Links:
    """Step 1: who is whose parent. Nodes below `count` are messages, the others dummies."""

    def __init__(self, ids: Sequence[Ids]) -> None:
        self.count = len(ids)
        self.parent = [NOBODY] * self.count
        self.below = [0] * self.count  # how many children
        self.left = MAX_STEPS * (self.count + 1_000)
        self._nodes: dict[bytes, int] = {}
        for number, (own, _) in enumerate(ids):
            if own:
                self._nodes.setdefault(own, number)  # a second message of the same id has one of its own from here on

    def meet(self, references: Iterable[bytes], met: set[bytes]) -> None:
        """A first look at these ids. One that no message has becomes a dummy where it is the first of them, for it keeps others from taking its child,
        or when it is met the second time, be it by the same message."""
        is_first = True
        for one in references:
            if one not in self._nodes:
                if is_first or one in met:
                    self._nodes[one] = len(self.parent)
                    self.parent.append(NOBODY)
                    self.below.append(0)
                elif len(met) < MAX_IDS:
                    met.add(one)
            is_first = False

    def link(self, message: int, references: Iterable[bytes]) -> None:
        """Steps 1.A and 1.B for one message."""
        nodes, parent = self._nodes, self.parent
        before = NOBODY
        for one in references:
            node = nodes.get(one, NOBODY)
            if node == NOBODY:
                continue
            if before != NOBODY and parent[node] == NOBODY and not self.is_above(node, before):
                self._put(node, before)
            before = node
        if parent[message] != NOBODY:
            self.below[parent[message]] -= 1
            parent[message] = NOBODY
        if before != NOBODY and not self.is_above(message, before):
            self._put(message, before)

    def _put(self, node: int, parent: int) -> None:
        self.parent[node] = parent
        self.below[parent] += 1

    def is_above(self, node: int, other: int) -> bool:
        """Whether `other` is the node itself or descends from it. Who has no children has no descendants."""
        if node == other:
            return True
        if not self.below[node]:
            return False
        parent, steps = self.parent, 0
        while other != NOBODY and other != node and steps < self.left:
            other = parent[other]
            steps += 1
        self.left -= steps
        return other == node or self.left <= 0


async def _linked(ids: Sequence[Ids], pace: Pace) -> _Links:
    links = _Links(ids)
    met: set[bytes] = set()
    for some in slices(ids, _LOOKS):
        for _, references in some:
            links.meet(references, met)
        await pace.did(_work(some))
    for message, (_, references) in enumerate(ids):
        before = links.left
        links.link(message, references)
        if not message % _FEW or before != links.left:
            await pace.did(_work(ids[message : message + _FEW]) + before - links.left)
    return links


def _work(some: Sequence[Ids]) -> int:
    """What looking at these takes."""
    return sum(ROW * (3 + len(references)) for _, references in some)


class _Roots(NamedTuple):
    """After step 3: whom each message hangs from, and what hangs from each dummy at the top. A dummy that has one child is not there."""

    parent: list[int]  # of each message: another one, or NOBODY
    dummies: dict[int, list[int]]


async def _pruned(links: _Links, pace: Pace) -> _Roots:
    """Steps 2 and 3. Dummies within a thread give their children to who is above them; each node's way up is gone once."""
    count, parent = links.count, links.parent
    anchor = [NOBODY] * len(parent)  # of a dummy: the message above it, or the topmost dummy
    for start in range(count, len(parent)):
        way, node = [], start
        while node >= count and anchor[node] == NOBODY and parent[node] != NOBODY:
            way.append(node)
            node = parent[node]
        end = node if node < count or anchor[node] == NOBODY else anchor[node]
        for one in way:
            anchor[one] = end
        if len(way) > _FEW or not start % _FEW:
            await pace.did(ROW * (len(way) + _FEW))
    above = [NOBODY] * count
    dummies: dict[int, list[int]] = {}
    for some in slices(range(count), _LOOKS):
        for message in some:
            up = parent[message]
            if up >= count:
                up = up if anchor[up] == NOBODY else anchor[up]
            if up >= count:
                dummies.setdefault(up, []).append(message)
            else:
                above[message] = up
        await pace.did(ROW * len(some))
    return _Roots(above, {dummy: below for dummy, below in dummies.items() if len(below) > 1})


# REFERENCES, steps 4 to 6.


async def references(ids: Sequence[Ids], order: Sequence[int], subjects: Sequence[bytes], bases: Sequence[bytes], pace: Pace) -> Forest:
    """The whole algorithm. `order`: the messages by sent date."""
    roots = await _pruned(await _linked(ids, pace), pace)
    rank = await _ranks(order, pace)
    merging = _Merging(roots, rank, subjects, bases)
    tops = await _ascending(merging.tops(), merging.first, pace)  # step 4
    for deed in (merging.enter, merging.merge):
        for some in slices(tops, _LOOKS):
            for top in some:
                deed(top)
            await pace.did(LOOK * len(some))
    return await _grown(merging.parent, merging.dummies, order, pace)


async def refs(ids: Sequence[Ids], order: Sequence[int], pace: Pace) -> Forest:
    """By references alone; siblings by arrival, threads by the arrival of their latest message."""
    roots = await _pruned(await _linked(ids, pace), pace)
    latest = await _ranks(order, pace)
    for some in slices(order[::-1], _LOOKS):
        for message in some:  # the latest first: each climbs until somebody above has as late a one
            top = message
            while (up := roots.parent[top]) != NOBODY and latest[up] < latest[message]:
                latest[up] = latest[message]
                top = up
        await pace.did(ROW * len(some))
    forest = await _grown(roots.parent, roots.dummies, order, pace)
    last = {top: max(map(latest.__getitem__, forest.dummies.get(top, (top,)))) for top in forest.tops}
    await pace.did(LOOK * len(last))
    return forest._replace(tops=await _ascending(forest.tops, last.__getitem__, pace))


async def _ranks(order: Sequence[int], pace: Pace) -> list[int]:
    rank = [0] * len(order)
    for some in slices(range(len(order)), _LOOKS):
        for place in some:
            rank[order[place]] = place
        await pace.did(ROW * len(some))
    return rank


class _Merging:
    """Step 5: threads of one subject become one."""

    def __init__(self, roots: _Roots, rank: list[int], subjects: Sequence[bytes], bases: Sequence[bytes]) -> None:
        self.parent, self.dummies = roots.parent, roots.dummies
        self._rank, self._subjects, self._bases = rank, subjects, bases
        self._table: dict[bytes, int] = {}
        self._next = max(self.dummies, default=len(rank)) + 1
        for below in self.dummies.values():
            below.sort(key=rank.__getitem__)
        self._child_of_dummy = {message for below in self.dummies.values() for message in below}

    def tops(self) -> list[int]:
        """The children of the root."""
        own = self._child_of_dummy
        return [message for message, up in enumerate(self.parent) if up == NOBODY and message not in own] + list(self.dummies)

    def first(self, top: int) -> int:
        """The rank by which it is sorted: its own, a dummy's first child's."""
        return self._rank[top] if top < len(self._rank) else self._rank[self.dummies[top][0]]

    def _thread_subject(self, top: int) -> bytes:
        return self._bases[top if top < len(self._rank) else self.dummies[top][0]]

    def _is_reply(self, top: int) -> bool:
        return top < len(self._rank) and is_reply(self._subjects[top], self._bases[top])

    def enter(self, top: int) -> None:
        """Step 5.B for one child of the root."""
        subject = self._thread_subject(top)
        if not subject:
            return
        known = self._table.setdefault(subject, top)
        if known == top or known in self.dummies:
            return
        if top in self.dummies or (self._is_reply(known) and not self._is_reply(top)):
            self._table[subject] = top

    def merge(self, top: int) -> None:
        """Step 5.C for one child of the root."""
        subject = self._thread_subject(top)
        known = self._table.get(subject, top)
        if not subject or known == top:
            return
        if known in self.dummies:
            self.dummies[known] += self.dummies.pop(top) if top in self.dummies else [top]
        elif self._is_reply(top) and not self._is_reply(known):
            self.parent[top] = known
        else:
            self._table[subject] = dummy = self._next
            self._next += 1
            self.dummies[dummy] = [known, top]


async def _ascending(tops: list[int], key: Callable[[int], int], pace: Pace) -> list[int]:
    places = await sorting.ordered([key(top) for top in tops], pace)
    return [tops[place] for place in places]


async def _grown(parent: list[int], dummies: dict[int, list[int]], order: Sequence[int], pace: Pace) -> Forest:
    """Step 6. Whoever is appended in the order of dates is sorted by date."""
    holder = {message: dummy for dummy, below in dummies.items() for message in below}
    children: dict[int, list[int]] = {}
    sorted_below: dict[int, list[int]] = {}
    tops: list[int] = []
    for place, message in enumerate(order):
        up = parent[message]
        if up != NOBODY:
            children.setdefault(up, []).append(message)
        elif (dummy := holder.get(message, NOBODY)) == NOBODY:
            tops.append(message)
        elif dummy in sorted_below:
            sorted_below[dummy].append(message)
        else:  # a dummy is where its first child is
            sorted_below[dummy] = [message]
            tops.append(dummy)
        if not place % _LOOKS:
            await pace.did(ROW * _LOOKS)
    return Forest(tops, children, sorted_below)


# Writing.


async def written(forest: Forest, numbers: Sequence[int], pace: Pace) -> bytes:
    """The threads as RFC 5256 section 5 (thread-list) writes them."""
    if not forest.tops:
        return b""
    out = [b" "]
    done = 0
    for top in forest.tops:
        for _ in _write(top, forest, numbers, out):
            await pace.did((len(out) - done) * ROW * 2)
            done = len(out)
        if len(out) - done > _LOOKS:
            await pace.did((len(out) - done) * ROW * 2)
            done = len(out)
    return b"".join(out)


def _write(top: int, forest: Forest, numbers: Sequence[int], out: list[bytes]) -> Iterator[None]:
    """One thread, in steps of some hundred messages."""
    children, dummies = forest.children, forest.dummies
    open_lists, done = [top], len(out)
    while open_lists:
        if len(out) - done > _LOOKS:
            done = len(out)
            yield
        node = open_lists.pop()
        if node == NOBODY:
            out.append(b")")
            continue
        below = dummies.get(node)
        if below is None:
            out.append(b"(%d" % numbers[node])
            below = children.get(node, [])
            while len(below) == 1:
                node = below[0]
                out.append(b" %d" % numbers[node])
                below = children.get(node, [])
                if len(out) - done > _LOOKS:
                    done = len(out)
                    yield
            if below:
                out.append(b" ")
        else:
            out.append(b"(")
        open_lists.append(NOBODY)
        open_lists += reversed(below)
