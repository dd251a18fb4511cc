"""What is said too often is counted instead."""

from typing import Any

import pytest
import structlog

from asrd.server.log_rules import (
    MAX_EVENTS,
    OTHER,
    RECORD_BURST,
    TELL_EVERY_S,
    USUAL_BURST,
    RateLimit,
)
from support.clock import VirtualClock


class Crowd:
    """A limit, and what it lets through."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.limit = RateLimit(self.clock.now_s)

    def passes(self, event: str, times: int = 1, **values: Any) -> int:
        passed = 0
        for _ in range(times):
            try:
                self.limit(None, "info", {"event": event, "level": "info", **values})
                passed += 1
            except structlog.DropEvent:
                pass
        return passed


def test_each_event_has_so_many_at_once_and_then_one_a_second() -> None:
    crowd = Crowd()
    assert crowd.passes("one", 1000) == USUAL_BURST
    assert crowd.passes("two", 1000) == USUAL_BURST
    crowd.clock.advance(3.0)
    assert crowd.passes("one", 1000) == 3
    told = crowd.limit.take_left_out()
    assert told is not None
    assert told.events == {"one": 1977, "two": 980}
    assert not told.has_errors


def test_a_thousand_clients_a_minute_leave_every_record_and_few_other_lines() -> None:
    crowd, records, others = Crowd(), 0, 0
    for _ in range(60):
        crowd.clock.advance(1.0)
        others += crowd.passes("client_connected", 17)
        records += crowd.passes("stream_ended", 17)
    assert records == 60 * 17
    assert others <= USUAL_BURST + 60
    crowd.clock.advance(60.0)
    assert crowd.passes("stream_ended", 10_000) == RECORD_BURST


def test_at_the_end_no_stream_goes_without_its_line() -> None:
    """However many are open. Who asks for another then is told so, and not each time in the log."""
    crowd = Crowd()
    assert crowd.passes("stream_ended", 10_000) == RECORD_BURST
    crowd.limit.end()
    assert crowd.passes("stream_ended", 10_000) == 10_000
    assert crowd.passes("stream_refused", 10_000) == RECORD_BURST


def test_all_that_was_left_out_stays_counted_once_it_is_told() -> None:
    crowd = Crowd()
    crowd.passes("one", 100)
    assert crowd.limit.take_left_out() is not None
    crowd.passes("two", 100)
    assert crowd.limit.suppressed_lines == 2 * (100 - USUAL_BURST)


def test_the_counts_are_told_at_once_and_then_now_and_then() -> None:
    crowd = Crowd()
    assert crowd.limit.take_left_out() is None
    crowd.passes("one", USUAL_BURST + 1)
    assert crowd.limit.take_left_out() is not None
    crowd.passes("one", 1, level="error")
    assert crowd.limit.take_left_out() is None
    crowd.clock.advance(TELL_EVERY_S)
    told = crowd.limit.take_left_out()
    assert told is not None
    assert (told.events, told.has_errors) == ({"one": 1}, True)
    crowd.passes("one", 100)
    assert crowd.limit.take_left_out(at_once=True) is not None
    assert crowd.limit.take_left_out(at_once=True) is None


@pytest.mark.parametrize("event", ["log_lines_suppressed", "log_lines_lost"])
def test_what_tells_of_missing_lines_is_never_left_out(event: str) -> None:
    assert Crowd().passes(event, 1000) == 1000


def test_names_that_somebody_makes_up_share_one_bucket() -> None:
    crowd = Crowd()
    for number in range(MAX_EVENTS):
        crowd.passes(f"event{number}")
    assert sum(crowd.passes(f"made_up{number}") for number in range(1000)) == USUAL_BURST
    told = crowd.limit.take_left_out()
    assert told is not None
    assert told.events == {OTHER: 1000 - USUAL_BURST}
