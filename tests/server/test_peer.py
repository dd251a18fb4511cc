"""One connection's conversation: greeted, answered, refused, made to wait, and ended."""

from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from asrd.framing import HEADER
from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.wire.codec import encode
from asrd.wire.messages import (
    Audio,
    Cancel,
    ClientMessage,
    Close,
    Closed,
    Error,
    Event,
    Flush,
    Flushed,
    GetHealth,
    GetStats,
    Health,
    Hello,
    Load,
    Open,
    Opened,
    Partial,
    Ping,
    Pong,
    Segment,
    Unload,
    Welcome,
)
from support.room import UTTERANCE, Guest, Room, quiet, run, settle, speech

JUNK = HEADER.pack(3) + b"\xc1\xc1\xc1"
ENORMOUS = HEADER.pack(2**31)


def codes(guest: Guest) -> list[str]:
    return [error.code for error in guest.told(Error)]


def has_ended(guest: Guest) -> bool:
    return guest.channel.is_closed


def must_wait(guest: Guest) -> bool:
    return guest.channel.is_paused


def is_well(guest: Guest) -> bool:
    """Whether the connection still answers."""
    before = len(guest.told(Pong))
    guest.say(Ping(id="well?"))
    return len(guest.told(Pong)) == before + 1 and not has_ended(guest)


# ── greetings ─────────────────────────────────────────────────────────────────────────────────


def test_welcome_names_every_limit_that_a_client_has_to_keep(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"max_streams": 7, "idle_timeout_s": 12.5})
        told = room.guest().hello(client="test")
        assert told.version == 1
        assert told.server.startswith("asrd ")
        assert not told.resumed
        assert told.streams == {}
        assert set(told.providers) == registry.registered.keys()
        assert told.limits["max_streams"] == 7
        assert told.limits["idle_timeout_s"] == 12.5
        assert {"max_frame_bytes", "max_chunk_bytes", "resume_window_s"} <= told.limits.keys()

    run(scenario)


def test_who_says_nothing_is_sent_away_after_the_hello_timeout(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"hello_timeout_s": 10.0})
        guest, polite = room.guest(), room.greeted()
        half = room.guest()
        half.say_bytes(encode(Hello())[:3])
        room.clock.advance(9.9)
        for one in (guest, polite, half):
            one.peer.check()
        assert not has_ended(guest)
        room.clock.advance(0.2)
        for one in (guest, polite, half):
            one.peer.check()
            one.peer.check()
        for one in (guest, half):
            assert codes(one) == ["hello_expected"]
            assert one.told(Error)[0].fatal
            assert has_ended(one)
        assert is_well(polite)

    run(scenario)


def test_who_sends_no_frame_for_the_idle_timeout_is_closed_and_may_resume(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"idle_timeout_s": 300.0})
        idle, busy = room.guest(), room.greeted()
        token = idle.hello().resume
        idle.open(0)
        for _ in range(4):
            room.clock.advance(99)
            busy.say(Ping(id=1))
            for guest in (idle, busy):
                guest.peer.check()
        assert has_ended(idle)
        assert not codes(idle)
        idle.peer.lost()
        assert is_well(busy)
        again = room.guest()
        assert again.hello(resume=token).resumed
        assert 0 in again.told(Welcome)[0].streams

    run(scenario)


def test_any_bytes_count_as_a_sign_of_life(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"idle_timeout_s": 300.0})
        guest = room.greeted()
        frame = encode(Ping(id=1))
        for _ in range(3):
            room.clock.advance(299)
            guest.say_bytes(frame[:1])
            room.clock.advance(29)
            guest.say_bytes(frame[1:])
            guest.peer.check()
        assert not has_ended(guest)
        assert len(guest.told(Pong)) == 3

    run(scenario)


def test_a_frame_that_comes_byte_by_byte_for_ever_is_given_up(registry: Registry) -> None:
    """Each byte is a sign of life, but what they are part of must come to an end."""

    async def scenario() -> None:
        room = Room(registry, limits={"frame_timeout_s": 30.0})
        guest, other = room.greeted(), room.greeted()
        frame = encode(Ping(id="x" * 100))
        for number, byte in enumerate(frame):
            assert has_ended(guest) == (number >= 30), number
            guest.say_bytes(bytes([byte]))
            room.clock.advance(1)
            guest.peer.check()
        (error,) = guest.told(Error)
        assert (error.code, error.fatal) == ("invalid_frame", True)
        assert guest.channel.was_refused
        assert is_well(other)

    run(scenario)


