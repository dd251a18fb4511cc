"""Very many microphones on one daemon: `python -m benchmarks.load --audio FOLDER` in `tests/`.

Each stream has a connection of its own and sends real speech with pauses at 16 kHz, 100 ms a
frame, when a microphone would have it. They begin at different places of the recordings and at 50
phases of a frame. Voice activity is the real one; the engine is `echo`, which takes `--latency-ms`
for each utterance and nothing of the machine, and decodes as many at once as come. The generators
are processes of their own on the same machine.

A final's latency runs from the moment at which the frame was due that completed the trailing
silence (the first window that ends `--endpointing-ms` behind the end of speech ends in it) to the
moment at which the generator has read the segment. So it holds all but the silence itself: what
the generator was late, the daemon's work on that frame, voice activity, the queue, the engine's
`--latency-ms`, and the way back. `beyond the engine` is the same less `--latency-ms`. Every final
of the measured time counts, however late it comes: streams are closed and awaited in the end.

Memory is the core's resident memory. Idle: what it grew from half of the connections, greeted and
silent, to all of them, by their number. Active: what it is a second before the end of play beyond
the idle state, less 4 bytes for each sample that was sent and not committed half a second before
(a commit is told twice a second; so the audio is rather counted too low, and the rest too high).
"""

import argparse
import multiprocessing
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import TypeVar

from asrd.audio import SAMPLE_RATE
from asrd.wire import messages as wire
from benchmarks.common import Samples, WireClient, daemon, percentile, row, utterances
from benchmarks.loading.generator import Connect, Held, Open, Plan, Play, Played, generate
from benchmarks.loading.machine import Processes
from benchmarks.loading.material import talk
from benchmarks.loading.pacing import FRAME_SAMPLES

Kind = TypeVar("Kind")

SETTLE_S = 3.0
"""At the beginning of play, which is not counted."""

TAIL_S = 1.0
"""At its end, likewise: then all streams are closed at once."""

