"""What a stream tells, as messages: samples become seconds, and nothing is left out."""

from typing import Any

import pytest
from msgspec import UNSET

from asrd.config import Config
from asrd.errors import ErrorCode, ProtocolError
from asrd.providers.catalogue import ModelKey
from asrd.server.served import ServedStream, rule_of
from asrd.server.summary import Summary
from asrd.server.translate import error_message, ladder_message, message_of, seconds
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.session.keeping import Keeping
from asrd.session.session import Session
from asrd.transcript import Hypothesis, Word
from asrd.wire import messages as wire


def served(**fields: Any) -> ServedStream:
    """A stream 7 that was asked for with `fields`."""
    session = Session(
        session_id="s",
        token="t",
        max_streams=1,
        kept_segments=1,
        keeping=Keeping(1000),
        delivered_after_s=1,
        now_s=lambda: 0.0,
    )
    asked = wire.Open(stream=7, **fields)
    key = ModelKey(provider="p", model="m")
    return ServedStream(
        stream=session.open(7, rule_of(asked, Config())),
        session=session,
        asked=asked,
        counted_as=asked.source,
        own_chain=(key,),
        key=key,
        level=0,
        priority=2,
        delivery="live",
        bucket=None,
        summary=Summary(opened_at_s=0.0, is_live=True),
    )


HYPOTHESIS = Hypothesis(
    text="two words",
    words=(Word(word="two", start=0.0, end=0.25), Word(word="words", start=0.25, end=1.0)),
    language="en",
    confidence=0.5,
    provider="q",
    model="n",
)
SEGMENT = effects.Segment(
    stream=7,
    id=3,
    start=16_000,
    end=24_001,
    window_start=12_800,
    hypothesis=HYPOTHESIS,
    offset=48_000,
    latency_s=0.0123456,
)

CASES: list[tuple[Effect, wire.ServerMessage]] = [
    (
        effects.OpenedStream(stream=7, credit=None),
        wire.Opened(stream=7, provider="p", model="m", priority=2, delivery="live"),
    ),
    (
        effects.OpenedStream(stream=7, credit=9),
        wire.Opened(stream=7, provider="p", model="m", priority=2, delivery="live", credit=9),
    ),
    (effects.CreditRaised(stream=7, offset=9), wire.Credit(stream=7, offset=9)),
    (
        effects.SpeechStarted(stream=7, position=8000),
        wire.Event(stream=7, event="speech_start", at=0.5),
    ),
    (
        effects.SpeechEnded(stream=7, position=8000),
        wire.Event(stream=7, event="speech_end", at=0.5),
    ),
    (
        effects.Partial(stream=7, id=2, start=0, end=16_000, text="so far", stable=2),
        wire.Partial(stream=7, id=2, start=0.0, end=1.0, text="so far", stable=2),
    ),
    (effects.Committed(stream=7, offset=5), wire.Ack(stream=7, offset=5)),
    (effects.Flushed(stream=7, offset=5), wire.Flushed(stream=7, offset=5)),
    (
        effects.Dropped(stream=7, start=1600, end=3200, reason="backlog"),
        wire.Event(stream=7, event="dropped", at=0.2, start=0.1, end=0.2, reason="backlog"),
    ),
    (
        effects.Gap(stream=7, start=1600, end=3200),
        wire.Event(stream=7, event="gap", at=0.2, start=0.1, end=0.2),
    ),
    (
        effects.DecodeFailed(stream=7, message="why"),
        wire.Error(code="provider_failed", message="why", fatal=False, stream=7),
    ),
    (
        effects.StreamClosed(
            stream=7, reason="client", offset=5, segments=1, audio=16_000, dropped=8000
        ),
        wire.Closed(
            stream=7,
            reason="client",
            offset=5,
            segments=1,
            audio_seconds=1.0,
            dropped_seconds=0.5,
        ),
    ),
]


@pytest.mark.parametrize(("effect", "message"), CASES, ids=lambda value: type(value).__name__)
def test_each_effect_has_its_message(effect: Effect, message: wire.ServerMessage) -> None:
    assert message_of(served(), effect) == message


def test_no_effect_is_without_a_message() -> None:
    told = {type(effect).__name__ for effect, _ in CASES} | {"Segment"}
    assert told == {kind.__name__ for kind in Effect.__subclasses__()}


def test_a_segment_bears_its_words_where_they_were_asked_for_on_the_streams_clock() -> None:
    message = message_of(served(words=True), SEGMENT)
    assert message == wire.Segment(
        stream=7,
        id=3,
        start=1.0,
        end=1.5001,
        text="two words",
        offset=48_000,
        provider="q",  # who read it, which need not be who reads the stream now
        model="n",
        latency_ms=12.346,
        words=[
            wire.WordTime(word="two", start=0.8, end=1.05),
            wire.WordTime(word="words", start=1.05, end=1.8),
        ],
        language="en",
        confidence=0.5,
    )


def test_a_segment_leaves_out_what_was_not_asked_for_or_is_not_known() -> None:
    bare = Hypothesis(text="a", words=HYPOTHESIS.words)
    effect = effects.Segment(
        stream=7, id=0, start=0, end=1, window_start=0, hypothesis=bare, offset=0, latency_s=0.0
    )
    message = message_of(served(), effect)
    assert isinstance(message, wire.Segment)
    assert (message.words, message.language, message.confidence) == (UNSET, UNSET, UNSET)


def test_a_confidence_of_zero_is_told() -> None:
    sure = Hypothesis(text="a", confidence=0.0)
    effect = effects.Segment(
        stream=7, id=0, start=0, end=1, window_start=0, hypothesis=sure, offset=0, latency_s=0.0
    )
    message = message_of(served(), effect)
    assert isinstance(message, wire.Segment)
    assert message.confidence == 0.0


def test_a_move_along_the_chain_is_told_with_its_place_and_who_reads_now() -> None:
    stream = served(sample_rate=8000, start_offset=12_000)
    assert ladder_message(stream, 4, "read by q/n", is_restored=False) == wire.Event(
        stream=7, event="degraded", at=1.5, level=4, action="read by q/n"
    )
    assert ladder_message(stream, 0, "read by p/m", is_restored=True) == wire.Event(
        stream=7, event="restored", at=1.5, level=0, action="read by p/m"
    )


def test_an_error_bears_what_it_has() -> None:
    bare = error_message(ProtocolError(ErrorCode.BUSY, "wait"))
    assert (bare.code, bare.fatal, bare.stream, bare.retry_after_ms) == (
        "busy",
        False,
        UNSET,
        UNSET,
    )
    whole = error_message(
        ProtocolError(ErrorCode.DRAINING, "no", fatal=True, stream=0, retry_after_ms=5)
    )
    assert (whole.fatal, whole.stream, whole.retry_after_ms) == (True, 0, 5)


def test_seconds_are_exact_to_a_tenth_of_a_millisecond() -> None:
    assert [seconds(samples) for samples in (0, 1, 2, 16_001)] == [0.0, 0.0001, 0.0001, 1.0001]
