"""How long a connection may say nothing, or not finish what it says."""

import pytest

from asrd.config import Limits
from asrd.errors import ProtocolError
from asrd.server.patience import Patience
from support.clock import VirtualClock

LIMITS = Limits(hello_timeout_s=10.0, frame_timeout_s=30.0, idle_timeout_s=300.0)


def patient() -> tuple[VirtualClock, Patience]:
    clock = VirtualClock()
    return clock, Patience(clock, LIMITS)


def test_a_greeting_has_to_come_in_time_whatever_else_comes() -> None:
    clock, patience = patient()
    clock.advance(9.9)
    patience.heard()
    patience.check(is_greeted=False)
    clock.advance(0.1)
    patience.check(is_greeted=True)
    with pytest.raises(ProtocolError, match="no hello came within 10 s"):
        patience.check(is_greeted=False)


def test_silence_is_idle_and_any_bytes_end_it() -> None:
    clock, patience = patient()
    clock.advance(300)
    before = patience.is_idle
    patience.heard()
    assert (before, patience.is_idle) == (True, False)
    patience.check(is_greeted=True)


def test_a_frame_has_its_time_from_its_first_bytes() -> None:
    clock, patience = patient()
    for _ in range(29):
        patience.heard()
        patience.worked_off(has_frame=False, is_mid_frame=True)
        clock.advance(1)
        patience.check(is_greeted=True)
    patience.heard()
    patience.worked_off(has_frame=True, is_mid_frame=True)  # the next has begun
    clock.advance(29)
    patience.check(is_greeted=True)
    clock.advance(1)
    with pytest.raises(ProtocolError, match="not complete within 30 s") as told:
        patience.check(is_greeted=True)
    assert (told.value.code, told.value.fatal) == ("invalid_frame", True)
    patience.worked_off(has_frame=True, is_mid_frame=False)
    patience.check(is_greeted=True)


def test_who_was_made_to_wait_has_all_the_time_anew() -> None:
    clock, patience = patient()
    patience.heard()
    patience.worked_off(has_frame=False, is_mid_frame=True)
    clock.advance(1000)
    patience.read_again()
    assert not patience.is_idle
    patience.check(is_greeted=True)
    clock.advance(30)
    with pytest.raises(ProtocolError, match="not complete"):
        patience.check(is_greeted=True)
