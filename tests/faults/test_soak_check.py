"""The soak: its judgement on known series, a short one of the daemon, and of ones that leak.

`python -m benchmarks.soak --minutes 30` for what this stands for.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.soak import Outcome, soak
from benchmarks.soaking.harm import DAEMON_KILLED, FAULTS
from benchmarks.soaking.leaks import LEAKS
from benchmarks.soaking.scene import Plan
from benchmarks.soaking.verdict import (
    FEWEST_POINTS,
    MAX_SLOPE_BYTES_PER_H,
    MOST_PAIRED,
    TOLERANCES,
    Point,
    judge_count,
    judge_memory,
    slope_per_s,
)

HALF_AN_HOUR_S = 1_800
BASE_BYTES = 50e6
NOISE_BYTES = 200e3

SHORT = Plan(
    seconds=30.0,
    fault_every_s=1.5,
    look_every_s=0.25,
    speed=3.0,
    stop_s=1.0,
    resume_window_s=3.0,
    send_timeout_s=1.0,
)
"""Sessions are forgotten and readers given up sooner than usual: who waits a minute for that sees
nothing level in half a minute."""
LEAKING_S = 20.0
AT_A_TIME = 3


def series(
    value: Callable[[float], float], seconds: float = HALF_AN_HOUR_S, every_s: float = 5.0
) -> list[Point]:
    return [(at * every_s, value(at * every_s)) for at in range(round(seconds / every_s))]


def memory(grown: Callable[[float], float], seconds: float = HALF_AN_HOUR_S) -> list[Point]:
    """Resident memory that grows as told, on top of noise."""
    dice = random.Random(1)
    return series(
        lambda at_s: BASE_BYTES + dice.gauss(0, NOISE_BYTES) + grown(at_s), seconds, seconds / 360
    )


def saw_tooth(at_s: float) -> float:
    """4 MB that are taken in five minutes and given back at once."""
    return 4e6 * (at_s % 300) / 300


# ── memory ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "grown",
    [
        lambda _: 0.0,
        lambda at_s: -1e6 * at_s / 3600,
        saw_tooth,
        lambda at_s: 5e6 * (at_s > 500),  # a cache that is filled once, early, midway, late
        lambda at_s: 5e6 * (at_s > 900),
        lambda at_s: 5e6 * (at_s > 1500),
        lambda at_s: 8e6 * (800 < at_s < 900),  # something large for a while
        lambda at_s: 4e6 * (1 - 2.718 ** (-at_s / 200)),  # what fills more and more slowly
        lambda at_s: 0.8 * MAX_SLOPE_BYTES_PER_H * at_s / 3600,
    ],
)
@pytest.mark.parametrize("seconds", [HALF_AN_HOUR_S, 4 * HALF_AN_HOUR_S])
def test_memory_that_comes_to_rest_is_level(
    grown: Callable[[float], float], seconds: float
) -> None:
    verdict = judge_memory("memory", memory(grown, seconds))
    assert verdict.is_level, verdict


@pytest.mark.parametrize(
    "grown",
    [
        lambda at_s: 1.3 * MAX_SLOPE_BYTES_PER_H * at_s / 3600,
        lambda at_s: 50e6 * at_s / 3600,
        lambda at_s: saw_tooth(at_s) + 15e6 * at_s / 3600,
        lambda at_s: 1e6 * (at_s // 120),  # a megabyte every other minute
        lambda at_s: 5e6 * (at_s > 900) + 10e6 * at_s / 3600,
    ],
)
def test_memory_that_goes_on_growing_is_a_leak(grown: Callable[[float], float]) -> None:
    verdict = judge_memory("memory", memory(grown))
    assert not verdict.is_level, verdict


def test_steps_may_not_add_up_to_anything() -> None:
    assert not judge_memory("memory", memory(lambda at_s: 20e6 * (at_s > 900))).is_level


def test_in_half_a_minute_noise_is_no_leak_and_megabytes_are() -> None:
    """The slope of noise over 30 s is many times what an hour may bring."""
    assert judge_memory("memory", memory(lambda _: 0.0, 30)).is_level
    slow = memory(lambda at_s: 20e3 * at_s, 30)
    assert slope_per_s(slow) * 3600 > MAX_SLOPE_BYTES_PER_H
    assert judge_memory("memory", slow).is_level
    assert not judge_memory("memory", memory(lambda at_s: 100e3 * at_s, 30)).is_level


def test_a_slope_is_not_moved_by_outliers_nor_by_thinning() -> None:
    points = series(lambda at_s: 3.0 * at_s, seconds=20 * MOST_PAIRED)
    points[7] = (points[7][0], 1e12)
    assert slope_per_s(points) == pytest.approx(3.0)
    assert len(points) > 2 * MOST_PAIRED


# ── counts ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", TOLERANCES)
def test_a_count_that_load_moves_is_level(name: str) -> None:
    dice = random.Random(2)
    points = series(lambda at_s: 20 + dice.randint(-2, 2) + 200 * (at_s % 300 < 30))
    assert judge_count(name, points).is_level


@pytest.mark.parametrize("name", TOLERANCES)
def test_a_count_that_goes_on_growing_is_a_leak(name: str) -> None:
    growth = 2 * TOLERANCES[name] + 4
    points = series(lambda at_s: 20 + growth * at_s // HALF_AN_HOUR_S)
    assert not judge_count(name, points).is_level


def test_what_grows_before_the_second_fifth_is_over_is_the_beginning() -> None:
    assert judge_count("tasks", series(lambda at_s: min(at_s, 500.0))).is_level
    assert not judge_count("tasks", series(lambda at_s: min(at_s, 1500.0))).is_level


@pytest.mark.parametrize("judge", [judge_memory, judge_count])
def test_too_few_points_say_nothing(judge: Callable[[str, list[Point]], object]) -> None:
    with pytest.raises(ValueError, match="fewest"):
        judge("tasks", series(lambda _: 1.0)[: FEWEST_POINTS - 1])


# ── the daemon ────────────────────────────────────────────────────────────────────────────────


def leaking(name: str) -> Plan:
    """The short soak, shorter still, of a daemon with that leak."""
    return Plan(
        seconds=LEAKING_S,
        fault_every_s=SHORT.fault_every_s,
        look_every_s=SHORT.look_every_s,
        speed=SHORT.speed,
        stop_s=SHORT.stop_s,
        resume_window_s=SHORT.resume_window_s,
        send_timeout_s=SHORT.send_timeout_s,
        leak=name,
    )


SOUND = "sound"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What a short soak finds of the daemon, and of each one that leaks.

    `AT_A_TIME` side by side, which spares two minutes; what each holds is its own.
    """
    folder = tmp_path_factory.mktemp("soak")

    async def all_of_them() -> dict[str, Outcome]:
        places = asyncio.Semaphore(AT_A_TIME)

        async def one(name: str, plan: Plan) -> Outcome:
            async with places:
                return await soak(plan, folder / name)

        plans = {SOUND: SHORT, **{name: leaking(name) for name in LEAKS}}
        found = await asyncio.gather(*(one(name, plan) for name, plan in plans.items()))
        return dict(zip(plans, found, strict=True))

    return asyncio.run(all_of_them())


