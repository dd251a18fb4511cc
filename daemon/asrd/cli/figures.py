"""Figures and names of a daemon as people read them, each as short as it can be."""

from collections.abc import Mapping

from asrd.cli.plain import plain

BUSY_LOAD = 0.8
"""From here on a group of slots has about as much to do as it can."""

LEVELS = (
    "everybody gets all",
    "longer chunks",
    "fewer partials, smaller models",
    "finals only for the secondary source",
    "read by a fallback",
)
"""The rungs of the ladder, as `daemon/PROTOCOL.md` tells them."""

TROUBLES = {
    "decodes_failed": ("decode failed", "decodes failed"),
    "decodes_aborted": ("decode aborted", "decodes aborted"),
    "partials_left_out": ("partial left out", "partials left out"),
    "queue_timeouts": ("queue timeout", "queue timeouts"),
    "worker_restarts": ("worker restart", "worker restarts"),
}
"""Counters that are told only where they are not 0."""


def as_level(level: int) -> str:
    """A rung and what it means."""
    return f"level {level} ({LEVELS[level]})" if level < len(LEVELS) else f"level {level}"


def as_count(number: float) -> str:
    """A whole number in six characters at the most."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= 100 * size:
            return f"{number / size:.0f}{unit}"
    return f"{number:.0f}"


def as_amount(number: float, one: str, many: str = "") -> str:
    """A count with its noun; `many` is for nouns that do not simply take an s."""
    return f"{as_count(number)} {one if number == 1 else many or one + 's'}"


def as_milliseconds(value_ms: float) -> str:
    """A time in seven characters at the most, for as long as it is under a day."""
    if value_ms < 999.5:
        return f"{value_ms:.{1 if value_ms < 9.95 else 0}f} ms"
    return f"{value_ms / 1000:.{1 if value_ms < 99_950 else 0}f} s"


def as_factor(factor: float) -> str:
    """A ratio in three digits, and six characters at the most for as long as it is under a million.

    The daemon tells four decimals.
    """
    if factor >= 999.5:
        return f"{factor:.0f}"
    if 0 < factor < 0.001:
        return "<0.001"
    return f"{factor:.3g}" if factor >= 0.1 else f"{factor:.4f}".rstrip("0").rstrip(".")


def as_words(state: str) -> str:
    """A state of the protocol, with blanks."""
    return state.replace("_", " ")


def as_state(state: str, *, is_ready: bool) -> str:
    """The daemon's state. All but one say themselves whether it is ready."""
    if state != "degraded":
        return as_words(state)
    return f"{state}, {'ready' if is_ready else 'not ready'}"


def troubles_of(counters: Mapping[str, int | float]) -> list[str]:
    """What went wrong since the start, as far as anything did."""
    return [
        as_amount(counters[name], one, many)
        for name, (one, many) in TROUBLES.items()
        if counters.get(name)
    ]


def all_troubles(counters: Mapping[str, int | float], errors: Mapping[str, int]) -> list[str]:
    """The same with audio that was dropped before it, and errors that clients were told behind."""
    dropped_s = counters.get("dropped_s", 0)
    dropped = [f"{dropped_s:.1f} s of audio dropped"] if dropped_s else []
    told = [f"{as_count(count)} {plain(code)}" for code, count in sorted(errors.items())]
    return [
        *dropped,
        *troubles_of(counters),
        *([f"errors told: {', '.join(told)}"] if told else []),
    ]
