"""An unexpected error stays inside the stream that it struck, and what is no error goes on."""

import asyncio

import pytest
from structlog.testing import capture_logs

from asrd.errors import ErrorCode
from asrd.providers.registry import Registry
from asrd.server.containing import Contained
from asrd.server.served import ServedStream
from support.room import Room, run, settle

CutOff = list[tuple[ServedStream, ErrorCode, str]]


def test_a_bug_cuts_its_stream_off_and_is_logged_with_its_place(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.greeted().open(7)
        await settle()
        (served,) = room.hub.all_streams
        cut: CutOff = []
        with capture_logs() as logs, Contained(served, lambda *told: cut.append(told)):
            raise RuntimeError("a bug with a /path in it")
        ((struck, code, text),) = cut
        assert (struck, code) == (served, ErrorCode.INTERNAL)
        assert "/path" not in text  # that is for the log alone
        (line,) = logs
        assert (line["event"], line["stream"]) == ("stream_failed", 7)
        assert isinstance(line["exc_info"], RuntimeError)

    run(scenario)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_ends_more_than_a_stream_goes_on(
    registry: Registry, kind: type[BaseException]
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.greeted().open(1)
        await settle()
        (served,) = room.hub.all_streams
        cut: CutOff = []
        with pytest.raises(kind), Contained(served, lambda *told: cut.append(told)):
            raise kind
        with Contained(served, lambda *told: cut.append(told)):
            pass
        assert cut == []

    run(scenario)
