"""`asrd status`: its exit codes, its JSON, and what it says where there is no daemon."""

import json
from pathlib import Path

import pytest

from asrd.wire.messages import GetHealth, GetStats, Hello
from cli.conftest import Run
from support.fake_daemon import HANG_UP, FakeDaemon, refusal
from support.looks import health, stats


@pytest.mark.parametrize(("is_ready", "code"), [(True, 0), (False, 69)])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_exit_code_says_whether_it_is_ready(
    asrd: Run, daemon: FakeDaemon, socket: Path, is_ready: bool, code: int, options: list[str]
) -> None:
    daemon.rules[GetHealth] = lambda _: [health(ready=is_ready, state="degraded")]
    daemon.rules[GetStats] = lambda _: [stats()]
    outcome = asrd("status", "--socket", socket, *options)
    assert (outcome.code, outcome.err) == (code, "")
    if options:
        told = json.loads(outcome.out)
        assert told["health"]["ready"] is is_ready
        assert told["stats"]["level"] == 2
    else:
        word = "ready" if is_ready else "not ready"
        assert outcome.out.startswith(f"fake is degraded, {word}, up for 1 h 2 min, 144 MB\n")
    assert GetStats(streams=False) in daemon.heard


def test_without_a_daemon_it_says_how_to_have_one(asrd: Run, tmp_path: Path) -> None:
    outcome = asrd("status", "--socket", tmp_path / "nobody")
    assert (outcome.code, outcome.out) == (69, "")
    assert "asrd serve" in outcome.error
    assert "asrd service install" in outcome.error
    told = asrd("status", "--json", "--socket", tmp_path / "nobody")
    assert told.code == 69
    found = json.loads(told.out)["health"]
    assert f"asrd: {found.pop('problem')}" in told.err
    assert found == {"state": "unreachable", "live": False, "ready": False}


@pytest.mark.parametrize("command", ["status", "health"])
def test_a_daemon_that_refuses_us_is_told_as_an_object_too(
    asrd: Run, daemon: FakeDaemon, socket: Path, command: str
) -> None:
    daemon.rules[Hello] = lambda _: [refusal("unauthorized", is_fatal=True), HANG_UP]
    outcome = asrd(command, "--json", "--socket", socket)
    assert outcome.code == 77
    told = json.loads(outcome.out)
    assert told.get("health", told)["ready"] is False
    assert "service install" not in outcome.error
