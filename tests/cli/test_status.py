"""`asrd status`: its exit codes, its JSON, and what it says where there is no daemon."""

import json
from pathlib import Path

import pytest

from asrd.wire.messages import GetHealth, GetStats
from cli.conftest import Run
from support.fake_daemon import FakeDaemon
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
        word = "but ready" if is_ready else "and not ready"
        assert outcome.out.startswith(f"fake is degraded {word}, up for 1 h 2 min, 144 MB\n")
    assert GetStats(streams=False) in daemon.heard


def test_without_a_daemon_it_says_how_to_have_one(asrd: Run, tmp_path: Path) -> None:
    outcome = asrd("status", "--socket", tmp_path / "nobody")
    assert (outcome.code, outcome.out) == (69, "")
    assert "asrd serve" in outcome.error
    assert "asrd service install" in outcome.error
    told = asrd("status", "--json", "--socket", tmp_path / "nobody")
    assert told.code == 69
    assert json.loads(told.out)["health"] == {"state": "unreachable", "live": False, "ready": False}
