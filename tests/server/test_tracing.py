"""Spans of OpenTelemetry: one for each utterance, and one for each decode in it."""

import gc
import logging
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.testing import capture_logs

from asrd.config import Config, Tracing
from asrd.errors import ProviderError, StartupError
from asrd.providers.registry import Registry
from asrd.server import tracing as module
from asrd.server.summary import Decode
from asrd.version import __version__
from asrd.wire.messages import Cancel, Segment
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.clock import VirtualClock
from support.daemon import running_daemon
from support.room import UTTERANCE, Room, quiet, run, settle, speech
from support.waiting import until, wait_until

NOON_NS = 1_800_000_000 * 10**9
SPEECH = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav") + silent_pcm(0.6)
ENABLED = Config(tracing=Tracing(enabled=True))


class Traced:
    """A room that is watched, and the spans that came of it."""

    def __init__(self, registry: Registry, **config: Any) -> None:
        self.room = Room(registry, **config)
        self._begun_s = self.room.clock.now_s()
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = module.Tracing(provider, self.room.clock, self._wall_ns)
        self.room.hub.watched_by(self.tracing)

    def _wall_ns(self) -> int:
        return NOON_NS + round((self.room.clock.now_s() - self._begun_s) * 1e9)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


def span_s(span: ReadableSpan) -> tuple[float, float]:
    """Its begin and end, from noon."""
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time - NOON_NS) / 1e9, (span.end_time - NOON_NS) / 1e9


def said(span: ReadableSpan) -> dict[str, Any]:
    return {key.removeprefix("asrd."): value for key, value in (span.attributes or {}).items()}


def test_an_utterance_is_a_span_from_its_speech_to_its_text_around_its_decodes(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        traced = Traced(registry)
        room = traced.room
        guest = room.greeted()
        guest.open(1, partials=True)
        room.clock.advance(3.0)
        guest.speak(1, speech(2.5))
        await settle()
        room.clock.advance(1.0)
        room.model.is_held = True
        guest.speak(1, quiet(1.0))
        await settle()
        room.clock.advance(0.25)
        room.model.is_held = False
        room.model.release()
        await settle()
        (segment,) = guest.told(Segment)
        (utterance,) = traced.spans("utterance")
        decodes = traced.spans("decode")
        assert utterance.parent is None
        assert said(utterance) == {
            "outcome": "final",
            "session": "s1",
            "stream": 1,
            "source": "mic",
            "priority": 1,
            "delivery": "live",
            "segment": 0,
            "provider": "echo",
            "model": "echo",
            "audio.start_s": segment.start,
            "audio.end_s": segment.end,
            "audio.duration_s": pytest.approx(segment.end - segment.start),
            "words": 1,
        }
        begin_s, end_s = span_s(utterance)
        assert end_s == 4.25
        # 3.5 s of audio had come by 4.0 s, and the speech began with it.
        assert begin_s == pytest.approx(0.75, abs=0.5)
        for decode in decodes:
            assert decode.parent is not None
            assert utterance.context is not None
            assert decode.parent.span_id == utterance.context.span_id
            assert begin_s <= span_s(decode)[0] <= span_s(decode)[1] <= end_s
            assert said(decode)["windows"] == 1
        assert said(decodes[0])["kind"] == "partial"
        assert {said(decode)["outcome"] for decode in decodes} == {"read"}
        assert span_s(decodes[0]) == (3.0, 3.0)
        assert span_s(decodes[-1])[1] == 4.25
        assert segment.text not in str([dict(span.attributes or {}) for span in decodes])
        assert not traced.tracing._decodes

    run(scenario)


def reachable(root: object) -> Iterator[object]:
    """Whatever an object keeps alive, but for classes, functions and modules."""
    seen: dict[int, object] = {}
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) not in seen and not isinstance(each, type | ModuleType | FunctionType):
            seen[id(each)] = each
            waiting += gc.get_referents(each)
            yield each


def test_what_is_kept_of_decodes_holds_no_audio(registry: Registry) -> None:
    async def scenario() -> None:
        traced = Traced(registry)
        guest = traced.room.greeted()
        guest.open(1, partials=True)
        guest.speak(1, speech(2.5))
        await settle()
        kept = traced.tracing._decodes
        assert any(isinstance(each, Decode) for each in reachable(kept))
        assert not [each for each in reachable(kept) if isinstance(each, np.ndarray | bytes)]

    run(scenario)


def test_what_was_dropped_or_not_read_has_spans_too(registry: Registry) -> None:
    async def scenario() -> None:
        traced = Traced(registry)
        room = traced.room
        guest = room.greeted()
        guest.open(1, source="file")
        room.model.is_held = True
        guest.speak(1, UTTERANCE)
        await settle()
        room.clock.advance(0.5)
        room.model.release(ProviderError("no"))
        await settle()
        (utterance,), (decode,) = traced.spans("utterance"), traced.spans("decode")
        assert said(utterance)["outcome"] == "dropped"
        assert said(utterance)["reason"] == "provider_failed"
        assert said(decode)["outcome"] == "failed"
        assert decode.status.status_code is StatusCode.ERROR
        assert span_s(decode) == (0.0, 0.5)
        guest.speak(1, UTTERANCE)
        await settle()
        guest.say(Cancel(stream=1))
        room.model.release()
        await settle()
        assert len(traced.spans("utterance")) == 1  # its decode had not ended
        assert not traced.tracing._decodes

    run(scenario)


