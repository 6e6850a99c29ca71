from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.errors import StoreError
from postroom_store import layout

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80) | st.sampled_from(
    [
        "log",
        "LOG",
        "view",
        "forgotten",
        "subscriptions",
        ".",
        "..",
        "...",
        " ",
        "a.MAI",
        "_change.dty",
        "%2F",
        "%",
        "a/b",
        "\0",
        "Inbox",
        "ſubscriptions",
    ]
)


def encoded(name: str) -> str | None:
    try:
        return layout.encode(name)
    except StoreError:
        return None


@given(NAMES)
def test_a_name_comes_back_from_its_path_and_never_leaves_its_parent(name: str) -> None:
    path = encoded(name)
    if path is None:
        assert len(name.encode()) * 3 > layout.COMPONENT
        return
    assert layout.decode(path) == name
    assert "/" not in path and "\0" not in path and path not in (".", "..") and not path.startswith(".")
    assert len(path.encode()) <= layout.COMPONENT
    assert layout.is_folder_name(path)


@given(NAMES)
def test_a_name_never_meets_a_file_of_ours(name: str) -> None:
    path = (encoded(name) or "-").casefold()
    assert path not in layout.OURS
    assert not path.endswith(layout.TAKEN)


@given(NAMES, NAMES)
def test_names_that_are_not_equal_do_not_meet_where_a_disk_ignores_case(one: str, other: str) -> None:
    first, second = encoded(one), encoded(other)
    if first is not None and second is not None and layout.key(first) == layout.key(second):
        assert layout.key(one) == layout.key(other)


@given(NAMES)
def test_the_key_of_a_key_is_itself(name: str) -> None:
    assert layout.key(layout.key(name)) == layout.key(name)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Sent Items", "Sent Items"),
        ("Gelöschte Objekte", "Gelöschte Objekte"),
        ("log", "lo%67"),
        ("..", "%2E%2E"),
        ("50% off", "50%25 off"),
        ("AC/DC", "AC%2FDC"),
        (" padded ", "%20padded%20"),
        ("letter.MAI", "letter.MA%49"),
        ("_change.dty", "%5Fchange.dt%79"),
    ],
)
def test_paths_read_like_their_names(name: str, path: str) -> None:
    assert layout.encode(name) == path
    assert layout.decode(path) == name


@pytest.mark.parametrize("path", ["100%", "%zz", "%ff", "%c3%28", "Sent%20Items"])
def test_what_others_named_is_read_as_it_looks_and_never_fails(path: str) -> None:
    assert layout.decode(path)


@pytest.mark.parametrize("name", ["", "x" * 256, "ä" * 128, "/" * 90, "\ud800", "a//b", "/a", "a/", "/".join("a" * 40)])
def test_what_cannot_lie_on_a_disk_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(StoreError, match=r"."):
        layout.levels(name)


def test_names_compare_without_case_and_composition() -> None:
    assert layout.key("Müller") == layout.key("MÜLLER") == layout.key("Mu\u0308ller")
    assert layout.key("Straße") == layout.key("STRASSE")
