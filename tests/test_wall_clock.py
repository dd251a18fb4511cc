"""No logic goes by the wall clock: it jumps, and a daemon runs for months."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import asrd

SOURCE = Path(asrd.__file__).parent

WALL = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime"},
    "datetime": {"now", "today", "utcnow"},
    "date": {"today"},
}

ALLOWED = {
    "server/metrics.py": "a metric tells when the daemon started, as Prometheus counts time",
    "server/recorder.py": "a recording says when it was made; it counts on by the daemon's clock",
    "server/tracing.py": "spans bear the time of day; how long they are is the daemon's clock's",
}
"""Modules that tell the time of day, each with its reason."""


def wall_clocks(source: str) -> Iterator[str]:
    """Every use of the wall clock in a module, whatever name it was imported by."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            for each in node.names:
                names[each.asname or each.name] = each.name
                if each.name in WALL.get(node.module or "", ()):
                    yield f"{node.module}.{each.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            known = names.get(name, name)
            if node.attr in WALL.get(known, ()):
                yield f"{known}.{node.attr}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.time()", ["time.time"]),
        ("import time as t\nt.localtime()", ["time.localtime"]),
        ("from time import time_ns as now\nnow()", ["time.time_ns"]),
        ("import datetime\ndatetime.datetime.now()", ["datetime.now"]),
        ("from datetime import datetime as d\nd.utcnow()", ["datetime.utcnow"]),
        ("from datetime import date\ndate.today()", ["date.today"]),
        ("import time\ntime.monotonic(); time.sleep(1); clock.now_s()", []),
        ("loop.time()", []),
    ],
)
def test_what_counts_as_the_wall_clock(source: str, found: list[str]) -> None:
    assert [*wall_clocks(source)] == found


def test_nothing_but_what_tells_the_time_of_day_looks_at_it() -> None:
    """Logs do too, by structlog's own stamp."""
    used = {
        str(path.relative_to(SOURCE)): found
        for path in SOURCE.rglob("*.py")
        if (found := [*wall_clocks(path.read_text())])
    }
    assert {*used} == {*ALLOWED}, used
