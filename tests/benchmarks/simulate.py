"""What load does to asrd, without the machine: `python -m benchmarks.simulate` in `tests/`.

The daemon's own scheduler and overload control run in virtual time, with streams that speak by
chance and engines that take what was measured. It takes about a minute of one core to simulate
some seconds of 100,000 sessions, and a second for a minute of a few hundred.

For every load of the sweep, by source: what its finals waited for a slot and took in all, what was
dropped, its share of the decode time. Then which steps of the ladder were taken. `load` is what
live sources ask for if every window were read alone, partials at the idle pace; batches carry more
than 1 of it. A session is one stream. A live final has waited since its endpoint.

    python -m benchmarks.simulate --engine whisper-tiny-cpu --replicas 4
    python -m benchmarks.simulate --sessions 1000,10000,100000 --replicas 1000 --seconds 12
    python -m benchmarks.simulate --cost 0.01+0.002 --gains 4:3,16:8 --mix mic=1 --arrivals mic=ptt
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from asrd.choices import LIVE_SOURCES
from asrd.config import Batches, LadderRule, Scheduling
from asrd.scheduler.ladder import Step, level_of
from asrd.server.served import OTHER_PRIORITY
from benchmarks.simulation.agenda import Progress
from benchmarks.simulation.arrivals import TALKS, Source, load_of
from benchmarks.simulation.engines import ENGINES, Engine, by_hand
from benchmarks.simulation.results import Results, spread
from benchmarks.simulation.world import Plan, World

LOADS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0)
MIX = "mic=20,system=75,file=5"
ARRIVALS = {"mic": "ptt", "system": "paced"}
PIECES_PER_S = 100_000
"""Times per second that all streams together are looked at because audio came, at the most."""
PROGRESS_S = 5.0


def main() -> None:
    """Simulate and print."""
    options = _options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    engine = _engine(options)
    mix, arrivals = _pairs(options.mix), {**ARRIVALS, **_pairs(options.arrivals)}
    total = sum(map(float, mix.values()))
    shares = {name: float(part) / total for name, part in mix.items()}
    rule = _rule(options)
    per_session = sum(
        share * load_of(_source(name, 1, arrivals), engine, rule.pace.idle_s)
        for name, share in shares.items()
    )
    print(f"{engine.name} ({engine.origin})")
    print(f"{options.replicas} replica(s); a session asks for {per_session:.4f} of one")
    counts = [int(each) for each in options.sessions.split(",") if each]
    if not counts:
        loads = [float(each) for each in options.loads.split(",") if each] or LOADS
        counts = [max(1, round(load * options.replicas / per_session)) for load in loads]
    found = []
    for count in counts:
        sources = tuple(
            _source(name, round(count * share), arrivals) for name, share in shares.items()
        )
        plan = Plan(
            sources=tuple(source for source in sources if source.streams),
            engine=engine,
            smaller=ENGINES[options.smaller] if options.smaller else None,
            rule=rule,
            seconds=options.seconds,
            warm_up_s=options.seconds / 3,
            seed=options.seed,
            piece_s=max(0.1, count / PIECES_PER_S),
        )
        started_s = time.perf_counter()
        results = World(plan).run(_progress(count, options.seconds))
        took_s = time.perf_counter() - started_s
        load = per_session * count / options.replicas
        _report(plan, count, load, results, took_s)
        found.append((count, load, results))
    _report_ladder(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="moonshine", choices=sorted(ENGINES))
    parser.add_argument("--cost", default="", help="an engine by hand: seconds per call+per second")
    parser.add_argument("--gains", default="", help="its batches: 4:2.5,16:3.5")
    parser.add_argument("--smaller", default="", choices=sorted(ENGINES), help="for the ladder")
    parser.add_argument("--replicas", type=int, default=1, help="decodes at a time, each as fast")
    parser.add_argument("--loads", default="", help="a sweep, by load on the replicas")
    parser.add_argument("--sessions", default="", help="the same by sessions; goes before")
    parser.add_argument("--mix", default=MIX, help="parts of all sessions")
    parser.add_argument("--arrivals", default="", help=f"by source, of {', '.join(TALKS)}")
    parser.add_argument("--seconds", type=float, default=90.0, help="a third of it warms up")
    parser.add_argument("--max-waiting", type=float, default=0.0, help="times the daemon's limits")
    parser.add_argument("--max-batch", type=int, default=Batches().max_batch)
    parser.add_argument("--background-share", type=float, default=Scheduling().background_share)
    parser.add_argument("--no-ladder", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _pairs(text: str) -> dict[str, str]:
    return dict(each.split("=", 1) for each in text.split(",") if each)


def _engine(options: argparse.Namespace) -> Engine:
    engine = by_hand(options.cost, options.gains) if options.cost else ENGINES[options.engine]
    most = min(options.max_batch, engine.abilities.max_batch)
    return replace(engine, abilities=replace(engine.abilities, max_batch=most))


def _rule(options: argparse.Namespace) -> Scheduling:
    """The daemon's defaults; with more replicas, as many may wait for each."""
    usual = Scheduling()
    times = options.max_waiting or options.replicas
    return replace(
        usual,
        slots=options.replicas,
        max_waiting={name: round(most * times) for name, most in usual.max_waiting.items()},
        max_waiting_others=round(usual.max_waiting_others * times),
        background_share=options.background_share,
        batches=replace(usual.batches, max_batch=options.max_batch),
        ladder=LadderRule(enabled=not options.no_ladder),
    )


