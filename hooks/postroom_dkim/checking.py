"""What an operator should mend about keys, for `postroom check`: files only. What DNS says is looked up by `postroom dkim show --dns`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from postroom.errors import ConfigError
from postroom.site import Site
from postroom_dkim import sets
from postroom_dkim.errors import KeyFault
from postroom_dkim.keys import Key
from postroom_dkim.shelf import LIST, Shelf, is_domain


def problems(shelf: Shelf, site: Site) -> Iterator[str]:
    """A sentence each, with the remedy."""
    try:
        ours = sorted(filter(is_domain, site.router.map.domains))
    except ConfigError:  # `check` tells it already
        ours = []
    having = shelf.domains()
    for domain in (domain for domain in ours if domain not in having):
        yield f"{domain} has no keys yet, so its mail is not signed; make them with: postroom dkim add {domain}"
    for domain in having:
        try:
            yield from _of_domain(shelf, domain, site.root)
        except KeyFault as fault:
            yield str(fault)


def _of_domain(shelf: Shelf, domain: str, root: Path) -> Iterator[str]:
    folder, named = shelf.folder(domain), set()
    for one in shelf.sets(domain):
        for file in one.keys:
            named.add(file)
            yield from _of_file(folder / file, root)
        if one.state == "next":
            yield f"new keys of {domain} wait for their records in DNS; see: postroom dkim show {domain} --dns"
    for path in sorted(folder.glob("*.pem")):
        if path.name not in named:
            yield f"{path} is a key that {folder / LIST} does not name, so nothing is signed with it. Delete it and its .txt, or bring it along with: postroom dkim add"


def _of_file(path: Path, root: Path) -> Iterator[str]:
    try:
        seen, pem = path.stat(), path.read_bytes()
    except OSError as error:
        yield f"{path} cannot be read ({error.strerror}); mail of its domain waits. Put it back, or make new keys: postroom dkim rotate, then activate --now"
        return
    if stat.S_IMODE(seen.st_mode) & 0o077:
        yield f"{path} can be read by others; change that with: chmod 600 {path}"
    if seen.st_uid != (owner := root.stat().st_uid) and os.geteuid() == 0:
        yield f"{path} belongs to another account than the site's folder; change that with: chown {owner} {path}"
    try:
        key = Key.read(pem, str(path), in_full=True)
    except KeyFault as fault:
        yield str(fault)
        return
    if key.kind != path.name.split(".")[-2]:
        yield f"{path} holds a key of another kind ({key.kind}) than its name says, and a record nobody will find. Name it by its kind"
    elif (text := path.with_name(f"{sets.selector_of(path.name)}.txt")).exists() and text.read_text(
        "utf-8", "replace"
    ).strip() != key.record():
        yield f"{text} is not the record of {path}: one of them was changed. Delete {text}; `postroom dkim show` prints the right one"
