"""The table of streams: its order, and what each cell says."""

import pytest

from asrd.cli.screens.glyphs import LINES
from asrd.cli.screens.streams import ORDERS, next_order, stream_table
from support.looks import stream

STREAMS = [
    stream(1, priority=5, backlog_s=9.0, delay_ms=50.0, dropped_s=0.0),
    stream(2, priority=1, backlog_s=0.5, delay_ms=None, dropped_s=7.0),
    stream(3, priority=1, backlog_s=2.5, delay_ms=900.0, dropped_s=1.0),
]


def rows(order: str = "priority", count: int = 20) -> list[str]:
    table = stream_table(STREAMS, 0, width=80, rows=count, glyphs=LINES, order=order)
    return [line.plain for line in table]


@pytest.mark.parametrize(
    ("order", "numbers"),
    [
        ("priority", [3, 2, 1]),
        ("backlog", [1, 3, 2]),
        ("delay", [3, 1, 2]),
        ("dropped", [2, 3, 1]),
    ],
)
def test_streams_are_sorted_by_what_matters(order: str, numbers: list[int]) -> None:
    assert [int(line.split()[0].partition("/")[2]) for line in rows(order)[1:]] == numbers


def test_the_orders_go_round() -> None:
    seen = [order := "priority"]
    while (order := next_order(order)) != "priority":
        seen.append(order)
    assert seen == list(ORDERS)


@pytest.mark.parametrize(("count", "shown", "last"), [(4, 3, ""), (3, 1, "2"), (2, 0, "3")])
def test_as_many_as_fit(count: int, shown: int, last: str) -> None:
    lines = rows(count=count)
    assert len(lines) == count
    assert sum("s1/" in line for line in lines) == shown
    assert lines[-1] == f"... and {last} more" or not last


def test_a_stream_whose_client_has_gone_is_in_brackets() -> None:
    table = stream_table([stream(is_connected=False)], 0, width=80, rows=2, glyphs=LINES)
    assert table[1].plain.startswith("(s1/1)  ")


def test_what_is_nothing_is_an_empty_cell() -> None:
    quiet = stream(audio_dbfs=None, model="tiny", state="opening", level=3)
    line = stream_table([quiet], 0, width=80, rows=2, glyphs=LINES)[1].plain
    assert line.split() == ["s1/1", "a", "recorder", "mic", "1", "opening", "-", "3"]
    wide = stream_table([quiet], 0, width=110, rows=2, glyphs=LINES)[1].plain
    assert wide.split()[7:] == ["echo/tiny", "3"]
