"""What streams tell is counted, and what is said of audio that flows costs next to nothing."""

from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.session import effects
from asrd.wire.messages import Cancel, Error
from support.room import UTTERANCE, Room, quiet, run, settle, speech


def test_streams_are_counted_from_their_opening_to_their_end(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        counts = room.hub.counts
        guest = room.greeted()
        for stream, source in enumerate(("mic", "mic", "file")):
            guest.open(stream, source=source)
        assert counts.opened == {"mic": 2, "file": 1}
        guest.speak(0, UTTERANCE + quiet(0.4))
        await settle()
        assert not counts.ended
        for served in room.hub.all_streams[:2]:
            served.stream.cancel("idle")
            room.hub.advance(served)
        assert counts.ended == {("mic", "idle"): 2}
        assert counts.received == {"mic": 32_000}

    run(scenario)


def test_a_stream_of_a_session_that_nobody_hears_is_counted_too(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(1)
        guest.peer.lost()
        room.clock.advance(room.config.limits.resume_window_s)
        room.sessions.expire()
        assert room.hub.counts.ended == {("mic", "idle"): 1}

    run(scenario)


def test_a_stream_that_never_opens_leaves_nothing_behind(registry: Registry) -> None:
    """One is cancelled and one refused while their model loads, both with more than may wait."""

    async def scenario() -> None:
        room = Room(registry, limits={"live_backlog_s": 2.0})
        guest = room.greeted()
        room.model.enter(ModelState.STARTING)
        for stream in (1, 2):
            guest.open(stream)
            for _ in range(3):
                guest.speak(stream, speech(1.5))
        guest.say(Cancel(stream=1))
        room.model.enter(ModelState.UNAVAILABLE, "gone")
        await settle()
        assert guest.told(Error, stream=2)
        counts = room.hub.counts
        assert not room.hub.all_streams
        for counted in (counts.opened, counts.ended, counts.received, counts._unopened):
            assert not counted
        assert not room.hub.scheduler.accounts.dropped_s

    run(scenario)


def test_what_was_dropped_before_the_opening_counts_from_then_on(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"live_backlog_s": 2.0})
        guest = room.greeted()
        room.model.enter(ModelState.STARTING)
        guest.open(1)
        for _ in range(5):
            guest.speak(1, speech(1.0))
        dropped_s = room.hub.scheduler.accounts.dropped_s
        assert not dropped_s
        room.model.enter(ModelState.READY)
        await settle()
        assert dropped_s == {("mic", "backlog"): 3.0}
        assert room.hub.counts.opened == {"mic": 1}
        assert not room.hub.counts._unopened

    run(scenario)


def test_most_that_is_told_is_looked_up_and_no_more(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        room.greeted().open(1, source="mic")
        (served,) = room.hub.all_streams
        before = vars(room.hub.scheduler.accounts)["dropped_s"].copy()
        for effect in (
            effects.Committed(stream=1, offset=1),
            effects.Partial(stream=1, id=1, start=0, end=1, text="", stable=0),
            effects.SpeechEnded(stream=1, position=1),
        ):
            assert type(effect) not in room.hub.counts._by_kind
            room.hub.counts.told(served, effect)
        assert room.hub.scheduler.accounts.dropped_s == before

    run(scenario)
