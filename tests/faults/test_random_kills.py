"""Workers that are killed at random, hundreds of times, under load: the texts are those of peace.

Eight streams speak real speech all the while, four live with partials and four lossless, on
three models. The kills fall at moments drawn by a seeded generator: amid a decode, between two,
while the successor of the worker killed last still loads, and into voice activity.

Audio that ends two workers is set aside, by rule and rightly. So that no text may be missing, no
kill may hit a job that one has hit before. Therefore a worker is stopped first. It has written
down whose window it reads, and when the utterance under way in that stream has cost a worker
already, it is let go on. What is known before a kill is never guessed from the time. Likewise at
least one final is decoded between two kills: five failures in a row would open the breaker, by
rule too.

`pytest tests/faults/test_random_kills.py --kills 1000` for more kills than CI has time for.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from asrd.wire.messages import Audio, Segment
from faults.crowd import AHEAD_BYTES, Crowd, Speaker
from faults.scenes import (
    PHRASE,
    Reading,
    assert_undisturbed,
    reading,
    unruly_daemon,
    wait_for_successor,
)
from support.daemon import Daemon, is_alive, running_daemon
from support.waiting import PATIENCE_S, wait_until

STREAMS = range(1, 9)
MODELS = ("fine", "second", "third")
"""Several, so that one works while others come back."""

SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)
VOICE_EVERY = 12
LOADING_EVERY = 9
LONGEST_PAUSE_S = 0.06

LATENCY_MS = 25
CHUNK_EVERY_S = 0.05
"""A quarter of a second of audio, five times as fast as people speak."""

SETTLED_AFTER = 40
"""Kills after which whatever is made once has been made."""

MAX_GROWTH_BYTES = 12_000_000

ENGINE_KILLS = 8


def in_peace(folder: Path, crowd: Crowd) -> dict[int, Reading]:
    """What the audio of a crowd reads like when nobody does any harm."""
    with unruly_daemon(folder) as daemon, daemon.greet() as client:
        spoken = {number: bytes(each.spoken) for number, each in crowd.speakers.items()}
        again = Crowd(client, (Speaker(number, False, "fine") for number in spoken))
        for number in spoken:
            client.open(number, partials=False)
        for begin in range(0, max(map(len, spoken.values())), AHEAD_BYTES // 2):
            for number, pcm in spoken.items():
                end_s = time.monotonic() + PATIENCE_S
                while again.is_behind(again.speakers[number], min(begin, len(pcm))):
                    assert time.monotonic() < end_s, f"stream {number} gets no further"
                    again.hear()
                client.speak(number, pcm[begin : begin + AHEAD_BYTES // 2])
        return again.finish()


@dataclass
class Scene:
    """A daemon under load, and who does it harm."""

    daemon: Daemon
    crowd: Crowd
    journal: Path
    dice: random.Random
    killed: list[int] = field(default_factory=list)
    _next_chunk_s: float = 0.0

    @property
    def kills(self) -> int:
        """How many there were so far."""
        return len(self.killed)

    # ── load ──────────────────────────────────────────────────────────────────────────────────

    def go_on(self) -> None:
        """Say a little more where it is time, and take in what has come."""
        if time.monotonic() >= self._next_chunk_s:
            self._next_chunk_s = time.monotonic() + CHUNK_EVERY_S
            for speaker in self.crowd.speakers.values():
                if not self.crowd.is_behind(speaker, len(speaker.spoken)):
                    chunk = speaker.next_chunk()
                    self.crowd.client.send(Audio(stream=speaker.number, data=chunk))
        self.crowd.hear()
        time.sleep(0.002)

    def go_on_for(self, seconds: float) -> None:
        """Let so much time pass."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.go_on()

    def go_on_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Let time pass until something is so."""
        end_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end_s, f"waited {PATIENCE_S} s in vain: {what}"
            self.go_on()

    def ready(self) -> dict[str, int]:
        """The process ids of the models that are up. One that was killed takes a while to die."""
        models = self.crowd.client.health().providers["unruly"].models
        return {
            each.model: each.pid
            for each in models
            if each.state == "ready" and each.pid and each.pid not in self.killed
        }

    def voice(self) -> int:
        """The process id of voice activity; 0 while it is not up."""
        voice = self.crowd.client.health().voice_activity
        return voice.pid or 0 if voice and voice.state == "ready" else 0

    # ── harm ──────────────────────────────────────────────────────────────────────────────────

    def harm(self) -> None:
        """Kill something, somewhere, if the rules of the game allow it just now."""
        ready = self.ready()
        if not ready:
            self.go_on()
            return
        kills, segments = self.kills, self.crowd.segments
        model = self.dice.choice(sorted(ready))
        self.strike(model, ready[model])
        if self.kills == kills:
            return
        if self.kills % LOADING_EVERY == 0:
            self.strike_while_loading(ready.values())
        if self.kills % VOICE_EVERY == 0:
            self.strike_voice()
        self.go_on_until(lambda: self.crowd.segments > segments, "another final")

    def strike(self, model: str, pid: int) -> None:
        """Kill the worker of a model, unless that could hit a job twice."""
        self._stop(pid)
        self.crowd.hear()
        concerned = [each for each in self.crowd.speakers.values() if each.model == model]
        deed, prompt = self._notes(pid)[-1]
        if deed == "begin":  # else it is idle, or has not begun what it was sent
            concerned = [self.crowd.speakers[int(prompt)]]
        if any(each.is_spared for each in concerned):
            os.kill(pid, signal.SIGCONT)
            return
        for speaker in concerned:
            speaker.safe_from = speaker.segments + 1
        self.killed.append(pid)
        number = self.dice.choice(SIGNALS)
        os.kill(pid, number)
        if number != signal.SIGKILL:  # a stopped process dies of that alone
            os.kill(pid, signal.SIGCONT)

    def strike_while_loading(self, ready: Iterable[int]) -> None:
        """Kill a successor that has read nothing yet, not even for its warm-up."""
        known = {*ready, *self.killed, self.voice()}
        pid = wait_until(lambda: set(self.daemon.worker_pids) - known, "a worker that loads").pop()
        self._stop(pid)
        if self._notes(pid):
            os.kill(pid, signal.SIGCONT)
        else:
            os.kill(pid, signal.SIGKILL)
            self.killed.append(pid)

    def strike_voice(self) -> None:
        """Kill voice activity, and wait until its successor has heard somebody."""
        pid = self.voice()
        os.kill(pid, signal.SIGKILL)
        self.killed.append(pid)
        self.go_on_until(lambda: self.voice() not in (0, pid), "another voice activity")
        self.crowd.hear()
        events = self.crowd.events
        self.go_on_until(lambda: self.crowd.events > events, "speech that is heard")

    def _stop(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        process = psutil.Process(pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "a process that stops")

    def _notes(self, pid: int) -> list[list[str]]:
        """What a worker wrote down of its decodes: `begin` or `end`, and the prompt."""
        lines = (line.split() for line in self.journal.read_text().splitlines())
        return [note for process, *note in lines if process == str(pid)]


def end(daemon: Daemon) -> None:
    """End the daemon, and see that nothing of it is left."""
    workers = daemon.worker_pids
    assert len(workers) >= 2
    assert not daemon.strays
    assert daemon.terminate() == 0
    assert not [pid for pid in workers if is_alive(pid)]


@pytest.mark.timeout(1200)
def test_hundreds_of_random_kills_under_load_cost_no_word(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    wanted: int = pytestconfig.getoption("--kills")
    journal = tmp_path / "journal"
    harm = unruly_daemon(
        tmp_path / "harm",
        config={"use": {"models": MODELS}},
        latency_ms=LATENCY_MS,
        journal=str(journal),
    )
    with (
        harm as daemon,
        daemon.greet() as client,
    ):
        speakers = [
            Speaker(number, is_live=number % 2 == 0, model=MODELS[number // 2 % len(MODELS)])
            for number in STREAMS
        ]
        for speaker in speakers:
            client.open(
                speaker.number,
                model=speaker.model,
                prompt=str(speaker.number),
                delivery="live" if speaker.is_live else "lossless",
                partials=speaker.is_live,
            )
        dice = random.Random(3)
        scene = Scene(daemon, Crowd(client, speakers), journal, dice)
        core = psutil.Process(daemon.pid)
        settled_bytes = 0
        while scene.kills < wanted:
            scene.go_on_for(dice.uniform(0, LONGEST_PAUSE_S))
            scene.harm()
            if scene.kills >= SETTLED_AFTER and not settled_bytes:
                settled_bytes = core.memory_info().rss
        readings = scene.crowd.finish()
        assert core.memory_info().rss - settled_bytes < MAX_GROWTH_BYTES
        assert_undisturbed(client)
        assert client.health().ready
        assert len(daemon.logged("worker_died")) + len(daemon.logged("load_failed")) == scene.kills
        end(daemon)
    undisturbed = in_peace(tmp_path / "peace", scene.crowd)
    for number in STREAMS:
        assert readings[number] == undisturbed[number], number
        assert len(readings[number]) > wanted // 20


def test_an_engine_that_is_killed_again_and_again_costs_no_word(tmp_path: Path) -> None:
    """The same with a real engine: eight streams say a phrase each, and one kill falls among them.

    Which of the eight it hits nobody knows, so all are heard before the next.
    """
    dice = random.Random(4)
    with (
        running_daemon(tmp_path, provider="moonshine") as daemon,
        daemon.greet() as peaceful,
        daemon.greet() as client,
    ):
        undisturbed = reading(peaceful.transcribe(1, PHRASE * ENGINE_KILLS, partials=False))
        for number in STREAMS:
            client.open(number, partials=number % 2 == 0)
        for kill in range(ENGINE_KILLS):
            pid = daemon.worker("moonshine/tiny-en")
            for number in STREAMS:
                client.speak(number, PHRASE)
            while len(client.logged(Segment)) < len(STREAMS) * kill + dice.randrange(len(STREAMS)):
                client.receive()
            time.sleep(dice.uniform(0, LONGEST_PAUSE_S))
            os.kill(pid, dice.choice(SIGNALS))
            while len(client.logged(Segment)) < len(STREAMS) * (kill + 1):
                client.receive()
            wait_for_successor(daemon, "moonshine/tiny-en", pid)
        client.finish(*STREAMS)
        assert_undisturbed(client)
        assert len(daemon.logged("worker_died")) == ENGINE_KILLS
        for number in STREAMS:
            assert reading(client.logged(Segment, number)) == undisturbed, number
        end(daemon)