def test_a_long_frame_behind_whole_ones_has_its_time_from_its_own_beginning(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"frame_timeout_s": 30.0})
        guest = room.greeted()
        frame = encode(Ping(id=1))
        for _ in range(20):  # always amid a frame, never for long in the same one
            guest.say_bytes(frame[:5])
            room.clock.advance(20)
            guest.say_bytes(frame[5:] + frame[:3])
            room.clock.advance(9)
            guest.peer.check()
            guest.say_bytes(frame[3:])
        assert not has_ended(guest)
        assert len(guest.told(Pong)) == 40

    run(scenario)


def test_who_is_made_to_wait_is_not_idle(registry: Registry) -> None:
    async def scenario() -> None:
        limits = {"idle_timeout_s": 10.0, "credit_window_s": 3.0, "max_utterance_s": 2.0}
        room = Room(registry, limits=limits)
        guest = room.greeted()
        room.voice.enter(ModelState.STARTING)
        guest.open(0, delivery="lossless")
        guest.speak(0, speech(7.0))
        assert must_wait(guest)
        room.clock.advance(60)
        guest.peer.check()
        assert not has_ended(guest)
        room.voice.enter(ModelState.READY)
        await settle()
        assert not must_wait(guest)
        room.clock.advance(9)
        guest.peer.check()  # its time begins when it may send again
        assert not has_ended(guest)
        room.clock.advance(2)
        guest.peer.check()
        assert has_ended(guest)

    run(scenario)


