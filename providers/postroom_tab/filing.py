"""The files of one table: what each held when it was last looked at, and what becomes of that when it changes.

A look answers with the same objects for files that did not change. The last good rows of a file stay in force when it cannot be read at
all, when not one of its rows can be, and for `settle` seconds when it vanished or was emptied in place: so panels write. At
the first look, a file that cannot be read is served from its `.SAV`, and is `lost` where that is no better.

These functions block; the caller gives them a thread. Errors: a look raises OSError only where a folder cannot be listed. `change` raises
RecordError for what a file cannot keep, DiskError when a file is not in a state to be written to, OSError when the disk refused: then
nothing has changed, or `files.recover` will finish it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from postroom.errors import ConfigError, DiskError, Origin
from postroom.records import Record
from postroom_disk.disk import Disk
from postroom_tab import files
from postroom_tab.document import Document, decode
from postroom_tab.files import Rewrite, Signature
from postroom_tab.layout import Spot, Tree
from postroom_tab.table import Shape

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Filed(Generic[R]):
    """A file as it was last seen, and the rows in force, which are older where the file is in trouble."""

    spot: Spot
    signature: Signature | None
    document: Document[R]
    trouble: ConfigError | None = None  # why the file's own rows are not in force
    doubted: float | None = None  # monotonic seconds since when it is gone or empty
    lost: bool = False  # in trouble, and there were no last good rows
    shadows: tuple[Path, ...] = ()  # files that mean the same and are not read

    def problems(self) -> Iterable[ConfigError]:
        """What the operator should see to."""
        if self.trouble:
            yield self.trouble
        for path in self.shadows:
            remedy = f"Merge it into {self.spot.path.name} and remove it"
            yield ConfigError(f"not read, because {self.spot.path} is the same table", origin=Origin(str(path)), remedy=remedy)
        yield from self.document.problems


Files = Mapping[str, Filed[R]]  # by the names on the path, joined by tabs and without case
Edit = Callable[[Document[R]], tuple[Document[R], int]]  # the new document, and how many rows it was about


@dataclass(frozen=True, slots=True)
class Moment:
    """When a look takes place, and how long it doubts."""

    now: float
    settle: float


def key_of(names: Iterable[str]) -> str:
    """The key of a file among its table's."""
    return "\t".join(names).casefold()


# Looking.


def look(shape: Shape[R], tree: Tree, known: Files[R], moment: Moment) -> dict[str, Filed[R]]:
    """All files of a table as they are now."""
    found = dict[str, Filed[R]]()
    for spot in tree.survey(shape.patterns):
        key = key_of(spot.names)
        if spot.shadows is None:
            found[key] = fresh(shape, spot, known.get(key), moment)
        elif spot.path not in found[key].shadows:
            found[key] = replace(found[key], shadows=(*found[key].shadows, spot.path))
    for key, filed in known.items():
        if key not in found and (left := _gone(filed, moment)):
            found[key] = left
    return found


def fresh(shape: Shape[R], spot: Spot, known: Filed[R] | None, moment: Moment) -> Filed[R]:
    """One file as it is now."""
    try:
        if known and known.doubted is None and known.spot.path == spot.path and files.signature(spot.path) == known.signature:
            return known if not known.shadows else replace(known, shadows=())
        signature, data = files.read(spot.path)
    except OSError as error:
        why = error.strerror or str(error)
        trouble = ConfigError(f"cannot be read: {why}", origin=Origin(str(spot.path)), remedy="Give the server the right to read it")
        return _in_trouble(shape, spot, None, known, trouble)
    document = decode(shape, data, str(spot.path), spot.names)
    if not document.is_readable:
        return _in_trouble(shape, spot, signature, known, _unreadable(document))
    if known and signature and known.signature and signature.inode == known.signature.inode and _is_emptied(known, document):
        return _doubted(known, moment) or Filed(spot, signature, document)
    if known and known.document.where == document.where and known.document.encode() == data:
        document = known.document
    return Filed(spot, signature, document)


