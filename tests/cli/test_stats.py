"""`asrd stats`: readable at 80 columns, exact as JSON."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asrd.cli.figures import LEVELS
from asrd.providers.registry import discover
from asrd.server.served import FALLBACK_LEVEL
from asrd.wire.messages import GetStats, Stats
from cli.conftest import Run
from support.fake_daemon import FakeDaemon
from support.room import UTTERANCE, Room, run, settle

COUNTERS: dict[str, int | float] = {
    "streams_open": 3,
    "streams_waiting": 4,
    "decodes_running": 1,
    "decode_slots": 1,
    "partial_interval_s": 4.0,
    "decodes_failed": 0,
    "worker_restarts": 0,
}
LOCAL: dict[str, float] = {"slots": 1, "running": 1, "load": 0.875, "level": 2}


def queue(**changes: Any) -> dict[str, Any]:
    return {
        "depth": 3,
        "limit": 100,
        "fill_ratio": 0.03,
        "decoding": 1,
        "finals": 1234,
        "partials": 5678,
        "failed": 0,
        "aborted": 2,
        "coalesced": 12,
        "left_out": 0,
        "timed_out": 0,
        "audio_s": 10.0,
        "decode_s": 1.234,
        "dropped_s": 12.5,
        "real_time_factor": 0.1234,
        "queue_wait_ms": {"p50": 1.25, "p95": 88.4, "p99": 1234.0},
        "decode_ms": {"p50": 87.5, "p95": 220.0, "p99": 1e6},
    } | changes


def calm(**changes: Any) -> dict[str, Any]:
    """A queue in which nothing went wrong."""
    return queue(aborted=0, coalesced=0, dropped_s=0.0, **changes)


def of(**changes: Any) -> Stats:
    fields: dict[str, Any] = {
        "counters": COUNTERS,
        "queues": {},
        "groups": {"local": LOCAL},
        "latencies": {},
        "real_time_factor": 0.1234,
        "level": 2,
    }
    return Stats(**(fields | changes))


def told(asrd: Run, daemon: FakeDaemon, socket: Path, found: Stats) -> list[str]:
    """The lines that are printed; none is too long to be read."""
    daemon.rules[GetStats] = lambda _: [found]
    outcome = asrd("stats", "--socket", socket)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    return lines


def test_a_busy_daemon(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    """What is 0 and seldom anything else is an empty cell; dropped audio is its source's."""
    queues = {
        "source:mic": queue(),
        "source:system": calm(depth=0, limit=50, fill_ratio=0.0),
        "provider:faster_whisper": queue(
            limit=16384, fill_ratio=0.0002, dropped_s=0.0, batches={"1": 120, "4": 6, "16": 2}
        ),
    }
    counters = COUNTERS | {"decodes_failed": 1, "partials_left_out": 2, "worker_restarts": 1}
    assert told(asrd, daemon, socket, of(queues=queues, counters=counters)) == [
        "level 2 (fewer partials, smaller models), 3 streams open, partials every 4 s,",
        "    real-time factor 0.123",
        "  local: load 0.88, 1 of 1 slots in use",
        "  1 decode failed, 2 partials left out, 1 worker restart",
        "",
        "SOURCE          WAITING  FILL  FINALS  PARTIALS  COALESCED  ABORTED  DROPPED",
        "mic               3/100    3%    1234      5678         12        2   12.5 s",
        "system             0/50    0%    1234      5678",
        "PROVIDER",
        "faster_whisper  3/16384    0%    1234      5678         12        2",
        "",
        "SOURCE          WAIT P50    P95    P99  DECODE P50     P95    RTF",
        "mic               1.2 ms  88 ms  1.2 s       88 ms  220 ms  0.123",
        "system            1.2 ms  88 ms  1.2 s       88 ms  220 ms  0.123",
        "PROVIDER",
        "faster_whisper    1.2 ms  88 ms  1.2 s       88 ms  220 ms  0.123",
        "",
        "PROVIDER        WINDOWS IN A CALL:CALLS",
        "faster_whisper  1:120 4:6 16:2",
    ]


