"""Whether a series of measurements is level or leaks; pure.

Counts (descriptors, threads, tasks, sessions) are judged by medians: that of the last fifth may
lie a little above that of the second. A median does not see a fault that lasts for a second.

Memory is judged by its slope, by Theil and Sen: the median of the slopes between all pairs, which
outliers do not move. A leak goes on for as long as there is load, while a cache is filled once, so
what counts is the lowest of three slopes: of all, of the earlier and of the later half. One step
leaves one half level. What steps add up to has a limit of its own.

Thresholds do not depend on the length of a run. Physics sets one: resident memory goes by pages and
arenas, and moves by a megabyte for no reason, so growth is told from that only where the slope,
times the length, comes to more. A run of half a minute sees leaks of megabytes in half a minute;
one of half an hour sees `max_slope_bytes_per_h`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

Point = tuple[float, float]
"""Seconds since the start, and what was measured then."""

FEWEST_POINTS = 10
MOST_PAIRED = 400
"""Points that slopes are taken of: a longer series is thinned evenly, as pairs go by its square."""

MAX_SLOPE_BYTES_PER_H = 6_000_000
RESOLUTION_BYTES = 1_500_000
MAX_GROWTH_BYTES = 16_000_000
"""In all, however it came about."""

TOLERANCES = {"descriptors": 4, "threads": 1, "tasks": 3, "sessions": 12, "streams": 4}
"""By how much the later median may lie above the earlier: load is not quite the same in both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of one series: `found` and `limit` are for people to read."""

    name: str
    is_level: bool
    found: str
    limit: str


def judge_memory(name: str, points: Sequence[Point]) -> Verdict:
    """Whether resident memory, in bytes, is level. Raises ValueError for too few points."""
    _require(points)
    span_s = points[-1][0] - points[0][0]
    middle = len(points) // 2
    parts = (points, points[:middle], points[middle:])
    slope = min(slope_per_s(part) for part in parts)
    growth_bytes = _growth(points, first_fifth=0)
    steady_bytes = slope * span_s
    may_bytes = max(MAX_SLOPE_BYTES_PER_H / 3600 * span_s, RESOLUTION_BYTES)
    return Verdict(
        name=name,
        is_level=steady_bytes <= may_bytes and growth_bytes <= MAX_GROWTH_BYTES,
        found=f"{_mb(slope * 3600)}/h: {_mb(steady_bytes)}, {_mb(growth_bytes)} in all",
        limit=f"{_mb(may_bytes)}, {_mb(MAX_GROWTH_BYTES)} in all",
    )


def judge_count(name: str, points: Sequence[Point]) -> Verdict:
    """Whether a count is level, which load moves too. Raises ValueError for too few points."""
    _require(points)
    growth = _growth(points, first_fifth=1)
    tolerance = TOLERANCES[name]
    return Verdict(
        name=name,
        is_level=growth <= tolerance,
        found=f"{growth:+g} to {_median_of_fifth(points, 4):g}",
        limit=f"{tolerance:+d}",
    )


def slope_per_s(points: Sequence[Point]) -> float:
    """The slope by Theil and Sen: the median of those between any two points."""
    thinned = points[:: -(-len(points) // MOST_PAIRED)]
    return median(
        (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(thinned, 2) if x2 > x1
    )


def _growth(points: Sequence[Point], *, first_fifth: int) -> float:
    return _median_of_fifth(points, 4) - _median_of_fifth(points, first_fifth)


def _median_of_fifth(points: Sequence[Point], number: int) -> float:
    begin, end = (round(len(points) * share / 5) for share in (number, number + 1))
    return median(value for _, value in points[begin:end])


def _require(points: Sequence[Point]) -> None:
    if len(points) < FEWEST_POINTS:
        raise ValueError(f"{len(points)} points say nothing; {FEWEST_POINTS} are the fewest")


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:+.2f} MB"
