"""A provider that cannot come back: its streams move on, lose nothing, and return when it does.

The texts say who read what: each segment has to be what its provider makes of that utterance when
nothing goes wrong, and ids and times those of any undisturbed run.
"""

import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from asrd.wire.messages import Event, Segment
from faults.scenes import LONG, assert_undisturbed, events_of, reading, unruly_daemon
from support.waiting import wait_until

STREAMS = (1, 2, 3, 4)
SPEECH = LONG * 2
PLACES = (0, 22 * 32_000, 44 * 32_000, len(SPEECH))
"""What is said before the fault, while it lasts, and behind it."""

LOSSLESS: dict[str, Any] = {"delivery": "lossless", "partials": False}

NOT_READY_WITHIN_S = 1.0
UNRULY = "unruly/flagged_load"


@pytest.mark.parametrize(("fallback", "deed"), [("echo", "kill"), ("moonshine", "raise")])
def test_streams_move_to_the_fallback_and_back_without_losing_a_word(
    tmp_path: Path, fallback: str, deed: str
) -> None:
    flag = tmp_path / "flag"
    config = {
        "fallback": [fallback],
        "providers": {fallback: {"loading": "eager"}},
        "use": {"required": True},
        "supervision": {"load_attempts": 2, "first_pause_s": 0.05, "breaker_open_s": 0.5},
    }
    with (
        unruly_daemon(
            tmp_path, model="flagged_load", config=config, deed=deed, flag=str(flag)
        ) as daemon,
        daemon.greet() as peaceful,
        daemon.greet() as client,
    ):
        undisturbed = {
            provider: reading(peaceful.transcribe(stream, SPEECH, provider=provider, **LOSSLESS))
            for stream, provider in enumerate(("unruly", fallback))
        }
        before, amid, behind = (SPEECH[begin:end] for begin, end in pairwise(PLACES))
        for stream in STREAMS:
            client.open(stream, **LOSSLESS if stream % 2 else {"delivery": "live"})
            client.speak(stream, before)
        while {segment.stream for segment in client.logged(Segment)} != set(STREAMS):
            client.expect(Segment)

        flag.touch()
        killed = time.monotonic()
        os.kill(daemon.worker(UNRULY), signal.SIGKILL)
        wait_until(lambda: not peaceful.health().ready, "a daemon that is not ready")
        assert time.monotonic() - killed < NOT_READY_WITHIN_S
        for stream in STREAMS:
            client.speak(stream, amid)
        while len(events_of(client, "degraded")) < len(STREAMS):
            client.expect(Event)
        health = client.health()
        assert (health.ready, health.state) == (False, "degraded")
        client.expect(Segment, lambda segment: segment.provider == fallback)

        flag.unlink()
        while len(events_of(client, "restored")) < len(STREAMS):
            client.expect(Event)
        assert client.health().ready
        for stream in STREAMS:
            client.speak(stream, behind)
        client.finish(*STREAMS)

        assert_undisturbed(client)
        for stream in STREAMS:
            segments = client.logged(Segment, stream)
            providers = [str(segment.provider) for segment in segments]
            assert (providers[0], providers[-1]) == ("unruly", "unruly")
            assert reading(segments) == [
                undisturbed[provider][place] for place, provider in enumerate(providers)
            ]
            assert len(segments) == len(undisturbed["unruly"])
            (degraded,) = events_of(client, "degraded", stream)
            (restored,) = events_of(client, "restored", stream)
            assert (degraded.level, restored.level) == (4, 0)
            assert str(degraded.action).startswith(f"read by {fallback}/")
            assert restored.action == f"read by {UNRULY}"
            assert client.log.index(degraded) < client.log.index(restored)
        assert {segment.provider for segment in client.logged(Segment)} == {"unruly", fallback}
        assert not daemon.strays
