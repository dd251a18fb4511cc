"""What the fault suite shares: a daemon with a plugin that misbehaves, speech, and a look at both.

A decode of `unruly` says length and checksum of its window, so a text that equals that of a run
without faults proves that no sample was lost, doubled or moved.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from asrd.wire.messages import Error, Event, GetStats, Segment, Stats
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.daemon import Daemon, install_plugins, running_daemon
from support.waiting import wait_until
from support.wire_client import WireClient

SAMPLES = TINY_WHISPER / "samples"
PHRASE = read_pcm(SAMPLES / "phrase_1.wav") + silent_pcm(0.6)
"""3.7 seconds, one utterance."""

LONG = read_pcm(SAMPLES / "pauses_1.wav") + read_pcm(SAMPLES / "pauses_2.wav")
"""33 seconds, eleven utterances."""

MARKED_AT_S = 1.2
"""A place amid the utterance of `PHRASE`."""

SEEN_WITHIN_S = 0.1
VOICE = "voice_activity"
UNRULY = "unruly/fine"

Reading = list[tuple[int, float, float, str]]


@contextmanager
def unruly_daemon(
    folder: Path,
    *,
    model: str = "fine",
    eager: bool = True,
    config: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Daemon]:
    """A daemon whose provider is `unruly`, with its settings and the rest of the configuration."""
    folder.mkdir(exist_ok=True)
    plugins = install_plugins(folder / "plugins", {"unruly": "support.unruly"})
    with running_daemon(
        folder,
        [plugins],
        provider="unruly",
        model=model,
        eager=eager,
        settings=settings,
        **(config or {}),
    ) as daemon:
        yield daemon


def reading(segments: list[Segment]) -> Reading:
    """What a reader of the transcript sees."""
    return [(segment.id, segment.start, segment.end, segment.text) for segment in segments]


def is_decoding(client: WireClient) -> bool:
    """Whether a decode is under way."""
    client.send(GetStats())
    return client.expect(Stats).counters["decodes_running"] == 1


def events_of(client: WireClient, kind: str, stream: int | None = None) -> list[Event]:
    """The events of that kind that came so far."""
    return [event for event in client.logged(Event, stream) if event.event == kind]


def assert_undisturbed(client: WireClient) -> None:
    """It heard of no error, and nothing of it was dropped."""
    trouble = [*client.logged(Error), *events_of(client, "dropped")]
    assert not trouble, trouble


def assert_set_aside(client: WireClient, stream: int, *, at_s: float) -> float:
    """One utterance, the one at `at_s`, was given up, and the client told; returns its seconds."""
    (error,) = client.logged(Error)
    assert (error.code, error.fatal, error.stream) == ("provider_failed", False, stream)
    (dropped,) = events_of(client, "dropped", stream)
    assert dropped.reason == "provider_failed"
    assert isinstance(dropped.start, float)
    assert isinstance(dropped.end, float)
    assert dropped.start < at_s < dropped.end
    return dropped.end - dropped.start


def deaths(daemon: Daemon, worker: str) -> list[dict[str, Any]]:
    """What the log says of the deaths of a worker."""
    return [line for line in daemon.logged("worker_died") if line["worker"] == worker]


def kill_and_see(daemon: Daemon, worker: str, number: int = signal.SIGKILL) -> None:
    """End a worker, and hold the daemon to having noticed it in time."""
    known = len(deaths(daemon, worker))
    pid = daemon.worker(worker)
    killed = time.time()
    os.kill(pid, number)
    death = wait_until(lambda: deaths(daemon, worker)[known:], "a death that is noticed")[0]
    seen = datetime.fromisoformat(death["timestamp"]).timestamp()
    assert death["pid"] == pid
    assert death["exit_code"] == -number
    assert seen - killed < SEEN_WITHIN_S


def wait_for_successor(daemon: Daemon, worker: str, after: int) -> int:
    """The process id of the worker that is ready after that one."""
    return wait_until(
        lambda: pid if (pid := daemon.worker(worker)) != after else None, f"another {worker}"
    )
