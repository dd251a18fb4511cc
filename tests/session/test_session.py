"""Sessions outlive their connections: what is kept for a client that comes back."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.audio import PcmFormat
from asrd.errors import ErrorCode, ProtocolError
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.session.keeping import Keeping
from asrd.session.session import MAX_ENDED_STREAMS, Session, Stale
from asrd.session.stream import Stream, StreamRule
from asrd.transcript import Hypothesis
from support.clock import VirtualClock
from support.profiles import examples
from support.streams import QUICK_RULE, loud_probability, silence, word, words_in

DELIVERED_AFTER_S = 5.0


class Client:
    """A session seen from its client, which notes what reaches it."""

    def __init__(
        self, *, max_streams: int = 4, kept_segments: int = 100, kept_bytes: int = 10**6
    ) -> None:
        self.clock = VirtualClock()
        self.session = Session(
            session_id="s1",
            token="secret",
            max_streams=max_streams,
            kept_segments=kept_segments,
            keeping=Keeping(kept_bytes),
            delivered_after_s=DELIVERED_AFTER_S,
            now_s=self.clock.now_s,
        )
        self.is_connected = True
        self.got: list[Effect] = []
        self.have: dict[int, int] = {}
        self.word = count()

    def open(
        self, number: int = 1, *, is_lossless: bool = True, is_ready: bool = True, start_id: int = 0
    ) -> Stream:
        rule = StreamRule(
            pcm_format=PcmFormat(),
            endpoint_rule=QUICK_RULE,
            is_lossless=is_lossless,
            window_s=4.0,
            partial_interval_s=None,
            start_id=start_id,
        )
        stream = self.session.open(number, rule)
        if is_ready:
            stream.open()
            self.collect(stream)
        return stream

    def collect(self, stream: Stream) -> None:
        """As the server does after every step."""
        told = self.session.collect(stream)
        if self.is_connected:
            self.take(told)

    def take(self, told: list[Effect]) -> None:
        self.got += told
        for effect in told:
            if isinstance(effect, effects.Segment):
                assert effect.id == self.have.get(effect.stream, -1) + 1, "missing or doubled"
                self.have[effect.stream] = effect.id

    def run(self, stream: Stream) -> None:
        """Score and decode all there is."""
        while (unscored := stream.take_unscored(0.0)) is not None:
            stream.scored(loud_probability(unscored.windows), 0.0)
        self.collect(stream)
        while (window := stream.begin_decode()) is not None:
            stream.end_decode(Hypothesis(text=words_in(window.audio)), 0.0)
            self.collect(stream)

    def speak(self, stream: Stream) -> None:
        """One word, recognised."""
        stream.receive(word(next(self.word)).tobytes() + silence(4096).tobytes(), None)
        self.run(stream)

    def lose(self) -> None:
        self.is_connected = False
        self.session.detach()

    def resume(self, have: dict[int, int] | None = None) -> list[Effect]:
        told = self.session.resume(self.have if have is None else have)
        self.is_connected = True
        if have is None:
            self.take(told)
        return told


def kinds(told: list[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in told]


def ids(told: list[Effect]) -> list[int]:
    return [effect.id for effect in told if isinstance(effect, effects.Segment)]


# ── streams of a session ──────────────────────────────────────────────────────────────────────


def test_a_number_in_use_is_refused_and_the_stream_goes_on() -> None:
    client = Client()
    stream = client.open(7)
    with pytest.raises(ProtocolError) as refusal:
        client.open(7)
    assert (refusal.value.code, refusal.value.stream) == (ErrorCode.STREAM_EXISTS, 7)
    assert client.session.get(7) is stream


def test_too_many_streams_are_refused_until_one_has_ended() -> None:
    client = Client(max_streams=2)
    client.open(1)
    second = client.open(2)
    with pytest.raises(ProtocolError) as refusal:
        client.open(3)
    assert (refusal.value.code, refusal.value.stream) == (ErrorCode.TOO_MANY_STREAMS, 3)
    second.cancel()
    client.collect(second)
    assert [stream.number for stream in client.session.streams] == [1]
    client.open(3)


def test_a_stream_that_was_never_opened_or_has_ended_is_unknown() -> None:
    client = Client()
    stream = client.open(1)
    stream.cancel()
    for number in (1, 2):
        with pytest.raises(ProtocolError) as refusal:
            client.session.get(number)
        assert (refusal.value.code, refusal.value.stream) == (ErrorCode.UNKNOWN_STREAM, number)


def test_the_number_of_an_ended_stream_is_free_again() -> None:
    client = Client()
    first = client.open(1)
    first.cancel()
    client.collect(first)
    second = client.open(1)
    assert client.session.get(1) is second
    assert client.session.collect(first) == []  # what is left of the first says nothing


def test_a_stream_that_never_came_to_be_leaves_no_trace() -> None:
    client = Client()
    client.open(1, is_ready=False)
    client.session.forget(1)
    client.session.forget(1)
    assert client.session.commits == {}
    client.open(1)


def test_the_commits_of_all_known_streams_are_told() -> None:
    client = Client()
    first, second = client.open(1), client.open(2)
    client.speak(first)
    second.cancel()
    client.collect(second)
    assert client.session.commits == {1: first.committed, 2: 0}
    assert first.committed > 6000


# ── coming back ───────────────────────────────────────────────────────────────────────────────


def test_segments_after_the_last_received_are_sent_once_more_and_no_others() -> None:
    client = Client()
    stream = client.open()
    for _ in range(5):
        client.speak(stream)
    for last in range(-1, 5):
        client.lose()
        assert ids(client.resume({1: last})) == list(range(last + 1, 5))
    client.lose()
    assert ids(client.resume({})) == [0, 1, 2, 3, 4]
    client.lose()
    assert ids(client.resume({1: 10**9})) == []


def test_streams_go_on_while_nobody_listens() -> None:
    client = Client()
    stream = client.open(start_id=0)
    client.speak(stream)
    client.lose()
    client.speak(stream)
    client.resume()
    client.speak(stream)
    assert client.have == {1: 2}


def test_what_a_client_missed_comes_in_the_order_it_was_told() -> None:
    """A flush behind its segments and ahead of later ones; the opening ahead of everything."""
    client = Client()
    stream = client.open(is_ready=False)
    client.lose()
    stream.open()
    client.collect(stream)
    client.speak(stream)
    stream.flush()
    client.run(stream)
    client.speak(stream)
    stream.close()
    client.run(stream)
    assert kinds(client.resume()) == [
        "OpenedStream",
        "Segment",
        "Flushed",
        "Segment",
        "StreamClosed",
    ]


def test_answers_that_were_heard_are_not_told_again() -> None:
    client = Client()
    stream = client.open()
    stream.receive(silence(100).tobytes(), 50)
    stream.flush()
    client.run(stream)
    client.clock.advance(DELIVERED_AFTER_S + 1)
    client.lose()
    assert kinds(client.resume()) == ["CreditRaised"]


def test_a_gap_told_just_before_the_break_is_told_again_and_an_answer_is_not() -> None:
    """Audio that is lost must be known of; its span shows that it is the same. A flush is asked
    for again by who lacks its answer."""
    client = Client()
    stream = client.open()
    stream.receive(silence(100).tobytes(), 50)
    stream.flush()
    client.run(stream)
    for _ in range(3):  # it may be lost each time
        client.clock.advance(DELIVERED_AFTER_S - 1)
        client.lose()
        client.clock.advance(60)
        assert kinds(client.resume()) == ["Gap", "CreditRaised"]


def test_gaps_drops_and_failures_that_nobody_heard_are_told() -> None:
    client = Client()
    stream = client.open(is_lossless=False)
    client.lose()
    stream.receive(word(1).tobytes(), 100)
    stream.flush()
    while (unscored := stream.take_unscored(0.0)) is not None:
        stream.scored(loud_probability(unscored.windows), 0.0)
    stream.begin_decode()
    stream.fail_decode("no")
    client.collect(stream)
    assert kinds(client.resume()) == ["Gap", "DecodeFailed", "Dropped", "Flushed"]
    client.lose()
    assert kinds(client.resume()) == ["Gap", "Dropped"]  # they may have been lost again
    client.clock.advance(DELIVERED_AFTER_S + 1)
    client.lose()
    assert client.resume() == []


def test_the_credit_is_told_to_whoever_comes_back() -> None:
    """It may have been raised while nobody listened; a sender without it would wait for ever."""
    client = Client()
    stream = client.open()
    client.lose()
    client.speak(stream)
    client.speak(stream)
    told = client.resume()
    assert told[-1] == effects.CreditRaised(stream=1, offset=stream.committed + 64000)
    assert stream.credit == stream.committed + 64000


def test_an_opening_that_may_have_been_lost_is_told_again() -> None:
    """It was written just before the break; who has heard it has sent audio."""
    client = Client()
    stream = client.open()
    client.lose()
    assert client.resume() == [effects.OpenedStream(stream=1, credit=64000)]
    client.speak(stream)
    client.lose()
    assert "OpenedStream" not in kinds(client.resume())


def test_a_stream_whose_model_still_loads_has_nothing_to_tell() -> None:
    client = Client()
    client.open(is_ready=False)
    client.lose()
    assert client.resume() == []


def test_an_end_that_may_have_been_lost_is_told_again() -> None:
    client = Client()
    stream = client.open()
    stream.close()
    client.run(stream)
    client.clock.advance(DELIVERED_AFTER_S - 1)
    client.lose()
    client.clock.advance(60)
    assert kinds(client.resume()) == ["StreamClosed"]
    client.clock.advance(1)  # told anew, so it may be lost anew
    client.lose()
    assert kinds(client.resume()) == ["StreamClosed"]


def test_an_end_that_was_told_long_ago_has_arrived() -> None:
    client = Client()
    stream = client.open()
    client.speak(stream)
    stream.close()
    client.run(stream)
    client.clock.advance(DELIVERED_AFTER_S + 1)
    client.lose()
    assert client.session.commits == {}
    assert client.resume() == []


@given(
    steps=st.lists(
        st.sampled_from(["speak", "speak", "flush", "lose", "resume", "close", "wait"]),
        max_size=25,
    )
)
@examples(60)
def test_every_segment_arrives_once_and_every_flush_is_answered(steps: list[str]) -> None:
    """Whenever the connection breaks; what was told while it stood is taken to have arrived."""
    client = Client()
    stream = client.open()
    spoken = flushes = 0
    is_open = True
    for step in [*steps, "resume", "close"]:
        if step == "speak" and is_open:
            client.speak(stream)
            spoken += 1
        elif step == "flush" and is_open:
            stream.flush()
            client.run(stream)
            flushes += 1
        elif step == "close" and is_open:
            stream.close()
            client.run(stream)
            is_open = False
        elif step == "lose" and client.is_connected:
            client.lose()
        elif step == "resume" and not client.is_connected:
            client.resume()
        elif step == "wait":
            client.clock.advance(3.0)
    assert client.have == ({1: spoken - 1} if spoken else {})
    assert kinds(client.got).count("Flushed") == flushes
    assert "StreamClosed" in kinds(client.got)


# ── what a session may cost ───────────────────────────────────────────────────────────────────


def test_no_more_segments_are_kept_than_agreed() -> None:
    client = Client(kept_segments=3)
    stream = client.open()
    for _ in range(5):
        client.speak(stream)
    client.lose()
    assert ids(client.resume({1: 1})) == [2, 3, 4]


def test_a_client_that_lacks_what_is_not_kept_cannot_resume() -> None:
    """It opens its streams again from its last commit, and loses nothing."""
    client = Client(kept_segments=3)
    stream = client.open(1)
    for _ in range(5):
        client.speak(stream)
    assert client.session.can_resume({1: 1})
    assert client.session.can_resume({1: 4})
    assert not client.session.can_resume({1: 0})
    assert not client.session.can_resume({})
    client.open(2, start_id=7)  # of which the client cannot have any yet
    assert client.session.can_resume({1: 1})


def test_segments_of_all_streams_are_kept_by_what_they_take_together() -> None:
    client = Client(kept_bytes=6 * 600)
    streams = [client.open(number) for number in (1, 2)]
    for _ in range(4):
        for stream in streams:
            client.speak(stream)
    client.lose()
    assert not client.session.can_resume({1: -1, 2: 3})
    assert ids(client.session.resume({1: 0, 2: 0})) == [1, 2, 3, 1, 2, 3]
    streams[0].cancel()
    client.collect(streams[0])
    client.session.forget(1)
    for _ in range(3):
        client.speak(streams[1])
    assert ids(client.session.resume({2: 0})) == [1, 2, 3, 4, 5, 6]


def test_streams_that_end_are_forgotten_with_time() -> None:
    client = Client()
    for number in range(100):
        stream = client.open(number)
        stream.cancel()
        client.collect(stream)
        client.clock.advance(1.0)
    assert len(client.session.commits) <= DELIVERED_AFTER_S + 1


def test_streams_that_end_faster_than_time_goes_by_are_bounded() -> None:
    client = Client()
    for number in range(3 * MAX_ENDED_STREAMS):
        stream = client.open(number)
        stream.receive(word(1).tobytes(), None)
        stream.cancel()
        client.collect(stream)
        assert stream._listener.intake.waiting == 0
    assert len(client.session.commits) <= MAX_ENDED_STREAMS + 1
    assert max(client.session.commits) == 3 * MAX_ENDED_STREAMS - 1  # the latest are kept


# ── what is said twice ────────────────────────────────────────────────────────────────────────


def test_who_came_back_may_say_again_what_it_said_before_close() -> None:
    """The audio from its commit on, the flush, and the close; but nothing new."""
    client = Client()
    stream = client.open()
    spoken = word(1).tobytes()
    stream.receive(spoken, 0)
    stream.close()
    with pytest.raises(ProtocolError):
        stream.close()
    client.lose()
    client.resume()
    stream.receive(spoken, 0)
    stream.flush()
    stream.close()
    with pytest.raises(ProtocolError):
        stream.receive(spoken, len(spoken) // 2)
    client.run(stream)
    assert ids(client.got) == [0]
    assert kinds(client.got).count("Flushed") == 0
    assert kinds(client.got)[-1] == "StreamClosed"


def test_what_is_said_of_a_stream_whose_end_is_told_again_is_past() -> None:
    """Its client could not know; anybody else is told that there is none."""
    client = Client()
    for number in (1, 2):
        client.open(number).close()
    client.run(client.session.get(1))
    client.lose()
    client.run(client.session.get(2))
    for number in (1, 2):
        with pytest.raises(ProtocolError):
            client.session.get(number)
    client.resume()
    for number in (1, 2):
        with pytest.raises(Stale):
            client.session.get(number)
    client.open(1)
    assert client.session.get(1).number == 1


def test_audio_that_comes_amid_a_drain_is_left_to_its_client() -> None:
    client = Client()
    stream = client.open()
    stream.receive(word(1).tobytes(), 0)
    stream.drain()
    stream.receive(word(2).tobytes(), 6000)
    stream.flush()
    stream.close()
    client.run(stream)
    (closed,) = [effect for effect in client.got if isinstance(effect, effects.StreamClosed)]
    assert (closed.reason, closed.offset, closed.segments) == ("shutdown", 6000, 1)