# ── errors ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("junk", "code"), [(JUNK, "invalid_frame"), (ENORMOUS, "frame_too_large")])
@pytest.mark.parametrize("is_greeted", [True, False])
def test_a_broken_frame_ends_its_connection_and_no_other(
    registry: Registry, junk: bytes, code: str, is_greeted: bool
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        bad, good = room.guest(), room.greeted()
        if is_greeted:
            bad.hello()
            bad.open(0)
        good.open(0)
        good.speak(0, speech(0.5))
        bad.say_bytes(junk + encode(Ping(id=1)))
        good.speak(0, speech(0.5) + quiet(0.6))
        await settle()
        expected = "hello_expected" if code == "invalid_frame" and not is_greeted else code
        assert codes(bad)[0] in (code, expected)
        assert bad.told(Error)[0].fatal
        assert has_ended(bad)
        assert not bad.told(Pong)  # nothing behind a fatal error is read
        bad.say(Ping(id=2))
        assert not bad.told(Pong)
        assert len(good.told(Segment)) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Hello(), "invalid_message"),
        (Audio(stream=9, data=b""), "unknown_stream"),
        (Audio(stream=0, data=b"1"), "invalid_message"),
        (Audio(stream=0, data=bytes(2**16 + 2)), "chunk_too_large"),
        (Flush(stream=9), "unknown_stream"),
        (Cancel(stream=9), "unknown_stream"),
        (Open(stream=0), "stream_exists"),
        (Open(stream=1, provider="nobody"), "unknown_provider"),
        (Load(provider="nobody"), "unknown_provider"),
        (Load(model="other"), "provider_unavailable"),
        (Unload(provider="nobody"), "unknown_provider"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_a_request_that_cannot_be_met_is_refused_and_the_connection_goes_on(
    registry: Registry, message: ClientMessage, code: str
) -> None:
    async def scenario() -> None:
        guest = Room(registry).greeted()
        guest.open(0)
        guest.say(message)
        await settle()
        assert codes(guest) == [code]
        assert not guest.told(Error)[0].fatal
        assert is_well(guest)
        guest.speak(0, UTTERANCE)
        await settle()
        assert len(guest.told(Segment)) == 1

    run(scenario)


def test_more_streams_than_the_limit_are_refused_until_one_is_closed(registry: Registry) -> None:
    async def scenario() -> None:
        guest = Room(registry, limits={"max_streams": 2}).greeted()
        for stream in range(3):
            guest.open(stream)
        assert codes(guest) == ["too_many_streams"]
        assert guest.told(Error)[0].stream == 2
        guest.say(Cancel(stream=0), Open(stream=2))
        assert [opened.stream for opened in guest.told(Opened)] == [0, 1, 2]

    run(scenario)


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def test_requests_that_take_their_time_hold_up_nothing_behind_them(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.is_held = True
        guest.say(GetHealth(deep=True), Ping(id=1), GetStats())
        await settle()
        assert guest.told(Pong)
        assert not guest.told(Health)
        room.model.release()
        await settle()
        assert guest.told(Health)

    run(scenario)


def test_requests_that_take_their_time_are_bounded(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.is_held = True
        guest.say(*(GetHealth(deep=True) for _ in range(100)))
        await settle()
        assert set(codes(guest)) == {"busy"}
        assert len(room.model.made) < 20
        room.model.release()
        await settle()
        assert len(guest.told(Health)) + len(codes(guest)) == 100

    run(scenario)


def test_two_streams_may_be_interleaved_chunk_by_chunk(registry: Registry) -> None:
    async def scenario() -> None:
        guest = Room(registry).greeted()
        pcm = {0: UTTERANCE * 2, 2**64 - 1: speech(0.4) + UTTERANCE}
        for stream in pcm:
            guest.open(stream)
        for begin in range(0, max(map(len, pcm.values())), 642):
            for stream, samples in pcm.items():
                guest.say(Audio(stream=stream, data=samples[begin : begin + 642]))
            if begin % 6420 == 0:
                await settle()
        guest.say(*(Close(stream=stream) for stream in pcm))
        await settle()
        assert [segment.id for segment in guest.told(Segment, 0)] == [0, 1]
        assert [segment.id for segment in guest.told(Segment, 2**64 - 1)] == [0]
        assert len(guest.told(Closed)) == 2

    run(scenario)


# ── slow readers ──────────────────────────────────────────────────────────────────────────────


def test_a_reader_that_stalls_is_told_once_closed_and_may_resume(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"send_timeout_s": 5.0})
        slow, other = room.guest(), room.greeted()
        token = slow.hello().resume
        slow.open(0)
        slow.speak(0, UTTERANCE)
        await settle()
        slow.peer.outbox.pause()
        slow.speak(0, UTTERANCE)
        await settle()
        room.clock.advance(5.1)
        for guest in (slow, other):
            guest.peer.check()
            guest.peer.check()
        assert codes(slow) == ["slow_consumer"]
        assert slow.told(Error)[0].fatal
        assert has_ended(slow)
        assert [segment.id for segment in slow.told(Segment)] == [0]
        slow.peer.lost()
        assert is_well(other)
        again = room.guest()
        assert again.hello(resume=token, have={0: 0}).resumed
        assert [segment.id for segment in again.told(Segment)] == [1]

    run(scenario)


def test_who_is_given_up_hears_what_was_told_behind_it_when_it_comes_back(
    registry: Registry,
) -> None:
    """Also while the old channel still waits for what it holds to be read."""

    async def scenario() -> None:
        room = Room(registry)
        slow = room.guest()
        token = slow.hello().resume
        slow.open(0)
        slow.peer.outbox.pause()
        room.clock.advance(5.1)
        slow.peer.check()
        assert codes(slow) == ["slow_consumer"]
        (served,) = room.hub.all_streams
        room.model.is_held = True
        served.stream.flush()
        room.hub.advance(served)
        room.clock.advance(19.0)
        await settle()
        again = room.guest()
        assert again.hello(resume=token).resumed
        slow.peer.lost()
        assert len(again.told(Flushed)) == 1
        again.say(Cancel(stream=0))
        assert len(again.told(Closed)) == 1  # what was lost late takes the session from nobody

    run(scenario)


def test_what_was_told_before_a_reader_was_given_up_is_told_again(registry: Registry) -> None:
    """It waited in the outbox, for as long as the limits allow."""

    async def scenario() -> None:
        room = Room(registry, limits={"live_rate": 1.0, "live_burst_s": 2.0})
        slow = room.guest()
        token = slow.hello().resume
        slow.open(0, source="mic")
        slow.peer.outbox.pause()
        slow.speak(0, quiet(10.0))
        for _ in range(10):
            room.clock.advance(1.0)  # a little is taken, and then the soft limit closes it
        assert not has_ended(slow)
        slow.peer.outbox.give_up()
        again = room.guest()
        assert again.hello(resume=token).resumed
        lost = [event for event in again.told(Event) if event.event == "dropped"]
        assert lost
        assert lost[-1].end == 10.0

    run(scenario)


@pytest.mark.parametrize("step", ["its_turn", "resumed"])
def test_a_replay_that_fails_costs_its_connection_and_leaves_no_gap(
    registry: Registry, step: str
) -> None:
    async def scenario() -> None:
        guest, other = (room := Room(registry)).greeted(), room.greeted()

        def frames() -> Iterator[bytes]:
            yield from [encode(Pong(id="x" * 100))] * 200
            raise ZeroDivisionError

        with capture_logs() as lines:
            guest.peer.outbox.send_again(frames())
            guest.peer.send(Pong(id="behind"))
            if step == "its_turn":
                guest.say(Ping(id=1))  # after which it stands in line
                await settle()
            else:
                for _ in range(5):
                    guest.peer.outbox.pause()
                    guest.peer.resumed_writing()
        assert [line["event"] for line in lines].count("connection_failed") == 1
        assert codes(guest) == ["internal"]
        assert has_ended(guest)
        assert {pong.id for pong in guest.told(Pong)} == {"x" * 100}
        assert is_well(other)

    run(scenario)


def test_partials_that_wait_are_replaced_and_segments_are_not(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0, partials=True)
        guest.peer.outbox.pause()
        for _ in range(2):
            for _ in range(5):
                guest.speak(0, speech(1.1))
                await settle()
            guest.speak(0, quiet(0.6))
            await settle()
        assert not guest.told(Partial)
        guest.peer.resumed_writing()
        assert [partial.id for partial in guest.told(Partial)] == [0, 1]
        assert [segment.id for segment in guest.told(Segment)] == [0, 1]
        assert guest.told(Partial)[0].text == max(
            (partial.text for partial in guest.told(Partial) if partial.id == 0), key=int
        )

    run(scenario)


def test_an_outbox_that_is_full_closes_the_connection(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"outbox_messages": 10})
        guest = room.greeted()
        guest.open(0)
        guest.peer.outbox.pause()
        for _ in range(6):
            guest.speak(0, UTTERANCE)  # two events and a segment each
            await settle()
        assert codes(guest) == ["slow_consumer"]
        assert not guest.told(Segment)
        assert has_ended(guest)

    run(scenario)


def test_who_asks_without_reading_has_its_next_request_wait(registry: Registry) -> None:
    """However many requests come at once: whoever then reads is answered each of them."""

    async def scenario() -> None:
        room = Room(registry, limits={"outbox_messages": 10})
        guest = room.greeted()
        guest.peer.outbox.pause()
        guest.say(*(Ping(id=number) for number in range(1000)))
        await settle()
        assert must_wait(guest)
        assert not codes(guest)
        assert not guest.told(Pong)
        while len(guest.told(Pong)) < 1000:
            before = len(guest.told(Pong))
            guest.peer.resumed_writing()
            guest.peer.outbox.pause()
            await settle()
            assert len(guest.told(Pong)) > before
        assert [pong.id for pong in guest.told(Pong)] == list(range(1000))
        assert not must_wait(guest)
        assert not codes(guest)
        assert not has_ended(guest)

    run(scenario)


# ── senders that are too quick ────────────────────────────────────────────────────────────────


def test_a_lossless_sender_past_twice_its_window_waits_and_others_do_not(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"credit_window_s": 3.0, "max_utterance_s": 2.0})
        quick, other = room.greeted(), room.greeted()
        room.model.is_held = True
        quick.open(0, delivery="lossless")
        pcm = UTTERANCE * 10
        sent = 0
        while not must_wait(quick):
            quick.say(Audio(stream=0, data=pcm[sent : sent + 3200]))
            sent += 3200
            await settle()
        assert 2 * 3.0 <= sent / 32_000 < 2 * 3.0 + 2.0
        assert is_well(other)
        room.model.is_held = False
        room.model.release()
        await settle()
        assert not must_wait(quick)
        quick.speak(0, pcm[sent:])
        quick.say(Close(stream=0))
        await settle()
        assert len(quick.told(Segment)) == 10
        (closed,) = quick.told(Closed)
        assert (closed.dropped_seconds, closed.audio_seconds) == (0.0, 16.0)

    run(scenario)