@pytest.mark.timeout(180)
def test_a_short_soak_finds_nothing(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[SOUND]
    assert outcome.is_sound, (outcome.verdicts, outcome.wrongs[:5])
    # Each once in rehearsal, but for SIGHUP, which is for daemons that reload; then as time allows.
    assert len(outcome.faults.keys() - {"SIGHUP"}) >= len(FAULTS) - 1
    assert sum(outcome.faults.values()) >= len(FAULTS) + 5
    assert outcome.resumed >= 4
    assert outcome.segments > 300


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", LEAKS)
def test_a_daemon_that_leaks_is_found_out(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert outcome.leaking == [name], outcome.verdicts
    assert not outcome.wrongs, outcome.wrongs[:5]


@pytest.mark.timeout(180)
def test_a_daemon_that_is_killed_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    plan = Plan(
        seconds=15.0,
        fault_every_s=SHORT.fault_every_s,
        speed=SHORT.speed,
        stop_s=SHORT.stop_s,
        resume_window_s=SHORT.resume_window_s,
        send_timeout_s=SHORT.send_timeout_s,
        kills_daemon=True,
    )
    outcome = asyncio.run(soak(plan, tmp_path))
    assert outcome.faults[DAEMON_KILLED] >= 2
    assert not outcome.wrongs, outcome.wrongs[:5]
    assert not outcome.verdicts
