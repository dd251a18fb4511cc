"""Metrics tell what the daemon counts, by bounded labels, and are all documented."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from asrd.errors import ErrorCode
from asrd.providers.catalogue import ModelKey
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.providers.supervisor import WorkerDied
from asrd.scheduler.accounts import MAX_SOURCES, OTHER_SOURCES
from asrd.server.metrics import MAX_MODELS, OTHER_MODELS, Metrics
from asrd.server.reload import go_by
from asrd.session.effects import DropReason
from asrd.wire.messages import Audio, Close, Closed, Error, Unload
from support.exposition import Scrape, text_of
from support.room import ECHO, UTTERANCE, Guest, Room, quiet, run, settle, speech
from support.sights import HELD, scrape, sight_of

OPERATIONS = (Path(__file__).parents[2] / "daemon" / "OPERATIONS.md").read_text(encoding="utf-8")


def families(room: Room, *guests: Guest) -> list[Metric]:
    return list(Metrics(sight_of(room, *guests)).collect(HELD))


async def worked(registry: Registry, **more: Any) -> tuple[Room, Guest]:
    """A room in which a microphone was read, with partials, and a file."""
    room = Room(registry, **more)
    guest = room.greeted()
    guest.open(1, source="mic", partials=True)
    guest.open(2, source="file")
    for part in (speech(3.0), speech(1.0) + quiet(0.6)):
        guest.speak(1, part)
        await settle()
    guest.speak(2, UTTERANCE)
    await settle()
    return room, guest


# ── documented ────────────────────────────────────────────────────────────────────────────────


def told_name(family: Metric) -> str:
    return family.name + "_total" * (family.type == "counter")


def metrics_table(told: list[Metric]) -> str:
    """The table that OPERATIONS.md has to hold."""
    lines = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for family in told:
        labels = ", ".join(f"`{label}`" for label in family._labelnames)  # type: ignore[attr-defined]
        lines.append(
            f"| `{told_name(family)}` | {family.type} | {labels} | {family.documentation} |"
        )
    return "\n".join(lines)


def buckets_table(told: list[Metric]) -> str:
    lines = ["| histogram | upper bounds of its buckets |", "| --- | --- |"]
    for family in told:
        bounds = dict.fromkeys(each.labels["le"] for each in family.samples if "le" in each.labels)
        if bounds:
            shown = ", ".join(bound.removesuffix(".0") for bound in bounds)
            lines.append(f"| `{family.name}` | {shown} |")
    return "\n".join(lines)


def test_every_metric_is_documented_as_it_is_told_and_no_other(registry: Registry) -> None:
    """Whoever adds one copies the table that this shows."""

    async def scenario() -> None:
        room, guest = await worked(registry)
        told = families(room, guest)
        assert metrics_table(told) in OPERATIONS, f"\n{metrics_table(told)}"
        assert buckets_table(told) in OPERATIONS, f"\n{buckets_table(told)}"
        named = set(re.findall(r"\basrd_\w+", OPERATIONS))
        known = {told_name(family) for family in told}
        known |= {f"{family.name}_bucket" for family in told if family.type == "histogram"}
        assert named <= known

    run(scenario)


def test_names_and_units_are_as_prometheus_wants_them(registry: Registry) -> None:
    async def scenario() -> None:
        room, guest = await worked(registry)
        told = families(room, guest)
        names = [family.name for family in told]
        assert len(set(names)) == len(names)
        for family in told:
            assert re.fullmatch(r"asrd_[a-z_]+", family.name)
            assert not re.search(r"_(ms|minutes|kb|mb|total|count|sum|bucket)$", family.name)
            assert family.documentation.endswith(".")

    run(scenario)


def test_an_idle_daemon_tells_the_same_families(registry: Registry) -> None:
    async def scenario() -> None:
        room, guest = await worked(registry)
        idle = [family.name for family in families(Room(registry))]
        assert idle == [family.name for family in families(room, guest)]

    run(scenario)


def test_both_formats_are_well_formed(registry: Registry) -> None:
    async def scenario() -> None:
        room, guest = await worked(registry)
        told = families(room, guest)
        text = generate_latest(SimpleNamespace(collect=lambda: told)).decode()  # type: ignore[no-untyped-call]
        read = {family.name for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
        assert read == {family.name for family in told}
        assert read == {name.removesuffix("_total") for name in scrape(room, guest).families}

    run(scenario)


# ── what is told ──────────────────────────────────────────────────────────────────────────────


def test_decodes_are_counted_by_source_and_by_provider(registry: Registry) -> None:
    async def scenario() -> None:
        room, guest = await worked(registry)
        seen = scrape(room, guest)
        for source in ("mic", "file"):
            assert seen.value("asrd_finals_total", source=source) == 1
            waits = {"source": source, "kind": "final"}
            assert seen.value("asrd_queue_wait_seconds_count", **waits) == 1
        assert seen.value("asrd_partials_total", source="mic") == 2
        assert seen.value("asrd_provider_finals_total", provider="echo") == 2
        for kind, times in (("final", 2), ("partial", 2)):
            decodes = {"provider": "echo", "kind": kind}
            assert seen.value("asrd_decode_seconds_count", **decodes) == times
            assert seen.value("asrd_decode_seconds_bucket", le="+Inf", **decodes) == times
        assert seen.value("asrd_real_time_factor_count", provider="echo") == 4
        assert seen.value("asrd_batch_windows_sum", provider="echo") == 4
        assert seen.value("asrd_batch_windows_bucket", provider="echo", le="1.0") == 4

    run(scenario)


def test_a_decode_s_times_are_what_passed(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.is_held = True
        guest.open(1)
        guest.open(2)
        for stream in (1, 2):
            guest.speak(stream, UTTERANCE)
            await settle()
        for held_s in (0.4, 0.2):
            room.clock.advance(held_s)
            room.model.release()
            await settle()
        seen = scrape(room, guest)
        decodes = {"provider": "echo", "kind": "final"}
        assert seen.value("asrd_decode_seconds_sum", **decodes) == pytest.approx(0.6)
        assert seen.value("asrd_decode_seconds_bucket", le="0.25", **decodes) == 1
        waits = {"source": "mic", "kind": "final"}
        assert seen.value("asrd_queue_wait_seconds_sum", **waits) == pytest.approx(0.4)

    run(scenario)


def test_a_decode_that_a_worker_s_death_undid_is_no_waiting(registry: Registry) -> None:
    """The final waits for 0.5 s, is read for 3 s till its worker dies, and begins anew at once."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.is_held = True
        guest.open(1, source="file")
        guest.open(2)
        for stream in (1, 2):
            guest.speak(stream, UTTERANCE)
            await settle()
        room.clock.advance(0.5)
        room.model.release()
        await settle()
        room.clock.advance(3.0)
        room.model.release(WorkerDied("it was killed"))
        await settle()
        assert len(room.model.made) == 3
        room.clock.advance(0.25)
        room.model.release()
        await settle()
        waits = {"source": "mic", "kind": "final"}
        seen = scrape(room, guest)
        assert seen.value("asrd_queue_wait_seconds_count", **waits) == 1
        assert seen.value("asrd_queue_wait_seconds_sum", **waits) == 0.0
        assert seen.value("asrd_decodes_failed_total", source="mic") == 1
        assert not room.hub.scheduler._tried_s

    run(scenario)


