"""The work of `asrd bench`: a daemon of its own for each setup, and what it takes.

    load ─► warm up (so many streams, the head of the recording) ─► run, run, ... ─► measurement

What is measured is what `asrd serve` does with the same configuration and so many slots: providers
spread their threads over the slots of the daemon that they are started by.
"""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from asrd.cli.benching.advice import control_of, sweet_spot
from asrd.cli.benching.gauge import CpuTime, Gauge
from asrd.cli.benching.measurements import Measurement, Setup
from asrd.cli.benching.report import Outcome, Subject
from asrd.cli.exits import CommandError, Exit, is_debugging, judge
from asrd.cli.feeder import feeding
from asrd.cli.media import BLOCK_BYTES, SAMPLE_RATE, Media
from asrd.cli.progress import Progress
from asrd.cli.reach import CLIENT_NAME, Wanted, arguments_of
from asrd.cli.together import together
from asrd.client import Client, Refused, Stream, StreamOptions, spawn
from asrd.wire.messages import Closed, Error, Segment

WARM_UP_BLOCKS = 10
"""Seconds of the recording that each stream reads before the clock starts. Threads, caches and
what the daemon learns about batches are there then."""

WARM_UP, MEASURED = "warm-up", "bench"
"""The sources of the streams: the daemon counts each by itself."""

LEAST_MEASURED_S = 2.0
MOST_RUNS = 100
"""Where a run is short there are more than were asked for: so many that together they take the
time, as far as that is possible. Then their differences show, and what other programs do."""

LEAST_SHARE = 0.01
"""Before so much is done, how long the rest will take is anybody's guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Audio in blocks of a second. `is_cut`: there was more."""

    name: str
    blocks: tuple[bytes, ...] = field(repr=False)
    is_cut: bool

    @property
    def audio_s(self) -> float:
        """How long it is."""
        return sum(map(len, self.blocks)) / BLOCK_BYTES


def read_recording(media: Media, max_s: int) -> Recording:
    """The first `max_s` seconds of a file. Raises CommandError where it has no audio."""
    blocks: list[bytes] = []
    is_cut = False
    most_bytes = max_s * BLOCK_BYTES
    for block in media.blocks():
        if most_bytes <= 0:
            is_cut = True
            break
        blocks.append(block[:most_bytes])
        is_cut = len(block) > most_bytes
        most_bytes -= len(blocks[-1])
    return Recording(name=media.path.name, blocks=tuple(blocks), is_cut=is_cut)