TOLD_EVERY_SAMPLES = SAMPLE_RATE // 2
MAX_LAG_S = 0.01
AIM_P99_S = 0.1
AIM_IDLE_BYTES = 8 * 1024
AIM_ACTIVE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run gave."""

    connections: int
    latencies_s: list[float]
    played: list[Played]
    busy: dict[str, float]
    idle_bytes: float
    active_bytes: float
    audio_bytes: float
    machine_load: float

    @property
    def lag_p99_s(self) -> float:
        """How late the latest generator was."""
        return max(each.lag_p99_s for each in self.played)

    @property
    def p99_s(self) -> float:
        """Of the finals."""
        return percentile(self.latencies_s, 0.99)

    @property
    def is_sound(self) -> bool:
        """Whether the generators kept their times, and all streams came to their end."""
        has_errors = any(each.errors or each.unfinished for each in self.played)
        return self.lag_p99_s <= MAX_LAG_S and not has_errors


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--endpointing-ms", type=int, default=500)
    parser.add_argument("--generators", type=int, default=1)
    parser.add_argument("--partials", action="store_true")
    parser.add_argument("--audio", type=Path, help="a folder of recordings with transcripts.tsv")
    parser.add_argument("--find", action="store_true", help="where p99 passes 100 ms")
    options = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    material = talk(options.audio)
    if options.find:
        _find(material, options)
        return
    for connections in options.connections:
        _report(_measure(connections, material, options), material, options)


def _find(material: Samples, options: argparse.Namespace) -> None:
    """Double from the first number on, then halve the distance, until it is a twentieth."""
    good, bad = 0, None
    count = options.connections[0]
    while bad is None or bad - good > max(good // 20, 10):
        measured = _measure(count, material, options)
        is_good = measured.is_sound and measured.p99_s < AIM_P99_S
        row(
            f"{count} streams",
            f"p99 {measured.p99_s * 1000:.1f} ms",
            f"generator p99 {measured.lag_p99_s * 1000:.1f} ms late",
            is_met=is_good,
        )
        good, bad = (count, bad) if is_good else (good, count)
        count = 2 * good if bad is None else (good + bad) // 2
    row("p99 stays below 100 ms up to", f"{good} streams")


def _measure(connections: int, material: Samples, options: argparse.Namespace) -> Measured:
    with ExitStack() as stack:
        path = stack.enter_context(daemon(config=_config(connections, options)))
        plans = _plans(path, connections, material, options)
        pipes, pids = stack.enter_context(_generators(plans))
        client = WireClient(path)
        client.send(wire.GetHealth())
        processes = Processes(client.wait_for(wire.Health), pids)
        client.close()
        share = connections // len(pipes)
        _order(pipes, Connect(count=share // 2))
        half_bytes = _settled_bytes(processes)
        _order(pipes, Connect(count=share + 1))
        idle_bytes = _settled_bytes(processes)
        _order(pipes, Open())
        begin_s = time.perf_counter() + 0.5
        for pipe in pipes:
            pipe.send(Play(begin_s=begin_s, seconds=SETTLE_S + options.seconds))
        time.sleep(begin_s + SETTLE_S - time.perf_counter())
        processes.restart()
        held = [_answer(pipe, Held) for pipe in pipes]
        active_bytes, busy = processes.core_bytes(), processes.busy()
        machine_load = os.getloadavg()[0]
        played = [_answer(pipe, Played) for pipe in pipes]
    counted = [
        final.came_s - final.due_s
        for each in played
        for final in each.finals
        if 0.0 <= final.due_s - begin_s - SETTLE_S < options.seconds
    ]
    samples = sum(each.samples for each in held) - connections * TOLD_EVERY_SAMPLES
    return Measured(
        connections=connections,
        latencies_s=counted,
        played=played,
        busy=busy,
        idle_bytes=(idle_bytes - half_bytes) / (connections - connections // 2),
        active_bytes=(active_bytes - idle_bytes) / connections,
        audio_bytes=4 * max(samples, 0) / connections,
        machine_load=machine_load,
    )


def _config(connections: int, options: argparse.Namespace) -> str:
    return f"""
        provider = "echo"
        [limits]
        max_connections = {connections + 8}
        max_sessions = {connections + 8}
        [scheduling]
        slots = 256
        max_waiting = {{ mic = {connections} }}
        [providers.echo.settings]
        latency_ms = {options.latency_ms}
        decodes_at_once = 256
    """


def _plans(
    path: Path, connections: int, material: Samples, options: argparse.Namespace
) -> list[Plan]:
    chance = random.Random(options.seed)
    firsts = [chance.randrange(len(material) // FRAME_SAMPLES) for _ in range(connections)]
    plans = []
    for number in range(options.generators):
        streams = tuple(range(number, connections, options.generators))
        plans.append(
            Plan(
                path=path,
                streams=streams,
                first_frames=tuple(firsts[stream] for stream in streams),
                material=material,
                silence_s=options.endpointing_ms / 1000,
                has_partials=options.partials,
            )
        )
    return plans


@contextmanager
def _generators(plans: list[Plan]) -> Iterator[tuple[list[Pipe], list[int]]]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for plan in plans:
        ours, theirs = context.Pipe()
        process = context.Process(target=generate, args=(plan, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        yield pipes, [process.pid for process in processes if process.pid is not None]
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.close()
            process.join(5)
            process.kill()


def _order(pipes: list[Pipe], order: object) -> None:
    for pipe in pipes:
        pipe.send(order)
    for pipe in pipes:
        _answer(pipe, type(None))


def _answer(pipe: Pipe, kind: type[Kind]) -> Kind:
    answer = pipe.recv()
    if not isinstance(answer, kind):
        raise TypeError(f"a generator said {answer!r}")
    return answer


def _settled_bytes(processes: Processes) -> int:
    time.sleep(1.0)
    return processes.core_bytes()


# ── what came of it ───────────────────────────────────────────────────────────────────────────


def _report(measured: Measured, material: Samples, options: argparse.Namespace) -> None:
    count, latencies_s = measured.connections, measured.latencies_s
    print(f"\n{count} streams for {options.seconds:g} s; load average {measured.machine_load:.1f}")
    loop_s = len(material) / SAMPLE_RATE
    expected = len(utterances(material, options.endpointing_ms / 1000)) * count
    row("finals", f"{len(latencies_s)}", f"about {expected * options.seconds / loop_s:.0f}")
    p50, p95, p99 = (percentile(latencies_s, share) * 1000 for share in (0.5, 0.95, 0.99))
    row(
        "final latency beyond endpointing: p50, p95, p99",
        f"{p50:.1f}, {p95:.1f}, {p99:.1f} ms",
        "p99 below 100 ms with 500",
        is_met=p99 < AIM_P99_S * 1000,
    )
    beyond = [each - options.latency_ms for each in (p50, p95, p99)]
    row("  beyond the engine", ", ".join(f"{each:.1f}" for each in beyond) + " ms")
    _report_generators(measured)
    for name, share in measured.busy.items():
        per_stream = share / count * 1e6
        row(f"CPU: {name}", f"{share:.0%} of a core", f"{per_stream:.0f} us per stream and second")
    row(
        "memory of an idle connection",
        f"{measured.idle_bytes / 1024:.1f} KiB",
        "below 8 KiB",
        is_met=measured.idle_bytes < AIM_IDLE_BYTES,
    )
    beyond_audio = measured.active_bytes - measured.audio_bytes
    row(
        "memory of an active stream beyond its audio",
        f"{beyond_audio / 1024:.1f} KiB",
        "below 64 KiB",
        is_met=beyond_audio < AIM_ACTIVE_BYTES,
    )
    row("  its audio, at the least", f"{measured.audio_bytes / 1024:.1f} KiB")


def _report_generators(measured: Measured) -> None:
    latest_s = max(lag_s for each in measured.played for lag_s in each.lags_s)
    row(
        "generators late: p99, at the worst",
        f"{measured.lag_p99_s * 1000:.1f}, {latest_s * 1000:.1f} ms",
        "p99 below 10 ms, else nothing here holds",
        is_met=measured.lag_p99_s <= MAX_LAG_S,
    )
    stalls = sum(each.stalls for each in measured.played)
    dropped_s = sum(each.dropped_s for each in measured.played)
    row("frames that a socket did not take at once", f"{stalls}")
    row("audio dropped", f"{dropped_s:.1f} s", "0", is_met=not dropped_s)
    errors = Counter(code for each in measured.played for code in each.errors)
    errors["never closed"] = sum(each.unfinished for each in measured.played)
    told = ", ".join(f"{name} {times}" for name, times in errors.items() if times)
    row("errors", told or "none", "none", is_met=not told)


if __name__ == "__main__":
    main()