@pytest.mark.parametrize("source", ["mic", "file"])
def test_the_finalisation_delay_of_a_live_stream_begins_with_the_end_of_speech(
    registry: Registry, source: str
) -> None:
    """Half a second of silence and a window or two; then what the model took. Of a file nobody can
    say when its speech ended."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(1, source=source)
        room.model.is_held = True
        guest.speak(1, speech(1.0))
        await settle()
        for _ in range(10):  # as it is recorded
            room.clock.advance(0.06)
            guest.speak(1, quiet(0.06))
            await settle()
        room.clock.advance(0.25)
        room.model.release()
        await settle()
        seen = scrape(room, guest)
        if source == "file":
            assert not seen.values("asrd_finalisation_delay_seconds_count")
            return
        assert seen.value("asrd_finalisation_delay_seconds_count", source=source) == 1
        delay_s = seen.value("asrd_finalisation_delay_seconds_sum", source=source)
        # However the utterance was known to have ended, all that came by then came behind it.
        assert delay_s == pytest.approx(0.6 + 0.25, abs=0.07)

    run(scenario)


def test_a_client_s_offsets_are_no_delay(registry: Registry) -> None:
    """A hole behind the speech says nothing about time, and one number must not spoil a sum that
    grows for as long as the daemon runs."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(1)
        guest.speak(1, speech(1.0))
        guest.say(Audio(stream=1, data=quiet(0.1), offset=2**52))
        guest.speak(1, UTTERANCE)
        await settle()
        seen = scrape(room, guest)
        assert seen.value("asrd_finals_total", source="mic") == 2
        assert seen.value("asrd_finalisation_delay_seconds_count", source="mic") == 1
        assert 0 < seen.value("asrd_finalisation_delay_seconds_sum", source="mic") < 1

    run(scenario)


