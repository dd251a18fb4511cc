"""`asrd stats`: how the daemon copes, what waits, and how long it takes."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from asrd.cli.figures import (
    as_count,
    as_factor,
    as_level,
    as_milliseconds,
    troubles_of,
)
from asrd.cli.options import JsonOption, SocketOption
from asrd.cli.plain import plain, plain_json
from asrd.cli.printing import say
from asrd.cli.tables import REPORT_COLUMNS, entry, render

if TYPE_CHECKING:
    from pathlib import Path

    from asrd.wire.messages import Stats

Queue = Mapping[str, Any]
"""What is told of one source or provider. A daemon of another version may leave something out."""


def stats(json: JsonOption = False, socket: SocketOption = None) -> None:
    """Print all that the daemon counts: load, queues, latencies. `asrd status` sums it up."""
    import asyncio

    found = asyncio.run(_ask(socket))
    say(_as_json(found) if json else "\n".join(_lines(found)))


async def _ask(socket: "Path | None") -> "Stats":
    from asrd.cli.reach import answered, running

    async with running(socket) as client:
        return await answered(client.stats())


def _as_json(found: "Stats") -> str:
    import msgspec

    from asrd.cli.transcripts import to_json

    fields = msgspec.to_builtins(found)
    del fields["type"]
    return plain_json(to_json(fields))


# ── the head ──────────────────────────────────────────────────────────────────────────────────


def _lines(found: "Stats") -> Iterator[str]:
    counters = found.counters
    yield from entry("", _head(found))
    for name, group in sorted(found.groups.items()):
        slots = f"{group.get('running', 0):g} of {group.get('slots', 0):g} slots in use"
        facts = [f"load {group.get('load', 0):.2f}", slots]
        if group.get("level", 0) != found.level:
            facts.append(as_level(int(group.get("level", 0))))
        yield from entry(f"  {plain(name)}: ", facts)
    troubles = troubles_of(counters)
    if troubles:
        yield from entry("  ", troubles)
    if found.errors:
        told = [f"{as_count(count)} {plain(code)}" for code, count in sorted(found.errors.items())]
        yield from entry("  errors told: ", told)
    for table in (
        _table(found.queues, QUEUE_HEADINGS, _queue_cells),
        _table(found.queues, LATENCY_HEADINGS, _latency_cells),
        _batches(found.queues),
    ):
        if table:
            yield ""
            yield table


def _head(found: "Stats") -> list[str]:
    counters = found.counters
    streams = counters.get("streams_open", 0)
    facts = [
        as_level(found.level),
        f"{as_count(streams)} {'stream' if streams == 1 else 'streams'} open",
    ]
    if not found.groups and "decode_slots" in counters:
        running, slots = counters.get("decodes_running", 0), counters["decode_slots"]
        facts.append(f"{running} of {slots} slots in use")
    if "partial_interval_s" in counters:
        facts.append(f"partials every {counters['partial_interval_s']:g} s")
    if found.real_time_factor is not None:
        facts.append(f"real-time factor {as_factor(found.real_time_factor)}")
    return facts


# ── the tables ────────────────────────────────────────────────────────────────────────────────

SOURCE, PROVIDER = "SOURCE", "PROVIDER"

QUEUE_HEADINGS = ("WAITING", "FILL", "FINALS", "PARTIALS", "COALESCED", "ABORTED", "DROPPED")


def _queue_cells(queue: Queue) -> list[str]:
    depth, limit = queue.get("depth"), queue.get("limit")
    fill = queue.get("fill_ratio")
    dropped_s = queue.get("dropped_s")
    return [
        "" if depth is None else str(depth) if limit is None else f"{depth}/{limit}",
        "" if fill is None else f"{fill:.0%}",
        *(as_count(queue[key]) if key in queue else "" for key in ("finals", "partials")),
        *(as_count(queue[key]) if queue.get(key) else "" for key in ("coalesced", "aborted")),
        as_milliseconds(dropped_s * 1000) if dropped_s else "",
    ]


LATENCY_HEADINGS = ("WAIT P50", "P95", "P99", "DECODE P50", "P95", "RTF")


def _latency_cells(queue: Queue) -> list[str]:
    wanted = {"queue_wait_ms": ("p50", "p95", "p99"), "decode_ms": ("p50", "p95")}
    factor = queue.get("real_time_factor")
    return [
        *(
            as_milliseconds(queue[key][name]) if name in queue.get(key, {}) else ""
            for key, names in wanted.items()
            for name in names
        ),
        "" if factor is None else as_factor(factor),
    ]


def _table(
    queues: Mapping[str, Queue], headings: tuple[str, ...], cells: Callable[[Queue], list[str]]
) -> str:
    """One row for each source, then one for each provider. Columns without a cell are left out."""
    rows: dict[str, list[list[str]]] = {SOURCE: [], PROVIDER: []}
    for name, queue in sorted(queues.items()):
        found = cells(queue)
        if any(found):
            kind = PROVIDER if name.startswith("provider:") else SOURCE
            rows[kind].append([_name(name), *found])
    every = [*rows[SOURCE], *rows[PROVIDER]]
    if not every:
        return ""
    used = [place for place in range(len(headings) + 1) if any(row[place] for row in every)]
    first, *others = ([kind, *headings] for kind in (SOURCE, PROVIDER) if rows[kind])
    below = [[PROVIDER] + [""] * len(headings)] if others else []
    return render(
        [first[place] for place in used],
        [[row[place] for place in used] for row in (*rows[SOURCE], *below, *rows[PROVIDER])],
        folded=first[0],
        is_right_from=1,
        columns=REPORT_COLUMNS,
    )


def _batches(queues: Mapping[str, Queue]) -> str:
    """How many windows the calls to each provider held."""
    heading = "WINDOWS IN A CALL:CALLS"
    rows = [
        (_name(name), " ".join(f"{size}:{calls}" for size, calls in queue["batches"].items()))
        for name, queue in sorted(queues.items())
        if queue.get("batches")
    ]
    table = render((PROVIDER, heading), rows, folded=heading, columns=REPORT_COLUMNS)
    return table if rows else ""


# ── cells ─────────────────────────────────────────────────────────────────────────────────────


def _name(queue: str) -> str:
    return plain(queue.removeprefix("source:").removeprefix("provider:"))
