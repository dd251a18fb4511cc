"""What waits for a slow reader: bounded, in order, and newer partials in place of older ones."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from asrd.server.outbox import Outbox
from support.clock import VirtualClock

TIMEOUT_S = 5.0


class Reader:
    """A channel that is full after `room` bytes until it has `read`."""

    def __init__(self, *, max_bytes: int = 100, max_messages: int = 10) -> None:
        self.clock = VirtualClock()
        self.taken: list[bytes] = []
        self.room = 10**9
        self.slow = 0
        self.outbox = Outbox(
            self,
            self.clock,
            max_bytes=max_bytes,
            max_messages=max_messages,
            send_timeout_s=TIMEOUT_S,
            on_slow=self._note_slow,
        )

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


def full(**limits: int) -> Reader:
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
    reader = full()
    reader.send(b"aa", b"bb", b"cc")
    reader.read(room=3)
    assert reader.text == b"aabb"
    reader.send(b"dd")
    assert reader.text == b"aabb"
    reader.read()
    assert reader.text == b"aabbccdd"


def test_a_partial_takes_the_place_of_the_older_one_of_its_segment_alone() -> None:
    reader = full()
    reader.send(b"1", replaces=(1, 0))
    reader.send(b"-")
    reader.send(b"2", replaces=(2, 0))
    reader.send(b"3", replaces=(1, 1))
    reader.send(b"one", replaces=(1, 0))
    assert reader.outbox.coalesced == 1
    reader.read()
    assert reader.text == b"one-23"


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
    reader = full()
    reader.clock.advance(TIMEOUT_S - 0.1)
    reader.send(b"aa", b"bb")
    reader.read(room=1)  # takes one frame and is full again
    reader.clock.advance(TIMEOUT_S - 0.1)
    reader.outbox.check()
    assert reader.slow == 0
    assert reader.text == b"aa"


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
