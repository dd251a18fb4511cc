"""What decodes cost: engines as they were measured, or as somebody says they are."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from asrd.abilities import LONGEST_WINDOW_S, Abilities

Points = tuple[tuple[float, float], ...]
"""A curve: places in ascending order, and its height at each."""

MAX_BATCH = 16
_PLAIN = Abilities()


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine's costs. `single_s` is what a window takes alone, by its length in seconds.

    `gains` say, by length, how many times faster windows are read together than one by one, by
    their number; between two lengths, or two numbers, what lies between. `origin` says where the
    figures come from. `abort_s` is how long an abort takes.
    """

    name: str
    origin: str
    single_s: Points
    gains: tuple[tuple[float, Points], ...] = ()
    abilities: Abilities = _PLAIN
    is_padded: bool = False
    abort_s: float = 0.1

    def call_s(self, audio_s: Sequence[float], *, is_partial: bool) -> float:
        """What one call with windows of these lengths takes, one or more."""
        if self.is_padded:
            context_s = self.abilities.context_s(max(audio_s), is_partial=is_partial)
            alone_s = _at(self.single_s, context_s) * len(audio_s)
        else:
            context_s = max(audio_s)
            alone_s = sum(_at(self.single_s, each) for each in audio_s)
        return alone_s / self._gain(context_s, len(audio_s))

    def _gain(self, context_s: float, count: int) -> float:
        if count == 1 or not self.gains:
            return 1.0
        by_context = tuple((at, _at(((1, 1.0), *points), count)) for at, points in self.gains)
        return _at(by_context, context_s)


def _at(points: Points, place: float) -> float:
    """The height of a curve; it goes on level before its first and after its last place."""
    right = bisect_left(points, (place,))
    if right == 0:
        return points[0][1]
    if right == len(points):
        return points[-1][1]
    (from_, low), (to, high) = points[right - 1], points[right]
    return low + (high - low) * (place - from_) / (to - from_)


_SHORT = (4.0, 8.0, 12.0, LONGEST_WINDOW_S)
_CPU_GAINS = (
    (4.0, ((4, 2.5), (8, 2.9), (16, 3.5))),
    (LONGEST_WINDOW_S, ((MAX_BATCH, 1.0),)),
)


def _whisper_on_cpu(
    name: str, times: float, origin: str, *, is_short_always: bool = False
) -> Engine:
    finals = _SHORT if is_short_always else (LONGEST_WINDOW_S,)
    return Engine(
        name=name,
        origin=origin,
        single_s=tuple(
            (at, took_s * times)
            for at, took_s in ((4.0, 0.100), (8.0, 0.114), (12.0, 0.130), (30.0, 0.405))
        ),
        gains=_CPU_GAINS,
        abilities=Abilities(
            max_batch=MAX_BATCH, partial_contexts_s=_SHORT, final_contexts_s=finals
        ),
        is_padded=True,
    )


ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            name="moonshine",
            origin="measured, one core: 2, 5 and 10 s of audio; beyond in proportion",
            single_s=((0.0, 0.005), (2.0, 0.051), (5.0, 0.106), (10.0, 0.242), (30.0, 0.726)),
        ),
        _whisper_on_cpu(
            "whisper-tiny-cpu",
            1.0,
            "measured, one core, int8: contexts of 4 s (with batches) and 30 s; between, reckoned",
        ),
        _whisper_on_cpu(
            "whisper-tiny-short",
            1.0,
            "the same with finals on short contexts, too (`short_context = always`)",
            is_short_always=True,
        ),
        _whisper_on_cpu(
            "whisper-base-cpu",
            0.760 / 0.405,
            "measured, one core, int8: a context of 30 s; all else in proportion to tiny",
        ),
        Engine(
            name="whisper-cpp-tiny",
            origin="measured, one core, f16: 30 s, 2.5 and 6.4 s; its abort is an ASSUMPTION",
            single_s=((2.5, 0.140), (6.4, 0.233), (30.0, 0.965)),
            abilities=Abilities(partial_contexts_s=(2.56, 6.4, LONGEST_WINDOW_S), can_abort=True),
            is_padded=True,
            abort_s=0.3,
        ),
        Engine(
            name="gpu",
            origin="an ASSUMPTION, measured nowhere: a large Whisper on a data-centre GPU",
            single_s=((4.0, 0.12), (30.0, 0.20)),
            gains=(
                (4.0, ((4, 3.4), (16, 10.0), (64, 20.0))),
                (30.0, ((4, 2.8), (16, 6.0), (64, 8.0))),
            ),
            abilities=Abilities(max_batch=64, partial_contexts_s=_SHORT),
            is_padded=True,
        ),
    )
}


def by_hand(cost: str, gains: str = "") -> Engine:
    """An engine by `fixed+per_second`, seconds both, and `count:gain,...` where it batches.

    Raises:
        ValueError: that is not how they are written.
    """
    fixed_s, _, rate = cost.partition("+")
    longest_s = float(fixed_s) + LONGEST_WINDOW_S * float(rate or 0.0)
    points = [each.split(":") for each in gains.split(",") if each]
    curve = tuple(sorted((float(count), float(gain)) for count, gain in points))
    return Engine(
        name=f"{cost} {gains}".strip(),
        origin="as given",
        single_s=((0.0, float(fixed_s)), (LONGEST_WINDOW_S, longest_s)),
        gains=((0.0, curve),) if curve else (),
        abilities=Abilities(max_batch=int(curve[-1][0]) if curve else 1),
    )
