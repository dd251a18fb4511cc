"""The one screen of `asrd status`: facts first, then what to do. As wide as a report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asrd.cli.figures import (
    BUSY_LOAD,
    all_troubles,
    as_amount,
    as_count,
    as_factor,
    as_level,
    as_milliseconds,
    as_state,
)
from asrd.cli.plain import plain
from asrd.cli.screens.looks import Look
from asrd.cli.screens.models import told_models
from asrd.cli.screens.queues import clients_of, sources_of
from asrd.cli.tables import REPORT_COLUMNS, as_size, as_span, entry, render

MOST_ROWS = 6
"""Of a table; what is more is counted."""


def report_lines(look: Look) -> list[str]:
    """All of it, no line longer than a report is wide but for commands to be pasted."""
    tables = [_models(look), _latencies(look)]
    lines = [*_head(look)]
    for table in tables:
        if table:
            lines += ["", *table]
    advice = list(advice_on(look))
    if advice:
        lines += ["", "What to do:"]
        for each in advice:
            lines += [f"  {each.text}"] if each.is_pasted else entry("  ", [each.text])
    return lines


def _head(look: Look) -> Iterator[str]:
    health, stats = look.health, look.stats
    counters = stats.counters
    state = as_state(health.state, is_ready=health.ready)
    facts = [f"{plain(look.server)} is {state}", f"up for {as_span(health.uptime_s)}"]
    yield from entry("", [*facts, as_size(health.memory_bytes)])
    yield from entry("  socket:  ", [plain(str(look.socket))])
    streams = as_amount(counters.get("streams_open", 0), "stream")
    clients, *gone = clients_of(counters, is_brief=False)
    waiting = f"{as_count(counters.get('streams_waiting', 0))} waiting"
    yield from entry("  streams: ", [f"{streams} of {clients}", waiting, *gone])
    yield from entry("  service: ", [as_level(stats.level), *_pace(look)])
    if stats.real_time_factor is not None:
        yield from entry("  speed:   ", [f"real-time factor {as_factor(stats.real_time_factor)}"])
    for name, group in sorted(stats.groups.items()):
        used = f"{group.get('running', 0):g} of {group.get('slots', 0):g} slots in use"
        load = f"load {group.get('load', 0):.2f}"
        yield from entry(f"  {plain(name)}: ".ljust(11), [load, used])
    troubles = all_troubles(counters, stats.errors)
    yield from entry("  trouble: ", troubles or ["none since the start"])


def _pace(look: Look) -> Iterator[str]:
    if "partial_interval_s" in look.stats.counters:
        yield f"partials every {look.stats.counters['partial_interval_s']:g} s"


# ── the tables ────────────────────────────────────────────────────────────────────────────────


def _models(look: Look) -> list[str]:
    headings = ("MODEL", "STATE", "STREAMS", "LAST DECODE", "MEMORY", "GPU")
    rows: list[tuple[str, ...]] = []
    for told in told_models(look.health):
        model, last_ms = told.model, told.model.last_inference_ms
        rows.append(
            (
                plain(told.name),
                told.state,
                as_count(model.streams) if model.streams else "",
                "" if last_ms is None else as_milliseconds(last_ms),
                as_size(model.memory_bytes),
                as_size(model.gpu_memory_bytes),
            )
        )
    return _table(headings, rows, right_from=2)


def _latencies(look: Look) -> list[str]:
    headings = (
        *("SOURCE", "WAITING", "WAIT P50", "P95", "P99"),
        *("DECODE P50", "P95", "P99", "RTF"),
    )
    stats = look.stats
    rows = [_row(plain(name), queue) for name, queue in sources_of(stats.queues)]
    if stats.latencies.get("decode_ms"):
        everything = {**stats.latencies, "real_time_factor": stats.real_time_factor}
        rows.append(_row("all", everything))
    return _table(headings, rows, right_from=1)


def _row(name: str, queue: Mapping[str, Any]) -> tuple[str, ...]:
    depth, limit, factor = queue.get("depth"), queue.get("limit"), queue.get("real_time_factor")
    figures = [
        as_milliseconds(queue[key][percentile]) if percentile in queue.get(key, {}) else ""
        for key in ("queue_wait_ms", "decode_ms")
        for percentile in ("p50", "p95", "p99")
    ]
    waiting = "" if depth is None else f"{as_count(depth)}/{as_count(limit or 0)}"
    return (name, waiting, *figures, "" if factor is None else as_factor(factor))


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]], *, right_from: int) -> list[str]:
    """Without the columns that have no cell; nothing where there is no row."""
    if not rows:
        return []
    used = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    shown, more = rows[:MOST_ROWS], len(rows) - MOST_ROWS
    lines = render(
        [headings[place] for place in used],
        [[row[place] for place in used] for row in shown],
        folded=headings[0],
        is_right_from=right_from,
        columns=REPORT_COLUMNS,
    ).splitlines()
    return [*lines, f"... and {more} more"] if more > 0 else lines


# ── what to do ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Advice:
    """What helps. `is_pasted`: it is a command, and stays in one piece."""

    text: str
    is_pasted: bool = False


def advice_on(look: Look) -> Iterator[Advice]:
    """What helps, the most urgent first; nothing where nothing is wrong."""
    health, counters = look.health, look.stats.counters
    for name, provider in sorted(health.providers.items()):
        if not (provider.is_default or provider.is_required or provider.models):
            continue
        if provider.problem and not provider.is_loadable:
            yield Advice(f"{plain(name)}: {plain(provider.problem)}")
        if provider.remedy:
            yield Advice(plain(provider.remedy), is_pasted=True)
        if provider.breaker != "closed":
            yield Advice(f"{plain(name)} has failed too often and is given a rest: see the log")
    if health.voice_activity is not None and health.voice_activity.problem:
        yield Advice(f"voice activity: {plain(health.voice_activity.problem)}")
    if health.state in ("starting", "warming_up"):
        yield Advice("models are being loaded: wait a little and look again")
    loads = [group.get("load", 0.0) for group in look.stats.groups.values()]
    load = max(loads, default=0.0)
    if look.stats.level or load >= BUSY_LOAD:
        asked = "for more than" if load > 1 else "for about as much as"
        yield Advice(
            f"it is asked {asked} it can do: take a smaller model or fewer streams; "
            "`asrd top` shows who asks, `asrd bench` what this machine can do"
        )
    if counters.get("worker_restarts") or counters.get("decodes_failed"):
        yield Advice("workers died or decodes failed since the start: the log says why")
