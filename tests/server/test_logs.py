"""Logs: lines of JSON, for people or for journald, and never the end of the daemon."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asrd.server.logs import LAST_LINES_S, LEVELS
from support.journald import Journald
from support.unread import full_pipe

SCRIPT = """
import structlog
from asrd.server import logs
logs.configure({level!r})
log = structlog.get_logger()
log.debug("one", stream=1)
log.info("two", text="ü\\n")
log.warning("three")
try:
    1 / 0
except ZeroDivisionError:
    log.error("four", exc_info=True)
print("done")
"""


def run(level: str, stderr: int) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level=level)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=False,
        timeout=60,
    )


def test_what_is_no_terminal_gets_one_object_of_json_for_each_line() -> None:
    done = run("debug", subprocess.PIPE)
    assert done.stdout == b"done\n"
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["one", "two", "three", "four"]
    assert [line["level"] for line in lines] == ["debug", "info", "warning", "error"]
    assert lines[0]["stream"] == 1
    assert lines[1]["text"] == "ü\n"
    assert lines[0]["timestamp"].endswith("Z")
    assert "ZeroDivisionError" in lines[3]["exception"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_leaves_out_what_is_below_it(level: str) -> None:
    done = run(level, subprocess.PIPE)
    assert len(done.stderr.splitlines()) == len(LEVELS) - LEVELS.index(level)


def test_a_terminal_gets_lines_for_people() -> None:
    reader, terminal = pty.openpty()
    try:
        assert run("info", terminal).stdout == b"done\n"
        text = os.read(reader, 65_536)
    finally:
        os.close(reader)
        os.close(terminal)
    assert b"two" in text
    assert b"{" not in text


def test_a_terminal_is_told_nothing_that_it_obeys() -> None:
    script = """
import structlog
from asrd.choices import LogFormat
from asrd.server import logs
logs.configure("info", LogFormat.CONSOLE)
log = structlog.get_logger()
log.info("one", client="a\\u202eb\\x9b2J", source="a b\\u202e", keys=["\\x9b"])
try:
    raise ValueError("\\u2066c\\x9b2J")
except ValueError:
    log.exception("two")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=60
    )
    text = done.stderr.decode()
    assert not set(text) & set("\u202e\x9b\u2066")
    assert "a\N{REPLACEMENT CHARACTER}b" in text
    assert "ValueError: \N{REPLACEMENT CHARACTER}c" in text
    assert len(text.splitlines()) > 4  # a traceback has its own lines


def test_a_log_that_nobody_reads_any_more_is_no_reason_to_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run("debug", writer)
    finally:
        os.close(writer)
    assert done.stdout == b"done\n"
    assert done.returncode == 0


def test_a_terminal_that_is_closed_is_no_reason_to_end() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, SCRIPT.format(level="debug")],
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == (b"done\n", 0)


def test_a_full_disk_is_no_reason_to_end() -> None:
    with Path("/dev/full").open("wb") as full:
        done = run("debug", full.fileno())
    assert (done.stdout, done.returncode) == (b"done\n", 0)


def test_a_pipe_that_nobody_reads_holds_up_the_end_for_a_moment_only() -> None:
    reader, writer = full_pipe()
    try:
        started = time.monotonic()
        done = run("debug", writer)
        took_s = time.monotonic() - started
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.stdout, done.returncode) == (b"done\n", 0)
    assert took_s < LAST_LINES_S + 2.0  # with the start of Python


def test_another_level_reaches_those_who_have_a_logger() -> None:
    script = """
import structlog
from asrd.server import logs
logs.configure("warning")
log = structlog.get_logger()
log.info("one")
log.warning("two")
logs.set_level("debug")
log.debug("three")
logs.set_level("error")
log.warning("four")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=60
    )
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["two", "three"]


def test_what_a_library_writes_to_stderr_does_not_wait_either() -> None:
    script = """
import sys, warnings, logging
from asrd.server import logs
logs.configure("warning")
for _ in range(100):
    print("x" * 10_000, file=sys.stderr)
    logging.getLogger("asyncio").error("e" * 10_000)
print("done")
"""
    reader, writer = full_pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=writer,
            check=True,
            timeout=60,
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert done.stdout == b"done\n"


def test_what_is_said_too_often_is_counted_and_told_at_the_end() -> None:
    script = """
import structlog
from asrd.server import logs
logs.configure({level!r})
log = structlog.get_logger()
for number in range(1000):
    log.info("crowd", number=number)
log.info("other")
"""
    lines = told_by(script.format(level="info"))
    assert [line["number"] for line in lines if line["event"] == "crowd"] == list(range(20))
    assert [line["event"] for line in lines[20:]] == ["other", "log_lines_suppressed"]
    assert lines[-1]["lines"] == 980
    assert lines[-1]["events"] == {"crowd": 980}
    assert len(told_by(script.format(level="debug"))) == 1001


def told_by(script: str) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=60
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


# ── journald ──────────────────────────────────────────────────────────────────────────────────

TO_JOURNAL = """
import sys, structlog
from pathlib import Path
from asrd.choices import LogFormat
from asrd.server import logs
logs.configure("info", LogFormat(sys.argv[2]), Path(sys.argv[1]))
log = structlog.get_logger()
log.info("stream_ended", session="s1", stream=3, audio_s=1.5, client=None)
log.warning("two", text="a\\nb")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("four")
"""


def run_for_journal(path: Path, form: str, stderr: int, **environment: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", TO_JOURNAL, str(path), form],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, **environment},
        check=True,
        timeout=60,
    )
    return done.stderr or b""


def test_where_stderr_is_the_journal_each_value_is_a_field(tmp_path: Path) -> None:
    with Journald(tmp_path / "socket") as journald, (tmp_path / "stderr").open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        stream = f"{status.st_dev}:{status.st_ino}"
        run_for_journal(journald.path, "auto", stderr.fileno(), JOURNAL_STREAM=stream)
        ended, two, four = journald.entries()
        assert not (tmp_path / "stderr").read_bytes()
        run_for_journal(journald.path, "auto", stderr.fileno(), JOURNAL_STREAM="1:1")
        assert not journald.entries()  # something else has been put in its place
        assert json.loads((tmp_path / "stderr").read_bytes().splitlines()[0])["stream"] == 3
    assert ended == {
        "MESSAGE": "stream ended session=s1 stream=3 audio_s=1.5",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "asrd",
        "ASRD_EVENT": "stream_ended",
        "ASRD_SESSION": "s1",
        "ASRD_STREAM": "3",
        "ASRD_AUDIO_S": "1.5",
    }
    assert (two["PRIORITY"], two["ASRD_TEXT"]) == ("4", "a\nb")
    assert two["MESSAGE"] == "two text=a b"
    assert four["PRIORITY"] == "3"
    assert four["MESSAGE"] == "four ZeroDivisionError: division by zero"
    assert four["ASRD_EXCEPTION"].startswith("Traceback")


def test_where_journald_is_gone_lines_go_to_stderr(tmp_path: Path) -> None:
    told = run_for_journal(tmp_path / "nobody", "journal", subprocess.PIPE)
    lines = [json.loads(line) for line in told.splitlines()]
    assert [line["event"] for line in lines] == ["stream_ended", "two", "four"]
    assert lines[0]["timestamp"].endswith("Z")