def test_a_live_sender_is_never_made_to_wait(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"live_backlog_s": 3.0})
        guest = room.greeted()
        room.model.is_held = True
        guest.open(0)
        guest.speak(0, UTTERANCE * 20)
        assert not must_wait(guest)

    run(scenario)


@pytest.mark.parametrize(
    "end",
    [
        lambda guest: guest.say(Cancel(stream=0)),
        lambda guest: guest.peer.lost(),
    ],
    ids=["cancelled", "lost"],
)
def test_who_waits_is_let_go_when_the_stream_ends(
    registry: Registry, end: Callable[[Guest], None]
) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"credit_window_s": 3.0, "max_utterance_s": 2.0})
        guest = room.greeted()
        room.voice.enter(ModelState.STARTING)
        guest.open(0, delivery="lossless")
        guest.speak(0, speech(7.0))
        assert must_wait(guest)
        end(guest)
        assert must_wait(guest) is (guest.peer._session is None)

    run(scenario)


def test_who_cancels_in_the_same_breath_is_not_made_to_wait(registry: Registry) -> None:
    """Nothing would come that lets him go on."""

    async def scenario() -> None:
        room = Room(registry, limits={"credit_window_s": 1.0, "max_utterance_s": 0.9})
        guest = room.greeted()
        room.voice.enter(ModelState.STARTING)
        guest.open(0, delivery="lossless")
        guest.say(Audio(stream=0, data=speech(2.0)))
        guest.say(Audio(stream=0, data=speech(1.0)), Cancel(stream=0))
        assert not must_wait(guest)
        assert is_well(guest)

    run(scenario)


