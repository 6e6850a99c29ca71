"""Keys on disk over their life: made, rotated, activated, dropped; a crash at any call leaves a domain that signs or one without keys."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom.errors import DiskError
from postroom_disk.disk import Disk
from postroom_dkim import sets
from postroom_dkim.errors import KeyFault
from postroom_dkim.keys import Key
from postroom_dkim.ring import Ring
from postroom_dkim.sets import KeySet, activated, decode, encode, new_name, without_old
from postroom_dkim.settings import DkimSettings
from postroom_dkim.shelf import LIST, Shelf
from postroom_testing.clock import HandClock
from postroom_testing.faults import FaultDisk

DOMAIN = "example.test"
FAST = DkimSettings(algorithms=("ed25519",))


def shelf_in(root: Path, disk: Disk | None = None, clock: HandClock | None = None) -> Shelf:
    return Shelf(root, disk or Disk(), clock or HandClock(), FAST)


def states(found: sets.Sets) -> list[tuple[str, str]]:
    return [(one.name, one.state) for one in found]


def test_the_life_of_keys(tmp_path: Path) -> None:
    clock = HandClock()
    shelf = shelf_in(tmp_path, clock=clock)
    assert shelf.sets(DOMAIN) == () and shelf.domains() == []
    assert states(shelf.ensure(DOMAIN)) == [("20270115", "active")] == states(shelf.ensure(DOMAIN))
    assert states(shelf.rotate(DOMAIN)) == [("20270115", "active"), ("20270115b", "next")]
    assert shelf.domains() == [DOMAIN]
    with pytest.raises(KeyFault, match="wait already"):
        shelf.rotate(DOMAIN)
    assert states(shelf.activate(DOMAIN)) == [("20270115", "retired"), ("20270115b", "active")]
    with pytest.raises(KeyFault, match=r"no keys of example\.test wait"):
        shelf.activate(DOMAIN)
    asyncio.run(clock.advance(13.9 * 86400))
    assert shelf.drop_old(DOMAIN) == ()
    asyncio.run(clock.advance(0.2 * 86400))
    assert [one.name for one in shelf.drop_old(DOMAIN)] == ["20270115"] and shelf.drop_old(DOMAIN) == ()
    assert sorted(path.name for path in (tmp_path / "dkim" / DOMAIN).iterdir()) == ["20270115be.ed25519.pem", "20270115be.txt", LIST]
    assert [record.name for record in shelf.records(DOMAIN, shelf.sets(DOMAIN)[0])] == ["20270115be._domainkey.example.test"]


def test_a_key_from_elsewhere_keeps_its_selector(tmp_path: Path) -> None:
    shelf, key = shelf_in(tmp_path), Key.make("rsa", 1024)
    (one,) = shelf.add(DOMAIN, [("mail", key)])
    assert one.selectors == ("mail",) and shelf.key(DOMAIN, one.keys[0]).record() == key.record()
    assert (tmp_path / "dkim/example.test/mail.txt").read_text().strip() == key.record()
    with pytest.raises(KeyFault, match="has keys already"):
        shelf.add(DOMAIN, [("mail", key)])
    assert len(shelf.rotate(DOMAIN)) == 2


@pytest.mark.parametrize(
    "domain", ["..", "../x", "a/b", "", ".", "EXAMPLE.test", "a..b", "-a.test", "a" * 64 + ".test", "x\0y", "bücher.test"]
)
def test_no_name_leads_elsewhere(domain: str, tmp_path: Path) -> None:
    with pytest.raises(KeyFault, match="no domain name"):
        shelf_in(tmp_path).ensure(domain)
    assert not (tmp_path / "dkim").exists()


@pytest.mark.parametrize("step", ["ensure", "rotate", "activate", "drop_old"])
@pytest.mark.parametrize("how", ["full", "broken"])
def test_a_disk_that_refuses_leaves_a_list_that_holds(step: str, how: str, tmp_path: Path) -> None:
    """After a failure at any call the domain signs as before or after the step, and the step can be done again."""
    for number in range(1, 60):
        clock, root = HandClock(), tmp_path / str(number)
        root.mkdir()
        _before(step, shelf_in(root, clock=clock), clock)
        disk = FaultDisk()
        disk.at, disk.how = number, how
        failed = False
        try:
            getattr(shelf_in(root, disk, clock), step)(DOMAIN)
        except DiskError:
            failed = True
        disk.heal()
        shelf = shelf_in(root, clock=clock)
        keys = asyncio.run(Ring(shelf).of(DOMAIN))
        assert len(keys) == 1
        if not failed:
            assert number > 1
            return
        if step != "ensure" and not (step == "rotate" and len(shelf.sets(DOMAIN)) == 2):
            try:
                getattr(shelf, step)(DOMAIN)
            except KeyFault as fault:
                assert step == "activate" and "wait" in str(fault), "it was done when its list was written"
        assert all(shelf.records(DOMAIN, one) for one in shelf.sets(DOMAIN))
    raise AssertionError("the step makes more calls than that")


def _before(step: str, shelf: Shelf, clock: HandClock) -> None:
    if step != "ensure":
        shelf.ensure(DOMAIN)
    if step in ("activate", "drop_old"):
        shelf.rotate(DOMAIN)
    if step == "drop_old":
        shelf.activate(DOMAIN)
        asyncio.run(clock.advance(30 * 86400))


def _ensure(root: Path) -> None:
    shelf_in(root).ensure(DOMAIN)


def test_workers_that_meet_a_domain_together_make_one_set(tmp_path: Path) -> None:
    workers = [multiprocessing.get_context("fork").Process(target=_ensure, args=(tmp_path,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert len(list((tmp_path / "dkim/example.test").iterdir())) == 3 and len(shelf_in(tmp_path).sets(DOMAIN)) == 1


def test_the_ring_follows_the_files(tmp_path: Path) -> None:
    async def main() -> None:
        shelf = shelf_in(tmp_path)
        ring = Ring(shelf)
        (first,) = await ring.of(DOMAIN)
        assert (await ring.of(DOMAIN))[0] is first, "nothing is read again"
        shelf.rotate(DOMAIN)
        assert (await ring.of(DOMAIN))[0].selector == first.selector
        shelf.activate(DOMAIN)
        (second,) = await ring.of(DOMAIN)
        assert second.selector != first.selector
        for path in (tmp_path / "dkim/example.test").iterdir():
            path.unlink()
        assert (await ring.of(DOMAIN))[0].key.record() != second.key.record(), "made anew"

    asyncio.run(main())


# The list, pure.

ONE = KeySet("a", "active", 1.0, ("ar.rsa.pem", "ae.ed25519.pem"))
TWO = KeySet("b", "next", 2.0, ("br.rsa.pem",))
OLD = KeySet("o", "retired", 0.5, ("o.rsa.pem",))


def test_a_list_survives_its_file() -> None:
    assert decode(encode((OLD, ONE, TWO)), "here") == (OLD, ONE, TWO)


WRONG: dict[str, Callable[[], bytes]] = {
    "no JSON": lambda: b"hello",
    "something else": lambda: b'["sets"]',
    "nothing active": lambda: encode((OLD, TWO)),
    "two active": lambda: encode((ONE, ONE)),
    "two that wait": lambda: encode((ONE, TWO, TWO)),
    "another state": lambda: encode((ONE,)).replace(b"active", b"waiting"),
    "a path": lambda: encode((ONE,)).replace(b"ar.rsa", b"../a.rsa"),
    "no keys": lambda: encode((KeySet("a", "active", 1.0, ()),)),
    "a text for a time": lambda: encode((ONE,)).replace(b"1.0", b'"1"'),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_no_list_is_told(how: str) -> None:
    with pytest.raises(KeyFault, match=r"SITE/dkim/x/keys\.json"):
        decode(WRONG[how](), "SITE/dkim/x/keys.json")


def test_activated_and_dropped() -> None:
    done = activated((OLD, ONE, TWO), 9.0)
    assert [(one.name, one.state, one.since) for one in done] == [("o", "retired", 0.5), ("a", "retired", 9.0), ("b", "active", 9.0)]
    assert activated((ONE,), 9.0) == (ONE,)
    assert without_old((OLD, ONE), 0.5) == ((OLD, ONE), []) and without_old((OLD, ONE), 0.6) == ((ONE,), [OLD])


def test_names_of_one_day() -> None:
    taken: set[str] = set()
    for _ in range(40):
        taken.add(new_name(1_800_000_000.0, taken))
    assert len(taken) == 40 and all(sets.is_selector(f"{name}r") for name in taken)
