"""The scheduler and the overload control as a whole, in virtual time: what a daemon is for."""

from dataclasses import replace

import pytest

from asrd.config import Scheduling
from asrd.scheduler.ladder import Step
from benchmarks.simulation.arrivals import TALKS, Source, load_of
from benchmarks.simulation.engines import ENGINES, Engine, by_hand
from benchmarks.simulation.results import Results, spread
from benchmarks.simulation.world import Plan, World

MOONSHINE = ENGINES["moonshine"]


def mic(streams: int) -> Source:
    return Source(name="mic", priority=1, streams=streams, talk=TALKS["ptt"])


def system(streams: int) -> Source:
    return Source(name="system", priority=2, streams=streams, talk=TALKS["paced"])


def files(streams: int) -> Source:
    return Source(name="file", priority=5, streams=streams, talk=None, has_partials=False)


def overloading(load: float, engine: Engine = MOONSHINE) -> Source:
    """System audio whose finals alone ask for so much of one slot."""
    finals_only = replace(system(1), has_partials=False)
    return system(round(load / load_of(finals_only, engine, 2.0)))


def simulate(*sources: Source, engine: Engine = MOONSHINE, **plan: object) -> World:
    chosen: dict[str, object] = {"seconds": 90.0, "warm_up_s": 30.0, **plan}
    world = World(Plan(sources=sources, engine=engine, **chosen))  # type: ignore[arg-type]
    world.run()
    return world


def p95_s(results: Results, source: str) -> float:
    return spread(results.finals[source]).p95


def test_mic_finals_are_hardly_slowed_by_twice_too_much_system_audio() -> None:
    alone = simulate(mic(12)).results
    beside = simulate(mic(12), overloading(2.0)).results
    decode_s = MOONSHINE.call_s((15.0,), is_partial=False)  # the longest there is
    assert spread(alone.finals["mic"]).count == spread(beside.finals["mic"]).count > 20
    assert p95_s(beside, "mic") <= 2.0 * p95_s(alone, "mic") + decode_s
    assert beside.lost_s("mic") == 0
    assert beside.lost_s("system") > 0
    assert beside.highest is Step.SHED


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_file_gets_its_share_under_a_full_foreground_load(share: float) -> None:
    world = simulate(
        mic(4),
        overloading(2.0),
        files(2),
        rule=Scheduling(background_share=share),
        seconds=120.0,
    )
    assert world.results.busy > 0.95
    assert world.results.share("file") == pytest.approx(share, rel=0.15)


def test_a_file_keeps_its_share_where_live_finals_are_read_along_with_it() -> None:
    """Its turns pay for its own windows, not for those of more urgent streams in the same call."""
    engine = ENGINES["whisper-tiny-cpu"]
    world = simulate(overloading(2.0, engine), files(2), engine=engine, seconds=300.0)
    assert world.results.batches[False][2] > 100
    assert world.results.share("file") == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize("name", ["moonshine", "whisper-tiny-short", "whisper-cpp-tiny"])
@pytest.mark.parametrize("load", [0.5, 4.0])
def test_every_utterance_is_read_or_told_as_dropped_or_still_waits(name: str, load: float) -> None:
    engine = ENGINES[name]
    world = simulate(mic(6), overloading(load, engine), files(3), engine=engine, seconds=60.0)
    for source, fate in world.results.utterances.items():
        waiting = sum(len(each.ahead) for each in world.streams if each.source.name == source)
        assert fate.heard == fate.read + fate.dropped + waiting > 0
        assert fate.dropped == 0 or source == "system"
    accounts = world.scheduler.accounts
    assert accounts.total.finals == sum(fate.read for fate in world.results.utterances.values())
    assert accounts.total.waiting == world.scheduler.waiting


def test_an_urgent_final_does_not_wait_for_the_window_of_a_file_that_can_be_aborted() -> None:
    engine = ENGINES["whisper-cpp-tiny"]
    sources = replace(mic(8), has_partials=False), replace(files(2), priority=6)
    usual = simulate(*sources, engine=engine).results
    patient = simulate(*sources, engine=engine, rule=Scheduling(preemption=False)).results
    assert usual.aborted > 5
    assert patient.aborted == 0
    usual_s, patient_s = (spread(each.finals_wait["mic"]).p50 for each in (usual, patient))
    assert usual_s < 0.8 * patient_s


def test_batches_carry_what_one_at_a_time_cannot() -> None:
    engine = by_hand("0.1", "4:2.5,8:2.9,16:3.5")
    crowd = overloading(2.0, engine)
    batched = simulate(crowd, engine=engine).results
    one_by_one = replace(Scheduling(), batches=replace(Scheduling().batches, max_batch=1))
    serial = simulate(crowd, engine=engine, rule=one_by_one).results
    assert batched.lost_s("system") == 0
    assert serial.lost_s("system") > 0
    assert p95_s(batched, "system") < 1.5


def test_what_a_burst_leaves_behind_is_read_and_not_lost() -> None:
    """Every 20 s many speak at once, and beside them a file takes what is left over."""
    crowd = Source(name="system", priority=2, streams=50, talk=TALKS["bursts"])
    results = simulate(crowd, files(1), warm_up_s=0.0).results
    assert results.utterances["system"].dropped == 0
    assert max(results.finals["system"]) < 20.0
    assert results.share("file") > 0.1


def test_the_ladder_settles_under_a_constant_load_beside_a_file() -> None:
    """A file's windows are longer and so cost less per second: they must not make the model that
    live streams asked for look cheap, or streams go back to it every few seconds."""
    engine, smaller = by_hand("0.1"), by_hand("0.05")
    results = simulate(overloading(1.1, engine), files(1), engine=engine, smaller=smaller).results
    assert results.highest >= Step.SMALLER_MODEL
    assert results.turnings <= 1
    assert p95_s(results, "system") < 1.0


def figures(seed: int) -> tuple[object, ...]:
    sources = mic(4), system(120), files(2)
    results = simulate(*sources, seconds=45.0, warm_up_s=15.0, seed=seed).results
    finals = {source: list(values) for source, values in results.finals.items()}
    return finals, results.dropped_s, results.moves, results.batches, results.events


def test_a_seed_decides_everything() -> None:
    assert figures(7) == figures(7)
    assert figures(7) != figures(8)
