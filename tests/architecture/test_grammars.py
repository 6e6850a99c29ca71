"""Grammar files are pure: bytes in, values out. They import neither asyncio, socket nor ssl, nor anything of ours that does."""

from __future__ import annotations

import pytest

from tests.architecture.source import CODE_ROOTS, Module, modules

RIM = {"asyncio", "socket", "ssl", "selectors", "threading", "subprocess", "uvloop"}
GRAMMARS = [
    module
    for module in modules(*CODE_ROOTS)
    if module.path.stem == "grammar"
    or module.path.stem.endswith("_grammar")
    or module.path.stem.startswith("grammar_")
    or module.package == "postroom_mime"
    or module.name in {"postroom.address", "postroom.commandfile", "postroom_net.lines", "postroom_net.sasl"}
    or (module.package == "postroom_imap4" and module.path.stem in {"answers", "framing", "names", "numbers", "tokens"})
]
BY_NAME = {module.name: module for module in modules(*CODE_ROOTS)}


def test_there_are_grammars() -> None:
    assert {"postroom.address", "postroom_net.lines", "postroom_net.sasl"} <= {module.name for module in GRAMMARS}


@pytest.mark.parametrize("module", GRAMMARS, ids=lambda m: m.name)
def test_a_grammar_reaches_no_rim(module: Module) -> None:
    reached, todo = {module.name: module.name}, [module]
    for one in todo:
        for needed in (i.module for i in one.imports() if not i.for_types_only):
            way = f"{reached[one.name]} -> {needed}"
            assert needed.partition(".")[0] not in RIM, way
            if needed in BY_NAME and needed not in reached:
                reached[needed] = way
                todo.append(BY_NAME[needed])
