"""What decodes take, learned while running: per lane, a curve of time over windows per call.

Each count of windows that was seen keeps a moving mean. Between two known counts the curve is the
straight line, outside of them a window costs what it costs at the nearest known count. Two things
keep one bad moment from deciding for ever: a mean that was not fed for `FORGOTTEN_AFTER` calls of
its lane is dropped, so its count is tried again; and whoever weighs one count against others asks
the *smooth* curve. Disturbances only ever make a call longer, and reading more windows never takes
less time. So a count that looks dearer than the line between a smaller and a greater one was
disturbed, and the smooth curve, the lower convex hull of the known points, runs below it.
"""

from bisect import bisect_left
from collections.abc import Hashable, Sequence

MAX_LANES = 256
"""Lanes remembered; of more, the one that was noted least recently is forgotten."""

FORGOTTEN_AFTER = 50
"""Calls of a lane after which a count that was not among them is forgotten, but for the best."""

SMOOTHING = 8
"""Calls that a moving mean is made of: the first as many count alike, then each for an eighth."""

RATIO_SMOOTHING = 32
"""The same for decode time over audio, which decides on rungs and not on single calls."""

Point = tuple[int, float]
"""Windows in a call, and the seconds it takes."""


class Curve:
    """What one lane's calls take, as it is known now. Counts are of windows, and begin at 1."""

    def __init__(self, points: Sequence[Point]) -> None:
        """`points` are one or more, in ascending order of their counts."""
        self._points = points
        self._hull = _lower_hull(points)
        least_s = float("inf")
        self._at_most_s = []
        for _, took_s in reversed(points):
            least_s = min(least_s, took_s)
            self._at_most_s.append(least_s)
        self._at_most_s.reverse()

    @property
    def smallest(self) -> int:
        """The smallest count that is known."""
        return self._points[0][0]

    @property
    def largest(self) -> int:
        """The largest count that is known."""
        return self._points[-1][0]

    def predict_s(self, count: int) -> float:
        """What a call of so many windows takes, by its own mean or, without one, by others'."""
        return _at(self._points, count)

    def at_most_s(self, count: int) -> float:
        """The same, but no more than a known call of more windows takes."""
        beyond = bisect_left(self._points, (count, 0.0))
        longer_s = self._at_most_s[beyond] if beyond < len(self._points) else float("inf")
        return min(self.predict_s(count), longer_s)

    def window_s(self, count: int) -> float:
        """What each window of such a call takes, by the smooth curve."""
        return _at(self._hull, count) / count

    def best_window_s(self, count: int) -> float:
        """The least that `window_s` is for any count up to this one.

        On a straight piece it falls or rises throughout, so its least is at a corner or at the end.
        """
        corners = [took_s / at for at, took_s in self._hull if at < count]
        return min([self.window_s(count), *corners])


class Costs:
    """Learns from calls what their lanes cost."""

    def __init__(self, *, max_lanes: int = MAX_LANES) -> None:
        self._max_lanes = max_lanes
        self._lanes: dict[Hashable, _Lane] = {}

    def __len__(self) -> int:
        """Lanes that something is known of."""
        return len(self._lanes)

    def note(self, lane: Hashable, count: int, audio_s: float, took_s: float) -> None:
        """A call took `took_s` for `count` windows, one or more, of `audio_s` together."""
        known = self._lanes.pop(lane, None) or _Lane()
        self._lanes[lane] = known  # the last of the dictionary is the latest
        if len(self._lanes) > self._max_lanes:
            del self._lanes[next(iter(self._lanes))]
        known.note(count, audio_s, took_s)

    def curve(self, lane: Hashable) -> Curve | None:
        """What is known of a lane's calls; None where nothing is."""
        known = self._lanes.get(lane)
        return known.curve() if known is not None else None

    def predict_s(self, lane: Hashable, count: int) -> float | None:
        """What a call of so many windows takes; None where nothing is known of the lane."""
        curve = self.curve(lane)
        return curve.predict_s(count) if curve is not None else None

    def real_time_factor(self, lane: Hashable) -> float | None:
        """Seconds that a second of audio takes, of late; None where nothing is known.

        Each second of audio counts alike, however the calls shared them.
        """
        known = self._lanes.get(lane)
        return known.real_time_factor() if known is not None else None


class _Mean:
    """The moving mean of one count."""

    __slots__ = ("calls", "noted", "seconds", "smoothing")

    def __init__(self, smoothing: int = SMOOTHING) -> None:
        self.smoothing = smoothing
        self.seconds = 0.0
        self.calls = 0
        self.noted = 0

    def add(self, seconds: float, noted: int) -> None:
        self.calls += 1
        self.seconds += (seconds - self.seconds) / min(self.calls, self.smoothing)
        self.noted = noted


class _Lane:
    """The means of one lane; `_calls` numbers its calls."""

    def __init__(self) -> None:
        self._means: dict[int, _Mean] = {}
        self._calls = 0
        self._curve: Curve | None = None
        self._audio = _Mean(RATIO_SMOOTHING)
        self._took = _Mean(RATIO_SMOOTHING)

    def note(self, count: int, audio_s: float, took_s: float) -> None:
        self._calls += 1
        self._audio.add(audio_s, self._calls)
        self._took.add(took_s, self._calls)
        self._means.setdefault(count, _Mean()).add(took_s, self._calls)
        earliest = self._calls - FORGOTTEN_AFTER
        old = [each for each, mean in self._means.items() if mean.noted <= earliest]
        if old:  # the best is kept, lest ever dearer calls be measured against each other
            best = min(self._means, key=lambda each: self._means[each].seconds / each)
            for each in old:
                if each != best:
                    del self._means[each]
        self._curve = None

    def curve(self) -> Curve:
        if self._curve is None:  # made when asked for, once per call of the lane
            self._curve = Curve(sorted((at, mean.seconds) for at, mean in self._means.items()))
        return self._curve

    def real_time_factor(self) -> float | None:
        if self._audio.seconds <= 0:
            return None
        return self._took.seconds / self._audio.seconds


def _at(points: Sequence[Point], count: int) -> float:
    """The height of the curve through these points."""
    place = bisect_left(points, (count, 0.0))
    if place == len(points) or place == 0:
        at, took_s = points[min(place, len(points) - 1)]
        return took_s if at == count else took_s * count / at
    (left, left_s), (right, right_s) = points[place - 1], points[place]
    if right == count:
        return right_s
    return left_s + (right_s - left_s) * (count - left) / (right - left)


def _lower_hull(points: Sequence[Point]) -> list[Point]:
    """Those of the points that none of the lines between others runs below."""
    hull: list[Point] = []
    for at, took_s in points:
        while len(hull) >= 2:
            (first, first_s), (middle, middle_s) = hull[-2:]
            if (middle_s - first_s) * (at - first) < (took_s - first_s) * (middle - first):
                break
            hull.pop()
        hull.append((at, took_s))
    return hull