class Bench:
    """Measures setups one after the other. `outcome` has what is known at any time."""

    def __init__(
        self,
        recording: Recording,
        subject: Subject,
        wanted: Wanted,
        options: StreamOptions,
        *,
        repeat: int,
        bar: Progress,
    ) -> None:
        self.outcome = Outcome(subject=subject)
        self._recording = recording
        self._wanted = wanted
        self._options = options
        self._repeat = repeat
        self._course = Course(bar)

    async def run(self, setups: Sequence[Setup]) -> None:
        """Measure all of them, and the sweet spot's control.

        Raises:
            CommandError: the recording cannot be read as it should be.
            ClientError: a daemon cannot be had, or is lost.
        """
        self._course.add(sum(map(self._work_s, setups)))
        for at, setup in enumerate(setups, start=1):
            self._course.begin(f"{_many(setup)} ({at} of {len(setups)})")
            measured = await self._measure(setup)
            self.outcome = replace(self.outcome, measured=(*self.outcome.measured, measured))
        extra = control_of(sweet_spot(self.outcome.measured))
        if extra is not None:
            self._course.add(self._work_s(extra))
            self._course.begin(f"{_many(extra)}, one slot")
            control = await self._measure(extra)
            self.outcome = replace(self.outcome, control=control)
        self.outcome = replace(self.outcome, is_whole=True)

    def _work_s(self, setup: Setup) -> float:
        """Seconds of audio that a setup reads."""
        warm_up_s = min(self._recording.audio_s, WARM_UP_BLOCKS)
        return setup.streams * (warm_up_s + self._repeat * self._recording.audio_s)

    async def _measure(self, setup: Setup) -> Measurement:
        arguments = [f"--slots={setup.slots}", *arguments_of(self._wanted)]
        with Gauge() as gauge:
            async with spawn(
                arguments, name=CLIENT_NAME, is_stderr_shown=is_debugging(), recovery=None
            ) as client:
                head = self._recording.blocks[:WARM_UP_BLOCKS]
                await self._run(client, setup.streams, head, WARM_UP)
                before, begin = gauge.cpu_time(), time.perf_counter()
                runs_s = await self._runs(client, setup.streams)
                used = _difference(gauge.cpu_time(), before)
                watched_s = time.perf_counter() - begin
                queue = (await client.stats()).queues[f"source:{MEASURED}"]
                gpu_memory_bytes = sum(
                    model.gpu_memory_bytes
                    for provider in (await client.health()).providers.values()
                    for model in provider.models
                )
        return Measurement(
            setup=setup,
            audio_s=self._recording.audio_s,
            runs_s=tuple(runs_s),
            decode_p50_ms=queue["decode_ms"].get("p50", 0.0),
            decode_p95_ms=queue["decode_ms"].get("p95", 0.0),
            memory_bytes=gauge.peak_bytes,
            gpu_memory_bytes=gpu_memory_bytes,
            cores=used.own_s / watched_s,
            other_cores=max(0.0, used.others_s / watched_s),
            slots_used=queue["decode_s"] / sum(runs_s),
        )

    async def _runs(self, client: Client, count: int) -> list[float]:
        """Read the recording as often as is asked, and short ones oftener; returns wall times."""
        runs_s: list[float] = []
        while len(runs_s) < self._repeat or (
            sum(runs_s) < LEAST_MEASURED_S and len(runs_s) < MOST_RUNS
        ):
            if len(runs_s) >= self._repeat:
                self._course.add(count * self._recording.audio_s)
            runs_s.append(await self._run(client, count, self._recording.blocks, MEASURED))
        return runs_s

    async def _run(self, client: Client, count: int, blocks: Sequence[bytes], source: str) -> float:
        """Read the blocks in so many streams side by side; returns the wall time.

        The first stream waits for the model to load, before the time begins.
        """
        options: StreamOptions = {**self._options, "source": source}
        streams = [await client.open_stream(**options) for _ in range(count)]
        opened = streams[0].opened
        subject = replace(self.outcome.subject, provider=opened.provider, model=opened.model)
        self.outcome = replace(self.outcome, subject=subject)
        begin = time.perf_counter()
        segments = await together([self._read(stream, blocks) for stream in streams])
        took_s = time.perf_counter() - begin
        if source == MEASURED and not all(segments):
            raise CommandError(
                f"no speech was heard in {self._recording.name}",
                Exit.DATA,
                "name a recording of somebody who speaks",
            )
        return took_s

    async def _read(self, stream: Stream, blocks: Sequence[bytes]) -> int:
        """Send the blocks; returns how many segments came of them. Raises CommandError."""
        segments = 0
        heard = 0
        async with feeding(stream, _sent(blocks)):
            async for event in stream:
                match event:
                    case Segment():
                        segments += 1
                    case Error():
                        code, line = judge(Refused.of(event))
                        raise CommandError(f"{self._recording.name}: {line}", Exit(code))
                    case Closed(reason=reason) if reason != "client":
                        raise CommandError(
                            f"the daemon ended a stream ({reason})", Exit.UNAVAILABLE
                        )
                    case _:
                        pass
                self._course.advance((stream.committed - heard) / SAMPLE_RATE)
                heard = stream.committed
        return segments


class Course:
    """How far all of it is, in seconds of audio, and how long the rest may take."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._name = ""
        self._done_s = 0.0
        self._total_s = 0.0
        self._begun_at = time.monotonic()

    def add(self, audio_s: float) -> None:
        """There is so much more to read."""
        self._total_s += audio_s

    def begin(self, name: str) -> None:
        """The next setup is measured."""
        self._name = name
        self.advance(0.0)

    def advance(self, audio_s: float) -> None:
        """So much more was read."""
        self._done_s += audio_s
        elapsed_s = time.monotonic() - self._begun_at
        share = min(1.0, self._done_s / self._total_s)
        self._bar.portion(self._name, share, rest_of(elapsed_s, share))


def rest_of(elapsed_s: float, share: float) -> str:
    """What is left of a time of which a share has passed, in words; "" where nobody can say."""
    if share < LEAST_SHARE:
        return ""
    rest_s = elapsed_s * (1 - share) / share
    return f"{rest_s:.0f} s left" if rest_s < 100 else f"{rest_s / 60:.0f} min left"


async def _sent(blocks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


def _difference(after: CpuTime, before: CpuTime) -> CpuTime:
    return CpuTime(own_s=after.own_s - before.own_s, others_s=after.others_s - before.others_s)


def _many(setup: Setup) -> str:
    return "1 stream" if setup.streams == 1 else f"{setup.streams} streams"
