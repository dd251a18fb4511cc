"""Who speaks when: sources, how long their utterances are and how long their pauses."""

import math
from dataclasses import dataclass
from random import Random

from benchmarks.simulation.engines import Engine

SHORTEST_S, LONGEST_S = 1.0, 15.0
FILE_WINDOW_S = 5.0, 30.0
SILENCE_S = 0.5
"""Trailing silence that ends an utterance where nobody says that it has ended."""
_SPREAD = 0.7
"""Of the logarithm of an utterance's length."""
SAMPLED = 4000
"""Utterances by which the load of a source is estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """How a live source talks.

    `endpoint_s` lies between the end of speech and the moment its end is known. With `burst_s`
    utterances begin together, at its multiples.
    """

    speech_share: float = 0.4
    mean_s: float = 4.0
    endpoint_s: float = SILENCE_S
    is_exponential: bool = False
    burst_s: float | None = None

    def length_s(self, random: Random) -> float:
        """The next utterance's."""
        if self.is_exponential:
            length_s = random.expovariate(1 / self.mean_s)
        else:
            middle = math.log(self.mean_s) - _SPREAD**2 / 2
            length_s = random.lognormvariate(middle, _SPREAD)
        return min(max(length_s, SHORTEST_S), LONGEST_S)

    @property
    def mean_pause_s(self) -> float:
        """From the moment that the end is known to the next utterance."""
        return max(self.mean_s * (1 / self.speech_share - 1) - self.endpoint_s, 0.05)

    def next_s(self, now_s: float, random: Random) -> float:
        """When the next utterance begins, once one has ended."""
        begins_s = now_s + random.expovariate(1 / self.mean_pause_s)
        if self.burst_s is None:
            return begins_s
        return math.ceil(begins_s / self.burst_s) * self.burst_s

    def first_s(self, random: Random) -> float:
        """When the first begins, so that streams do not begin together unless they shall."""
        begins_s = random.uniform(0.0, self.mean_s + self.endpoint_s + self.mean_pause_s)
        return begins_s if self.burst_s is None else self.next_s(0.0, random)


TALKS: dict[str, Talk | None] = {
    "paced": Talk(),
    "ptt": Talk(speech_share=0.15, endpoint_s=0.0, is_exponential=True),
    "bursts": Talk(speech_share=0.2, burst_s=20.0),
    "file": None,
}
"""Ways to arrive: paced live speech, push-to-talk, bursts; a file always has another window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Streams of one kind. Without a talk they are files: lossless, always with more."""

    name: str
    priority: int
    streams: int
    talk: Talk | None
    has_partials: bool = True

    @property
    def is_live(self) -> bool:
        """Whether it is heard as it happens."""
        return self.talk is not None


def file_window_s(random: Random) -> float:
    """The length of a file's next window."""
    return random.uniform(*FILE_WINDOW_S)


def load_of(source: Source, engine: Engine, interval_s: float) -> float:
    """The load of one stream on one slot, each window read alone: its finals, and a partial each
    time its utterance has grown by `interval_s`. A file's is none: it takes what is left over."""
    talk = source.talk
    if talk is None:
        return 0.0
    random = Random(0)
    lengths_s = [talk.length_s(random) for _ in range(SAMPLED)]
    cost_s = 0.0
    for length_s in lengths_s:
        cost_s += engine.call_s((length_s,), is_partial=False)
        if source.has_partials:
            partials = int(length_s / interval_s)
            sizes_s = [interval_s * (1 + count) for count in range(partials)]
            cost_s += sum(engine.call_s((size_s,), is_partial=True) for size_s in sizes_s)
    return cost_s / (sum(lengths_s) + SAMPLED * (talk.endpoint_s + talk.mean_pause_s))
