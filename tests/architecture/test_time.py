"""Only `clock.py` asks what time it is, so that a test can turn the clock by hand (DESIGN section 2)."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source import CODE_ROOTS, modules

# Who may ask all the same, and why.
MAY_ASK = {
    "kernel/postroom/clock.py": "it is the clock",
}

ASKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "uuid": {"uuid1"},
}
WITHOUT_ARGUMENTS = {"gmtime", "localtime", "ctime", "strftime", "asctime", "formatdate", "make_msgid"}  # these ask when told no time


def test_only_the_clock_asks_the_time() -> None:
    others = [module for module in modules(*CODE_ROOTS) if module.shown not in MAY_ASK]
    found = [(module.shown, node) for module in others for node in ast.walk(module.tree()) if _asks(node)]
    assert not [f"{shown} line {_line(node)}: {ast.unparse(node)}" for shown, node in found]


def test_the_exceptions_are_used() -> None:
    by_path = {module.shown: module for module in modules(*CODE_ROOTS)}
    for path in MAY_ASK:
        assert any(_asks(node) for node in ast.walk(by_path[path].tree())), f"{path} needs no exception any more"


@pytest.mark.parametrize(
    "text",
    [
        "time.time()",
        "from time import monotonic",
        "x = time.monotonic",
        "datetime.now(UTC)",
        "datetime.datetime.now()",
        "loop.time()",
        "asyncio.get_running_loop().time()",
        "time.gmtime()",
        "time.strftime('%Y')",
        "email.utils.formatdate()",
        "uuid.uuid1()",
    ],
)
def test_the_test_sees_who_asks(text: str) -> None:
    assert any(_asks(node) for node in ast.walk(ast.parse(text)))


@pytest.mark.parametrize(
    "text", ["clock.now()", "clock.monotonic()", "self._clock.now()", "time.gmtime(at)", "formatdate(at)", "dateobject.time()"]
)
def test_the_test_sees_who_does_not(text: str) -> None:
    assert not any(_asks(node) for node in ast.walk(ast.parse(text)))


def _asks(node: ast.AST) -> bool:
    match node:
        case ast.ImportFrom(module="time", names=names):
            return any(alias.name in ASKS["time"] for alias in names)
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if name in ASKS.get(owner, ()):
            return True
        case ast.Attribute(value=ast.Attribute(attr=owner), attr=name) if name in ASKS.get(owner, ()):
            return True
        case ast.Call(func=ast.Attribute(value=of, attr="time"), args=[]) if "loop" in ast.unparse(of):
            return True
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=args, keywords=[]) if name in WITHOUT_ARGUMENTS:
            return len(args) < (2 if name == "strftime" else 1) and not _of_a_value(node)
    return False


def _line(node: ast.AST) -> int:
    return node.lineno if isinstance(node, ast.expr | ast.stmt) else 0


def _of_a_value(call: ast.AST) -> bool:
    """`when.strftime(form)` formats a value; `time.strftime(form)` asks."""
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value) not in ("time", "email.utils", "utils")
    )
