"""Line services that break the contract of a service or an agent, each in one place."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable

from postroom import hookimpl
from postroom.connectors import Endpoint, Service
from postroom.site import Site
from tests.kit.toys import LinePlugin, LineService


class GivesNothing(LinePlugin):
    @hookimpl
    def services(self, site: Site) -> Iterable[Service]:
        return []


class NoName(LinePlugin):
    class service(LineService):
        def endpoint(self) -> Endpoint:
            self.name = ""
            return super().endpoint()


class OneLabel(LinePlugin):
    class service(LineService):
        def endpoint(self) -> Endpoint:
            return Endpoint("line", "127.0.0.1", 0)


class EndsByItself(LinePlugin):
    class service(LineService):
        async def run(self) -> None:
            await self.listen()
            self.site.ready(self)
            await asyncio.sleep(0)
            self.close_listeners()


class KeepsListening(LinePlugin):
    class service(LineService):
        def close_listeners(self) -> None:
            self.site.state["listeners"] = len(self.servers)

        async def end(self) -> None:
            for task in self.open:
                task.cancel()
            self.site.state["forgotten"] = self.servers


class SwallowsCancel(LinePlugin):
    class service(LineService):
        async def run(self) -> None:
            try:
                await super().run()
            except asyncio.CancelledError:
                pass


class DrainHangs(LinePlugin):
    class service(LineService):
        async def drain(self) -> None:
            await super().drain()
            await asyncio.Event().wait()


class DrainNeedsRun(LinePlugin):
    class service(LineService):
        async def drain(self) -> None:
            self.servers[0].close()
            await super().drain()


class LeavesDescriptor(LinePlugin):
    class service(LineService):
        async def listen(self) -> None:
            os.open(self.site.root, os.O_RDONLY)
            await super().listen()


class WrongAnswer(LinePlugin):
    class service(LineService):
        async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"what?\r\n")


class OneAtATime(LinePlugin):
    class service(LineService):
        async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self.open) == 1:
                await super().talk(reader, writer)


class Blocks(LinePlugin):
    class service(LineService):
        async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            time.sleep(0.06)  # the block itself: more than a loop may be
            await super().talk(reader, writer)


class NeverHangsUp(LinePlugin):
    class service(LineService):
        async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await super().talk(reader, writer)
            if (not reader.at_eof() or writer.get_extra_info("peername")) and await self.left_early(reader):
                await asyncio.Event().wait()

        async def left_early(self, reader: asyncio.StreamReader) -> bool:
            return reader.at_eof()


class DiesOfRubbish(LinePlugin):
    class service(LineService):
        async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                (await reader.readline()).decode("ascii")
                await super().talk(reader, writer)
            except UnicodeDecodeError:
                self.site.log.error("service.broken")
                raise


class TakesAnyLine(LinePlugin):
    class service(LineService):
        async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line, number = b"", 0
            while piece := await reader.read(65536):
                line += piece
                if line.endswith(b"\r\n"):
                    number += 1
                    writer.write(b"line %d\r\n" % number)
                    if line == b"QUIT\r\n":
                        return
                    line = b""


class NeverWaits(LinePlugin):
    class service(LineService):
        async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            number = 0
            while line := await reader.readline():
                number += 1
                writer.write(b"line %d\r\n" % number if number < 10 else b"a" * 1000)
                if line.strip() == b"QUIT":
                    return


class DrainTakesNew(LinePlugin):
    class service(LineService):
        async def drain(self) -> None:
            while self.open:
                await asyncio.wait(list(self.open))


class LeavesPeersWaiting(LinePlugin):
    class service(LineService):
        async def end(self) -> None:
            self.close_listeners()
            self.site.state["left"] = list(self.open)


class NeverReady(LinePlugin):
    class service(LineService):
        async def run(self) -> None:
            await asyncio.Event().wait()
