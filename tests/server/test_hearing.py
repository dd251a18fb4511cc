"""From bytes to messages: a slice of time at a time, and no request while answers wait."""

import pytest

from asrd.config import Limits
from asrd.errors import ErrorCode, ProtocolError
from asrd.server.hearing import Hearing
from asrd.wire.codec import encode
from asrd.wire.messages import Audio, ClientMessage, GetStats, Hello, Ping
from support.clock import VirtualClock

LIMITS = Limits()
SLICE_S = 0.01


class Ear:
    """A `Hearing` whose every message takes `each_s` to work off."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.is_crowded = False
        self.each_s = 0.0
        self.hearing = Hearing(self.clock, LIMITS, lambda: self.is_crowded)

    def take(self, *messages: ClientMessage) -> None:
        self.take_bytes(b"".join(map(encode, messages)))

    def take_bytes(self, data: bytes) -> None:
        self.hearing.take(memoryview(data))

    def slice(self) -> list[ClientMessage | ProtocolError]:
        said = []
        for each in self.hearing.slice(SLICE_S):
            said.append(each)
            self.clock.advance(self.each_s)
        return said

    def has_more(self) -> bool:
        return self.hearing.has_more

    def may_go_on(self) -> bool:
        return self.hearing.may_go_on

    def is_idle(self) -> bool:
        return self.hearing.patience.is_idle

    def greeted(self) -> "Ear":
        self.take(Hello())
        assert self.slice() == [Hello()]
        return self


def pings(*numbers: int) -> list[ClientMessage]:
    return [Ping(id=number) for number in numbers]


def chunk(offset: int = 0) -> Audio:
    return Audio(stream=1, data=b"\1\0", offset=offset)


# ── a slice of time ───────────────────────────────────────────────────────────────────────────


def test_what_arrived_is_told_in_order_and_then_there_is_no_more() -> None:
    ear = Ear().greeted()
    assert not ear.has_more()
    ear.take(*pings(1, 2, 3))
    assert ear.has_more()
    assert ear.slice() == pings(1, 2, 3)
    assert not ear.has_more()
    assert ear.slice() == []


def test_a_slice_ends_with_its_time_and_the_next_goes_on_there() -> None:
    ear = Ear().greeted()
    ear.each_s = 0.4 * SLICE_S
    ear.take(*pings(1, 2, 3, 4))
    assert ear.slice() == pings(1, 2, 3)  # the third was begun in time
    assert ear.has_more()
    assert ear.may_go_on()
    assert ear.slice() == pings(4)


def test_however_long_one_message_takes_each_slice_gets_on_by_one() -> None:
    ear = Ear().greeted()
    ear.each_s = 100 * SLICE_S
    ear.take(*pings(1, 2))
    assert [ear.slice(), ear.slice()] == [pings(1), pings(2)]


def test_a_slice_that_ends_behind_the_last_leaves_nothing_to_be_waited_for() -> None:
    """Whoever is kept from the processor in its only message need not stand in line for that."""
    ear = Ear().greeted()
    ear.each_s = 100 * SLICE_S
    ear.take_bytes(encode(Ping(id=1)) + encode(Ping(id=2))[:5])
    assert ear.slice() == pings(1)
    assert not ear.has_more()
    ear.take_bytes(encode(Ping(id=2))[5:])
    assert ear.slice() == pings(2)


def test_an_error_is_told_at_its_place() -> None:
    ear = Ear().greeted()
    ear.take_bytes(encode(Ping(id=1)) + b"\0\0\0\1\x80" + encode(Ping(id=2)))
    first, error, second = ear.slice()
    assert [first, second] == pings(1, 2)
    assert isinstance(error, ProtocolError)
    assert error.code == ErrorCode.INVALID_MESSAGE


# ── answers that wait ─────────────────────────────────────────────────────────────────────────


def test_requests_wait_one_behind_the_other_while_answers_do() -> None:
    ear = Ear().greeted()
    ear.is_crowded = True
    ear.take(GetStats(), GetStats(), Ping(id=1))
    assert ear.slice() == [GetStats()]
    assert ear.has_more()
    assert not ear.may_go_on()
    ear.is_crowded = False
    assert ear.may_go_on()
    assert ear.slice() == [GetStats(), Ping(id=1)]


def test_audio_waits_for_no_answers_but_behind_a_request() -> None:
    ear = Ear().greeted()
    ear.is_crowded = True
    ear.take(chunk(0), chunk(1), Ping(id=1), chunk(2))
    assert ear.slice() == [chunk(0), chunk(1), Ping(id=1)]
    assert not ear.may_go_on()


# ── patience ──────────────────────────────────────────────────────────────────────────────────


def test_bytes_of_any_kind_are_a_sign_of_life() -> None:
    ear = Ear().greeted()
    ear.clock.advance(LIMITS.idle_timeout_s)
    assert ear.is_idle()
    ear.take_bytes(encode(Ping())[:1])
    assert not ear.is_idle()


def test_a_frame_has_its_time_from_its_beginning_however_it_comes() -> None:
    ear = Ear().greeted()
    for byte in encode(Ping(id="long"))[:3]:
        ear.take_bytes(bytes([byte]))
        assert ear.slice() == []
        assert ear.hearing.is_mid_frame
        ear.hearing.patience.check(is_greeted=True)
        ear.clock.advance(LIMITS.frame_timeout_s / 3)
    with pytest.raises(ProtocolError) as told:
        ear.hearing.patience.check(is_greeted=True)
    assert told.value.code == ErrorCode.INVALID_FRAME


def test_a_frame_that_begins_behind_a_whole_one_begins_then() -> None:
    """Also where the whole one was told in a slice before."""
    ear = Ear().greeted()
    ear.take_bytes(encode(Ping())[:3])
    assert ear.slice() == []
    ear.clock.advance(LIMITS.frame_timeout_s - 1)
    ear.each_s = SLICE_S
    ear.take_bytes(encode(Ping())[3:] + encode(Ping())[:3])
    assert ear.slice() == [Ping()]
    assert ear.hearing.is_mid_frame
    ear.clock.advance(2)
    ear.hearing.patience.check(is_greeted=True)


# ── the end ───────────────────────────────────────────────────────────────────────────────────


def test_behind_a_stop_nothing_is_heard() -> None:
    ear = Ear().greeted()
    ear.take_bytes(encode(Ping(id=1)) + encode(Ping(id=2)) + encode(Ping(id=3))[:3])
    said = []
    for each in ear.hearing.slice(SLICE_S):
        said.append(each)
        ear.hearing.stop()
    assert said == pings(1)
    assert not ear.has_more()
    assert not ear.hearing.is_mid_frame
    ear.take(Ping(id=4))
    assert ear.slice() == []
