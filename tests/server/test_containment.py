"""A bug that strikes one stream or one connection costs nobody else anything."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from asrd.errors import ErrorCode
from asrd.providers.registry import Registry
from asrd.session.stream import Stream
from asrd.wire.messages import Closed, Error, Ping, Pong, Segment
from support.room import UTTERANCE, Room, run, settle


@pytest.mark.parametrize("step", ["take_unscored", "scored", "begin_decode", "end_decode"])
def test_an_unexpected_error_ends_its_stream_and_no_other(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    original = getattr(Stream, step)

    def faulty(stream: Stream, *arguments: Any) -> Any:
        if stream.number == 1:
            raise RuntimeError("a bug")
        return original(stream, *arguments)

    monkeypatch.setattr(Stream, step, faulty)

    async def scenario() -> None:
        guest = Room(registry).greeted()
        for number in (1, 2):
            guest.open(number)
        for number in (1, 2):
            guest.speak(number, UTTERANCE)
        await settle()
        (error,) = guest.told(Error)
        assert (error.code, error.stream, error.fatal) == (ErrorCode.INTERNAL, 1, False)
        assert [(closed.stream, closed.reason) for closed in guest.told(Closed)] == [(1, "error")]
        assert [segment.stream for segment in guest.told(Segment)] == [2]

    with capture_logs() as logs:
        run(scenario)
    assert [line["stream"] for line in logs if line["event"] == "stream_failed"] == [1]


def test_an_unexpected_error_in_a_message_closes_its_connection_and_no_other(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(stream: Stream, data: bytes, offset: int | None) -> None:
        raise RuntimeError("a bug")

    async def scenario() -> None:
        room = Room(registry)
        struck, other = room.greeted(), room.greeted()
        struck.open(1)
        with monkeypatch.context() as patch:
            patch.setattr(Stream, "receive", faulty)
            struck.speak(1, UTTERANCE)
        (error,) = struck.told(Error)
        assert (error.code, error.fatal) == (ErrorCode.INTERNAL, True)
        other.say(Ping(id=1))
        assert other.told(Pong) == [Pong(id=1)]

    with capture_logs() as logs:
        run(scenario)
    assert [line["event"] for line in logs].count("connection_failed") == 1
