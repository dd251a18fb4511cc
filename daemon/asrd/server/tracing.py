"""One span of OpenTelemetry for each utterance, and one for each decode in it; never a text.

An observer of what the daemon does anyway. Spans are made when an utterance is told, with the times
at which things happened, and are sent by a thread of the SDK's own.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import structlog

from asrd.audio import SAMPLE_RATE
from asrd.clock import Clock
from asrd.config import Config
from asrd.errors import StartupError
from asrd.exit_codes import Exit
from asrd.scheduler.measures import Outcome
from asrd.server.served import ServedStream
from asrd.server.span_sending import Collector, place_of
from asrd.server.summary import Decode
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.session.states import StreamState
from asrd.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

log = structlog.get_logger()

FLUSH_S = 1.0
"""At the end: how long the last spans may take to be sent."""

MAX_DECODES = 64
"""Remembered of one stream: more than an utterance of half a minute has. Older ones go."""

_OUTCOMES = {
    Outcome.READ: "read",
    Outcome.FAILED: "failed",
    Outcome.PUT_BACK: "put_back",
    Outcome.NOTHING: "nobody_waits",
}


class Tracing:
    """Makes spans of what streams tell.

    `wall_ns` gives the time of day, `clock` the one that decodes are timed by. `give_up` ends what
    still tries to send.
    """

    def __init__(
        self,
        provider: "TracerProvider",
        clock: Clock,
        wall_ns: Callable[[], int] = time.time_ns,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        from opentelemetry import trace

        self._api = trace
        self._provider = provider
        self._tracer = provider.get_tracer("asrd", __version__)
        self._clock = clock
        self._wall_ns = wall_ns
        self._give_up = give_up
        self._decodes: dict[int, list[Decode]] = {}  # by served_id, of what is not told yet

    def decoded(self, served: ServedStream, decode: Decode) -> None:
        """A decode of a stream has ended; what the stream makes of it is told afterwards."""
        if served.stream.state is StreamState.CLOSED:
            return
        known = self._decodes.setdefault(served.served_id, [])
        known.append(decode)
        del known[:-MAX_DECODES]

    def told(self, served: ServedStream, told: Sequence[Effect]) -> None:
        """A stream tells something: of an utterance that was finished, spans are made."""
        try:
            self._told(served, told)
        except Exception:  # a bug, here or in a package beside us: it costs spans and no stream
            log.exception("tracing_failed", **served.names)

    def _told(self, served: ServedStream, told: Sequence[Effect]) -> None:
        for effect in told:
            match effect:
                case effects.Segment():
                    self._untold(served, effect.window_start, "no_text")
                    self._final(served, effect)
                case effects.Dropped():
                    self._untold(served, effect.start, "no_text")
                    self._untold(served, effect.end, "dropped", {"asrd.reason": effect.reason})
                case effects.StreamClosed():
                    self._untold(served, None, "no_text")
                case _:
                    pass

    def end(self) -> None:
        """Send what is left, and take no longer than `FLUSH_S`. To be called in a thread."""
        sending = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(FLUSH_S)
        if sending.is_alive():
            log.warning("spans_lost", problem=f"they could not be sent within {FLUSH_S:g} s")
            self._give_up()

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _final(self, served: ServedStream, segment: effects.Segment) -> None:
        decodes = self._take(served, segment.window_start + 1).pop(segment.window_start, [])
        speech_s = (segment.end - segment.start) / SAMPLE_RATE
        hypothesis = segment.hypothesis
        now_s = self._clock.now_s()
        known_s = now_s - segment.latency_s
        if served.is_live:  # it came as it was spoken
            behind_s = segment.latency_s if segment.delay_s is None else segment.delay_s
            known_s = now_s - behind_s - speech_s
        attributes: dict[str, AttributeValue] = {
            "asrd.outcome": "final",
            "asrd.segment": segment.id,
            "asrd.provider": hypothesis.provider,
            "asrd.model": hypothesis.model,
            "asrd.audio.start_s": round(segment.start / SAMPLE_RATE, 4),
            "asrd.audio.end_s": round(segment.end / SAMPLE_RATE, 4),
            "asrd.audio.duration_s": round(speech_s, 4),
            "asrd.words": len(hypothesis.text.split()),
        }
        self._spans(served, decodes, attributes, known_s, now_s)

    def _untold(
        self,
        served: ServedStream,
        before: int | None,
        outcome: str,
        more: Mapping[str, "AttributeValue"] | None = None,
    ) -> None:
        """Utterances that begin before a position, of which there will be no segment."""
        for decodes in self._take(served, before).values():
            attributes = {"asrd.outcome": outcome, **(more or {})}
            self._spans(served, decodes, attributes, _wanted_s(decodes[0]), decodes[-1].ended_s)

    def _take(self, served: ServedStream, before: int | None) -> dict[int, list[Decode]]:
        """Take out the decodes of utterances that begin before a position, by utterance."""
        known = self._decodes.pop(served.served_id, [])
        later = [] if before is None else [each for each in known if each.utterance >= before]
        if later:
            self._decodes[served.served_id] = later
        taken: dict[int, list[Decode]] = {}
        for each in known:
            if before is None or each.utterance < before:
                taken.setdefault(each.utterance, []).append(each)
        return taken

    def _spans(
        self,
        served: ServedStream,
        decodes: Sequence[Decode],
        attributes: Mapping[str, "AttributeValue"],
        begin_s: float,
        end_s: float,
    ) -> None:
        shift_ns = self._wall_ns() - round(self._clock.now_s() * 1e9)
        begin_s = max(begin_s, served.summary.opened_at_s)
        begin_s = min([begin_s, *(each.ended_s - each.held_s for each in decodes)])
        api = self._api
        utterance = self._tracer.start_span(
            "utterance",
            context=api.set_span_in_context(api.INVALID_SPAN),
            kind=api.SpanKind.INTERNAL,
            attributes={
                "asrd.session": served.session.session_id,
                "asrd.stream": served.asked.stream,
                "asrd.source": served.asked.source,
                "asrd.priority": served.priority,
                "asrd.delivery": served.delivery,
                **attributes,
            },
            start_time=shift_ns + round(begin_s * 1e9),
        )
        for each in decodes:
            self._decode_span(utterance, each, shift_ns)
        utterance.end(shift_ns + round(end_s * 1e9))

    def _decode_span(self, utterance: "Span", decode: Decode, shift_ns: int) -> None:
        span = self._tracer.start_span(
            "decode",
            context=self._api.set_span_in_context(utterance),
            attributes={
                "asrd.kind": "partial" if decode.is_partial else "final",
                "asrd.outcome": _OUTCOMES[decode.outcome],
                "asrd.provider": decode.key.provider,
                "asrd.model": decode.key.model,
                "asrd.audio.duration_s": round(decode.audio_s, 4),
                "asrd.windows": decode.windows,
                "asrd.queue_wait_s": round(decode.waited_s, 6),
            },
            start_time=shift_ns + round((decode.ended_s - decode.held_s) * 1e9),
        )
        if decode.outcome is Outcome.FAILED:
            span.set_status(self._api.StatusCode.ERROR)
        span.end(shift_ns + round(decode.ended_s * 1e9))


def _wanted_s(decode: Decode) -> float:
    return decode.ended_s - decode.held_s - decode.waited_s


def tracing_of(config: Config, clock: Clock) -> Tracing | None:
    """What makes the spans that the configuration asks for; None where it asks for none.

    Where they go is said by the variables of OpenTelemetry, OTEL_EXPORTER_OTLP_ENDPOINT first.

    Raises:
        StartupError: OpenTelemetry is not installed, or its variables make no sense.
    """
    if not config.tracing.enabled:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise StartupError(
            f"tracing.enabled: {error}; spans need an extra: pip install 'asrd[otel]'", Exit.CONFIG
        ) from None
    collector = Collector()
    try:
        with collector.listened_to():
            resource = Resource.create()
            if str(resource.attributes["service.name"]).startswith("unknown_service"):
                resource = resource.merge(Resource({"service.name": "asrd"}))
            resource = resource.merge(Resource({"service.version": __version__}))
            provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            collector.send_with(OTLPSpanExporter())
            # No child of the class, which would need the package that may not be there.
            exporter = cast("SpanExporter", collector)
            provider.add_span_processor(BatchSpanProcessor(exporter))
    except ValueError as error:  # not in its words: they may hold what the variable does
        raise StartupError(
            f"a variable of OpenTelemetry makes no sense, says {place_of(error.__traceback__)}",
            Exit.CONFIG,
        ) from None
    return Tracing(provider, clock, give_up=collector.shutdown)
