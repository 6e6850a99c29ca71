"""What tests of the whole house share: a server started by the public command, as an operator starts it.

Tests of one module make their own ground, from `postroom_testing`, and need nothing of this.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # for `bench`, which starts servers, ours and peers, and is not installed

from tests.demo import Demo  # noqa: E402


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo site with one worker, served for as long as the tests run; each test writes to mail of its own and leaves no trace in
    settings. Who stops, kills or changes a server makes one: `Demo(folder).start()`."""
    server = Demo(tmp_path_factory.mktemp("demo") / "site").start()
    yield server
    server.close()
