"""Batches against one window at a time: `python -m benchmarks.batch` in `tests/`.

On faster-whisper. Two daemons with the same configuration but for `scheduling.batches.max_batch`
are used in turn, so that noise hits both. Whisper has the shape of tiny (or base) with made-up
weights that say 28 words; it searches greedily, as it does for partials (`--beam` for finals).

- `waiting`: sixteen utterances of 3.5 s are flushed at once; from there to the last segment. At a
  context of 4 s (`short_context = "always"`), then with the beam of 5 that finals have unless told
  otherwise, and, eight of them, at the full 30 s.
- `texts`: the same with the trained model of the tests, which tells words apart, and every text
  compared.
- `four`: four sessions speak in real time and flush about once a second; from flush to segment.
- `carried`: sessions speak on and on and want to read along once a second. A partial is due when a
  second has been sent beyond what the one before covers, and late by the time from then until it
  came. A session is carried while p95 of that is below one second. Every 3.5 s a new stream goes
  on, and the old one is cancelled when its last partial has come, so that all windows fit a context
  of 4 s and there are partials alone. With `--finals` streams are flushed instead: finals between.

On a machine with CUDA `--gpu` reads base and large-v3 (with the 80 mel bins of its elders) with
batches of 1 to 64 instead.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from asrd.audio import SAMPLE_RATE
from asrd.wire import messages as wire
from benchmarks.common import (
    Samples,
    daemon,
    dense_speech,
    frames,
    median,
    percentile,
    row,
    utterances,
)
from benchmarks.crowd import Crowd, Feed, Watch
from benchmarks.reading_along import (
    PARTIAL_S,
    UTTERANCE_S,
    WARM_UP_S,
    most_carried,
    sessions,
)
from benchmarks.shapes import SHAPES, TINY_WHISPER, Shape, make_model
from conftest import read_transcripts
from support.audio import read_wav

BATCHED, SERIAL = 16, 1
WAITING = 16
FULL_WAITING = 8
SCORING_S = 0.3
"""Until what was sent has been scored, so that a flush finds only a decode to be done."""
FIRST_TRIED = 5
PARTS = ("waiting", "texts", "four", "carried")

Paths = dict[int, Path]
"""The socket of the daemon that reads at most so many windows in a call."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=(*PARTS, []), default=[])
    parser.add_argument("--size", default="tiny", choices=("tiny", "base"))
    parser.add_argument("--rounds", type=int, default=5, help="at short context")
    parser.add_argument("--full-rounds", type=int, default=5, help="at full context")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run in real time")
    parser.add_argument("--threads", type=int, default=1, help="of the engine")
    parser.add_argument("--beam", type=int, default=1, help="of finals")
    parser.add_argument("--finals", action="store_true", help="`carried` with finals between")
    parser.add_argument("--gpu", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.gpu:
            _on_gpu(Path(folder), options)
            return
        print(f"{options.size}, int8, {options.threads} thread(s)")
        for part in options.parts or PARTS:
            {"waiting": _waiting, "texts": _texts, "four": _four, "carried": _carried}[part](
                Path(folder), options
            )


def _daemons(
    model: Path, options: argparse.Namespace, *, context: str, beam: int | None = None
) -> "_Daemons":
    beam = beam or options.beam
    return _Daemons(
        {
            most: _config(model, most, context=context, threads=options.threads, beam=beam)
            for most in (BATCHED, SERIAL)
        }
    )


def _config(
    model: Path, most: int, *, context: str, threads: int, beam: int, device: str = "cpu"
) -> str:
    compute_type = "int8" if device == "cpu" else "float16"
    return f"""
provider = "faster_whisper"
model = "{model}"
[limits]
max_streams = 256
[scheduling]
max_waiting = {{ mic = 256 }}
max_waiting_others = 256
[scheduling.batches]
max_batch = {most}
[scheduling.pace]
idle_s = {PARTIAL_S}
busy_s = {PARTIAL_S}
critical_s = {PARTIAL_S}
[scheduling.ladder]
enabled = false
[providers.faster_whisper.settings]
device = "{device}"
compute_type = "{compute_type}"
cpu_threads = {threads}
beam_size = {beam}
max_batch = {max(most, BATCHED)}
short_context = "{context}"
"""


class _Daemons:
    """Several daemons, idle but for the one that is asked."""

    def __init__(self, configs: dict[int, str]) -> None:
        self._configs = configs
        self._stack = ExitStack()

    def __enter__(self) -> Paths:
        return {
            most: self._stack.enter_context(daemon(config=config))
            for most, config in self._configs.items()
        }

    def __exit__(self, *_: object) -> None:
        self._stack.close()


# ── waiting jobs ──────────────────────────────────────────────────────────────────────────────


def _waiting(folder: Path, options: argparse.Namespace) -> None:
    model = make_model(options.size, folder)
    for context, name, beam, waiting, rounds, warm_up, least in (
        ("always", "4 s", options.beam, WAITING, options.rounds, 3, 2.5),
        ("always", "4 s", 5, WAITING, options.rounds, 3, 2.5),
        ("never", "30 s", options.beam, FULL_WAITING, options.full_rounds, 1, 0.97),
    ):
        audio = [dense_speech(UTTERANCE_S)] * waiting
        with _daemons(model, options, context=context, beam=beam) as paths:
            seen = asyncio.run(_rounds(paths, audio, rounds, warm_up))
            sizes = asyncio.run(_batch_sizes(paths[BATCHED]))
        what = f"{waiting} jobs, {name} context, beam {beam}"
        for most, way in ((SERIAL, "one at a time"), (BATCHED, "batched")):
            wall_s, cpu_s = median(seen[most].wall_s), median(seen[most].cpu_s)
            row(f"{what}, {way}", f"{wall_s:.3f} s", f"{cpu_s:.3f} s of CPU time")
        row("  windows per call: calls, warm-up included", sizes)
        ratio = _ratio(seen[SERIAL].wall_s, seen[BATCHED].wall_s)
        row("  times as fast", f"{ratio:.2f}", f"at least {least}", is_met=ratio >= least)
        cpu_ratio = _ratio(seen[SERIAL].cpu_s, seen[BATCHED].cpu_s)
        row("  by CPU time, which others disturb less", f"{cpu_ratio:.2f}")


def _ratio(serial: Sequence[float], batched: Sequence[float]) -> float:
    """The median over the rounds, each with its neighbour."""
    return median([a / b for a, b in zip(serial, batched, strict=True)])


async def _batch_sizes(path: Path) -> str:
    async with Crowd.at(path) as crowd:
        stats = await crowd.ask(wire.GetStats(), wire.Stats)
    calls = stats.queues["provider:faster_whisper"]["batches"]
    return ", ".join(f"{size}: {times}" for size, times in calls.items())


def _texts(folder: Path, options: argparse.Namespace) -> None:
    script, weights = TINY_WHISPER / "expand.py", TINY_WHISPER / "tiny_whisper.npz"
    subprocess.run([sys.executable, script, weights, folder], check=True, stdout=subprocess.DEVNULL)
    windows = [
        window
        for recording in read_transcripts(TINY_WHISPER / "samples")
        for _, window in utterances(read_wav(recording.path))
        if len(window) <= UTTERANCE_S * SAMPLE_RATE
    ][:WAITING]
    for context, rounds in (("always", 3), ("never", 1)):
        with _daemons(folder / "ctranslate2", options, context=context) as paths:
            seen = asyncio.run(_rounds(paths, windows, rounds, warm_up=0))
        pairs = list(zip(seen[SERIAL].texts, seen[BATCHED].texts, strict=True))
        same, different = sum(a == b for a, b in pairs), len({a for a, _ in pairs})
        row(
            f"texts as when read alone ({different} different), context {context!r}",
            f"{same} of {len(pairs)}",
            "all",
            is_met=same == len(pairs),
        )


@dataclass(slots=True)
class _Seen:
    """What one daemon did: per round the seconds and the engine's CPU time; every text."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


async def _rounds(
    paths: Paths, audio: Sequence[Samples], rounds: int, warm_up: int
) -> dict[int, _Seen]:
    """Rounds of all daemons in turn, back and forth; texts in the order of streams and rounds."""
    seen = {most: _Seen() for most in paths}
    feeds, watches = {}, {}
    async with AsyncExitStack() as stack:
        for most, path in paths.items():
            crowd = await stack.enter_async_context(Crowd.at(path))
            watches[most] = Watch(await crowd.ask(wire.GetHealth(), wire.Health))
            feeds[most] = [
                await crowd.open(at, source="bench", partials=False) for at in range(len(audio))
            ]
        for number in range(warm_up + rounds):
            for most in list(paths)[:: -1 if number % 2 else 1]:
                wall_s, cpu_s = await _round(feeds[most], audio, watches[most])
                if number >= warm_up:
                    seen[most].wall_s.append(wall_s)
                    seen[most].cpu_s.append(cpu_s)
    for most, each in feeds.items():
        seen[most].texts = [segment.text for feed in each for _, segment in feed.of(wire.Segment)]
    return seen


async def _round(
    feeds: Sequence[Feed], audio: Sequence[Samples], watch: Watch
) -> tuple[float, float]:
    """From the flush of all to the last segment: seconds, and the engine's CPU time."""
    for feed, samples in zip(feeds, audio, strict=True):
        feed.say(frames(samples))
    await asyncio.sleep(SCORING_S)
    before_s, began_s = watch.cpu_s()["engine"], time.perf_counter()
    for feed in feeds:
        feed.flush()
    arrived = await asyncio.gather(*(feed.wait_for(wire.Segment) for feed in feeds))
    cpu_s = watch.cpu_s()["engine"] - before_s
    await asyncio.gather(*(feed.wait_for(wire.Flushed) for feed in feeds))
    return max(at_s for at_s, _ in arrived) - began_s, cpu_s


# ── sessions in real time ─────────────────────────────────────────────────────────────────────


def _four(folder: Path, options: argparse.Namespace) -> None:
    model = make_model(options.size, folder)
    waits: dict[int, list[float]] = {BATCHED: [], SERIAL: []}
    with _daemons(model, options, context="always") as paths:
        for turn in range(2):
            for most, path in paths.items():
                speak = partial(_flush_often, seconds=options.seconds)
                feeds = [each for (each,) in asyncio.run(sessions(path, 4, speak))]
                after_s = WARM_UP_S if turn == 0 else 0.0
                waits[most] += [wait_s for feed in feeds for _, wait_s in feed.waits_s(after_s)]
    ours, serial = (percentile(waits[most], 0.95) for most in (BATCHED, SERIAL))
    for most, name in ((SERIAL, "one at a time"), (BATCHED, "batched")):
        p50, p95 = (percentile(waits[most], share) * 1000 for share in (0.5, 0.95))
        row(f"4 sessions, {name}: finals, p50, p95", f"{len(waits[most])}, {p50:.0f}, {p95:.0f} ms")
    ratio = ours / serial
    row("  p95 batched over one at a time", f"{ratio:.2f}", "at most 1.10", is_met=ratio <= 1.1)


async def _flush_often(crowd: Crowd, at: int, *, seconds: float) -> list[Feed]:
    chance = random.Random(at)
    spoken = frames(dense_speech(4.0))
    feed = await crowd.open(0, source="mic", endpointing_ms=5000, partials=False)
    while feed.sent_s < seconds:
        await feed.play(spoken, chance.uniform(0.7, 1.3), chance.randrange(len(spoken)))
        feed.flush()
    await feed.end(wire.Close(stream=0))
    return [feed]


def _carried(folder: Path, options: argparse.Namespace) -> None:
    model = make_model(options.size, folder)
    carried: dict[int, int] = {}
    for most, name in ((SERIAL, "one at a time"), (BATCHED, "batched")):
        config = _config(model, most, context="always", threads=options.threads, beam=options.beam)
        first = round(2.5 * carried[SERIAL]) if carried else FIRST_TRIED
        with daemon(config=config) as path:
            carried[most], seen = most_carried(
                path, first, options.seconds, has_finals=options.finals
            )
            sizes = asyncio.run(_batch_sizes(path))
        row(f"sessions carried, {name}", f"{carried[most]}")
        tries = ", ".join(f"{count}: {p95_s:.2f} s" for count, p95_s in sorted(seen.items()))
        row(f"  p95 by sessions: {tries}", "")
        row(f"  windows per call: calls: {sizes}", "")
    ratio = carried[BATCHED] / max(carried[SERIAL], 1)
    row("  times as many", f"{ratio:.2f}", "at least 2.5", is_met=ratio >= 2.5)


# ── on a GPU ──────────────────────────────────────────────────────────────────────────────────


def _on_gpu(folder: Path, options: argparse.Namespace) -> None:
    SHAPES["large-v3"] = Shape(width=1280, heads=20, layers=32)
    audio = [dense_speech(UTTERANCE_S)] * 64
    for size in ("base", "large-v3"):
        model = make_model(size, folder)
        alone_s = 0.0
        for most in (1, 2, 4, 8, 16, 32, 64):
            config = _config(
                model, most, context="never", threads=1, beam=options.beam, device="cuda"
            )
            with daemon(config=config) as path:
                seen = asyncio.run(_rounds({most: path}, audio, options.full_rounds, warm_up=4))
            took_s = median(seen[most].wall_s)
            alone_s = alone_s or took_s
            each = f"{64 / took_s:.1f} windows/s"
            row(f"{size}, 64 jobs, batches up to {most}", each, f"{alone_s / took_s:.2f} times")


if __name__ == "__main__":
    main()