# ── the end ───────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_input_finishes_everything_and_then_the_connection(
    registry: Registry,
) -> None:
    """Every stream, and every answer that is due."""

    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.is_held = True
        guest.open(0)
        guest.open(1)
        guest.speak(0, UTTERANCE)
        guest.speak(1, speech(1.0))  # cut off in the middle
        guest.say(GetHealth(deep=True), Flush(stream=0))
        assert guest.peer.input_ended() is False
        await settle()
        assert not has_ended(guest)
        room.model.is_held = False
        room.model.release()
        await settle()
        assert len(guest.told(Segment)) == 2
        assert len(guest.told(Flushed)) == 1
        assert len(guest.told(Health)) == 1
        assert [closed.reason for closed in guest.told(Closed)] == ["client", "client"]
        assert has_ended(guest)

    run(scenario)


def test_the_end_of_input_waits_for_an_answer_that_is_due(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.model.is_held = True
        guest.say(GetHealth(deep=True))
        guest.peer.input_ended()
        await settle()
        assert not has_ended(guest)
        room.model.release()
        await settle()
        assert len(guest.told(Health)) == 1
        assert has_ended(guest)

    run(scenario)


def test_the_end_of_input_waits_for_a_reader_that_is_behind(registry: Registry) -> None:
    async def scenario() -> None:
        guest = Room(registry).greeted()
        guest.open(0)
        guest.peer.outbox.pause()
        guest.speak(0, UTTERANCE)
        guest.peer.input_ended()
        await settle()
        assert not has_ended(guest)
        guest.peer.resumed_writing()
        assert len(guest.told(Closed)) == 1
        assert has_ended(guest)

    run(scenario)


def test_the_end_of_input_before_a_stream_could_open_waits_for_it(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        for outcome in (ModelState.READY, ModelState.UNAVAILABLE):
            room.model.enter(ModelState.STARTING)
            guest = room.greeted()
            guest.open(0)
            guest.speak(0, UTTERANCE)
            guest.peer.input_ended()
            await settle()
            assert not has_ended(guest)
            room.model.enter(outcome, "no memory")
            await settle()
            assert has_ended(guest)
            assert len(guest.told(Segment)) == (outcome is ModelState.READY)
            assert len(guest.told(Error)) == (outcome is ModelState.UNAVAILABLE)

    run(scenario)


@pytest.mark.parametrize("is_greeted", [True, False])
def test_the_end_of_input_of_who_wants_nothing_ends_at_once(
    registry: Registry, is_greeted: bool
) -> None:
    async def scenario() -> None:
        guest = Room(registry).guest()
        if is_greeted:
            guest.hello()
        guest.peer.input_ended()
        assert has_ended(guest)
        assert not codes(guest)

    run(scenario)


def test_input_that_ends_in_a_frame_is_told_to_the_owner_of_the_channel(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        for cut in (1, 3, 4, 7):
            guest = Room(registry).greeted()
            guest.say_bytes(encode(Ping(id="a longer one"))[:cut])
            assert guest.peer.input_ended() is True

    run(scenario)


def test_a_channel_that_is_lost_closes_no_stream(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(0)
        guest.speak(0, speech(1.0))
        guest.peer.lost()
        await settle()
        assert len(room.hub.all_streams) == 1
        assert not guest.told(Closed)

    run(scenario)


def test_a_daemon_that_ends_sends_what_is_left(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        room.hub.is_draining = True
        guest.open(0)
        assert codes(guest) == ["draining"]
        late = room.guest()
        late.say(Hello())
        assert codes(late) == ["draining"]
        assert has_ended(late)
        guest.peer.finish()
        assert has_ended(guest)

    run(scenario)
