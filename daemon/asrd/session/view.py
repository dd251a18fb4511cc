"""A stream as it is at this moment, for whoever looks at it. Looking changes nothing."""

import math
from typing import NamedTuple

from asrd.audio import SAMPLE_RATE, PcmFormat
from asrd.session.backlog import Backlog
from asrd.session.ledger import Ledger
from asrd.session.listener import Listener

QUIETEST_DBFS = -120.0
"""What digital silence is told as: under the noise of any converter."""

_QUIETEST_POWER = 10 ** (QUIETEST_DBFS / 10)


class StreamView(NamedTuple):  # made a thousand times at once: half the price of a dataclass
    """What a stream holds, and what was counted.

    `audio_dbfs` is the newest audio that was looked at; None before the first. `received` is in
    16 kHz samples, as the end of the stream tells it. `backlog_s` waits: nobody has looked at it,
    or it is in utterances that no decode has begun. `uncommitted_s` is all audio behind the commit,
    the utterance that is open among it. `delay_s` is the newest finalisation delay, None before the
    first.
    """

    audio_dbfs: float | None
    is_speech_open: bool
    received: int
    backlog_s: float
    uncommitted_s: float
    dropped_s: float
    segments: int
    delay_s: float | None

    @property
    def received_s(self) -> float:
        """All audio that ever came."""
        return self.received / SAMPLE_RATE


def view_of(
    pcm_format: PcmFormat, listener: Listener, ledger: Ledger, backlog: Backlog
) -> StreamView:
    """Look at the parts of a stream."""
    rate, intake = pcm_format.sample_rate, listener.intake
    return StreamView(
        audio_dbfs=_dbfs(listener.newest_power),
        is_speech_open=listener.endpointer.open_start is not None,
        received=pcm_format.to_16k(intake.received),
        backlog_s=backlog.waiting_s,
        uncommitted_s=max(0, intake.expected - ledger.committed) / rate,
        dropped_s=ledger.dropped_samples / SAMPLE_RATE,
        segments=ledger.segments,
        delay_s=ledger.delay_s,
    )


def _dbfs(power: float | None) -> float | None:
    if power is None:
        return None
    return 10 * math.log10(power) if power > _QUIETEST_POWER else QUIETEST_DBFS