def test_received_audio_never_becomes_less(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(1)
        guest.speak(1, speech(1.0))
        await settle()
        open_s = scrape(room, guest).value("asrd_received_seconds_total", source="mic")
        guest.say(Close(stream=1))
        await settle()
        assert guest.told(Closed)
        seen = scrape(room, guest)
        assert open_s == seen.value("asrd_received_seconds_total", source="mic") == 1.0
        assert seen.value("asrd_streams_ended_total", source="mic", reason="client") == 1
        assert seen.value("asrd_streams_opened_total", source="mic") == 1
        assert not seen.values("asrd_streams")

    run(scenario)


def test_received_audio_grows_though_streams_end_in_any_order(registry: Registry) -> None:
    """Their rates divide no whole number of 16 kHz samples, and of sums of fractions the last
    digits differ with their order."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        name = {"source": "file"}
        for stream in range(12):
            rate = (44_100, 48_000, 11_025)[stream % 3]
            guest.open(stream, **name, sample_rate=rate)
            guest.speak(stream, quiet(0.1 + 0.0137 * stream) + quiet(1 / 16_000))
        await settle()
        latest_s = scrape(room, guest).value("asrd_received_seconds_total", **name)
        for stream in (7, 0, 11, 3, 4, 10, 1, 2, 9, 5, 6, 8):
            guest.say(Close(stream=stream))
            await settle()
            now_s = scrape(room, guest).value("asrd_received_seconds_total", **name)
            assert now_s == latest_s
        assert not room.hub.all_streams

    run(scenario)


def test_a_stream_is_counted_as_it_was_at_its_opening_whatever_is_reserved(
    registry: Registry,
) -> None:
    """A reload gives a source its own name, while one of its streams waits among the others."""

    async def scenario() -> None:
        room = Room(registry, limits={"max_streams": 100})
        guest = room.greeted()
        for stream in range(MAX_SOURCES):
            guest.open(stream, source=f"source {stream}")
        room.model.is_held = True
        for stream in (90, 91):
            guest.open(stream, source="meeting")
            guest.speak(stream, UTTERANCE)
            await settle()
        before = scrape(room, guest)
        assert before.value("asrd_queue_depth", source=OTHER_SOURCES) == 1
        received_s = before.value("asrd_received_seconds_total", source=OTHER_SOURCES)
        assert received_s == pytest.approx(3.2)
        limits = {**room.config.scheduling.max_waiting, "meeting": 5}
        scheduling = replace(room.config.scheduling, max_waiting=limits)
        go_by(replace(room.config, scheduling=scheduling), room.hub)
        guest.open(92, source="meeting")
        guest.speak(92, UTTERANCE)
        await settle()
        for stream in (90, 91, 92):
            room.model.release()
            await settle()
            guest.say(Close(stream=stream))
            await settle()
        seen = scrape(room, guest)
        assert seen.value("asrd_received_seconds_total", source=OTHER_SOURCES) == received_s
        assert seen.value("asrd_received_seconds_total", source="meeting") == 1.6
        for source, finals in ((OTHER_SOURCES, 2), ("meeting", 1)):
            assert seen.value("asrd_queue_depth", source=source) == 0
            assert seen.value("asrd_finals_total", source=source) == finals
            assert seen.value("asrd_streams_opened_total", source=source) == finals
            ended = {"source": source, "reason": "client"}
            assert seen.value("asrd_streams_ended_total", **ended) == finals

    run(scenario)


def test_streams_are_told_by_source_and_state(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(1)
        room.model.is_held = True
        guest.speak(1, UTTERANCE)
        await settle()
        guest.say(Close(stream=1))
        room.model.enter(ModelState.STARTING)
        guest.open(2, source="system")
        guest.speak(2, speech(1.0))
        await settle()
        seen = scrape(room, guest)
        assert seen.value("asrd_streams", source="mic", state="closing") == 1
        assert seen.value("asrd_streams", source="system", state="opening") == 1
        assert seen.value("asrd_backlog_seconds", source="system") == pytest.approx(1.0)
        room.model.enter(ModelState.UNAVAILABLE, "gone")
        await settle()
        assert guest.told(Error)
        refused = scrape(room, guest).values("asrd_received_seconds_total")
        assert all(("source", "system") not in of for of in refused)

    run(scenario)


def test_what_is_dropped_is_told_by_reason(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"live_backlog_s": 2.0})
        guest = room.greeted()
        room.model.is_held = True
        guest.open(1)
        for _ in range(4):
            guest.speak(1, UTTERANCE)
            await settle()
        seen = scrape(room, guest)
        reasons = {dict(of)["reason"] for of in seen.values("asrd_dropped_seconds_total")}
        assert reasons == set(get_args(DropReason))
        dropped_s = seen.value("asrd_dropped_seconds_total", source="mic", reason="backlog")
        assert dropped_s == pytest.approx(room.hub.scheduler.accounts.by_source["mic"].dropped_s)
        assert dropped_s > 1

    run(scenario)


def test_errors_are_told_by_code_from_the_start(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        told = scrape(room).values("asrd_errors_total")
        assert {dict(of)["code"] for of in told} == {code.value for code in ErrorCode}
        assert not any(told.values())
        guest.say(Close(stream=9))
        assert scrape(room).value("asrd_errors_total", code="unknown_stream") == 1

    run(scenario)


def test_a_slow_consumer_is_counted(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.peer.outbox.give_up()
        assert scrape(room).value("asrd_slow_consumers_total") == 1

    run(scenario)


def test_what_waits_for_readers_is_told(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.peer.outbox.pause()
        guest.open(1)
        seen = scrape(room, guest)
        assert seen.value("asrd_outbox_bytes") == room.shelf.held_bytes > 0
        assert seen.value("asrd_outbox_limit_bytes") == room.config.limits.outboxes_bytes

    run(scenario)


# ── bounded, and kept ─────────────────────────────────────────────────────────────────────────


def test_sources_that_clients_make_up_share_a_label(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"max_streams": 100})
        guest = room.greeted()
        for stream in range(100):
            guest.open(stream, source=f'made "up"\n{stream}')
        guest.speak(99, UTTERANCE)
        await settle()
        seen = scrape(room, guest)
        opened = seen.values("asrd_streams_opened_total")
        assert len(opened) == MAX_SOURCES + 1
        assert sum(opened.values()) == 100
        assert seen.value("asrd_finals_total", source=OTHER_SOURCES) == 1
        for name in seen.labels:
            sources = {dict(of).get("source") for of in seen.values(name)}
            assert len(sources) <= MAX_SOURCES + 1

    run(scenario)


def test_models_beyond_many_share_a_label(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        for number in range(2 * MAX_MODELS):
            room.put(ModelKey(provider="echo", model=f"m{number}")).restarts = 1
        seen = scrape(room)
        restarts = seen.values("asrd_worker_restarts_total")
        assert len(restarts) == MAX_MODELS + 1
        assert sum(restarts.values()) == 2 * MAX_MODELS
        assert seen.value("asrd_worker_restarts_total", process=OTHER_MODELS) > 1
        assert seen.value("asrd_gpu_memory_bytes", process=OTHER_MODELS) == 0

    run(scenario)


def test_a_process_keeps_its_name_whichever_models_come_and_go(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        pages = Metrics(sight_of(room))
        keys = [ModelKey(provider="echo", model=f"m{number}") for number in range(2 * MAX_MODELS)]
        for key in keys:
            room.put(key).restarts = 1

        def restarts() -> dict[str, float]:
            told = Scrape(text_of(pages.collect(HELD))).values("asrd_worker_restarts_total")
            return {dict(of)["process"]: value for of, value in told.items()}

        before = restarts()
        assert len(before) == MAX_MODELS + 1
        for key in keys[::7]:
            await room.hub.pool.unload(key)
            assert restarts() == before

    run(scenario)


def test_a_model_that_is_unloaded_keeps_its_restarts(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        for total in (3, 6):
            room.model.restarts = 3
            seen = scrape(room, guest)
            assert seen.value("asrd_worker_restarts_total", process="echo/echo") == total
            guest.say(Unload(provider="echo", model="echo"))
            await settle()
            seen = scrape(room, guest)
            assert seen.value("asrd_worker_restarts_total", process="echo/echo") == total
            state = frozenset({("process", "echo/echo"), ("state", "ready")})
            assert state not in seen.values("asrd_worker_state")
            room.model = room.put(ECHO)

    run(scenario)


def test_states_of_workers_and_breakers_are_one_of_a_set(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.model.enter(ModelState.DEGRADED, "it fails")
        room.open_breaker("echo")
        seen = scrape(room)
        for name, states, now in (
            ("asrd_worker_state", {"process": "echo/echo"}, "degraded"),
            ("asrd_breaker_state", {"provider": "echo"}, "open"),
        ):
            ours = {
                dict(of)["state"]: value
                for of, value in seen.values(name).items()
                if of >= set(states.items())
            }
            assert [state for state, value in ours.items() if value] == [now]
            assert len(ours) > 1
        assert seen.value("asrd_ready") == 0

    run(scenario)


def test_a_daemon_that_is_ending_is_not_ready(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        assert scrape(room).value("asrd_ready") == 1
        room.hub.is_draining = True
        seen = scrape(room)
        assert (seen.value("asrd_ready"), seen.value("asrd_draining")) == (0, 1)

    run(scenario)


def test_groups_tell_slots_and_what_runs(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(1)
        room.model.is_held = True
        guest.speak(1, UTTERANCE)
        await settle()
        seen = scrape(room, guest)
        assert seen.value("asrd_decode_slots", group="local") == 1
        assert seen.value("asrd_decodes_running", group="local") == 1
        room.hub.scheduler.slots.local = 3
        assert scrape(room).value("asrd_decode_slots", group="local") == 3

    run(scenario)
