"""What is told of a collector that takes no spans: its kind, and no word that is not ours."""

import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from asrd.server.span_sending import Collector, host_of, kind_of, place_of, problem_of


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://127.0.0.1:4318", "127.0.0.1:4318"),
        ("https://otel.example.com/SECRET/v1/traces", "otel.example.com"),
        ("https://otel.example.com:443?token=SECRET", "otel.example.com:443"),
        ("http://[::1]:4318/", "[::1]:4318"),
        ("http://me:SECRET@host:1/", None),
        ("http://me:12/SECRET@host:1/", None),
        ("SECRET", None),
        ("http://SECRET\x1b[0m/", None),
        ("", None),
    ],
)
def test_of_an_endpoint_only_the_host_is_told(endpoint: str, host: str | None) -> None:
    assert host_of(endpoint) == host


def record(message: str, *values: object, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord(
        "opentelemetry.x", logging.ERROR, "x.py", 1, message, values, info, func="export"
    )


def wrapped() -> BaseException:
    try:
        try:
            raise ConnectionRefusedError("SECRET")
        except OSError as error:
            raise LookupError("SECRET") from error
    except LookupError as error:
        return error


@pytest.mark.parametrize(
    ("complaint", "problem"),
    [
        (record("no: %s", wrapped()), "ConnectionRefusedError"),
        (record("no", error=wrapped()), "ConnectionRefusedError"),
        (record("%s batch code: %s, reason: %s", "spans", 401, "SECRET"), "HTTP status 401"),
        (record("%s while %s, again in %.2fs", "Bad Gateway", "x", 1.0), "HTTP status 502"),
        (record("SECRET %d", 3), "a complaint of opentelemetry.x.export"),
        (record("SECRET"), "a complaint of opentelemetry.x.export"),
    ],
)
def test_a_complaint_is_told_by_its_kind(complaint: logging.LogRecord, problem: str) -> None:
    assert problem_of(complaint) == problem


def test_an_error_that_is_its_own_cause_has_a_kind() -> None:
    error = OSError()
    error.__context__ = LookupError()
    error.__context__.__context__ = error
    assert kind_of(error) in ("OSError", "LookupError")
    assert place_of(None) == "unknown"


class Exporter:
    """Takes spans, or does not."""

    def __init__(self, *results: SpanExportResult) -> None:
        self.results = list(results)
        self.ends = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        return self.results.pop(0)

    def shutdown(self) -> None:
        self.ends += 1


def test_an_outage_is_told_once_and_the_next_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:1")
    yes, no = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    exporter = Exporter(yes, no, no, yes, no)
    collector = Collector()
    collector.send_with(cast("SpanExporter", exporter))
    told = []
    for _ in range(5):
        with capture_logs() as lines:
            collector.export([])
        told.append([(line["event"], line["to"]) for line in lines])
    line = ("spans_not_sent", "host:1")
    assert told == [[], [line], [], [], [line]]
    assert collector.force_flush()
    collector.shutdown()
    collector.shutdown()
    assert exporter.ends == 1


def test_at_the_end_nothing_is_complained_of() -> None:
    collector = Collector()
    collector.shutdown()
    with capture_logs() as lines:
        collector.failed("it was given up")
    assert not lines


def test_where_no_endpoint_is_named_it_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert Collector().host == "localhost:4318"
