"""Attempt after attempt, in time that is moved by hand."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from asrd.client.connecting import Reconnector, Timing, pause
from asrd.client.errors import ClientError, ConnectionLost, Refused, Unreachable
from asrd.client.recovery import Recovery
from support.clock import VirtualClock

LOST = ConnectionLost("it broke")
Outcome = ClientError | str


class Room:
    """A reconnector whose every attempt has the outcome that the script says."""

    def __init__(self, *script: Outcome, recovery: Recovery | None = None) -> None:
        self.clock = VirtualClock()
        self.script = list(script)
        self.told: list[tuple[str, int, float]] = []
        self.dialled_at_s: list[float] = []
        self.during_pause: Callable[[], None] = lambda: None
        self.reconnector = Reconnector(
            recovery or Recovery(),
            Timing(now_s=self.clock.now_s, pause=self.pause, chance=lambda: 0.5),
            lambda error, attempt, wait_s: self.told.append((str(error), attempt, wait_s)),
        )
        self.clock.advance(100.0)  # the connection that breaks had lasted

    async def pause(self, hurry: asyncio.Event, wait_s: float) -> None:
        self.during_pause()
        if not hurry.is_set():
            self.clock.advance(wait_s)

    async def dial(self) -> str:
        self.dialled_at_s.append(self.clock.now_s() - 1100.0)
        outcome = self.script.pop(0)
        if isinstance(outcome, str):
            return outcome
        raise outcome

    def run(self, lost: ClientError = LOST) -> str:
        return asyncio.run(_run(self.reconnector.reconnect(lost, self.dial)))


async def _run(work: Awaitable[str]) -> str:
    return await work


def nobody(times: int) -> list[Outcome]:
    return [Unreachable("nobody there")] * times


def test_it_waits_before_each_attempt_and_says_so() -> None:
    room = Room(*nobody(2), "link")
    assert room.run() == "link"
    assert room.dialled_at_s == [1, 3, 7]
    assert room.told == [("it broke", 1, 1.0), ("nobody there", 2, 2.0), ("nobody there", 3, 4.0)]


def test_the_error_of_the_last_attempt_is_raised_when_all_are_made() -> None:
    room = Room(*nobody(3), Unreachable("the last"), recovery=Recovery(max_attempts=4))
    with pytest.raises(Unreachable, match="the last"):
        room.run()
    assert room.reconnector.attempts == 4


def test_nothing_is_tried_without_recovery() -> None:
    room = Room(recovery=Recovery.none())
    with pytest.raises(ConnectionLost, match="it broke"):
        room.run()
    assert room.told == []


@pytest.mark.parametrize("final", [Refused("who", "unauthorized"), Unreachable("config", 78)])
def test_what_would_only_be_said_again_ends_it(final: ClientError) -> None:
    room = Room(*nobody(1), final)
    with pytest.raises(type(final)):
        room.run()
    assert len(room.dialled_at_s) == 2


def test_a_mistake_of_ours_ends_it_before_the_first_attempt() -> None:
    room = Room()
    with pytest.raises(ConnectionLost, match="bad frame"):
        room.run(ConnectionLost("bad frame", "invalid_frame"))
    assert room.told == []


def test_the_daemons_own_wait_is_kept() -> None:
    room = Room(Refused("full", "busy", 9000), "link")
    room.run(ConnectionLost("going", "draining", 3000))
    assert room.dialled_at_s == [3, 12]


def test_the_circuit_opens_after_five_failures() -> None:
    room = Room(*nobody(6), "link")
    room.run()
    assert room.dialled_at_s == [1, 3, 7, 15, 31, 91, 151]


def test_hurry_ends_a_pause() -> None:
    room = Room(*nobody(1), "link")
    room.during_pause = lambda: room.reconnector.hurry() if room.dialled_at_s else None
    room.run()
    assert room.dialled_at_s == [1, 1]


def test_after_a_failure_it_may_be_asked_to_begin_anew() -> None:
    room = Room(*nobody(2), *nobody(1), "link", recovery=Recovery(max_attempts=2))
    with pytest.raises(Unreachable):
        room.run()
    room.reconnector.start_anew()
    assert room.run() == "link"
    assert room.dialled_at_s == [1, 3, 3, 5]


def test_who_asks_is_heard_whatever_the_daemon_said_before() -> None:
    room = Room(Refused("who", "unauthorized"), "link")
    with pytest.raises(Refused):
        room.run()
    room.reconnector.start_anew()
    assert room.run(ConnectionLost("who", "unauthorized")) == "link"


def test_a_pause_is_as_long_as_it_should_be_unless_it_is_cut_short() -> None:
    async def scenario() -> None:
        hurry = asyncio.Event()
        await pause(hurry, 0.001)
        hurry.set()
        await asyncio.wait_for(pause(hurry, 3600), 10)

    asyncio.run(scenario())
