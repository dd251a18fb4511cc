"""The table of streams: one line each, the most urgent first, as many as there is room for."""

from collections.abc import Callable, Mapping, Sequence

from rich.text import Text

from asrd.cli.figures import as_count, as_milliseconds
from asrd.cli.screens.glyphs import (
    ALARM,
    GOOD,
    QUIET,
    WARNING,
    Column,
    Glyphs,
    bar,
    heading_row,
    laid_out,
    row,
    shown,
)
from asrd.wire.reports import StreamStats

LATE_S = 5.0
"""A backlog of more stands out."""

FLOOR_DBFS = -60.0
"""Where the level's bar is empty: what is lower counts as silence."""

METER_COLUMNS = 5

COLUMNS = (
    Column(key="stream", heading="STREAM", width=8, grows=True, most=12),
    Column(key="client", heading="CLIENT", width=13, grows=True, most=30),
    Column(key="source", heading="SOURCE", width=7, grows=True, most=14),
    Column(key="priority", heading="P", width=2, is_right=True),
    Column(key="state", heading="STATE", width=8),
    Column(key="meter", heading="dBFS", width=METER_COLUMNS + 5, is_right=True),
    Column(key="reader", heading="READ BY", width=13, from_columns=110, grows=True, most=32),
    Column(key="level", heading="L", width=1, is_right=True),
    Column(key="backlog", heading="BACKLOG", width=7, is_right=True),
    Column(key="delay", heading="DELAY", width=7, is_right=True),
    Column(key="dropped", heading="DROPPED", width=7, is_right=True),
    Column(key="audio", heading="AUDIO", width=8, is_right=True, from_columns=120),
    Column(key="segments", heading="SEGMENTS", width=8, is_right=True, from_columns=120),
)

Key = Callable[[StreamStats], tuple[float, ...]]
ORDERS: Mapping[str, Key] = {
    "priority": lambda stream: (stream.priority, -stream.backlog_s),
    "backlog": lambda stream: (-stream.backlog_s, stream.priority),
    "delay": lambda stream: (-(stream.delay_ms or 0.0), stream.priority),
    "dropped": lambda stream: (-stream.dropped_s, stream.priority),
}
"""What streams may be sorted by. Those that are equal stay in the order of their sessions."""


def next_order(order: str) -> str:
    """The order behind this one, and the first behind the last."""
    names = list(ORDERS)
    return names[(names.index(order) + 1) % len(names)]


def stream_table(
    streams: Sequence[StreamStats],
    left_out: int,
    *,
    width: int,
    rows: int,
    glyphs: Glyphs,
    order: str = "priority",
) -> list[Text]:
    """The headings, streams, and how many more there are, on `rows` lines at the most.

    `left_out` are those that the daemon did not tell.
    """
    columns = laid_out(COLUMNS, width)
    lines = [heading_row(columns, width, glyphs)]
    ordered = sorted(streams, key=ORDERS[order])
    total = len(ordered) + left_out
    room = max(0, rows - 1)
    if total > room:
        room = max(0, room - 1)
    for stream in ordered[:room]:
        lines.append(row(_cells(stream, glyphs), columns, width, glyphs))
    more = total - min(room, len(ordered))
    if more:
        lines.append(Text(f"... and {as_count(more)} more", style=QUIET))
    if not total:
        lines.append(Text("no streams are open", style=QUIET))
    return lines[: max(0, rows)]


def _cells(stream: StreamStats, glyphs: Glyphs) -> dict[str, Text]:
    name = f"{shown(stream.session, glyphs)}/{stream.stream}"
    is_late = stream.backlog_s >= LATE_S
    return {
        "stream": Text(name) if stream.is_connected else Text(f"({name})", style=QUIET),
        "client": Text(shown(stream.client, glyphs)),
        "source": Text(shown(stream.source, glyphs)),
        "priority": Text(str(stream.priority)),
        "state": Text(stream.state, style=_STATE_STYLES.get(stream.state, "")),
        "meter": _meter(stream.audio_dbfs, glyphs),
        "reader": Text(_reader(stream, glyphs)),
        "level": Text(str(stream.level) if stream.level else "", style=WARNING),
        "backlog": Text(_seconds(stream.backlog_s), style=WARNING if is_late else ""),
        "delay": Text("" if stream.delay_ms is None else as_milliseconds(stream.delay_ms)),
        "dropped": Text(_seconds(stream.dropped_s), style=ALARM),
        "audio": Text(_seconds(stream.audio_s)),
        "segments": Text(as_count(stream.segments)),
    }


_STATE_STYLES = {"speaking": GOOD, "waiting": WARNING, "opening": QUIET, "silent": QUIET}


def _reader(stream: StreamStats, glyphs: Glyphs) -> str:
    """Provider and model; one name where they are the same."""
    provider, model = shown(stream.provider, glyphs), shown(stream.model, glyphs)
    return provider if provider == model else f"{provider}/{model}"


def _meter(dbfs: float | None, glyphs: Glyphs) -> Text:
    if dbfs is None:
        return Text("-", style=QUIET)
    drawn = bar((dbfs - FLOOR_DBFS) / -FLOOR_DBFS, METER_COLUMNS, glyphs)
    return drawn.append(f"{max(dbfs, -999):5.0f}")


def _seconds(seconds: float) -> str:
    """Seconds with a tenth, and nothing for none."""
    if seconds < 0.05:
        return ""
    return f"{seconds:.1f} s" if seconds < 999.95 else f"{as_count(seconds)} s"
