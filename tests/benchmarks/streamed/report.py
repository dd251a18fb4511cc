"""What the benchmark `streaming` prints: a table for each engine, and whether its aims were met."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.common import median, percentile, row
from benchmarks.streamed.measures import Seen

MOST_TIMES_THE_ERRORS = 1.05
MOST_ERRORS_MORE = 1
MOST_BEYOND_DECODE_S = 0.05
MOST_TIMES_THE_FINALS = 3.0

LABEL_WIDTH = 46
CELL_WIDTH = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Of the takes that were played whole, as often as they were: errors, streamed and as the
    engine and `asrd transcribe` read them, and words."""

    streamed: int
    alone: int
    as_files: int
    words: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One policy at one number of streams. `errors` is None where nothing is understood."""

    policy: str
    streams: int
    seen: Seen
    errors: Errors | None
    decode_s: float
    audio_s: float
    finals_decoded: int
    dropped_s: float
    lag_s: float

    @property
    def cost(self) -> float:
        """Decode seconds per second of audio."""
        return self.decode_s / self.audio_s

    @property
    def busy(self) -> float:
        """Decode seconds per second of playing. Above 1, some were made when it was over."""
        return self.cost * self.streams


def cost_ratio(result: Result, results: Sequence[Result]) -> float | None:
    """What it cost, over what finals alone cost with as many streams."""
    for other in results:
        if other.policy == "finals" and other.streams == result.streams and other.decode_s:
            return result.cost / other.cost
    return None


def print_table(engine: str, results: Sequence[Result]) -> None:
    """A column for each policy and number of streams."""

    def line(label: str, cell: Callable[[Result], str]) -> None:
        cells = "".join(f"{cell(result):>{CELL_WIDTH}}" for result in results)
        print(f"{label:{LABEL_WIDTH}}{cells}", flush=True)

    print()
    line(engine, lambda result: f"{result.policy}, {result.streams}")
    line("word errors, streamed", lambda result: _errors(result, lambda errors: errors.streamed))
    line(
        "  the engine alone on whole recordings",
        lambda result: _errors(result, lambda errors: errors.alone),
    )
    line(
        "  as `asrd transcribe` reads them",
        lambda result: _errors(result, lambda errors: errors.as_files),
    )
    line("segments", lambda result: str(result.seen.segments))
    line("  without a decode of their own", _free_finals)
    line("finalisation delay, ms p50/p95", lambda result: _ms(result.seen.delays_s))
    line("  beyond a bare decode, ms p50/p95", lambda result: _ms(result.seen.beyond_decode_s))
    line("first partial, ms p50/p95", lambda result: _ms(result.seen.first_partials_s))
    line("age of newest stable word, ms p50/p95", lambda result: _ms(result.seen.stable_ages_s))
    line("partials", lambda result: str(result.seen.partials))
    line(
        "  words shown that changed later",
        lambda result: _share(result.seen.changed, result.seen.shown),
    )
    line(
        "  stable prefixes broken",
        lambda result: f"{result.seen.broken} of {result.seen.promises}",
    )
    line("decode seconds per audio second", lambda result: f"{result.cost:.3f}")
    line("  times the finals alone", lambda result: _times(cost_ratio(result, results)))
    line("  decode seconds per second of playing", lambda result: f"{result.busy:.2f}")
    line("audio dropped, s", lambda result: f"{result.dropped_s:.1f}")
    line("the player's latest piece, ms late", lambda result: f"{result.lag_s * 1000:.0f}")


def print_aims(engine: str, results: Sequence[Result]) -> None:
    """Which aims this run met. Those of errors and delay are for a machine that is free."""
    fewest = min((result.streams for result in results), default=0)
    for result in results:
        if result.streams == fewest:
            _print_aims_at_rest(f"{engine}, {result.policy}, {fewest} stream(s)", result)
    partials = [result for result in results if result.policy == "partials"]
    ratios = [
        (result.streams, ratio)
        for result in partials
        if (ratio := cost_ratio(result, results)) is not None
    ]
    if ratios:
        row(
            f"{engine}: cost of partials, times the finals alone",
            f"{ratios[0][1]:.2f}",
            f"at most {MOST_TIMES_THE_FINALS:g}",
            is_met=ratios[0][1] <= MOST_TIMES_THE_FINALS,
        )
    if len(ratios) > 1:
        found = " ".join(f"{ratio:.2f}" for _, ratio in ratios)
        counts = ", ".join(str(streams) for streams, _ in ratios)
        row(f"{engine}: the same at {counts} streams", found, "falling", is_met=is_falling(ratios))
    if partials:
        broken = sum(result.seen.broken for result in partials)
        row(f"{engine}: stable prefixes broken", str(broken), "0", is_met=broken == 0)


def is_falling(ratios: Sequence[tuple[int, float]]) -> bool:
    """Whether partials cost less, beside the finals, the more streams there are.

    Less with the most than with the fewest, and nowhere more than a tenth above the step before:
    costs of single runs are no more exact.
    """
    found = [ratio for _, ratio in sorted(ratios)]
    return found[-1] < found[0] and all(later <= 1.1 * sooner for sooner, later in pairwise(found))


def _print_aims_at_rest(name: str, result: Result) -> None:
    if result.errors is not None and result.errors.words:
        most = most_errors(result.errors.alone)
        row(
            f"{name}: word errors",
            f"{result.errors.streamed}",
            f"at most {most:.1f}",
            is_met=result.errors.streamed <= most,
        )
    if result.seen.beyond_decode_s:
        beyond_s = median(result.seen.beyond_decode_s)
        row(
            f"{name}: delay beyond a decode, p50",
            f"{beyond_s * 1000:.0f} ms",
            f"at most {MOST_BEYOND_DECODE_S * 1000:.0f} ms",
            is_met=beyond_s <= MOST_BEYOND_DECODE_S,
        )


def most_errors(alone: int) -> float:
    """How many errors streaming may make where the engine alone makes so many."""
    return MOST_TIMES_THE_ERRORS * alone + MOST_ERRORS_MORE


def _errors(result: Result, of: Callable[[Errors], int]) -> str:
    return _share(of(result.errors), result.errors.words) if result.errors else "-"


def _free_finals(result: Result) -> str:
    return _share(max(0, result.seen.segments - result.finals_decoded), result.seen.segments)


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} {part / whole:.1%}" if whole else "-"


def _ms(values_s: Sequence[float]) -> str:
    if not values_s:
        return "-"
    return f"{median(values_s) * 1000:.0f}/{percentile(values_s, 0.95) * 1000:.0f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
