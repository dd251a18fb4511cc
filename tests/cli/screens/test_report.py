"""The screen of `asrd status`: facts, then what to do."""

from typing import Any

import pytest

from asrd.cli.screens.report import advice_on, report_lines
from asrd.wire.reports import ModelHealth, ProviderHealth
from support.looks import BARE, COUNTERS, health, look, stats

CALM: dict[str, Any] = {
    "level": 0,
    "groups": {"local": {"slots": 1, "running": 0, "load": 0.1, "level": 0}},
}


def test_a_calm_daemon_fits_a_screen_and_needs_nothing() -> None:
    assert report_lines(look(of_stats=stats(**CALM))) == [
        "asrd 0.1.0 is ready, up for 1 h 2 min, 144 MB",
        "  socket:  /run/asrd/asrd.sock",
        "  streams: 2 streams of 1 client, 1 waiting, 24 gone, may resume",
        "  service: level 0 (everybody gets all), partials every 4 s",
        "  speed:   real-time factor 0.123",
        "  local:   load 0.10, 0 of 1 slots in use",
        "  trouble: none since the start",
        "",
        "MODEL           STATE  STREAMS  MEMORY",
        "echo            ready        2   35 MB",
        "voice activity  ready            39 MB",
        "",
        "SOURCE  WAITING  WAIT P50    P95    P99  DECODE P50    P95    P99    RTF",
        "mic       3/100    1.2 ms  88 ms  1.2 s      1.2 ms  88 ms  1.2 s  0.123",
        "all                1.2 ms  88 ms  1.2 s      1.2 ms  88 ms  1.2 s  0.123",
    ]


def test_what_another_version_leaves_out_is_left_out() -> None:
    assert report_lines(BARE)[-1] == "  trouble: none since the start"


@pytest.mark.parametrize(
    ("of_health", "of_stats", "said"),
    [
        ({}, {"level": 2, "groups": {"local": {"load": 1.4}}}, "asked for more than it can do"),
        ({}, {"groups": {"local": {"load": 0.9}}}, "asked for about as much as it can do"),
        ({"state": "warming_up", "ready": False}, {}, "wait a little"),
        ({}, {"counters": COUNTERS | {"worker_restarts": 1}}, "the log says why"),
        (
            {
                "voice_activity": ModelHealth(
                    model="silero", state="unavailable", problem="it cannot start"
                )
            },
            {},
            "voice activity: it cannot start",
        ),
    ],
)
def test_what_is_wrong_comes_with_what_to_do(
    of_health: dict[str, Any], of_stats: dict[str, Any], said: str
) -> None:
    found = look(health(**of_health), stats(**(CALM | of_stats)))
    (advice,) = advice_on(found)
    assert said in advice.text
    lines = report_lines(found)
    assert "What to do:" in lines
    assert all(len(line) <= 80 for line in lines)


def test_a_remedy_can_be_pasted_and_one_who_only_waits_to_be_loaded_needs_none() -> None:
    missing = ProviderHealth(
        state="unavailable",
        model="small",
        problem="small is not on this machine",
        remedy="asrd models pull whisper small " + "x" * 80,
        is_default=True,
        breaker="open",
    )
    lazy = ProviderHealth(
        state="unavailable",
        model="base",
        problem="one has to ask",
        is_required=True,
        is_loadable=True,
    )
    of_health = health(providers={"whisper": missing, "lazy": lazy})
    lines = report_lines(look(of_health, stats(**CALM)))
    assert lines[lines.index("What to do:") + 1 :] == [
        "  whisper: small is not on this machine",
        f"  {missing.remedy}",
        "  whisper has failed too often and is given a rest: see the log",
    ]
    assert "lazy/base       not loaded" in lines
