"""What rooms say, as messages. Samples become seconds here and nowhere else."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from msgspec import UNSET

from asrd.audio import SAMPLE_RATE
from asrd.config import Limits
from asrd.errors import ErrorCode, ModelUnavailable, ProtocolError
from asrd.providers.registry import UnknownProvider
from asrd.server.served import ServedStream
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.session.session import Session
from asrd.version import __version__
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


@contextmanager
def refusing(stream: int | None = None) -> Iterator[None]:
    """Give what cannot be had its code. Raises ProtocolError."""
    try:
        yield
    except UnknownProvider as error:
        raise ProtocolError(ErrorCode.UNKNOWN_PROVIDER, str(error), stream=stream) from None
    except ModelUnavailable as error:
        raise ProtocolError(ErrorCode.PROVIDER_UNAVAILABLE, str(error), stream=stream) from None


def welcome_message(
    session: Session, limits: Limits, providers: list[str], *, is_resumed: bool
) -> wire.Welcome:
    """The answer to `hello`."""
    return wire.Welcome(
        version=wire.PROTOCOL_VERSION,
        server=f"asrd {__version__}",
        session=session.session_id,
        resume=session.token,
        resumed=is_resumed,
        streams=session.commits if is_resumed else {},
        limits={
            "max_frame_bytes": limits.max_frame_bytes,
            "max_chunk_bytes": limits.max_chunk_bytes,
            "max_streams": limits.max_streams,
            "resume_window_s": limits.resume_window_s,
            "credit_window_s": limits.credit_window_s,
            "live_backlog_s": limits.live_backlog_s,
            "live_rate": limits.live_rate,
            "live_burst_s": limits.live_burst_s,
            "max_utterance_s": limits.max_utterance_s,
            "send_timeout_s": limits.send_timeout_s,
            "idle_timeout_s": limits.idle_timeout_s,
            "drain_timeout_s": limits.drain_timeout_s,
        },
        providers=providers,
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
            return wire.Error(code=effect.code, message=effect.message, fatal=False, stream=number)
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


def ladder_message(
    served: ServedStream, level: int, action: str, *, is_restored: bool
) -> wire.Event:
    """The event that tells of a step of the ladder, up or down, that a stream feels.

    `at` is the stream's commit: what comes behind it is served so.
    """
    return wire.Event(
        stream=served.asked.stream,
        event="restored" if is_restored else "degraded",
        at=round(served.stream.committed / served.asked.sample_rate, 4),
        level=level,
        action=action,
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


def newest_of(message: wire.ServerMessage) -> Hashable:
    """What the message is the newest reading of, if of anything.

    A newer commit or credit of a stream says all that an older one says. It is never told before
    a segment that it covers, because the newer stands in the queue where it was said.
    """
    match message:
        case wire.Partial():
            return (message.stream, message.id)
        case wire.Ack() | wire.Credit():
            return (type(message), message.stream)
        case _:
            return None
