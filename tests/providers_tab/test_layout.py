"""Names and paths: reversible, without case, and no way out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.errors import RecordError
from postroom_tab import shapes
from postroom_tab.files import INTENT, LOCK
from postroom_tab.layout import LONGEST, Tree, means, spelled, written

NASTY = [
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "\0",
    "a\nb",
    LOCK,
    INTENT,
    ".AUTH.TAB.new",
    "con",
    "NUL.x",
    "x ",
    " x",
    "x.",
    "%2e",
    "100%",
    "*",
]


@pytest.mark.parametrize("name", ["example.com", "Sales & Ideas", "bob@example.com", "Ünïcode", "a-b_c+d(e)[f]{g}~!$^,=';"])
def test_plain_names_stay_as_they_are(name: str) -> None:
    assert written(name) == name


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_name_stays_in_its_folder_and_comes_back(name: str) -> None:
    part = written(name)
    assert "/" not in part and "\\" not in part and not part.startswith(".") and part.isprintable()
    assert spelled(part) == name


@given(st.text(min_size=1, max_size=60))
def test_no_name_escapes_and_every_one_comes_back(name: str) -> None:
    try:
        part = written(name)
    except RecordError:
        assert name.encode("utf-8", "replace").decode() != name or len(name.encode()) * 3 > LONGEST
        return
    assert spelled(part) == name
    assert Path("folder", part).parent == Path("folder")
    assert not part.startswith(".") and "\0" not in part and "/" not in part


@pytest.mark.parametrize("part", ["100%", "%", "%zz", "%ff", "a%FFb", "%C3"])
def test_a_part_that_is_no_encoding_of_ours_stands_for_itself(part: str) -> None:
    assert spelled(part) == part


@pytest.mark.parametrize("name", ["", "x" * 300, "\ud800", "\0" * 70])
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    with pytest.raises(RecordError):
        written(name)


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_files_are_found_in_any_case(tmp_path: Path) -> None:
    wanted = {_file(tmp_path / "postoffices/Example.COM/groups/SALES.tab"), _file(tmp_path / "POSTOFFICES/b.test/Groups/all.TAB")}
    _file(tmp_path / "postoffices/Example.COM/groups/SALES.SAV")
    _file(tmp_path / "postoffices/Example.COM/groups/.x.TAB.new")
    found = list(Tree(tmp_path).survey(shapes.MEMBERS.patterns))
    assert {spot.path for spot in found} == wanted
    assert {spot.names for spot in found} == {("Example.COM", "SALES"), ("b.test", "all")}


def test_one_of_two_files_of_the_same_name_shadows_the_other(tmp_path: Path) -> None:
    best, other = _file(tmp_path / "DOMAIN.TAB"), _file(tmp_path / "DOMAINS.TAB")
    lower = _file(tmp_path / "domain.tab")
    found = [(spot.path, spot.shadows) for spot in Tree(tmp_path).survey(shapes.DOMAINS.patterns)]
    assert found == [(best, None), (lower, best), (other, best)]


def test_a_file_is_located_where_it_is_or_made_below_what_is_there(tmp_path: Path) -> None:
    there = _file(tmp_path / "PostOffices/Example.com/mailbox.tab")
    located = Tree(tmp_path).locate(shapes.MAILBOXES.patterns, ["EXAMPLE.COM"])
    assert (located.path, located.names) == (there, ("Example.com",))
    fresh = Tree(tmp_path).locate(shapes.MEMBERS.patterns, ["EXAMPLE.com", "a/b"])
    assert fresh.path == tmp_path / "PostOffices/Example.com/GROUPS/a%2Fb.TAB"
    assert fresh.names == ("Example.com", "a/b")
    assert Tree(tmp_path).locate(shapes.DOMAINS.patterns, []).path == tmp_path / "DOMAIN.TAB"
    _file(tmp_path / "domains.tab")
    assert Tree(tmp_path).locate(shapes.DOMAINS.patterns, []).path == tmp_path / "domains.tab"


def test_a_folder_that_was_named_by_hand_stands_for_its_name(tmp_path: Path) -> None:
    there = _file(tmp_path / "Postoffices/100%/MAILBOX.TAB")
    assert Tree(tmp_path).locate(shapes.MAILBOXES.patterns, ["100%"]).path == there


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("Postoffices/x/GROUPS/g.TAB", True),
        ("postoffices/x/groups/g.tab", True),
        ("Postoffices/x/GROUPS/g.SAV", False),
        ("Postoffices/x", False),
    ],
)
def test_which_table_a_path_is_of(path: str, wanted: bool) -> None:
    assert means(shapes.MEMBERS.patterns[0], path.split("/")) is wanted
