"""The pages of the monitoring listener: what they say, and that asking costs little."""

import asyncio
import json
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from structlog.testing import capture_logs

from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.server import pages
from asrd.server.pages import OPEN_METRICS, PROMETHEUS, Page, Pages
from asrd.server.sight import look_at
from support.exposition import Scrape
from support.room import Room, run
from support.sights import sight_of

PATHS = ("/metrics", "/live", "/ready", "/health")


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "STANDS_S", -1.0)


def test_every_page_is_listed_and_no_other_is_there(registry: Registry) -> None:
    async def scenario() -> None:
        told = Pages(sight_of(Room(registry)))
        index = await told.answer("/", "")
        assert index.status == 200
        for path in PATHS:
            assert path in index.body.decode()
            assert (await told.answer(path, "")).status == 200
        for path in ("/nothing", "//metrics", "/metrics/", "/health?deep=1", ""):
            missing = await told.answer(path, "")
            assert (missing.status, index.body[:-1] in missing.body) == (404, True)

    run(scenario)


def test_readiness_is_that_of_health_and_ends_with_the_drain(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        told = Pages(sight_of(room))
        room.model.enter(ModelState.STARTING)
        assert (await told.answer("/ready", "")).status == 503
        assert not (await room.reporter.health()).ready
        room.model.enter(ModelState.READY)
        assert (await told.answer("/ready", "")).status == 200
        room.hub.is_draining = True
        ready = await told.answer("/ready", "")
        assert (ready.status, b"ending" in ready.body) == (503, True)
        assert (await told.answer("/live", "")).status == 200

    run(scenario)


def test_health_is_the_json_of_health(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        page = await Pages(sight_of(room)).answer("/health", "")
        assert page.content_type == "application/json"
        found = json.loads(page.body)
        assert (found["state"], found["ready"]) == ("ready", True)
        assert found["providers"]["echo"]["models"][0]["model"] == "echo"
        assert "type" not in found

    run(scenario)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", PROMETHEUS),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2", OPEN_METRICS),
        ("Application/OpenMetrics-Text; version=nonsense\t\xff", OPEN_METRICS),
    ],
)
def test_metrics_come_in_the_form_that_is_accepted(
    registry: Registry, accept: str, content_type: str
) -> None:
    async def scenario() -> None:
        page = await Pages(sight_of(Room(registry))).answer("/metrics", accept)
        assert page.content_type == content_type
        text = page.body.decode()
        if content_type == PROMETHEUS:
            assert Scrape(text).value("asrd_ready") == 1
        else:
            read = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
            assert "asrd_ready" in {family.name for family in read}

    run(scenario)


def test_what_processes_hold_is_read_in_a_thread(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a moment for each, and longer where the system is busy."""

    async def scenario() -> None:
        threads: list[Any] = []

        async def noted(function: Any, *args: Any) -> Any:
            threads.append(function)
            return function(*args)

        monkeypatch.setattr(asyncio, "to_thread", noted)
        await Pages(sight_of(Room(registry))).answer("/metrics", "")
        assert threads[0] is look_at
        assert len(threads) == 2

    run(scenario)


def test_all_who_ask_at_once_are_given_one_page(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those who come while it takes long; and who leaves takes it from nobody."""

    async def scenario() -> None:
        told = Pages(sight_of(Room(registry)))
        made, may_end = 0, asyncio.Event()

        async def slow() -> Page:
            nonlocal made
            made += 1
            await may_end.wait()
            return pages.sentence(200, str(made))

        told._by_path["/slow"] = slow
        first = asyncio.ensure_future(told.answer("/slow", ""))
        others = [asyncio.ensure_future(told.answer("/slow", "")) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        may_end.set()
        assert {(await each).body for each in others} == {b"1\n"}
        assert (await told.answer("/slow", "")).body == b"2\n"
        monkeypatch.setattr(pages, "STANDS_S", 60.0)
        assert (await told.answer("/slow", "")).body == b"2\n"

    run(scenario)


def test_a_page_that_fails_costs_that_answer_and_a_line(registry: Registry) -> None:
    async def scenario() -> None:
        told = Pages(sight_of(Room(registry)))

        async def bad() -> Page:
            raise RuntimeError("a bug")

        told._by_path["/live"] = bad
        with capture_logs() as logged:
            assert (await told.answer("/live", "")).status == 500
        assert [(line["event"], line["path"]) for line in logged] == [("page_failed", "/live")]
        assert (await told.answer("/ready", "")).status == 200

    run(scenario)
