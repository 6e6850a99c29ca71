"""Invariant: whatever DNS, a web server or a disk answers, it is a policy that says the same when it is written and read again, or it is
refused; nothing else is raised, and a host that a policy allows matches a pattern it names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroom_net.mtasts import LONGEST, Kept, PolicyError, parse, record_id

WORDS = st.sampled_from(
    [b"version", b"mode", b"mx", b"max_age", b"STSv1", b"enforce", b"testing", b"none", b":", b": ", b"\n", b"\r\n", b"*.", b"a.example", b"604800", b" ", b"\xff", b";"]
)  # fmt: skip
LINES = st.sampled_from(
    [
        b"version: STSv1\n",
        b"mode: enforce\n",
        b"mode: none\r\n",
        b"mx: *.a.example\n",
        b"mx: b.example\n",
        b"max_age: 9\n",
        b"x: y\n",
        b"mx: \n",
    ]
)
TEXTS = st.one_of(st.binary(max_size=200), st.lists(st.one_of(WORDS, LINES), max_size=20).map(b"".join), st.permutations(range(4)).map(
    lambda order: b"".join([b"version: STSv1\n", b"mode: testing\n", b"mx: a.example\n", b"max_age: 1\n"][at] for at in order)
))  # fmt: skip


@given(TEXTS)
def test_a_policy_survives_any_text(text: bytes) -> None:
    try:
        policy = parse(text)
    except PolicyError:
        return
    assert parse("\n".join(policy.lines).encode()) == policy
    assert 0 <= policy.max_age <= LONGEST and (policy.mx or policy.mode == "none")
    assert all(policy.allows(pattern.replace("*", "x")) and not policy.allows("." + pattern) for pattern in policy.mx)
    kept = Kept("a.example", "1", policy, 5.0)
    assert Kept.from_json(kept.to_json()) == kept


@given(st.lists(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from([b"v=STSv1", b";", b" ", b"id=", b"a1", b"=", b"x"]), max_size=9).map(b"".join)), max_size=3))  # fmt: skip
def test_a_record_survives_any_text(records: list[bytes]) -> None:
    found = record_id(records)
    assert found is None or (found.isalnum() and found.isascii() and 0 < len(found) <= 32)


@given(st.one_of(st.binary(max_size=99), st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda one: st.lists(one) | st.dictionaries(st.sampled_from(["domain", "id", "policy", "at", "mode", "mx", "max_age"]), one), max_leaves=9).map(lambda value: str(value).replace("'", '"').encode())))  # fmt: skip
def test_a_file_survives_anything(text: bytes) -> None:
    try:
        Kept.from_json(text)
    except ValueError:
        pass
