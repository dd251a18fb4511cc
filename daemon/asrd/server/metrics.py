"""Prometheus metrics, made from the daemon's plain numbers when somebody asks for them.

Nothing here runs for a frame. Every family is told at every scrape, with no series where there is
nothing to tell, and what is counted outlives what it is counted of. `OPERATIONS.md` lists them; a
test compares.
"""

import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import get_args

from prometheus_client.core import Metric

from asrd.audio import SAMPLE_RATE
from asrd.breaker import BreakerState
from asrd.config import LOCAL_GROUP
from asrd.errors import ErrorCode
from asrd.providers.lifecycle import ModelState
from asrd.scheduler.measures import WINDOWS_BOUNDS, Histogram, Tally
from asrd.server import logs
from asrd.server.families import (
    Labels,
    by_kind,
    by_name,
    counter,
    counters,
    gauge,
    gauges,
    histograms,
    summed,
)
from asrd.server.sight import CORE, VOICE_ACTIVITY, Footprints, Sight
from asrd.session.effects import DropReason
from asrd.session.states import StreamState
from asrd.version import __version__
from asrd.wire.messages import PROTOCOL_VERSION

OTHER_MODELS = "(others)"
MAX_MODELS = 64
"""Processes told by name, for as long as the daemon lives: the first ones. Those beyond share one,
though others go: a counter that changed its name would seem to jump."""

_COUNTED: tuple[tuple[str, str, Callable[[Tally], float]], ...] = (
    ("finals", "Finals decoded.", lambda tally: tally.finals),
    ("partials", "Partials decoded.", lambda tally: tally.partials),
    ("decodes_failed", "Decodes that failed.", lambda tally: tally.failed),
    ("decodes_aborted", "Decodes stopped for a more urgent one.", lambda tally: tally.aborted),
    (
        "partials_coalesced",
        "Partials never decoded, because newer audio came first.",
        lambda tally: tally.coalesced,
    ),
    (
        "partials_left_out",
        "Partials not let into a full queue.",
        lambda tally: tally.left_out,
    ),
    ("queue_timeouts", "Finals that waited for too long.", lambda tally: tally.timed_out),
    ("decoded_seconds", "Audio decoded.", lambda tally: tally.audio_s),
    ("decode_time_seconds", "Time that slots were held.", lambda tally: tally.decode_s),
)