def test_a_daemon_that_has_done_nothing_yet(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    counters = COUNTERS | {"streams_open": 1, "decodes_running": 0, "partial_interval_s": 2.0}
    idle = of(counters=counters, groups={}, real_time_factor=None, level=0)
    assert told(asrd, daemon, socket, idle) == [
        "level 0 (everybody gets all), 1 stream open, 0 of 1 slots in use, partials every",
        "    2 s",
    ]


def test_columns_without_a_cell_are_left_out(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    """And tables without a row: nothing was decoded yet."""
    waiting = calm(finals=0, partials=0, queue_wait_ms={}, decode_ms={}, real_time_factor=None)
    lines = told(asrd, daemon, socket, of(queues={"source:mic": waiting}))
    assert lines[3:] == [
        "",
        "SOURCE  WAITING  FILL  FINALS  PARTIALS",
        "mic       3/100    3%       0         0",
    ]


def test_each_device_group_has_its_line(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    """With its rung, where that is not the one that the daemon as a whole is on."""
    second: dict[str, float] = {"slots": 4, "running": 3, "load": 0.1, "level": 0}
    lines = told(asrd, daemon, socket, of(groups={"local": LOCAL, "gpu0": second}))
    assert lines[2:] == [
        "  gpu0: load 0.10, 3 of 4 slots in use, level 0 (everybody gets all)",
        "  local: load 0.88, 1 of 1 slots in use",
    ]


def test_figures_of_any_size_fit(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    """Only names are folded, and nothing of them is lost."""
    largest = queue(
        depth=12345,
        limit=16384,
        fill_ratio=7.5349,
        finals=123_456_789,
        partials=9_876_543_210,
        aborted=999_999,
        coalesced=99_999,
        dropped_s=99_999.0,
        real_time_factor=1234.5678,
        queue_wait_ms={"p50": 999.9, "p95": 9_999_999.0, "p99": 99_999_999.0},
        decode_ms={"p50": 99_999.0, "p95": 9.96},
    )
    batches = {str(size): 1000 + size for size in range(1, 17)}
    name = "a source whose name has all of the sixty-four letters it may have"
    queues = {f"source:{name}": largest, "provider:faster_whisper": largest | {"batches": batches}}
    text = "\n".join(told(asrd, daemon, socket, of(queues=queues, level=4)))
    assert all(word in text for word in name.split())
    cells = " ".join(text.split())
    assert "12345/16384 753% 123M 9877M 99999 1000k 99999 s" in cells
    assert "1.0 s 10000 s 100000 s 100 s 10 ms 1235" in cells
    assert [f"{size}:{1000 + size}" for size in range(1, 17)] == text.split()[-16:]


def test_a_name_cannot_command_the_terminal(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    queues = {"source:mic\x1b[2J\n\x07": calm()}
    text = "\n".join(told(asrd, daemon, socket, of(queues=queues)))
    assert "mic�[2J �" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(("level", "shown"), [(0, "level 0 ("), (4, "level 4 ("), (9, "level 9,")])
def test_every_rung_has_a_name_but_those_of_another_version(
    asrd: Run, daemon: FakeDaemon, socket: Path, level: int, shown: str
) -> None:
    assert told(asrd, daemon, socket, of(level=level))[0].startswith(shown)
    assert len(LEVELS) == FALLBACK_LEVEL + 1


def test_what_another_version_leaves_out_is_left_out(
    asrd: Run, daemon: FakeDaemon, socket: Path
) -> None:
    bare = Stats(counters={}, queues={"mic": {"depth": 2}}, latencies={}, level=0)
    assert told(asrd, daemon, socket, bare) == [
        "level 0 (everybody gets all), 0 streams open",
        "",
        "SOURCE  WAITING",
        "mic           2",
    ]


def test_as_json_nothing_is_left_out(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    found = of(queues={"source:mic": queue()}, latencies={"decode_ms": {"p50": 1.5}})
    daemon.rules[GetStats] = lambda _: [found]
    printed = asrd("stats", "--socket", socket, "--json").out
    assert {**json.loads(printed), "type": "stats"} == msgspec.to_builtins(found)


def test_what_a_real_daemon_tells_has_every_cell(
    asrd: Run, daemon: FakeDaemon, socket: Path
) -> None:
    """The keys that are looked for are those that it has."""
    found: list[Stats] = []

    async def scenario() -> None:
        room = Room(discover())
        guest = room.greeted()
        guest.open(1)
        await settle()
        guest.speak(1, UTTERANCE)
        await settle()
        room.hub.check()
        found.append(room.reporter.stats())

    run(scenario)
    lines = told(asrd, daemon, socket, found[0])
    assert lines[:2] == [
        "level 0 (everybody gets all), 1 stream open, partials every 2 s, real-time",
        "    factor 0",
    ]
    assert lines[2:] == [
        "  local: load 0.00, 0 of 1 slots in use",
        "",
        "SOURCE     WAITING  FILL  FINALS  PARTIALS",
        "mic          0/100    0%       1         0",
        "PROVIDER",
        "echo      0/131072    0%       1         0",
        "",
        "SOURCE    WAIT P50     P95     P99  DECODE P50     P95  RTF",
        "mic         0.0 ms  0.0 ms  0.0 ms      0.0 ms  0.0 ms    0",
        "PROVIDER",
        "echo        0.0 ms  0.0 ms  0.0 ms      0.0 ms  0.0 ms    0",
        "",
        "PROVIDER  WINDOWS IN A CALL:CALLS",
        "echo      1:1",
    ]
