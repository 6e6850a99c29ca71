"""Every block of the tutorial, in order, as a reader would do it: files are written, commands are run, and what is said to appear does.

Two things are done for the reader's `pip install -e .`, which needs an index: the package gets its metadata in a folder that the commands and the
server's children have on their path. Ports are free ones in place of the page's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

pytestmark = pytest.mark.long

PAGE = ROOT / "docs/tutorial-scanner.md"
INSTALL = "python -m pip install --no-deps -e ."
PATIENCE = 120.0


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the word behind it, its lines."""

    language: str
    kind: str
    text: str


def blocks() -> list[Block]:
    fenced = re.findall(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(*one) for one in fenced]


class Reader:
    """Who follows the page, in a folder of his own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here, self.said = folder, folder, ""
        self.installed = folder / "installed"
        self.installed.mkdir()
        source = folder / "postroom-eicar" / "src"
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self.installed), str(source), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        self.server: subprocess.Popen[bytes] | None = None
        self.port = ""

    def follow(self, block: Block) -> None:
        match block.language, block.kind:
            case "sh", "server":
                self.serve(block.text.strip())
            case "sh", _:
                self.said = "".join(self.run(line) for line in block.text.splitlines())
            case "python", _:
                self.write(block.text)
            case "yaml", _:
                self.set(block.text)
            case "text", _:
                for line in block.text.splitlines():
                    assert line in self.said, f"the page promises {line!r}, and there is {self.said!r}"
            case _:
                raise AssertionError(f"nobody knows what to do with {block}")

    def run(self, line: str) -> str:
        if line.startswith("cd "):
            self.here = (self.here / line.removeprefix("cd ")).resolve()
            return ""
        if line == INSTALL:
            self.install()
            return ""
        command = line.replace("2525", self.port) if self.port else line
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.here, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def install(self) -> None:
        """What an installation in place leaves in the environment (PEP 376, PEP 610)."""
        project = self.here
        info = self.installed / "postroom_eicar-0.1.0.dist-info"
        info.mkdir()
        points = re.search(r'\[project.entry-points."postroom.plugins"\]\n(.*)\n', (project / "pyproject.toml").read_text())
        assert points is not None
        name, _, value = points[1].partition(" = ")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: postroom-eicar\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[postroom.plugins]\n{name} = {json.loads(value)}\n")
        (info / "direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))

    def write(self, text: str) -> None:
        place = re.match(r"# (\S+\.py)\n", text)
        assert place is not None, f"a block of Python begins with the name of its file: {text[:80]}"
        (self.here / place[1]).write_text(text[place.end() :])

    def set(self, text: str) -> None:
        """An edit of the site's file."""
        first, line, *rest = text.splitlines()
        assert not rest
        path = self.here / "demo" / "postroom.yaml"
        settings = path.read_text()
        if first == "# demo/postroom.yaml, below plugins:":
            changed = settings.replace("\nplugins:\n", f"\nplugins:\n{line}\n")
        else:
            assert first == "# demo/postroom.yaml, in place of eicar:"
            changed = re.sub(r"(?m)^  eicar:.*$", line, settings)
        assert changed != settings
        path.write_text(changed)

    def serve(self, command: str) -> None:
        """Start it as it stands, on free ports, and wait until it says that it is ready."""
        words = [*command.replace("--port-base 2000", "--port-base 0").split(), "--json"]
        with (self.folder / "server.log").open("wb") as log:
            self.server = subprocess.Popen(words, cwd=self.here, env=self.environment, stdout=subprocess.PIPE, stderr=log)
        assert self.server.stdout is not None
        ready = json.loads(self.server.stdout.readline() or '{"ready": false}')
        assert ready["ready"], (self.folder / "server.log").read_text()
        self.port = ready["endpoints"]["smtp"].rpartition(":")[2]

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.communicate(timeout=PATIENCE)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.close()


def test_the_page_can_be_followed_to_its_end(reader: Reader) -> None:
    for block in blocks():
        reader.follow(block)
    assert (reader.here / "report.txt").read_text().endswith("postroom-eicar conforms.\n")
    logged = "".join(path.read_text() for path in (reader.folder / "demo" / "Logging").iterdir() if path.is_file())
    assert logged.count("eicar.found") == 2, "once inline, once in a process of its own"


def test_what_the_page_makes_is_typed_and_in_order(tmp_path: Path) -> None:
    """Its Python is formatted and passes the project's own checks, as the template's does."""
    reader = Reader(tmp_path)
    for block in blocks():
        if block.language == "sh" and INSTALL in block.text:
            break
        reader.follow(block)
    for command in ("ruff check .", "ruff format --check .", "mypy"):
        reader.run(command)


def test_every_block_is_one_the_test_understands() -> None:
    assert {(one.language, one.kind) for one in blocks()} == {("sh", ""), ("sh", "server"), ("python", ""), ("yaml", ""), ("text", "")}
    assert len(blocks()) == PAGE.read_text("utf-8").count("```") // 2