def _unreadable(document: Document[R]) -> ConfigError:
    if document.torn:
        remedy = "Bring it back from its .SAV or a backup; save it as UTF-8 or ANSI text"
        return ConfigError("it holds NUL octets, as after a power failure or in UTF-16", origin=Origin(document.where), remedy=remedy)
    first = document.problems[0]
    remedy = first.remedy or "See whether this is a TAB file"
    return ConfigError(f"not one row can be read: {first.what}", origin=first.origin, key=first.key, remedy=remedy)


def _in_trouble(shape: Shape[R], spot: Spot, signature: Signature | None, known: Filed[R] | None, trouble: ConfigError) -> Filed[R]:
    """The last good rows stay in force; those of the `.SAV` where this process never saw any."""
    if known and not known.lost:
        said = ConfigError(
            f"{trouble.what}; its last good rows are in force", origin=trouble.origin, key=trouble.key, remedy=trouble.remedy
        )
        return Filed(spot, signature, known.document, said)
    spare = files.saved(spot.path)
    try:
        old = decode(shape, files.read(spare)[1], str(spare), spot.names)
    except OSError:
        old = Document(shape, str(spare), spot.names)
    if not old.index:
        return Filed(spot, signature, Document(shape, str(spot.path), spot.names), trouble, lost=True)
    said = ConfigError(
        f"{trouble.what}; the rows of {spare.name} are in force", origin=trouble.origin, key=trouble.key, remedy=trouble.remedy
    )
    return Filed(spot, signature, old, said)


def _is_emptied(known: Filed[R], document: Document[R]) -> bool:
    return bool(known.document.index) and not document.index


def _gone(known: Filed[R], moment: Moment) -> Filed[R] | None:
    """A file that is no longer there; None once that is believed."""
    return _doubted(known, moment) if known.document.index else None


def _doubted(known: Filed[R], moment: Moment) -> Filed[R] | None:
    """The last rows stay in force until the file has been empty or gone for long enough."""
    since = moment.now if known.doubted is None else known.doubted
    return None if moment.now - since >= moment.settle else replace(known, doubted=since)


# Changing.


def change(
    shape: Shape[R], root: Path, disk: Disk, known: Files[R], edits: Mapping[tuple[str, ...], Edit[R]], moment: Moment
) -> tuple[dict[str, Filed[R]], int]:
    """Edit files as they are now, all or none, durably: those that changed, and how many rows it was about. The lock is held."""
    files.recover(disk, root)
    changed, count = _edited(shape, Tree(root), known, edits, moment)
    if changed:
        files.commit(disk, root, [Rewrite(one.spot.path, one.document.encode(), shape.secret) for one in changed.values()])
    return {key: replace(one, signature=files.signature(one.spot.path)) for key, one in changed.items()}, count


def _edited(
    shape: Shape[R], tree: Tree, known: Files[R], edits: Mapping[tuple[str, ...], Edit[R]], moment: Moment
) -> tuple[dict[str, Filed[R]], int]:
    changed, total = dict[str, Filed[R]](), 0
    for names, edit in edits.items():
        filed = _to_edit(shape, tree, known.get(key_of(names)), names, moment)
        document, count = edit(filed.document)
        total += count
        if document is not filed.document:
            changed[key_of(names)] = replace(filed, document=document)
    return changed, total


def _to_edit(shape: Shape[R], tree: Tree, known: Filed[R] | None, names: tuple[str, ...], moment: Moment) -> Filed[R]:
    """The file to be edited, with all that others wrote into it."""
    spot = tree.locate(shape.patterns, names)
    if spot.path.exists():
        filed: Filed[R] | None = fresh(shape, spot, known, moment)
    else:
        filed = _gone(known, moment) if known else None
    if filed is None:
        return Filed(spot, None, Document(shape, str(spot.path), spot.names))
    if filed.trouble:
        raise DiskError(f"{filed.trouble}. Until then it is not written to")
    if filed.doubted is not None:
        raise DiskError(f"{spot.path} has just been emptied or removed by another program; try again in {moment.settle:g} s")
    return filed
