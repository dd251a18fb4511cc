"""Logs on stderr: lines of JSON, or for people, and never the end of the daemon."""

import json
import os
import pty
import subprocess
import sys

import pytest

from asrd.server.logs import LEVELS

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


def test_a_log_that_nobody_reads_any_more_is_no_reason_to_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run("debug", writer)
    finally:
        os.close(writer)
    assert done.stdout == b"done\n"
    assert done.returncode == 0
