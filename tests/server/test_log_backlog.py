"""Lines that wait for their writer: bounded, in order, and counted where they found no room."""

from asrd.server.log_backlog import MAX_WAITING_BYTES, Backlog


def test_what_waits_is_taken_in_order_with_what_was_dropped_behind_it() -> None:
    backlog: Backlog[str] = Backlog()
    assert backlog.is_empty
    backlog.put("one", 3)
    backlog.put("two", MAX_WAITING_BYTES - 3)
    assert (backlog.waiting_bytes, backlog.lost_lines) == (MAX_WAITING_BYTES, 0)
    backlog.put("three", 1, 5)
    backlog.put("four", 0)  # it would fit, but the gap is one
    assert not backlog.drain(0)
    taken = backlog.take()
    assert (taken.lines, taken.dropped) == (["one", "two"], 6)
    assert (backlog.waiting_bytes, backlog.lost_lines) == (0, 6)
    assert not backlog.drain(0)  # it is being written
    backlog.lose(2)
    backlog.put("five", 1)
    assert backlog.take().lines == ["five"]
    assert backlog.lost_lines == 8
