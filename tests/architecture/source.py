"""The source as the architecture tests see it: packages, modules, what they import, how many lines of code they have."""

from __future__ import annotations

import ast
import io
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGIN_ROOTS = ("plugins", "providers", "hooks")
CODE_ROOTS = ("kernel", *PLUGIN_ROOTS)
NOT_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, by full name, and where."""

    module: str
    line: int
    for_types_only: bool


@dataclass(frozen=True, slots=True)
class Module:
    name: str  # dotted
    path: Path

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def shown(self) -> str:
        return str(self.path.relative_to(ROOT))

    def tree(self) -> ast.Module:
        return _parsed(self.path)

    def imports(self) -> list[Import]:
        """Every import, in functions too; a name imported from a package counts as that submodule where there is one."""
        typed = {id(inner) for node in ast.walk(self.tree()) if _only_for_types(node) for inner in ast.walk(node)}
        return [
            Import(module, node.lineno, id(node) in typed)
            for node in ast.walk(self.tree())
            if isinstance(node, ast.Import | ast.ImportFrom)
            for module in self._named(node)
        ]

    def _named(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = node.module or ""
        if node.level:
            parts = self.name.split(".")[: -node.level] if self.path.name != "__init__.py" else self.name.split(".")
            base = ".".join([*parts, base]).rstrip(".")
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield inner if inner in module_names() else base


def packages(*roots: str) -> list[Path]:
    """The package folders below these source roots, by name."""
    return sorted(init.parent for root in roots for init in (ROOT / root).glob("*/__init__.py"))


def modules(*roots: str) -> list[Module]:
    return [Module(_dotted(path, ROOT / root), path) for root in roots for path in sorted((ROOT / root).rglob("*.py"))]


@cache
def module_names() -> frozenset[str]:
    return frozenset(module.name for module in modules(*CODE_ROOTS))


@cache
def project() -> dict[str, object]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank, comment or docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - set(_docstring_lines(_parsed(path))))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            first = node.body[0]
            yield from range(first.lineno, (first.end_lineno or first.lineno) + 1)


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))
