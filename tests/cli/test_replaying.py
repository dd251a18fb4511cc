"""The order in which what comes of a replay is printed."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from asrd.cli.replaying import InOrder
from support.profiles import examples

SESSIONS = st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=3)
"""How many lines each stream of each session has."""


def told(sessions: list[list[int]]) -> dict[tuple[int, int], Iterator[str]]:
    return {
        (session, stream): iter(f"{session}.{stream}.{line}" for line in range(count))
        for session, streams in enumerate(sessions)
        for stream, count in enumerate(streams)
    }


@examples(300)
@given(SESSIONS, st.randoms(use_true_random=False), st.booleans())
def test_however_streams_interleave_the_order_is_one(
    sessions: list[list[int]], chance: object, has_ends: bool
) -> None:
    """`has_ends`: streams tell their end; those that the connection cut off do not."""
    open_streams = told(sessions)
    order = InOrder()
    lines: list[str] = []
    left = {session: len(streams) for session, streams in enumerate(sessions)}
    for session, count in left.items():
        if not count:
            lines += order.end_session(session)
    while open_streams:
        session, stream = chance.choice(sorted(open_streams))  # type: ignore[attr-defined]
        line = next(open_streams[session, stream], None)
        if line is not None:
            lines += order.add(session, stream, line)
            continue
        del open_streams[session, stream]
        if has_ends:
            lines += order.end_stream(session, stream)
        left[session] -= 1
        if not left[session]:
            lines += order.end_session(session)
    lines += order.rest()
    assert lines == [line for lines_of in told(sessions).values() for line in lines_of]


def test_the_first_stream_is_passed_through_and_the_next_when_it_has_ended() -> None:
    order = InOrder()
    assert order.add(0, 1, "later") == []
    assert order.add(0, 0, "now") == ["now"]
    assert order.end_stream(0, 0) == ["later"]
    assert order.add(0, 1, "more") == ["more"]
    assert order.add(1, 0, "another session") == []
    assert order.end_session(0) == ["another session"]