class Metrics:
    """Looks at a daemon and tells what it counts. To be used in the loop's thread."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._hub = sight.hub
        self._accounts = sight.hub.scheduler.accounts
        self._started_at_s = time.time()
        self._named: set[str] = set()
        self._info = {
            "version": __version__,
            "protocol": str(PROTOCOL_VERSION),
            "python": platform.python_version(),
        }

    def collect(self, held: Footprints) -> Iterator[Metric]:
        """Every family, as it is now; `held` is what was seen of the processes just before."""
        yield from self._daemon(held)
        yield from self._clients()
        yield from self._streams()
        yield from self._sources()
        yield from self._providers()
        yield from self._groups()
        yield from self._workers(held)

    # ── the daemon ────────────────────────────────────────────────────────────────────────────

    def _daemon(self, held: Footprints) -> Iterator[Metric]:
        hub, sight = self._hub, self._sight
        labels, values = tuple(self._info), tuple(self._info.values())
        yield gauges("asrd_build_info", "1, with what runs as labels.", labels, {values: 1})
        yield gauge("asrd_start_time_seconds", "Unix time of the start.", self._started_at_s)
        yield gauge("asrd_ready", "1 while new work can be taken, else 0.", sight.is_ready)
        yield gauge("asrd_draining", "1 while the daemon is ending, else 0.", hub.is_draining)
        yield gauge(
            "asrd_level", "The highest rung of the ladder that anybody is on.", hub.overload.level
        )
        yield gauge(
            "asrd_partial_interval_seconds",
            "New audio between two partials.",
            hub.overload.partial_interval_s,
        )
        yield histograms(
            "asrd_loop_lag_seconds",
            "How much later than it should the look came that the event loop takes twice a second.",
            (),
            {(): sight.loop.lag},
        )
        yield gauge(
            "asrd_open_descriptors", "File descriptors of the core; -1: unknown.", held.descriptors
        )
        yield gauge(
            "asrd_max_descriptors",
            "How many it may have; -1: no limit.",
            held.max_descriptors,
        )
        yield counter("asrd_log_lines_lost", "Log lines that found no room.", logs.lost_lines())
        yield counter(
            "asrd_log_lines_suppressed",
            "Log lines left out because the same was said too often.",
            logs.suppressed_lines(),
        )
        yield counter(
            "asrd_recording_missed_bytes",
            "Bytes received that recordings, given up early, do not hold.",
            sight.recorder.missed_bytes if sight.recorder is not None else 0,
        )

    def _clients(self) -> Iterator[Metric]:
        hub, sight = self._hub, self._sight
        yield gauge("asrd_connections", "Connections now.", len(sight.peers()))
        yield counter("asrd_connections_admitted", "Connections let in.", sight.door.admitted)
        connected = sight.sessions.connected
        yield gauges(
            "asrd_sessions",
            "Sessions: with a client (connected), or kept for one to come back (left).",
            ("state",),
            by_name({"connected": connected, "left": len(sight.sessions) - connected}),
        )
        errors = {code.value: hub.errors.get(code, 0) for code in ErrorCode}
        yield counters("asrd_errors", "Errors told to clients.", ("code",), by_name(errors))
        yield counter(
            "asrd_slow_consumers",
            "Connections closed because their readers did not keep up.",
            errors[ErrorCode.SLOW_CONSUMER],
        )
        yield gauge(
            "asrd_outbox_bytes", "What waits for all readers together.", sight.shelf.held_bytes
        )
        yield gauge("asrd_outbox_limit_bytes", "What may wait for them.", sight.shelf.max_bytes)

    # ── streams ───────────────────────────────────────────────────────────────────────────────

    def _streams(self) -> Iterator[Metric]:
        counts = self._hub.counts
        now: defaultdict[Labels, float] = defaultdict(float)
        fallen_back: defaultdict[str, float] = defaultdict(float)
        backlog_s: defaultdict[str, float] = defaultdict(float)
        received = counts.received.copy()
        for served in self._hub.all_streams:
            stream, source = served.stream, served.counted_as
            ready = "open" if stream.is_ready else "opening"
            now[source, ready if stream.state is StreamState.OPEN else "closing"] += 1
            fallen_back[source] += served.is_on_fallback
            view = stream.view
            backlog_s[source] += view.backlog_s
            if stream.is_ready:  # what was received before is lost where it is refused
                received[source] += view.received
        yield gauges("asrd_streams", "Streams now.", ("source", "state"), now)
        yield gauges(
            "asrd_streams_on_fallback",
            "Streams read by another model because their own is unavailable.",
            ("source",),
            by_name(fallen_back),
        )
        yield gauges(
            "asrd_backlog_seconds",
            "Audio received that no decode has begun.",
            ("source",),
            by_name(backlog_s),
        )
        yield counters(
            "asrd_streams_opened", "Streams opened.", ("source",), by_name(counts.opened)
        )
        yield counters("asrd_streams_ended", "Streams ended.", ("source", "reason"), counts.ended)
        received_s = by_name({name: samples / SAMPLE_RATE for name, samples in received.items()})
        yield counters("asrd_received_seconds", "Audio received.", ("source",), received_s)

    def _sources(self) -> Iterator[Metric]:
        accounts, places = self._accounts, self._hub.scheduler.places
        tallies = accounts.by_source
        reasons: tuple[str, ...] = get_args(DropReason)
        yield counters(
            "asrd_dropped_seconds",
            "Audio that will not be recognised.",
            ("source", "reason"),
            {key: accounts.dropped_s.get(key, 0.0) for key in product(tallies, reasons)},
        )
        yield histograms(
            "asrd_finalisation_delay_seconds",
            "Live streams: from the end of speech, by the audio that came behind it, to its final.",
            ("source",),
            {(source,): delays for source, delays in accounts.delays.items()},
        )
        yield gauges(
            "asrd_queue_depth",
            "Streams that wait for a decode.",
            ("source",),
            by_name({source: tally.waiting for source, tally in tallies.items()}),
        )
        yield gauges(
            "asrd_queue_limit",
            "How many may stand in the queue.",
            ("source",),
            by_name({source: places.limit(source) for source in tallies}),
        )
        yield histograms(
            "asrd_queue_wait_seconds",
            "From asking for a decode to its beginning.",
            ("source", "kind"),
            by_kind(accounts.queue_waits),
        )
        yield from _counted("asrd", "source", tallies)

    # ── what decodes ──────────────────────────────────────────────────────────────────────────

    def _providers(self) -> Iterator[Metric]:
        accounts, pool = self._accounts, self._hub.pool
        yield from _counted("asrd_provider", "provider", accounts.by_provider)
        yield histograms(
            "asrd_decode_seconds",
            "How long a decode held its slot.",
            ("provider", "kind"),
            by_kind(accounts.decode_times),
        )
        yield histograms(
            "asrd_real_time_factor",
            "Decode time over audio, of each window.",
            ("provider",),
            {(provider,): factors for provider, factors in accounts.factors.items()},
        )
        yield histograms(
            "asrd_batch_windows",
            "Windows read in one call.",
            ("provider",),
            {(name,): _sizes(tally) for name, tally in accounts.by_provider.items()},
        )
        yield gauges(
            "asrd_breaker_state",
            "1 for the state that a provider's circuit breaker is in, else 0.",
            ("provider", "state"),
            {
                (name, state.value): pool.breaker(name).state is state
                for name, state in product(pool.catalogue.names, BreakerState)
            },
        )

    def _groups(self) -> Iterator[Metric]:
        slots, groups = self._hub.scheduler.slots, self._hub.overload.groups
        names = [LOCAL_GROUP, *(name for name in groups if name != LOCAL_GROUP)]
        yield gauges(
            "asrd_decode_slots",
            "Decodes that may run at a time.",
            ("group",),
            by_name({name: slots.of_group(name) for name in names}),
        )
        yield gauges(
            "asrd_decodes_running",
            "Decodes that run now.",
            ("group",),
            by_name({name: slots.running_in(name) for name in names}),
        )
        yield gauges(
            "asrd_group_load",
            "Decode time that live streams ask for per second, over the slots.",
            ("group",),
            by_name({name: groups[name].load if name in groups else 0.0 for name in names}),
        )
        yield gauges(
            "asrd_group_level",
            "The rung of the ladder, from load alone.",
            ("group",),
            by_name({name: groups[name].level if name in groups else 0 for name in names}),
        )

    def _workers(self, held: Footprints) -> Iterator[Metric]:
        voice = self._hub.voice.resident
        residents = [(VOICE_ACTIVITY, voice)]
        residents += [(str(key), one) for key, one in self._hub.pool.residents.items()]
        restarts = [(VOICE_ACTIVITY, voice.restarts)]
        restarts += [(str(key), times) for key, times in self._hub.pool.restarts.items()]
        known = self._told_names([*dict(residents), *dict(restarts)])
        yield gauges(
            "asrd_worker_state",
            "1 for the state that a model, or voice activity, is in, else 0.",
            ("process", "state"),
            summed(
                ((known[name], state.value), resident.state is state)
                for (name, resident), state in product(residents, ModelState)
            ),
        )
        yield counters(
            "asrd_worker_restarts",
            "How often a worker was started again.",
            ("process",),
            summed(((known[name],), times) for name, times in restarts),
        )
        sizes = held.memory_bytes.items()
        yield gauges(
            "asrd_resident_memory_bytes",
            "Memory of a process; what it shares with others counts in full.",
            ("process",),
            summed(((known.get(name, OTHER_MODELS),), size) for name, size in sizes),
        )
        yield gauges(
            "asrd_gpu_memory_bytes",
            "GPU memory that a worker says it has taken.",
            ("process",),
            summed(((known[name],), resident.gpu_bytes) for name, resident in residents),
        )

    def _told_names(self, workers: Iterable[str]) -> dict[str, str]:
        """The name that each process is told under."""
        told = {CORE: CORE}
        for name in workers:
            if len(self._named) < MAX_MODELS:
                self._named.add(name)
            told[name] = name if name in self._named else OTHER_MODELS
        return told


def _counted(prefix: str, label: str, tallies: Mapping[str, Tally]) -> Iterator[Metric]:
    for name, meaning, number in _COUNTED:
        values = {of: number(tally) for of, tally in tallies.items()}
        yield counters(f"{prefix}_{name}", meaning, (label,), by_name(values))


def _sizes(tally: Tally) -> Histogram:
    sizes = Histogram(WINDOWS_BOUNDS)
    for windows, times in tally.batches.items():
        sizes.add(windows, times)
    return sizes
