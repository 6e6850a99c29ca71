"""A third party's plugin, installed the way third parties install theirs, and a site that serves it."""

from pathlib import Path
from textwrap import dedent

PLUGIN = '''
    import asyncio, os, time
    from pydantic import BaseModel, ConfigDict
    from postroom import hookimpl
    from postroom.connectors import Endpoint

    class EchoSettings(BaseModel):
        model_config = ConfigDict(extra="forbid")
        port: int = 0

    class Echo:
        """Says who it is and what it heard; obeys `block`, `hang`, `die` and `fail`; while the file `stuck` is there it never drains."""

        name = "echo"

        def __init__(self, site, port):
            self.site, self.endpoints = site, [Endpoint("echo", "127.0.0.1", port)]
            self.failed = asyncio.Event()

        async def run(self):
            sockets = self.site.socket_for(self.endpoints[0])
            self.servers = [await asyncio.start_server(self.talk, sock=one) for one in sockets]
            self.site.ready(self)
            await self.failed.wait()
            self.failed.clear()
            self.deaf()
            raise ValueError("told to fail")

        async def talk(self, reader, writer):
            while line := await reader.readline():
                if line == b"block\\n":
                    time.sleep(0.3)  # the block itself is what is looked at
                if line == b"die\\n":
                    os._exit(9)
                if line == b"fail\\n":
                    self.failed.set()
                writer.write(b"%d %s" % (os.getpid(), line))
                if line == b"hang\\n":
                    time.sleep(3600)  # silent until it is killed
            writer.close()

        def deaf(self):
            for one in self.servers:
                one.close()

        async def drain(self):
            self.deaf()
            if (self.site.root / "stuck").exists():
                await asyncio.Event().wait()

    class EchoPlugin:
        Settings = EchoSettings

        def __init__(self, settings, ground):
            self.settings = settings

        @hookimpl
        def services(self, site):
            return [Echo(site, self.settings.port)]

        @hookimpl
        def health(self, site):
            return ["the echo is hoarse"] if (site.root / "hoarse").exists() else []
'''


def install(folder: Path) -> Path:
    """The plugin as a distribution in this folder; what to put on PYTHONPATH."""
    info = folder / "postroom_echo-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: postroom-echo\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[postroom.plugins]\necho = postroom_echo:EchoPlugin\n")
    (folder / "postroom_echo.py").write_text(dedent(PLUGIN))
    return folder


def site(folder: Path, more: str = "", echo: str = "{}") -> Path:
    """A site that serves it beside the TAB provider."""
    (folder / "Config").mkdir(parents=True)
    (folder / "postroom.yaml").write_text(f"server: mail.example.test\nplugins:\n  tab:\n  echo: {echo}\n{more}")
    return folder
