"""What a stream tells, as messages. Samples become seconds here and nowhere else."""

from msgspec import UNSET

from asrd.audio import SAMPLE_RATE
from asrd.errors import ErrorCode, ProtocolError
from asrd.server.served import ServedStream
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.wire import messages as wire


def seconds(samples: int) -> float:
    """16 kHz samples in seconds, to the tenth of a millisecond."""
    return round(samples / SAMPLE_RATE, 4)


def error_message(error: ProtocolError) -> wire.Error:
    """A refusal as a message."""
    return wire.Error(
        code=error.code,
        message=error.message,
        fatal=error.fatal,
        stream=UNSET if error.stream is None else error.stream,
        retry_after_ms=UNSET if error.retry_after_ms is None else error.retry_after_ms,
    )


def message_of(served: ServedStream, effect: Effect) -> wire.ServerMessage:
    """The message for one effect of a stream."""
    number = effect.stream
    match effect:
        case effects.OpenedStream():
            return wire.Opened(
                stream=number,
                provider=served.key.provider,
                model=served.key.model,
                priority=served.priority,
                delivery=served.delivery,
                credit=UNSET if effect.credit is None else effect.credit,
            )
        case effects.CreditRaised():
            return wire.Credit(stream=number, offset=effect.offset)
        case effects.SpeechStarted():
            return wire.Event(stream=number, event="speech_start", at=seconds(effect.position))
        case effects.SpeechEnded():
            return wire.Event(stream=number, event="speech_end", at=seconds(effect.position))
        case effects.Partial():
            return wire.Partial(
                stream=number,
                id=effect.id,
                start=seconds(effect.start),
                end=seconds(effect.end),
                text=effect.text,
                stable=effect.stable,
            )
        case effects.Segment():
            return _segment(served, effect)
        case effects.Committed():
            return wire.Ack(stream=number, offset=effect.offset)
        case effects.Dropped():
            return wire.Event(
                stream=number,
                event="dropped",
                at=seconds(effect.end),
                start=seconds(effect.start),
                end=seconds(effect.end),
                reason=effect.reason,
            )
        case effects.Gap():
            return wire.Event(
                stream=number,
                event="gap",
                at=seconds(effect.end),
                start=seconds(effect.start),
                end=seconds(effect.end),
            )
        case effects.DecodeFailed():
            return wire.Error(
                code=ErrorCode.PROVIDER_FAILED, message=effect.message, fatal=False, stream=number
            )
        case effects.Flushed():
            return wire.Flushed(stream=number, offset=effect.offset)
        case effects.StreamClosed():
            return wire.Closed(
                stream=number,
                reason=effect.reason,
                offset=effect.offset,
                segments=effect.segments,
                audio_seconds=seconds(effect.audio),
                dropped_seconds=seconds(effect.dropped),
            )
        case _:
            raise TypeError(f"no message for {type(effect).__name__}")


def moved_message(served: ServedStream) -> wire.Event:
    """The event that tells of a stream's move to another model of its chain, or back."""
    return wire.Event(
        stream=served.asked.stream,
        event="degraded" if served.level else "restored",
        at=round(served.stream.committed / served.asked.sample_rate, 4),
        level=served.level,
        action=f"read by {served.key}",
    )


def _segment(served: ServedStream, effect: effects.Segment) -> wire.Segment:
    hypothesis = effect.hypothesis
    shift = effect.window_start / SAMPLE_RATE
    words = [
        wire.WordTime(
            word=word.word,
            start=round(shift + word.start, 4),
            end=round(shift + word.end, 4),
            probability=word.probability,
        )
        for word in hypothesis.words
    ]
    return wire.Segment(
        stream=effect.stream,
        id=effect.id,
        start=seconds(effect.start),
        end=seconds(effect.end),
        text=hypothesis.text,
        offset=effect.offset,
        provider=hypothesis.provider,
        model=hypothesis.model,
        latency_ms=round(effect.latency_s * 1000, 3),
        words=words if served.asked.words else UNSET,
        language=hypothesis.language or UNSET,
        confidence=UNSET if hypothesis.confidence is None else hypothesis.confidence,
    )