def _source(name: str, streams: int, arrivals: Mapping[str, str]) -> Source:
    talk = TALKS[arrivals.get(name, "file")]
    return Source(
        name=name,
        priority=LIVE_SOURCES.get(name, OTHER_PRIORITY),
        streams=streams,
        talk=talk,
        has_partials=talk is not None,
    )


def _progress(sessions: int, seconds: float) -> Progress:
    started_s = told_s = time.perf_counter()

    def tell(at_s: float, events: int) -> None:
        nonlocal told_s
        now_s = time.perf_counter()
        if now_s - told_s >= PROGRESS_S:
            told_s = now_s
            rate = events / (now_s - started_s)
            text = f"{sessions} sessions: {at_s:.1f} of {seconds:g} s, {rate:.0f} events/s"
            print(text, file=sys.stderr, flush=True)

    return tell


# ── what came of it ───────────────────────────────────────────────────────────────────────────


def _report(plan: Plan, count: int, load: float, results: Results, took_s: float) -> None:
    highest = results.highest
    print(
        f"\n{count} sessions, load {load:.2f} ({results.offered:.2f} by finals alone),"
        f" slots held {results.busy:.0%}, ladder at most {highest.name.lower()}"
        f" (level {level_of(highest)}; {results.turnings} turnings)"
    )
    head = (
        "source",
        "priority",
        "streams",
        "finals",
        "wait ms p50/p95/p99",
        "final ms p50/p95/p99",
    )
    tail = ("partials", "their wait ms p50/p95", "dropped s", "share")
    print("  {:10}{:>9}{:>9}{:>8}{:>24}{:>26}{:>10}{:>23}{:>11}{:>7}".format(*head, *tail))
    for source in plan.sources:
        waits = spread(results.finals_wait[source.name])
        finals = spread(results.finals[source.name])
        partials = spread(results.partials_wait[source.name])
        print(
            f"  {source.name:10}{source.priority:>9}{source.streams:>9}{finals.count:>8}"
            f"{_ms(waits.p50, waits.p95, waits.p99):>24}"
            f"{_ms(finals.p50, finals.p95, finals.p99):>26}"
            f"{partials.count:>10}{_ms(partials.p50, partials.p95):>23}"
            f"{results.lost_s(source.name):>11.1f}{results.share(source.name):>7.1%}"
        )
    for (name, reason), lost_s in sorted(results.dropped_s.items()):
        print(f"  dropped, {name}, {reason}: {lost_s:.1f} s")
    for is_partial, sizes in results.batches.items():
        if set(sizes) - {1}:
            print(f"  windows per call, {'partials' if is_partial else 'finals'}: {_sizes(sizes)}")
    for event, times in sorted(results.told.items()):
        print(f"  told to streams: {event} {times} times")
    if results.aborted:
        print(f"  aborted: {results.aborted}")
    rate = results.events / took_s
    print(f"  {results.events} events in {took_s:.1f} s, {rate:.0f} per second", file=sys.stderr)


def _report_ladder(found: Sequence[tuple[int, float, Results]]) -> None:
    print("\nstep of the ladder                 first taken at")
    for step in Step:
        taken = [each for each in found if each[2].highest >= step]
        if step is not Step.NORMAL:
            name = f"{step.name.lower().replace('_', ' ')} (level {level_of(step)})"
            count, load, _ = min(taken, default=(0, 0.0, None), key=lambda each: each[1])
            where = f"{count} sessions, load {load:.2f}" if taken else "never in this sweep"
            print(f"  {name:32} {where}")


def _sizes(sizes: Counter[int]) -> str:
    calls = sizes.total()
    mean = sum(size * count for size, count in sizes.items()) / calls
    parts = ", ".join(f"{size}: {count / calls:.0%}" for size, count in sorted(sizes.items()))
    return f"{mean:.1f} on average ({parts})"


def _ms(*seconds: float) -> str:
    return "/".join(f"{each * 1000:.0f}" for each in seconds)


if __name__ == "__main__":
    main()
