"""The end of an utterance where programs are kept: quiet is who neither prints nor computes."""

import shlex
import sys

import pytest

from asrd import DecodeOptions, ProviderError, Setting
from asrd_process import ProcessProvider
from support.audio import silence

COMPUTES = """
import sys, time
sys.stderr.write("ready\\n")
sys.stderr.flush()
while data := sys.stdin.buffer.read1(8000):
    until_s = time.process_time() + {busy_s}
    while time.process_time() < until_s:
        pass
    print("late", flush=True)
"""


def told(busy_s: float, **more: Setting) -> dict[str, Setting]:
    """Settings of a program that computes for so long before it prints, and is kept."""
    return {
        "command": shlex.join([sys.executable, "-c", COMPUTES.format(busy_s=busy_s)]),
        "ready_pattern": "ready",
        "end": "pad",
        "padding_ms": 0,
        "quiet_ms": 200,
        "spares": 0,
        **more,
    }


def test_a_program_that_computes_is_not_quiet() -> None:
    model = ProcessProvider().load("program", told(busy_s=1.0))
    texts = [model.decode(silence(0.25), DecodeOptions()).text for _ in range(2)]
    model.close()
    assert texts == ["late", "late"]


def test_one_that_computes_for_ever_is_given_up() -> None:
    model = ProcessProvider().load("program", told(busy_s=1e6, finish_timeout_s=0.5))
    with pytest.raises(ProviderError, match=r"has not become quiet within 0\.5 s"):
        model.decode(silence(0.25), DecodeOptions())
    model.close()
