"""The algebra of rights, with the examples of RFC 4314."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.mailstore import DELETED, FLAGGED, SEEN
from postroom_imap4.rights import ALL, ALL_FLAGS, NONE, ORDER, PREFIX, Acl, BadRights, acl, flags_of, grantable, kept, read, told, value_of

BOB, ANN = "bob@po.test", "ann@po.test"


@pytest.mark.parametrize(
    ("said", "means", "answered"),
    [  # RFC 4314 sections 2.1.1 and 3.1
        ("lrswida", "lrswitea", "lrswitead"),
        ("lrswikda", "lrswikxtea", None),
        ("lrs", "lrs", "lrs"),
        ("cda", "kxtea", "kxteacd"),
        ("t", "t", "td"),
        ("x", "x", "xc"),
        ("dte", "te", "ted"),
        ("", "", ""),
        ("rrll", "rl", "lr"),
    ],
)
def test_rights_are_read_and_told(said: str, means: str, answered: str | None) -> None:
    found = read(said)
    if answered is None:  # "k" alone is not "c" to us, which the example leaves to the server
        assert found == frozenset("lrswiktea") and told(found) == "lrswikteacd"
        return
    assert found == frozenset(means) and told(found) == answered


@pytest.mark.parametrize("said", ["q", "lrQ", "0", "lr ", "é", "+l"])
def test_a_right_that_there_is_not_is_never_passed_over(said: str) -> None:
    with pytest.raises(BadRights):
        read(said)


@pytest.mark.parametrize(
    ("entries", "who", "found"),
    [
        ({}, [BOB], ALL),
        ({}, [ANN, "anyone"], NONE),
        ({ANN: b"lr"}, [ANN, "anyone"], read("lr")),
        ({ANN: b"lr", "anyone": b"s"}, [ANN, "anyone"], read("lrs")),
        ({"$staff": b"lrs", "-ann@po.test": b"s"}, [ANN, "anyone", "$staff"], read("lr")),
        ({ANN: b"lrs", "-$staff": b"rs"}, [ANN, "anyone", "$staff"], read("l")),
        ({ANN: b"lrs", "-anyone": b"s"}, [ANN, "anyone"], read("lr")),
        ({"-bob@po.test": b"lrswipkxtea"}, [BOB, "anyone"], read("la")),  # the owner is never locked out
        ({BOB: b""}, [BOB, "anyone"], read("la")),
        ({BOB: b"", "anyone": b"r"}, [BOB, "anyone"], read("lar")),
        ({ANN: b"l?Z\xff"}, [ANN], read("l")),  # what nobody can read grants nothing
        ({ANN: b"lrs", "-ann@po.test": b"?"}, [ANN], NONE),  # and takes everything
    ],
)
def test_what_a_list_means(entries: dict[str, bytes], who: list[str], found: frozenset[str]) -> None:
    assert acl(BOB, {PREFIX + name: value for name, value in entries.items()} | {"/shared/comment": b"a"}).rights(who) == found


def test_the_operators_default_goes_where_the_list_says_nothing_for_anyone() -> None:
    public = read("lrs")
    assert acl(BOB, {}, public).rights([ANN, "anyone"]) == public
    assert acl(BOB, {PREFIX + ANN: b"i"}, public).rights([ANN, "anyone"]) == read("lrsi")
    assert acl(BOB, {PREFIX + "anyone": b""}, public).rights([ANN, "anyone"]) == NONE


@pytest.mark.parametrize(
    ("who", "rights", "public", "value"),
    [(ANN, "lr", "", b"lr"), (ANN, "", "", None), (BOB, "", "", b""), ("anyone", "", "", None), ("anyone", "", "lrs", b"")],
)
def test_an_entry_without_rights_stays_only_to_keep_a_default_away(who: str, rights: str, public: str, value: bytes | None) -> None:
    assert value_of(acl(BOB, {}, read(public)), who, read(rights), read(public)) == value


def test_a_list_is_told_with_the_owner_first() -> None:
    found = acl(BOB, {PREFIX + "zoe@po.test": b"l", PREFIX + ANN: b"lrt", PREFIX + "-ann@po.test": b"w", PREFIX + "empty": b""})
    assert list(found.shown()) == [(BOB, f"{ORDER}cd"), ("-ann@po.test", "w"), (ANN, "lrtd"), ("zoe@po.test", "l")]
    assert next(iter(acl(BOB, {PREFIX + BOB: b""}).shown())) == (BOB, "la")


def test_what_can_be_granted() -> None:
    """RFC 4314 section 3.7: no right twice, and no two tied."""
    found = acl(BOB, {})
    assert grantable(found, ANN) == ["", *ORDER, "c", "d"]
    assert grantable(found, BOB) == ["la", *"rswipkxte", "c", "d"]
    assert grantable(found, "-bob@po.test") == ["", *"rswipkxte", "c", "d"]


def test_flags_by_rights() -> None:
    assert flags_of("") == 0 and flags_of("s") == SEEN and flags_of("t") == DELETED
    assert flags_of("w") == ALL_FLAGS & ~SEEN & ~DELETED and flags_of("w") & FLAGGED
    assert flags_of("swt") == ALL_FLAGS


RIGHTS = st.sets(st.sampled_from(ORDER)).map(frozenset)


@given(RIGHTS, RIGHTS)
def test_adding_and_taking(before: frozenset[str], some: frozenset[str]) -> None:
    found = Acl(BOB, {ANN: before})
    assert found.changed(ANN, "+", some) == before | some
    assert found.changed(ANN, "-", some) == before - some
    assert found.changed(ANN, "", some) == some
    assert read(kept(some)) == some
    assert read(told(some)) >= some  # a client that gives back what it was told takes nothing away
