"""Half an hour of mixed load and a fault a minute: `python -m benchmarks.soak` in `tests/`.

    --minutes 30          how long, after a rehearsal of every fault
    --fault-every-s 60    rest between two faults
    --provider moonshine  a real engine
    --kill-daemon         the daemon is among what is killed; then nothing is judged but the texts
    --leak memory         a daemon that leaks memory, descriptors or tasks: it must be found out

Live streams, files, visits, questions and models that come and go meet workers that die,
connections that break, readers that stall, garbage, and a daemon that is stopped for seconds.
Nothing that the daemon holds may grow (`soaking/verdict.py` says what that means), and each text is
that of peace: after the soak the same audio is read by a daemon that nobody disturbs. Exits with 1
where anything was found.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asrd.wire.messages import GetHealth, GetStats, Health, Stats
from benchmarks.common import row
from benchmarks.soaking.harm import FAULTS, harm, turns
from benchmarks.soaking.leaks import LEAKS
from benchmarks.soaking.load import MixedLoad
from benchmarks.soaking.scene import Plan, Scene
from benchmarks.soaking.speech import Speech
from benchmarks.soaking.talker import Talker
from benchmarks.soaking.verdict import Point, Verdict, judge_count, judge_memory
from faults.scenes import Reading, reading
from support.census import census

REHEARSAL_REST_S = 0.3
BUGS = {"connection_failed", "check_failed", "stream_failed", "task_failed"}
"""Lines of the log that only a bug writes."""
COUNTS = ("descriptors", "threads", "tasks", "sessions", "streams")
PEACE_STREAMS = 4


@dataclass
class Outcome:
    """What a soak found."""

    verdicts: list[Verdict]
    wrongs: list[str]
    faults: dict[str, int]
    streams: int
    segments: int
    resumed: int
    audio_s: float
    workers_mb: tuple[float, float] = (0.0, 0.0)

    @property
    def is_sound(self) -> bool:
        """Whether everything is level and every text right."""
        return not self.wrongs and all(verdict.is_level for verdict in self.verdicts)

    @property
    def leaking(self) -> list[str]:
        """What is not level."""
        return [verdict.name for verdict in self.verdicts if not verdict.is_level]


@dataclass
class Series:
    """What was measured."""

    memory: list[Point] = field(default_factory=list)
    workers: list[Point] = field(default_factory=list)
    counts: dict[str, list[Point]] = field(default_factory=lambda: {name: [] for name in COUNTS})

    async def look(self, scene: Scene, began_s: float) -> None:
        """Measure once."""
        counters = (await scene.ask(GetStats(), Stats)).counters
        held, at_s = census(scene.daemon.pid), time.monotonic() - began_s
        self.memory.append((at_s, held.rss_bytes))
        self.workers.append((at_s, held.children_bytes))
        found = {
            "descriptors": held.descriptors,
            "threads": held.threads,
            "tasks": counters["tasks"],
            "sessions": counters["sessions"],
            "streams": counters["streams_open"],
        }
        for name, value in found.items():
            self.counts[name].append((at_s, value))

    def verdicts(self) -> list[Verdict]:
        """Each series judged."""
        counts = [judge_count(name, points) for name, points in self.counts.items()]
        return [judge_memory("memory", self.memory), *counts]


async def soak(plan: Plan, folder: Path) -> Outcome:
    """Load a daemon, harm it, watch it; `folder` is for its socket and its log."""
    scene = await asyncio.to_thread(Scene, plan, folder)
    try:
        await scene.ask(GetHealth(), Health)
        load, series = MixedLoad(scene), Series()
        load.begin()
        for name in FAULTS:  # what is made once is made now
            await harm(scene, name)
            await asyncio.sleep(REHEARSAL_REST_S)
        await asyncio.sleep(plan.resume_window_s)  # as many sessions come as go
        watching = asyncio.create_task(_watch(scene, series))
        await _harm_in_turn(scene)
        watching.cancel()
        await load.finish()
        _see_log(scene)
        if not (await scene.ask(GetHealth(), Health)).ready:
            scene.wrongs.append("the daemon is not ready in the end")
    finally:
        scene.daemon.kill()
    await _compare(scene, folder / "peace")
    speeches = scene.finished
    wrongs = [f"{each.source} {each.number}: {wrong}" for each in speeches for wrong in each.wrongs]
    return Outcome(
        verdicts=[] if plan.kills_daemon else series.verdicts(),
        wrongs=scene.wrongs + wrongs,
        faults=dict(scene.faults),
        streams=len(speeches),
        segments=sum(len(each.segments) for each in speeches),
        resumed=sum(talker.resumed for talker in scene.steady),
        audio_s=sum(each.sent_bytes for each in speeches) / 32_000,
        workers_mb=(series.workers[0][1] / 1e6, series.workers[-1][1] / 1e6),
    )


async def _watch(scene: Scene, series: Series) -> None:
    began_s = time.monotonic()
    while True:
        await series.look(scene, began_s)
        await asyncio.sleep(scene.plan.look_every_s)


async def _harm_in_turn(scene: Scene) -> None:
    plan = scene.plan
    end_s = time.monotonic() + plan.seconds
    for name in turns(scene):
        left_s = end_s - time.monotonic()
        await asyncio.sleep(max(0.0, min(plan.fault_every_s, left_s)))
        if left_s <= plan.fault_every_s:
            return
        await harm(scene, name)


def _see_log(scene: Scene) -> None:
    """The log tells of no bug, and of each reader that was given up."""
    for line in scene.daemon.events:
        if line["event"] in BUGS:
            scene.wrongs.append(f"logged: {line}"[:2000])
    scene.wrongs += [f"on stderr: {line}" for line in scene.daemon.strays[:20]]
    given_up = len(scene.daemon.logged("slow_consumer"))
    if not scene.plan.kills_daemon and given_up < scene.stalls:
        scene.wrongs.append(f"{scene.stalls} readers stalled, {given_up} were given up")


async def _compare(scene: Scene, folder: Path) -> None:
    """Hold every text against that of peace, each audio read once and as one lossless stream."""
    peace = await asyncio.to_thread(Scene, Plan(seconds=0, provider=scene.plan.provider), folder)
    try:
        await peace.ask(GetHealth(), Health)
        wanted = {(each.first_bytes, each.length_bytes) for each in scene.finished}
        undisturbed: dict[tuple[int, int | None], Reading] = {}
        todo = [
            Speech(number, "file", length, first_bytes=first)
            for number, (first, length) in enumerate(sorted(wanted, key=str))
        ]
        for begin in range(0, len(todo), PEACE_STREAMS):
            some = todo[begin : begin + PEACE_STREAMS]
            await Talker(peace.path, some, speed=1.0).run()
            for each in some:
                undisturbed[each.first_bytes, each.length_bytes] = reading(each.segments)
        for speech in scene.finished:
            expected = undisturbed[speech.first_bytes, speech.length_bytes]
            speech.compare(expected, is_exact=not scene.plan.kills_daemon)
    finally:
        peace.daemon.kill()


def report(plan: Plan, outcome: Outcome) -> None:
    """Print what was found."""
    row("soaked for", f"{plan.seconds / 60:.1f} min", f"a fault every {plan.fault_every_s:g} s")
    row("audio spoken", f"{outcome.audio_s / 3600:.2f} h")
    row("streams, segments", f"{outcome.streams}, {outcome.segments}")
    for name, times in sorted(outcome.faults.items()):
        row(f"  {name}", f"{times}")
    row("sessions resumed", f"{outcome.resumed}")
    for verdict in outcome.verdicts:
        row(verdict.name, verdict.found, f"at most {verdict.limit}", is_met=verdict.is_level)
    row("workers' memory, first and last", "{:.0f}, {:.0f} MB".format(*outcome.workers_mb))
    wrongs = outcome.wrongs
    row("lost, doubled or otherwise wrong", f"{len(wrongs)}", "0", is_met=not wrongs)
    for wrong in wrongs[:20]:
        print(f"  {wrong}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--fault-every-s", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--provider", default="echo", choices=["echo", "moonshine"])
    parser.add_argument("--speed", type=float, default=2.0, help="times real time; at most 4")
    parser.add_argument("--kill-daemon", action="store_true")
    parser.add_argument("--leak", choices=sorted(LEAKS))
    chosen = parser.parse_args(arguments)
    plan = Plan(
        seconds=60 * chosen.minutes,
        fault_every_s=chosen.fault_every_s,
        seed=chosen.seed,
        provider=chosen.provider,
        speed=chosen.speed,
        kills_daemon=chosen.kill_daemon,
        leak=chosen.leak,
    )
    row("seed", f"{plan.seed}")
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(soak(plan, Path(folder)))
    report(plan, outcome)
    return 0 if outcome.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
