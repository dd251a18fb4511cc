"""What one stream came to, gathered while it lives and told in one line when it has ended.

It is touched for each decode and for what the stream tells, never for a frame.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from asrd.audio import SAMPLE_RATE
from asrd.providers.catalogue import ModelKey
from asrd.scheduler.measures import Outcome
from asrd.session import effects
from asrd.session.effects import Effect

KEPT_DELAYS = 100
"""Of the latest finals; the median is theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """A decode of a stream's window that has ended at `ended_s`.

    It had waited for `waited_s` when it got its slot, and held that for `held_s`, together with
    `windows - 1` others; `share_s` is its own part of that time. `utterance` is the sample at which
    the utterance of its window begins. It holds no audio, so that it can be kept.
    """

    key: ModelKey
    utterance: int
    audio_s: float
    is_partial: bool
    outcome: Outcome
    windows: int
    waited_s: float
    held_s: float
    share_s: float
    ended_s: float


@dataclass(slots=True)
class Summary:
    """The account of one stream.

    Whoever moves it counts `moves`, whoever resumes its session `resumes`; `worst_level` is the
    highest rung of the ladder that it felt, `errors` are those that it was told of, by code.
    """

    opened_at_s: float
    is_live: bool
    moves: int = 0
    resumes: int = 0
    worst_level: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    _decodes: int = 0
    _failed: int = 0
    _put_back: int = 0
    _decode_s: float = 0.0
    _decoded_s: float = 0.0
    _waited_s: float = 0.0
    _longest_wait_s: float = 0.0
    _partials: int = 0
    _delays_s: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_DELAYS))
    _longest_delay_s: float = 0.0
    _dropped: Counter[str] = field(default_factory=Counter)  # 16 kHz samples, by reason
    _gaps: int = 0

    def decoded(self, decode: Decode) -> None:
        """A decode has ended."""
        match decode.outcome:
            case Outcome.READ:
                self._decodes += 1
                self._decode_s += decode.share_s
                self._decoded_s += decode.audio_s
                self._waited_s += decode.waited_s
                self._longest_wait_s = max(self._longest_wait_s, decode.waited_s)
            case Outcome.FAILED:
                self._failed += 1
            case Outcome.PUT_BACK:
                self._put_back += 1
            case Outcome.NOTHING:
                pass

    def told(self, told: Iterable[Effect]) -> None:
        """The stream tells something."""
        for effect in told:
            match effect:
                case effects.Partial():
                    self._partials += 1
                case effects.Segment():
                    # How long ago a file's speech ended, nobody can tell.
                    if self.is_live and (delay_s := effect.delay_s) is not None:
                        self._delays_s.append(delay_s)
                        self._longest_delay_s = max(self._longest_delay_s, delay_s)
                case effects.Dropped():
                    self._dropped[effect.reason] += effect.end - effect.start
                case effects.Gap():
                    self._gaps += 1
                case effects.DecodeFailed():
                    self.errors[effect.code] += 1
                case _:
                    pass

    def values(self, end: effects.StreamClosed, speech_s: float, now_s: float) -> dict[str, Any]:
        """All that the line of an ended stream says. What never happened by reason is left out."""
        delays_s = sorted(self._delays_s)
        values: dict[str, Any] = {
            "reason": end.reason,
            "open_s": round(now_s - self.opened_at_s, 3),
            "audio_s": round(end.audio / SAMPLE_RATE, 4),
            "speech_s": round(speech_s, 3),
            "segments": end.segments,
            "partials": self._partials,
            "decodes": self._decodes,
            "decodes_failed": self._failed,
            "decodes_put_back": self._put_back,
            "decode_s": round(self._decode_s, 3),
            "dropped_s": round(end.dropped / SAMPLE_RATE, 4),
            "gaps": self._gaps,
            "resumes": self.resumes,
            "moves": self.moves,
            "worst_level": self.worst_level,
        }
        if self._decodes:
            values["real_time_factor"] = round(self._decode_s / max(self._decoded_s, 1e-3), 4)
            values["queue_wait_mean_ms"] = _ms(self._waited_s / self._decodes)
            values["queue_wait_max_ms"] = _ms(self._longest_wait_s)
        if delays_s:
            values["final_delay_p50_ms"] = _ms(delays_s[(len(delays_s) - 1) // 2])
            values["final_delay_max_ms"] = _ms(self._longest_delay_s)
        if self._dropped:
            values["dropped"] = {
                reason: round(samples / SAMPLE_RATE, 4)
                for reason, samples in sorted(self._dropped.items())
            }
        if self.errors:
            values["errors"] = dict(sorted(self.errors.items()))
        return values


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
