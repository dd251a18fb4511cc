"""Spans on their way to a collector: what is told of one that does not take them.

OpenTelemetry complains in words that hold its variables, and with them tokens and passwords. What
we log is in words of our own: which kind of error, of which host, and nothing else.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = structlog.get_logger()

LIBRARY = "opentelemetry"
"""The logger whose lines hold its variables."""

BENEATH = ("urllib3.connectionpool", "urllib3.connection")
"""Those whose lines hold addresses: of spans, and of whatever else a plugin fetches."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
USUAL_HOST = "localhost:4318"

MAX_CAUSES = 16

_HOST = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(?=[/?#]|$)")
_STATUS = {status.phrase: status for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST}


def host_of(endpoint: str) -> str | None:
    """The host and port of an endpoint, and no more of it; None where a password may be there."""
    found = None if "@" in endpoint else _HOST.match(endpoint)
    return None if found is None else f"{found[1]}{found[2] or ''}"


class Collector:
    """An exporter of spans that tells once that they are not taken, until some are again.

    It is used by the thread of OpenTelemetry's that sends, and complained of by whichever.
    """

    def __init__(self) -> None:
        named = [os.environ[name] for name in ENDPOINTS if os.environ.get(name)]
        self.host = host_of(named[0]) if named else USUAL_HOST
        self._exporter: SpanExporter | None = None
        self._lock = threading.Lock()
        self._is_away = False
        self._is_shut = False
        self._sending_thread: int | None = None

    @contextmanager
    def listened_to(self) -> Iterator[None]:
        """Take over what OpenTelemetry logs. Within the block it reads its variables: what it says
        then is about those."""
        complaints = _Complaints(self)
        logger = logging.getLogger(LIBRARY)
        logger.handlers, logger.propagate = [complaints], False
        for name in BENEATH:  # what becomes of a sending is told by its result
            logging.getLogger(name).addFilter(lambda one: one.thread != self._sending_thread)
        try:
            yield
        finally:
            complaints.is_starting = False

    def send_with(self, exporter: "SpanExporter") -> None:
        """Send with that from now on."""
        self._exporter = exporter

    def failed(self, problem: str) -> None:
        """Spans were not taken, or not at once."""
        with self._lock:
            is_known, self._is_away = self._is_away or self._is_shut, True
        if not is_known:
            log.warning("spans_not_sent", to=self.host, problem=problem)

    # ── what a processor of spans wants of an exporter ────────────────────────────────────────

    def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
        """Send them; blocks until that has failed for good."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._exporter is None:
            raise AssertionError("nothing to send spans with")
        self._sending_thread = threading.get_ident()
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            with self._lock:
                self._is_away = False
        else:
            self.failed("it did not take them")
        return result

    def shutdown(self) -> None:
        """Send nothing any more, and complain of nothing."""
        with self._lock:
            was_shut, self._is_shut = self._is_shut, True
        if self._exporter is not None and not was_shut:
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return True


class _Complaints(logging.Handler):
    """What libraries complain of, by its kind. Their words are nobody's to read."""

    def __init__(self, collector: Collector) -> None:
        super().__init__(logging.WARNING)
        self._collector = collector
        self.is_starting = True

    def emit(self, record: logging.LogRecord) -> None:
        """A complaint: of a variable, or of the collector."""
        if self.is_starting:
            where = f"{record.name}.{record.funcName}"
            log.warning("tracing_doubtful", problem="a variable makes no sense", where=where)
        else:
            self._collector.failed(problem_of(record))


def problem_of(record: logging.LogRecord) -> str:
    """What a complaint is about: the kind of the error, the status of an answer, or who complains.

    No word of its text is in it, nor of what the text was made of.
    """
    given = record.args if isinstance(record.args, tuple) else ()
    errors = [each for each in given if isinstance(each, BaseException)]
    if record.exc_info is not None and record.exc_info[1] is not None:
        errors.append(record.exc_info[1])
    if errors:
        return kind_of(errors[-1])
    for each in given:
        status = _STATUS.get(each) if isinstance(each, str) else each
        if isinstance(status, int) and 400 <= status <= 599:
            return f"HTTP status {int(status)}"
    return f"a complaint of {record.name}.{record.funcName}"


def kind_of(error: BaseException) -> str:
    """The class of the error that was at the bottom of it."""
    for _ in range(MAX_CAUSES):
        below = error.__cause__ or error.__context__
        if below is None:
            break
        error = below
    return type(error).__name__


def place_of(traceback: TracebackType | None) -> str:
    """The function that an error was raised in."""
    place = "unknown"
    while traceback is not None:
        code = traceback.tb_frame.f_code
        place = f"{traceback.tb_frame.f_globals.get('__name__', '')}.{code.co_name}"
        traceback = traceback.tb_next
    return place
