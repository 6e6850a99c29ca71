"""Plugins that break what every plugin promises, each in one place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from pydantic import BaseModel, ConfigDict, Field

from postroom import hookimpl
from postroom.site import Ground, Site
from postroom.transfer import TransferEvent, Verdict
from tests.kit.toys import WordScanner, WordSettings


class Undescribed(WordScanner):
    class Settings(WordSettings):
        speed: int = 1


class Lenient(WordScanner):
    class Settings(BaseModel):
        word: str = Field(default="x", description="word")


class LenientInside(WordScanner):
    class Settings(WordSettings):
        class Inner(BaseModel):
            depth: int = Field(default=1, description="depth")

        inner: Inner = Field(default=Inner(), description="inner table")


class WithoutSchema(WordScanner):
    class Settings(WordSettings):
        model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
        call: Callable[[], None] | None = Field(default=None, description="a function")


class NoModel(WordScanner):
    Settings = dict  # type: ignore[assignment]


class NoHooks:
    Settings = WordSettings

    def __init__(self, settings: WordSettings, ground: Ground) -> None: ...


class Misspelt(NoHooks):
    @hookimpl
    async def mta_pikcup(self, event: TransferEvent) -> Verdict:
        raise AssertionError


class WrongArgument(NoHooks):
    @hookimpl
    async def mta_pickup(self, message: TransferEvent) -> Verdict:
        raise AssertionError


class NotAsync(NoHooks):
    @hookimpl
    def mta_pickup(self, event: TransferEvent) -> Verdict:
        raise AssertionError


class StartsThread(WordScanner):
    def __init__(self, settings: WordSettings, ground: Ground) -> None:
        super().__init__(settings, ground)
        threading.Thread(target=time.sleep, args=(1,), daemon=True, name="too early").start()


class WritesFile(WordScanner):
    def __init__(self, settings: WordSettings, ground: Ground) -> None:
        super().__init__(settings, ground)
        (ground.root / f"made-by-{ground.name}").touch()


class HealthRaises(WordScanner):
    @hookimpl
    def health(self, site: Site) -> Iterable[str]:
        raise RuntimeError("no health")


class CheckSaysNothing(WordScanner):
    @hookimpl
    def check(self, site: Site) -> Iterable[str]:
        return ["", "two\nlines"]


class HealthBlocks(WordScanner):
    @hookimpl
    def health(self, site: Site) -> Iterable[str]:
        time.sleep(0.5)  # the block itself: more than a loop may be
        return ()
