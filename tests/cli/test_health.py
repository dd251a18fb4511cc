"""`asrd health`: readable at 80 columns, exact as JSON, and an exit code to go by."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asrd.cli import reach
from asrd.cli.screens import looks
from asrd.wire.messages import GetHealth, GetStats, Health
from asrd.wire.reports import ModelHealth, ProviderHealth
from cli.conftest import Outcome, Run
from support.daemon import running_daemon
from support.fake_daemon import FakeDaemon, health
from support.waiting import wait_until


def told(asrd: Run, daemon: FakeDaemon, socket: Path, found: Health) -> list[str]:
    """The lines that are printed; none is too long to be read."""
    daemon.rules[GetHealth] = lambda _: [found]
    outcome = asrd("health", "--socket", socket)
    assert outcome.code == (0 if found.ready else 69)
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    return lines


def of(uptime_s: float = 3725.0, **providers: ProviderHealth) -> Health:
    return Health(state="ready", live=True, ready=True, providers=providers, uptime_s=uptime_s)


def test_a_ready_daemon(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    outcome = asrd("health", "--socket", socket, "--deep")
    assert outcome.code == 0
    assert outcome.out == "ready, up for 1 h 2 min\n  fake: ready, model none\n"
    assert daemon.heard[1] == GetHealth(deep=True)


def test_a_daemon_that_is_not_ready(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[GetHealth] = lambda _: [health(is_ready=False)]
    outcome = asrd("health", "--socket", socket, "--json")
    assert outcome.code == 69
    assert json.loads(outcome.out)["ready"] is False
    assert daemon.heard[1] == GetHealth(deep=False)


def test_it_is_waited_for(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    answers = iter([health(is_ready=False), health(is_ready=False)])
    daemon.rules[GetHealth] = lambda _: [next(answers, health())]
    outcome = asrd("health", "--socket", socket, "--wait-s", "30")
    assert (outcome.code, outcome.out.splitlines()[0]) == (0, "ready, up for 1 h 2 min")
    assert daemon.heard.count(GetHealth()) == 3


@pytest.mark.parametrize("name", ["health", "status", "stats", "doctor", "models list"])
def test_a_daemon_that_greets_and_hangs_is_given_up(
    asrd: Run,
    daemon: FakeDaemon,
    socket: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answered(question: Any, _timeout_s: float = 10.0) -> Any:
        return await within_a_moment(question, 0.05)

    within_a_moment = reach.answered
    for user in (reach, looks):
        monkeypatch.setattr(user, "answered", answered)
    for question in (GetHealth, GetStats):
        daemon.rules[question] = lambda _: []
    outcome = asrd(*name.split(), "--socket", socket, "--json")
    said = "the daemon does not answer: nothing came for 0.05 s: look at its log"
    if name == "doctor":
        (check,) = (one for one in json.loads(outcome.out)["checks"] if one["check"] == "daemon")
        assert said in check["finding"]
    elif name == "models list":  # of no importance to it
        assert outcome.code == 0
    else:
        assert outcome.code == 69
        assert outcome.error.startswith(said)
        assert bool(outcome.out) == (name != "stats")


def test_a_daemon_that_never_comes_is_waited_for_in_vain(asrd: Run, tmp_path: Path) -> None:
    started_s = time.monotonic()
    outcome = asrd("health", "--socket", tmp_path / "none", "--wait-s", "0.3")
    assert outcome.code == 69
    assert time.monotonic() - started_s >= 0.3


ECHO = ModelHealth(
    model="echo",
    state="ready",
    streams=1,
    last_inference_ms=0.14,
    idle_s=12.9,
    consecutive_errors=3,
    restarts=2,
    load_s=0.5,
    warm_up_s=0.25,
    memory_bytes=34_000_000,
    gpu_memory_bytes=1_500_000_000,
    pid=4711,
)


def test_one_model_is_one_line(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    quiet = ModelHealth(
        model="echo", state="ready", last_inference_ms=87.6, idle_s=75.0, memory_bytes=34_000_000
    )
    found = Health(
        state="ready",
        live=True,
        ready=True,
        providers={
            "echo": ProviderHealth(
                state="ready", model="echo", is_default=True, is_required=True, models=[quiet]
            )
        },
        uptime_s=9.0,
        voice_activity=ModelHealth(model="silero", state="ready", memory_bytes=65_000_000),
        memory_bytes=1_234_000_000,
    )
    assert told(asrd, daemon, socket, found) == [
        "ready, up for 9 s, 1.2 GB",
        "  echo (default, required): ready, model echo, last decode 88 ms 1 min 15 s ago,",
        "      34 MB",
        "  voice activity: ready, 65 MB",
    ]


def test_what_a_model_went_through_is_told(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    one = ProviderHealth(state="ready", model="echo", models=[ECHO])
    assert told(asrd, daemon, socket, of(echo=one))[1:] == [
        "  echo: ready, model echo, 1 stream, last decode 0.1 ms 12 s ago, 3 errors in a",
        "      row, 2 restarts, 34 MB, 1.5 GB on GPU",
    ]
    single = msgspec.structs.replace(ECHO, consecutive_errors=1, restarts=1, gpu_memory_bytes=0)
    one = ProviderHealth(state="ready", model="echo", models=[single])
    text = " ".join(told(asrd, daemon, socket, of(echo=one))[1:])
    assert "1 error, 1 restart, 34 MB" in " ".join(text.split())


def test_several_models_have_a_line_each(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    bad = ModelHealth(model="b", state="unavailable", problem="there is too little memory for it")
    one = ProviderHealth(
        state="ready", model="echo", memory_bytes=34_000_000, problem="", models=[ECHO, bad]
    )
    lines = told(asrd, daemon, socket, of(echo=one))[1:]
    assert lines[0] == "  echo: ready, 2 models, 34 MB"
    assert lines[1].startswith("    echo: ready, 1 stream, last decode 0.1 ms 12 s ago, 3 errors")
    assert lines[3:] == ["    b: unavailable", "      there is too little memory for it"]


def test_what_is_wrong_and_what_to_do_stand_below(
    asrd: Run, daemon: FakeDaemon, socket: Path
) -> None:
    """The remedy in one piece, so that it can be pasted."""
    missing = ProviderHealth(
        state="unavailable",
        model="base",
        problem="The model 'base' is neither in the Hugging Face cache nor anywhere else here.",
        remedy="asrd models pull whisper_cpp/base",
    )
    resting = ProviderHealth(
        state="unavailable", model="echo", breaker="half_open", problem="p", models=[ECHO]
    )
    found = msgspec.structs.replace(
        of(whisper_cpp=missing, echo=resting), state="unavailable", ready=False
    )
    lines = told(asrd, daemon, socket, found)
    assert lines[0] == "unavailable, up for 1 h 2 min"
    assert lines[1].startswith("  echo: unavailable, breaker half open, model echo, 1 stream, ")
    assert lines[3:] == [
        "    p",
        "  whisper_cpp: unavailable, model base",
        "    The model 'base' is neither in the Hugging Face cache nor anywhere else",
        "    here.",
        "    asrd models pull whisper_cpp/base",
    ]


@pytest.mark.parametrize(("is_ready", "word"), [(True, "ready"), (False, "not ready")])
def test_a_degraded_daemon_says_whether_it_is_ready(
    asrd: Run, daemon: FakeDaemon, socket: Path, is_ready: bool, word: str
) -> None:
    found = msgspec.structs.replace(of(), state="degraded", ready=is_ready)
    assert told(asrd, daemon, socket, found) == [f"degraded, {word}, up for 1 h 2 min"]


def test_as_json_nothing_is_left_out(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    found = Health(
        state="ready",
        live=True,
        ready=True,
        providers={"echo": ProviderHealth(state="ready", model="echo", models=[ECHO])},
        uptime_s=1.5,
        voice_activity=ECHO,
        memory_bytes=5,
    )
    daemon.rules[GetHealth] = lambda _: [found]
    printed = asrd("health", "--socket", socket, "--json").out
    assert {**json.loads(printed), "type": "health"} == msgspec.to_builtins(found)


def test_the_death_of_a_worker_shows_within_a_second(asrd: Run, tmp_path: Path) -> None:
    """With a real daemon: not ready, with exit code 69, then ready with the restart told."""
    with running_daemon(tmp_path, settings={"load_ms": 1500}) as daemon:
        killed = time.monotonic()
        os.kill(daemon.worker("echo/echo"), signal.SIGKILL)

        def look() -> Outcome | None:
            outcome = asrd("health", "--socket", daemon.path)
            return outcome if outcome.code == 69 else None

        outcome = wait_until(look, "the death to show")
        assert time.monotonic() - killed < 1.0
        assert outcome.out.startswith("starting, ")
        wait_until(lambda: asrd("health", "--socket", daemon.path).code == 0, "a new worker")
        assert "1 restart" in " ".join(asrd("health", "--socket", daemon.path).out.split())
