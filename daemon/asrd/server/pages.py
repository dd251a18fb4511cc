"""What the monitoring listener answers: four pages and a line that lists them.

A page is made for all who ask at the same time, and stands for a moment: whoever asks as fast as he
can, and on a TCP port that may be any user of the machine, has it made ten times a second at most.
Looking at processes and writing out is done in threads; collecting takes 2 to 9 ms of the loop's
time, by how much there is to tell.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from asrd.server.metrics import Metrics
from asrd.server.sight import Sight, look_at

log = structlog.get_logger()

STANDS_S = 0.1
"""How long a page is given to others who ask."""

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer over HTTP."""

    status: int
    body: bytes
    content_type: str = TEXT


def sentence(status: int, text: str) -> Page:
    """An answer of one sentence."""
    return Page(status=status, body=f"{text}\n".encode())


@dataclass(frozen=True, slots=True)
class _Standing:
    """A page that is being made, or was made not long ago."""

    making: asyncio.Task[Page]
    asked_at_s: float

    def is_over(self, now_s: float) -> bool:
        """Whether the next who asks is given another. However long it takes, one is made."""
        return self.making.done() and now_s - self.asked_at_s > STANDS_S


MakePage = Callable[[], Awaitable[Page]]


class Pages:
    """Makes the pages of one daemon."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._metrics = Metrics(sight)
        self._standing: dict[MakePage, _Standing] = {}
        self._by_path: dict[str, MakePage] = {
            "/metrics": self._prometheus,
            "/live": self._live,
            "/ready": self._ready,
            "/health": self._health,
            "/": self._index,
        }

    async def answer(self, path: str, accept: str) -> Page:
        """The page at a path, in the form that is accepted. Never raises, but for being cancelled.

        What fails inside costs this answer and a line in the log.
        """
        make = self._by_path.get(path)
        if make is None:
            return sentence(404, f"There is no such page. {self._listing}")
        if path == "/metrics" and "application/openmetrics-text" in accept.lower():
            make = self._open_metrics
        standing = self._standing.get(make)
        now_s = asyncio.get_running_loop().time()
        if standing is None or standing.is_over(now_s):
            making = self._sight.hub.tasks.start(self._guarded(make(), path))
            standing = self._standing[make] = _Standing(making, now_s)
        # Shielded: who gives up waiting is not the only one who waits.
        return await asyncio.shield(standing.making)

    async def _guarded(self, page: Awaitable[Page], path: str) -> Page:
        try:
            return await page
        except Exception:  # a bug, whichever
            log.exception("page_failed", path=path)
            return sentence(500, "The daemon failed on this page; its log says why.")

    @property
    def _listing(self) -> str:
        return "There are " + ", ".join(path for path in self._by_path if path != "/") + "."

    async def _index(self) -> Page:
        return sentence(200, self._listing)

    async def _live(self) -> Page:
        return sentence(200, "live")

    async def _ready(self) -> Page:
        if self._sight.is_ready:
            return sentence(200, "ready")
        why = "the daemon is ending" if self._sight.hub.is_draining else "see /health"
        return sentence(503, f"not ready: {why}")

    async def _health(self) -> Page:
        fields = msgspec.to_builtins(await self._sight.reporter.health())
        del fields["type"]
        return Page(
            status=200,
            body=json.dumps(fields, ensure_ascii=False).encode() + b"\n",
            content_type=JSON,
        )

    async def _prometheus(self) -> Page:
        return await self._exposition(generate_latest, PROMETHEUS)

    async def _open_metrics(self) -> Page:
        return await self._exposition(openmetrics.generate_latest, OPEN_METRICS)

    async def _exposition(self, write: Callable[[Any], bytes], content_type: str) -> Page:
        held = await asyncio.to_thread(look_at, self._sight.pids)
        families = _Collected([*self._metrics.collect(held)])
        # They belong to this page alone: writing them out may be any thread's work.
        body = await asyncio.to_thread(write, families)
        return Page(status=200, body=body, content_type=content_type)


class _Collected(Collector):
    """Families that were collected already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
