"""A million mutated frames into the daemon's parser, 200,000 into the client's: all are answered.

Each run has a process to itself, so that its memory is its own. That the harness would see it if
it were otherwise is tested with parsers that have been broken.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgpack
import pytest

from asrd.errors import ProtocolError
from asrd.providers.registry import discover
from asrd.wire import codec, connection
from asrd.wire.messages import Flush
from fuzz import parser, peers
from fuzz.parser import Failed
from support.daemon import TESTS, environment
from support.room import Guest

FRAMES = {"daemon": 1_000_000, "client": 200_000}
PEER_FRAMES = 20_000
MAX_GROWTH_BYTES = 10_000_000
ATHERIS_S = 10
TIMEOUT_S = 600


def run_module(*command: str, patience_s: float) -> "subprocess.CompletedProcess[str]":
    """A module of these tests in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=TESTS,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=patience_s,
    )


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("side", FRAMES)
def test_whatever_comes_each_frame_earns_one_answer(side: str, times: int, seed: int) -> None:
    frames = FRAMES[side] * times
    done = run_module(
        *("fuzz.parser", "--side", side, "--frames", str(frames), "--seed", str(seed)),
        patience_s=TIMEOUT_S * times,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout)
    answered = sum(n for kind, n in found["outcomes"].items() if not kind.startswith("torn: "))
    assert answered >= frames  # and the stock once before
    assert found["growth_bytes"] <= MAX_GROWTH_BYTES


@pytest.mark.timeout(TIMEOUT_S)
def test_peers_and_streams_behind_the_parser_bear_it_too(times: int, seed: int) -> None:
    told = asyncio.run(peers.fuzz(discover(), PEER_FRAMES * times, seed))
    for code in ("invalid_frame", "invalid_message", "unknown_type", "unknown_stream"):
        assert told[code] > 50, told


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
def test_a_search_led_by_coverage_finds_nothing(tmp_path: Path, times: int, seed: int) -> None:
    done = run_module(
        "fuzz.atheris_parser",
        str(tmp_path / "corpus"),
        f"-seed={seed}",
        f"-max_total_time={ATHERIS_S * times}",
        f"-artifact_prefix={tmp_path}/",
        patience_s=ATHERIS_S * times + 60,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert "Done " in done.stderr


# ── what the harness sees ─────────────────────────────────────────────────────────────────────


def lets_errors_out(payload: memoryview) -> Any:
    """`codec.unpack` without its guard."""
    return msgpack.unpackb(payload, strict_map_key=False)


def says_nothing(_: object, payload: memoryview) -> None:
    """A `ServerConnection._read` that forgets to answer."""


def answers_by_place(payload: memoryview) -> Any:
    """A decoder to which a frame means something else when it lies amid others."""
    if payload.nbytes != len(payload.obj) - 4:  # type: ignore[arg-type]
        raise ProtocolError("internal", "it lies amid others")  # type: ignore[arg-type]
    return codec.decode_client(payload)


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (codec, "unpack", lets_errors_out),
        (connection.ServerConnection, "_read", says_nothing),
        (connection, "decode_client", answers_by_place),
    ],
)
def test_a_broken_parser_is_found_out(
    owner: object, name: str, broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(Failed):
        parser.fuzz("daemon", 2_000, 1)


def test_a_parser_that_keeps_what_it_reads_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, original = [], codec.unpack

    def keep(payload: memoryview) -> Any:
        kept.append(bytearray(1_000))
        return original(payload)

    monkeypatch.setattr(codec, "unpack", keep)
    assert parser.fuzz("daemon", 30_000, 1)["growth_bytes"] > MAX_GROWTH_BYTES  # type: ignore[operator]


def test_a_peer_that_fails_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Guest.say_bytes

    def say(guest: Guest, data: bytes) -> None:
        handle = guest.peer._handle

        def fail(message: Any) -> None:
            if isinstance(message, Flush):
                raise RuntimeError("broken by design")
            handle(message)

        guest.peer._handle = fail  # type: ignore[method-assign]
        original(guest, data)

    monkeypatch.setattr(Guest, "say_bytes", say)
    with pytest.raises(peers.Failed):
        asyncio.run(peers.fuzz(discover(), 2_000, 1))


def test_an_answer_that_is_missing_is_found_out() -> None:
    data = bytes(parser.HELLO) + b"\x00\x00\x00\x01\x80"
    with pytest.raises(peers.Failed):
        peers.check_answers(data, [])
