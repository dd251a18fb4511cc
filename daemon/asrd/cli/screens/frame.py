"""One frame of `asrd top`: no more lines than the screen has, and none longer than it is wide."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import UnsetType
from rich.text import Text

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
from asrd.cli.screens.glyphs import (
    ALARM,
    GOOD,
    HEADING,
    QUIET,
    WARNING,
    Column,
    Glyphs,
    bar,
    cropped,
    fit,
    heading_row,
    laid_out,
    row,
    shown,
)
from asrd.cli.screens.looks import Look
from asrd.cli.screens.models import told_models
from asrd.cli.screens.queues import clients_of, sources_of
from asrd.cli.screens.streams import stream_table
from asrd.cli.tables import as_size, as_span

AIRY_ROWS = 32
"""From here on sections stand apart by an empty line."""

WIDE_COLUMNS = 110

LOST = "no answer, trying again each second"

FULL_SHARE = 0.8
"""From here on a queue stands out."""

STATE_STYLES = {"ready": GOOD, "degraded": WARNING, "unavailable": ALARM}
BETWEEN = "   "

QUEUES = (
    Column(key="queue", heading="QUEUE", width=8, grows=True, most=16),
    Column(key="bar", heading="", width=9, grows=True, most=30),
    Column(key="waiting", heading="WAITING", width=7, is_right=True),
    Column(key="wait50", heading="WAIT P50", width=8, is_right=True),
    Column(key="wait95", heading="P95", width=7, is_right=True),
    Column(key="wait99", heading="P99", width=7, is_right=True, from_columns=100),
    Column(key="decode50", heading="DECODE P50", width=10, is_right=True),
    Column(key="decode95", heading="P95", width=7, is_right=True),
    Column(key="decode99", heading="P99", width=7, is_right=True, from_columns=100),
    Column(key="rtf", heading="RTF", width=6, is_right=True),
    Column(key="dropped", heading="DROPPED", width=7, is_right=True),
)

MODELS = (
    Column(key="model", heading="MODEL", width=24, grows=True, most=40),
    Column(key="state", heading="STATE", width=11),
    Column(key="streams", heading="STREAMS", width=7, is_right=True),
    Column(key="memory", heading="MEMORY", width=7, is_right=True),
    Column(key="gpu", heading="GPU", width=7, is_right=True),
    Column(key="decode", heading="DECODE", width=7, is_right=True),
    Column(key="note", heading="NOTE", width=11, grows=True, most=200),
)


def frame(
    look: Look, *, width: int, height: int, glyphs: Glyphs, order: str = "priority", foot: str = ""
) -> list[Text]:
    """The screen for what the daemon told. `foot` is its last line."""
    is_airy = height >= AIRY_ROWS
    most = max(2, height // 6)
    sections = [
        [*_head(look, width, glyphs), *_slots(look, width, glyphs)],
        _some(_queues(look, width, glyphs), 2 + most),
        _some(_models(look, width, glyphs), 1 + most),
    ]
    lines: list[Text] = []
    for section in sections:
        lines += section
        if is_airy:
            lines.append(Text())
    last = [Text(foot, style=QUIET)] if foot else []
    room = height - len(lines) - len(last)
    told = look.stats.streams
    if isinstance(told, UnsetType):
        lines.append(Text("this daemon is too old to tell of its streams", style=QUIET))
    else:
        left_out = look.stats.streams_left_out
        lines += stream_table(
            told,
            0 if isinstance(left_out, UnsetType) else left_out,
            width=width,
            rows=room,
            glyphs=glyphs,
            order=order,
        )
    lines = lines[: max(0, height - len(last))]
    lines += [Text()] * (height - len(last) - len(lines)) if last else []
    return [cropped(line, width, glyphs) for line in [*lines, *last]]


def lost_frame(lines: list[Text], problem: str, *, width: int, glyphs: Glyphs) -> list[Text]:
    """The last frame while the daemon does not answer: quiet, with what is wrong above it."""
    said = cropped(Text(shown(f"{LOST}: {problem}", glyphs), style=ALARM), width, glyphs)
    quiet = [Text(line.plain, style=QUIET) for line in lines[1:]]
    return [said, *quiet]


# ── the head ──────────────────────────────────────────────────────────────────────────────────


def _head(look: Look, width: int, glyphs: Glyphs) -> Iterator[Text]:
    health, stats = look.health, look.stats
    state = as_state(health.state, is_ready=health.ready)
    rung = Text(as_level(stats.level), style=WARNING if stats.level else "")
    parts = [
        Text(shown(look.server, glyphs), style=HEADING),
        Text(state, style=STATE_STYLES.get(health.state, WARNING)),
        Text(f"up {as_span(health.uptime_s)}"),
        rung,
    ]
    if "partial_interval_s" in stats.counters and width >= WIDE_COLUMNS:
        parts.append(Text(f"partials every {stats.counters['partial_interval_s']:g} s"))
    yield Text(BETWEEN if width >= WIDE_COLUMNS else "  ").join(parts)
    counters = stats.counters
    facts = [
        as_amount(counters.get("streams_open", 0), "stream"),
        *clients_of(counters, is_brief=width < WIDE_COLUMNS),
        f"{as_count(counters.get('streams_waiting', 0))} waiting",
    ]
    if stats.real_time_factor is not None:
        facts.append(f"real-time factor {as_factor(stats.real_time_factor)}")
    if health.memory_bytes:
        facts.append(as_size(health.memory_bytes))
    yield Text(", ".join(facts))
    troubles = all_troubles(counters, stats.errors)
    wrong = Text(shown("; ".join(troubles), glyphs), WARNING)
    yield wrong if troubles else Text("nothing went wrong", QUIET)


def _slots(look: Look, width: int, glyphs: Glyphs) -> Iterator[Text]:
    stats = look.stats
    groups: Mapping[str, Mapping[str, float]] = stats.groups
    if not groups and "decode_slots" in stats.counters:
        running, slots = stats.counters.get("decodes_running", 0), stats.counters["decode_slots"]
        groups = {"local": {"running": running, "slots": slots}}
    for name, group in sorted(groups.items()):
        running, slots = group.get("running", 0), group.get("slots", 0)
        line = Text(fit(f"slots {shown(name, glyphs)}", 18, glyphs))
        line.append_text(bar(running / slots if slots else 0, max(9, width // 5), glyphs))
        line.append(f" {running:g}/{slots:g} in use")
        if "load" in group:
            load = group["load"]
            line.append(BETWEEN)
            line.append(f"load {load:.2f}", WARNING if load >= BUSY_LOAD else "")
        level = int(group.get("level", 0))
        if level:
            line.append(BETWEEN)
            line.append(f"level {level}", WARNING)
        yield line


# ── the tables ────────────────────────────────────────────────────────────────────────────────


def _queues(look: Look, width: int, glyphs: Glyphs) -> list[Text]:
    columns = laid_out(QUEUES, width)
    lines = [heading_row(columns, width, glyphs)]
    room = columns["bar"].width if "bar" in columns else 0
    for name, queue in sources_of(look.stats.queues):
        cells = _queue_cells(queue, room, glyphs) | {"queue": Text(shown(name, glyphs))}
        lines.append(row(cells, columns, width, glyphs))
    everything: dict[str, Any] = {
        **look.stats.latencies,
        "real_time_factor": look.stats.real_time_factor,
        "dropped_s": look.stats.counters.get("dropped_s"),
    }
    cells = _queue_cells(everything, 0, glyphs) | {"queue": Text("all")}
    lines.insert(1, row(cells, columns, width, glyphs))
    return lines


def _queue_cells(queue: Mapping[str, Any], columns: int, glyphs: Glyphs) -> dict[str, Text]:
    cells: dict[str, Text] = {}
    depth, limit = queue.get("depth"), queue.get("limit")
    if depth is not None and limit:
        style = WARNING if depth >= FULL_SHARE * limit else ""
        cells["bar"] = bar(depth / limit, columns, glyphs, style)
        cells["waiting"] = Text(f"{as_count(depth)}/{as_count(limit)}", style=style)
    for kind, key in (("wait", "queue_wait_ms"), ("decode", "decode_ms")):
        for percent in ("50", "95", "99"):
            value_ms = queue.get(key, {}).get(f"p{percent}")
            if value_ms is not None:
                cells[f"{kind}{percent}"] = Text(as_milliseconds(value_ms))
    factor, dropped_s = queue.get("real_time_factor"), queue.get("dropped_s")
    if factor is not None:
        cells["rtf"] = Text(as_factor(factor))
    if dropped_s:
        cells["dropped"] = Text(as_milliseconds(dropped_s * 1000), style=ALARM)
    return cells


def _models(look: Look, width: int, glyphs: Glyphs) -> list[Text]:
    columns = laid_out(MODELS, width)
    lines = [heading_row(columns, width, glyphs)]
    for told in told_models(look.health):
        model = told.model
        cells = {
            "model": Text(shown(told.name, glyphs)),
            "state": Text(told.state, style=STATE_STYLES.get(told.state, WARNING)),
            "streams": Text(as_count(model.streams) if model.streams else ""),
            "memory": Text(as_size(model.memory_bytes)),
            "gpu": Text(as_size(model.gpu_memory_bytes)),
            "note": Text(shown(told.note, glyphs), style=WARNING),
        }
        if model.last_inference_ms is not None:
            cells["decode"] = Text(as_milliseconds(model.last_inference_ms))
        lines.append(row(cells, columns, width, glyphs))
    return lines


def _some(lines: list[Text], most: int) -> list[Text]:
    """A table cut to so many lines, the last of which says how many are missing."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], Text(f"... and {len(lines) - most + 1} more", style=QUIET)]
