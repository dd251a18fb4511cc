"""A stream as people see it: level, backlog, counts."""

import numpy as np
import pytest

from asrd.audio import PcmFormat
from asrd.session.endpoint import EndpointRule
from asrd.session.listener import LEVEL_WINDOWS, Listener
from asrd.session.rule import StreamRule
from asrd.session.stream import Stream
from asrd.session.view import QUIETEST_DBFS

WINDOW = 512


FORMAT = PcmFormat(encoding="pcm_s16le", sample_rate=16_000, channels=1)
RULE = EndpointRule(silence=8000)


def stream() -> Stream:
    rule = StreamRule(
        pcm_format=FORMAT,
        endpoint_rule=RULE,
        is_lossless=False,
        window_s=60.0,
        partial_interval_s=None,
    )
    made = Stream(1, rule)
    made.open()
    return made


def score(made: Stream, probability: float = 0.0) -> None:
    """Have all that came judged."""
    while (unscored := made.take_unscored(0.0)) is not None:
        made.scored(np.full(len(unscored.windows), probability, np.float32), 0.0)


def pcm(amplitude: float, windows: int) -> bytes:
    return np.full(windows * WINDOW, round(amplitude * 32768), "<i2").tobytes()


def test_before_its_first_audio_it_has_no_level() -> None:
    view = stream().view
    assert (view.audio_dbfs, view.delay_s) == (None, None)
    assert (view.received_s, view.backlog_s, view.uncommitted_s, view.segments) == (0, 0, 0, 0)


@pytest.mark.parametrize(("amplitude", "dbfs"), [(0.5, -6.02), (0.01, -40.0), (0.0, QUIETEST_DBFS)])
def test_the_level_is_that_of_the_newest_audio(amplitude: float, dbfs: float) -> None:
    made = stream()
    made.receive(pcm(0.9, 40), None)
    score(made)
    made.receive(pcm(amplitude, LEVEL_WINDOWS), None)
    score(made)
    assert made.view.audio_dbfs == pytest.approx(dbfs, abs=0.1)


def test_what_nobody_has_looked_at_waits_and_is_not_committed() -> None:
    made = stream()
    made.receive(pcm(0.5, 25), None)
    seconds = 25 * WINDOW / 16_000
    view = made.view
    assert (view.received_s, view.backlog_s, view.uncommitted_s) == (seconds, seconds, seconds)
    score(made, probability=1.0)
    view = made.view
    assert view.backlog_s == 0
    assert view.is_speech_open
    assert view.uncommitted_s == pytest.approx(seconds)


def test_a_level_is_there_once_the_audio_was_judged() -> None:
    """It is made of the powers that the judgement goes by: nothing is computed for it."""
    listener = Listener(FORMAT, RULE, 0)
    assert listener.newest_power is None
    listener.intake.receive(pcm(0.25, 100), None)
    heard, unscored = listener.take_unscored()
    assert (heard, unscored is None) == ([], False)
    assert listener.newest_power is None
    assert unscored is not None
    listener.scored(np.zeros(len(unscored.windows), np.float32))
    assert listener.newest_power == pytest.approx(0.0625)
