"""What streams tell is counted, and what is said of audio that flows costs next to nothing."""

from asrd.providers.registry import Registry
from asrd.session import effects
from support.room import UTTERANCE, Room, quiet, run, settle


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
        assert counts.received_s == {"mic": 2.0}

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