def test_a_fault_of_its_own_costs_no_stream(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        traced = Traced(registry)
        guest = traced.room.greeted()
        guest.open(1)
        monkeypatch.setattr(traced.tracing, "_tracer", None)
        with capture_logs() as lines:
            guest.speak(1, UTTERANCE)
            await settle()
        assert len(guest.told(Segment)) == 1
        assert [line["stream"] for line in lines if line["event"] == "tracing_failed"] == [1]

    run(scenario)


def test_without_the_extra_the_daemon_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.tracing_of(Config(), VirtualClock()) is None
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartupError, match=r"pip install 'asrd\[otel\]'") as told:
        module.tracing_of(ENABLED, VirtualClock())
    assert told.value.exit_code == 78


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────


class Collector(HTTPServer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def quiet_logger() -> Iterator[None]:
    logger = logging.getLogger("opentelemetry")
    before = logger.handlers, logger.propagate
    yield
    logger.handlers, logger.propagate = before


def test_spans_go_where_the_variables_say(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a whole daemon; those that wait are sent at its end."""
    url = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    with running_daemon(tmp_path, tracing={"enabled": True}) as daemon, daemon.greet() as client:
        assert len(client.transcribe(1, SPEECH, partials=False)) == 1
        assert daemon.terminate() == 0
        assert not [event for event in daemon.events if event["event"].startswith("spans_")]
    (spans,) = [each for request in collector.requests for each in request.resource_spans]
    resource = {each.key: each.value.string_value for each in spans.resource.attributes}
    assert (resource["service.name"], resource["service.version"]) == ("asrd", __version__)
    names = sorted(span.name for scope in spans.scope_spans for span in scope.spans)
    assert names == ["decode", "utterance"]


def sending_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("OtelBatch")]


@pytest.mark.usefixtures("quiet_logger")
def test_a_collector_that_is_not_there_is_one_line_and_holds_up_the_end_for_a_second_at_most(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1/SECRET")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    took_s = 0.0

    async def scenario() -> None:
        nonlocal took_s
        room = Room(registry)
        tracing = module.tracing_of(ENABLED, room.clock)
        assert tracing is not None
        room.hub.watched_by(tracing)
        guest = room.greeted()
        guest.open(1)
        for _ in range(3):
            guest.speak(1, UTTERANCE)
            await settle()
        await until(lambda: any(line["event"] == "spans_not_sent" for line in lines))
        guest.speak(1, UTTERANCE)
        await settle()
        began_s = time.monotonic()
        tracing.end()
        took_s = time.monotonic() - began_s

    with capture_logs() as lines:
        run(scenario)
    assert took_s < module.FLUSH_S + 0.5
    wait_until(lambda: not sending_threads(), "nobody to go on trying")
    (told,) = [line for line in lines if line["event"] == "spans_not_sent"]
    assert (told["to"], told["problem"]) == ("127.0.0.1:1", "ConnectionRefusedError")
    assert {line["event"] for line in lines if line["event"].startswith(("spans_", "tracing"))} == {
        "spans_not_sent",
        "spans_lost",  # it was waiting to try again
    }
    assert "SECRET" not in str(lines)


SECRETS = {
    "OTEL_EXPORTER_OTLP_HEADERS": "Authorization: Bearer SECRET",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "SECRET",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "SECRET",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:SECRET/SECRET@127.0.0.1:1/SECRET",
    "OTEL_RESOURCE_ATTRIBUTES": "SECRET",
    "OTEL_TRACES_SAMPLER": "SECRET",
    "OTEL_BSP_SCHEDULE_DELAY": "SECRET",
}


@pytest.mark.usefixtures("quiet_logger")
@pytest.mark.parametrize("name", SECRETS)
def test_no_variable_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    monkeypatch.setenv(name, SECRETS[name])
    with capture_logs() as lines:
        tracing = module.tracing_of(ENABLED, VirtualClock())
        assert tracing is not None
        tracing._provider.get_tracer("t").start_span("one").end()
        tracing.end()
    told = [line["event"] for line in lines]
    assert ("tracing_doubtful" in told) == (name != "OTEL_EXPORTER_OTLP_ENDPOINT")
    assert told.count("spans_not_sent") <= 1
    assert "SECRET" not in str(lines).upper()


@pytest.mark.usefixtures("quiet_logger")
def test_a_variable_that_ends_the_start_is_not_told_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("SECRET")

    monkeypatch.setattr("opentelemetry.sdk.resources.Resource.create", fail)
    with pytest.raises(StartupError, match=r"makes no sense, says .*\.fail$") as told:
        module.tracing_of(ENABLED, VirtualClock())
    assert told.value.exit_code == 78
