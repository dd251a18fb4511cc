"""What waits for a slow reader: bounded, in order, and newer partials in place of older ones."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.config import Limits
from asrd.server.outbox import FULL_S, MAX_BATCH_BYTES, Outbox, Shelf
from support.clock import VirtualClock

TIMEOUT_S = 5.0
BATCH = MAX_BATCH_BYTES
"""A frame of this size is written alone."""


class Reader:
    """A channel that is full after `room` bytes until it has `read`."""

    def __init__(
        self,
        *,
        max_bytes: int = 100,
        max_messages: int = 10,
        shelf: Shelf | None = None,
        **more: float,
    ) -> None:
        self.clock = VirtualClock()
        self.taken: list[bytes] = []
        self.room = 10**9
        self.buffered_bytes = 0
        self.in_kernel_bytes = 0
        self.slow = 0
        rule = {"outbox_soft_bytes": max_bytes, "send_timeout_s": TIMEOUT_S, **more}
        limits = Limits(outbox_bytes=max_bytes, outbox_messages=max_messages, **rule)  # type: ignore[arg-type]
        shelf = shelf or Shelf(10**9)
        self.outbox = Outbox(self, self.clock, limits, shelf, on_slow=self._note_slow)

    @property
    def untaken_bytes(self) -> int:
        return self.buffered_bytes + self.in_kernel_bytes

    def write(self, data: bytes) -> None:
        self.taken.append(data)
        self.room -= len(data)
        if self.room <= 0:
            self.outbox.pause()

    def send(self, *frames: bytes, replaces: object = None) -> None:
        for frame in frames:
            self.outbox.send(frame, replaces)
        self.outbox.flush()

    def read(self, room: int = 10**9) -> None:
        self.room = room
        self.outbox.resume()

    @property
    def text(self) -> bytes:
        return b"".join(self.taken)

    def _note_slow(self) -> None:
        self.slow += 1


def full(**limits: Any) -> Reader:
    reader = Reader(**limits)
    reader.outbox.pause()
    return reader


def test_what_is_sent_in_one_go_is_written_in_one_go() -> None:
    reader = Reader()
    reader.outbox.send(b"a")
    reader.outbox.send(b"b")
    assert not reader.outbox.is_empty
    reader.outbox.flush()
    reader.outbox.flush()
    assert reader.taken == [b"ab"]
    assert reader.outbox.is_empty


def test_frames_wait_while_the_channel_is_full_and_come_in_order() -> None:
    reader = full()
    reader.send(b"a", b"b", b"c")
    assert not reader.taken
    assert not reader.outbox.is_empty
    reader.read()
    reader.send(b"d")
    assert reader.text == b"abcd"
    assert reader.outbox.is_empty


def test_what_was_sent_before_a_pause_stays_before_what_is_sent_in_it() -> None:
    reader = Reader()
    reader.outbox.send(b"a")
    reader.outbox.pause()
    reader.outbox.send(b"b")
    reader.outbox.resume()
    assert reader.text == b"ab"


def test_a_channel_that_fills_again_takes_the_rest_later() -> None:
    reader = full(max_bytes=10 * BATCH)
    a, b, c = (letter * BATCH for letter in (b"a", b"b", b"c"))
    reader.send(a, b, c)
    reader.read(room=BATCH + 1)
    assert reader.text == a + b
    reader.send(b"dd")
    assert reader.text == a + b
    reader.read()
    assert reader.text == a + b + c + b"dd"


def test_what_waits_is_written_in_batches_of_a_bounded_size() -> None:
    reader = full(max_bytes=10**6, max_messages=10_000)
    reader.send(*(b"%09d" % number for number in range(5000)))
    reader.read()
    assert reader.text == b"".join(b"%09d" % number for number in range(5000))
    assert len(reader.taken) == -(-45_000 // BATCH)
    assert max(map(len, reader.taken)) < BATCH + 9


def test_a_newer_partial_leaves_out_the_older_one_of_its_segment_alone() -> None:
    reader = full()
    reader.send(b"1", replaces=(1, 0))
    reader.send(b"-")
    reader.send(b"2", replaces=(2, 0))
    reader.send(b"3", replaces=(1, 1))
    reader.send(b"one", replaces=(1, 0))
    reader.read()
    assert reader.text == b"-23one"  # and is told where it was said


def test_a_partial_that_was_written_is_replaced_by_none() -> None:
    reader = Reader()
    reader.send(b"1", replaces=(1, 0))
    reader.send(b"2", replaces=(1, 0))
    assert reader.text == b"12"


def test_too_many_bytes_or_messages_give_the_reader_up_once() -> None:
    for limits, frames in (({"max_bytes": 4}, [b"aa", b"bb"]), ({"max_messages": 2}, [b"a", b"b"])):
        reader = full(**limits)
        reader.send(*frames)
        assert reader.slow == 0  # the limit itself is still allowed
        reader.send(b"c", b"d")
        assert reader.slow == 1
        reader.clock.advance(10 * TIMEOUT_S)
        reader.outbox.check()
        reader.read()
        assert reader.slow == 1
        assert reader.text == b""
        assert reader.outbox.is_empty


def test_partials_alone_never_fill_it() -> None:
    """A reader that stalls for a moment costs one partial for each segment, however many come."""
    reader = full(max_bytes=10, max_messages=2)
    for number in range(1000):
        reader.send(b"%05d" % number, replaces=(1, 0))
    assert reader.slow == 0
    reader.read()
    assert reader.text == b"00999"


def test_a_reader_that_takes_nothing_for_the_send_timeout_is_given_up() -> None:
    reader = Reader()
    reader.clock.advance(100)
    reader.outbox.check()
    reader.outbox.pause()
    reader.clock.advance(TIMEOUT_S - 0.1)
    reader.outbox.pause()  # still the same stall
    reader.outbox.check()
    assert reader.slow == 0
    reader.clock.advance(0.2)
    reader.outbox.check()
    reader.outbox.check()
    assert reader.slow == 1


def test_a_reader_that_takes_something_has_the_timeout_anew() -> None:
    reader = full(max_bytes=10 * BATCH)
    reader.clock.advance(TIMEOUT_S - 0.1)
    reader.send(b"a" * BATCH, b"bb")
    reader.read(room=1)  # takes one frame and is full again
    reader.clock.advance(TIMEOUT_S - 0.1)
    reader.outbox.check()
    assert reader.slow == 0
    assert reader.text == b"a" * BATCH


@pytest.mark.parametrize("where", ["buffered_bytes", "in_kernel_bytes"])
def test_a_reader_that_takes_a_little_all_the_while_is_kept(where: str) -> None:
    """Whether that shows in the channel's buffer or only in the kernel's, which stays full long."""
    reader = Reader(max_bytes=1000)
    setattr(reader, where, 900)
    reader.outbox.pause()
    for taken in range(1, 20):
        reader.clock.advance(TIMEOUT_S - 0.1)
        setattr(reader, where, 900 - taken)
        reader.outbox.check()
    assert reader.slow == 0
    reader.clock.advance(TIMEOUT_S + 0.1)
    reader.outbox.check()  # nothing since
    assert reader.slow == 1


def test_after_close_nothing_is_written() -> None:
    reader = Reader()
    reader.outbox.send(b"a")
    reader.outbox.close()
    reader.send(b"b")
    reader.read()
    assert reader.text == b""


def test_one_go_is_bounded_too() -> None:
    """A read may bring thousands of requests whose answers are longer than they are."""
    reader = Reader(max_bytes=100_000, max_messages=100_000)
    reader.room = 1000
    for _ in range(100):
        reader.outbox.send(b"x" * 1000)
    reader.outbox.flush()
    assert max(map(len, reader.taken)) <= 70_000
    assert len(reader.text) <= 70_000
    reader.read()
    assert len(reader.text) == 100_000


Step = Callable[[Reader], None]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.none()),
            st.tuples(st.just("send"), st.tuples(st.integers(0, 1), st.integers(0, 1))),
            st.tuples(st.sampled_from(["flush", "pause", "resume"]), st.none()),
        ),
        max_size=60,
    )
)
def test_whatever_happens_order_is_kept_and_only_partials_are_left_out(
    steps: list[tuple[str, tuple[int, int] | None]],
) -> None:
    reader = Reader(max_bytes=10**6, max_messages=10**6)
    sent: list[tuple[bytes, tuple[int, int] | None]] = []
    for what, replaces in steps:
        if what == "send":
            sent.append((b"%04d" % len(sent), replaces))
            reader.outbox.send(*sent[-1])
        else:
            getattr(reader.outbox, what)()
    reader.outbox.flush()
    reader.outbox.resume()
    text = reader.text
    arrived = [text[place : place + 4] for place in range(0, len(text), 4)]
    assert len(set(arrived)) == len(arrived)
    finals = [frame for frame, replaces in sent if replaces is None]
    assert [frame for frame in arrived if frame in finals] == finals
    for key in {replaces for _, replaces in sent if replaces is not None}:
        partials = [frame for frame, replaces in sent if replaces == key]
        got = [frame for frame in arrived if frame in partials]
        assert got == sorted(got)
        assert got[-1] == partials[-1]


# ── who is too slow ───────────────────────────────────────────────────────────────────────────


def test_what_the_channel_holds_counts_too() -> None:
    reader = full(max_bytes=100, max_messages=100)
    reader.buffered_bytes = 90
    reader.send(b"x" * 10)
    assert (reader.slow, reader.outbox.held_bytes) == (0, 100)
    reader.send(b"x")
    assert reader.slow == 1


def test_a_reader_above_the_soft_limit_for_too_long_is_given_up_though_it_takes_a_little() -> None:
    reader = full(
        max_bytes=10 * BATCH, max_messages=100, outbox_soft_bytes=2 * BATCH, outbox_soft_s=5.0
    )
    for _ in range(8):
        reader.send(b"x" * BATCH)
    for _ in range(4):
        reader.clock.advance(1.1)
        reader.outbox.check()
        assert reader.slow == 0
        reader.read(room=1)  # one frame
    assert reader.outbox.held_bytes == 4 * BATCH
    reader.clock.advance(1.1)
    reader.outbox.check()
    assert reader.slow == 1


def test_a_reader_that_comes_below_the_soft_limit_now_and_then_is_kept() -> None:
    reader = full(max_bytes=100, max_messages=100, outbox_soft_bytes=20, outbox_soft_s=5.0)
    for _ in range(10):
        reader.send(*[b"x" * 10] * 3)
        reader.clock.advance(4.9)
        reader.outbox.check()
        reader.read()
        reader.outbox.pause()
    assert reader.slow == 0


def test_a_full_shelf_costs_whoever_takes_most_of_it() -> None:
    shelf = Shelf(100)
    readers = [full(max_bytes=1000, max_messages=100, shelf=shelf) for _ in range(3)]
    for reader, size in zip(readers, (20, 50, 30), strict=True):
        reader.send(b"x" * size)
    assert (shelf.held_bytes, [reader.slow for reader in readers]) == (100, [0, 0, 0])
    readers[0].send(b"x")
    assert [reader.slow for reader in readers] == [0, 1, 0]
    assert shelf.held_bytes == 51
    for reader in readers:
        reader.read()
    assert shelf.held_bytes == 0
    assert (readers[0].text, readers[2].text) == (b"x" * 21, b"x" * 30)


def test_a_newer_ack_is_never_told_before_a_segment_that_it_covers() -> None:
    reader = full()
    reader.send(b"a1", replaces="ack")
    reader.send(b"segment")
    reader.send(b"a2", replaces="ack")
    reader.read()
    assert reader.text == b"segmenta2"


# ── what is sent again ────────────────────────────────────────────────────────────────────────


def test_a_replay_is_made_as_it_is_taken_and_what_is_said_meanwhile_waits_behind() -> None:
    reader = Reader(max_bytes=100, max_messages=10)
    made: list[int] = []

    def frames() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            yield b"%01000d" % number

    reader.outbox.send(b"welcome")
    reader.room = 10_000
    reader.outbox.send_again(frames())
    first = len(made)
    assert 10 <= first <= 40  # a piece
    reader.send(b"behind")
    assert not reader.outbox.may_replay
    assert not reader.outbox.is_empty
    pieces = 0
    while len(made) < 1000:
        reader.read(room=10_000)
        pieces += 1
    reader.read()
    assert pieces > 20
    assert (reader.slow, reader.outbox.is_empty) == (0, True)
    assert reader.text == b"".join((b"welcome", *(b"%01000d" % n for n in range(1000)), b"behind"))


def test_a_replay_goes_on_by_itself_a_piece_at_a_time_while_the_channel_takes_it() -> None:
    """Between two pieces others have their turn."""
    reader = Reader()
    reader.outbox.send_again(iter([b"x" * 1000] * 100))
    while reader.outbox.may_replay:
        before = len(reader.text)
        reader.outbox.replay_on()
        assert len(reader.text) - before < 50_000
    assert len(reader.text) == 100_000


@pytest.mark.parametrize(("again", "expected"), [([], b"ab"), ([b"again"], b"")])
def test_a_connection_that_closes_hands_over_what_waits_but_not_behind_a_gap(
    again: list[bytes], expected: bytes
) -> None:
    reader = full()
    if again:
        reader.outbox.send_again(iter(again))
    reader.send(b"a", b"b")
    assert reader.outbox.is_replaying is bool(again)
    reader.outbox.finish()
    assert reader.text == expected
    assert reader.outbox.is_empty
    reader.send(b"c")
    reader.read()
    assert reader.text == expected


def test_behind_a_frame_that_cannot_be_made_nothing_is_told() -> None:
    def frames() -> Iterator[bytes]:
        yield from [b"again" * BATCH] * 2
        raise ZeroDivisionError

    reader = Reader(max_bytes=10**7)
    reader.outbox.send_again(frames())
    reader.send(b"live")
    reader.outbox.replay_on()
    with pytest.raises(ZeroDivisionError):
        reader.outbox.replay_on()
    reader.read()
    reader.send(b"more")
    reader.outbox.finish()
    assert reader.text == b"again" * BATCH * 2


def test_what_is_said_during_a_replay_counts_for_its_bytes_alone() -> None:
    """The reader takes whatever there is; it is the replay that is long."""
    reader = Reader(max_bytes=1000, max_messages=10, outbox_soft_bytes=20, outbox_soft_s=5.0)
    reader.outbox.send_again(iter([b"x" * BATCH] * 100))
    for _ in range(100):
        reader.send(b"--live--")
        reader.clock.advance(1.0)
        reader.outbox.check()
    assert reader.slow == 0
    reader.send(b"x" * 300)
    assert reader.slow == 1


def test_what_came_to_wait_during_a_replay_is_excused_until_it_is_taken() -> None:
    reader = Reader(max_bytes=10**6, max_messages=10)
    reader.outbox.send_again(iter([b"x" * BATCH] * 2))
    reader.send(*[b"y" * BATCH] * 15)
    reader.room = 2
    reader.outbox.replay_on()
    reader.read(room=1)  # the replay is at its end, and one of the others is taken
    assert not reader.outbox.is_replaying
    reader.send(*[b"-"] * 10)
    assert reader.slow == 0
    reader.send(b"-")
    assert reader.slow == 1


@given(
    again=st.integers(0, 12),
    steps=st.lists(
        st.one_of(
            st.sampled_from(["send", "flush", "pause", "replay"]),
            st.integers(1, 4 * BATCH),
        ),
        max_size=40,
    ),
    end=st.sampled_from(["finish", "close", "give_up", None]),
)
def test_whenever_it_ends_what_was_written_is_a_beginning_of_the_replay_and_then_the_rest(
    again: int, steps: list[str | int], end: str | None
) -> None:
    reader = Reader(max_bytes=10**8, max_messages=10**6)
    replayed = [b"%04d" % number + b"r" * 4000 for number in range(again)]
    live: list[bytes] = []

    def send() -> None:
        live.append(b"%04d" % len(live) + b"l" * 3000)
        reader.outbox.send(live[-1])

    reader.room = 2 * BATCH
    reader.outbox.send_again(iter(replayed))
    for step in steps:
        match step:
            case "send":
                send()
            case "replay":
                if reader.outbox.may_replay:
                    reader.outbox.replay_on()
            case int():
                reader.read(room=step)
            case _:
                getattr(reader.outbox, step)()
        assert b"".join([*replayed, *live]).startswith(reader.text)
    if end is not None:
        getattr(reader.outbox, end)()
        reader.send(b"late")
        reader.read()
    else:
        reader.outbox.flush()
        reader.read()
        while reader.outbox.may_replay:
            reader.outbox.replay_on()
        assert reader.text == b"".join([*replayed, *live])
    assert b"".join([*replayed, *live]).startswith(reader.text)


@pytest.mark.parametrize("is_asked_for_more", [False, True])
def test_who_asks_for_more_than_there_is_room_for_has_to_take_some(is_asked_for_more: bool) -> None:
    """The outbox is as full as if all of it had been answered."""
    reader = Reader(max_messages=10)
    reader.in_kernel_bytes = 1000
    reader.outbox.pause()
    for number in range(6):  # more than half of what may wait
        reader.send(b"%d" % number)
    assert reader.outbox.is_crowded
    for _ in range(4):  # something is taken between any two looks
        reader.clock.advance(2 * FULL_S)
        reader.in_kernel_bytes -= 100
        reader.outbox.check(is_asked_for_more=is_asked_for_more)
    assert reader.slow == 0
    reader.clock.advance(2 * FULL_S)
    reader.outbox.check(is_asked_for_more=is_asked_for_more)
    assert reader.slow == is_asked_for_more
