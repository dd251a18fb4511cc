"""Sessions by their token: left, come back to, and in the end forgotten."""

import pytest

from asrd.providers.registry import Registry
from asrd.wire.messages import Audio, Close, Closed, Error, Flush, Flushed, Segment
from support.room import UTTERANCE, Guest, Room, quiet, run, settle


def came_back(room: Room, token: str, *, uid: int = 1000, **have: object) -> tuple[Guest, bool]:
    """A new connection that resumes; whether it could."""
    guest = Guest(room, uid)
    return guest, guest.hello(resume=token, **have).resumed


def test_tokens_are_long_and_never_the_same(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        tokens = [room.guest().hello().resume for _ in range(50)]
        assert len(set(tokens)) == 50
        assert all(len(token) >= 32 for token in tokens)

    run(scenario)


def test_a_session_that_was_left_goes_on_and_is_told_to_who_comes_back(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        first = room.guest()
        token = first.hello().resume
        first.open(3)
        first.speak(3, UTTERANCE)
        await settle()
        room.model.is_held = True
        first.speak(3, UTTERANCE)
        first.say(Flush(stream=3))
        await settle()
        first.peer.lost()
        room.model.release()  # nobody listens
        await settle()
        second, is_resumed = came_back(room, token, have={3: 0})
        assert is_resumed
        assert [segment.id for segment in second.told(Segment)] == [1]
        assert len(second.told(Flushed)) == 1
        second.say(Close(stream=3))
        await settle()
        assert second.told(Closed)[0].segments == 2

    run(scenario)


def test_a_session_belongs_to_the_user_who_made_it(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        first = room.guest()
        token = first.hello().resume
        first.peer.lost()
        assert not came_back(room, token, uid=1001)[1]
        assert came_back(room, token)[1]

    run(scenario)


def test_it_is_forgotten_after_the_window_and_its_streams_end(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"resume_window_s": 60.0})
        first = room.guest()
        token = first.hello().resume
        first.open(0)
        first.peer.lost()
        room.clock.advance(59.9)
        room.sessions.expire()
        assert len(room.hub.all_streams) == 1
        room.clock.advance(0.2)
        room.sessions.expire()
        assert len(room.sessions) == 0
        assert not room.hub.all_streams
        assert room.hub.no_streams.is_set()
        assert not room.hub._served
        assert not came_back(room, token)[1]

    run(scenario)


def test_time_does_not_run_for_a_session_that_is_connected(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        first = room.guest()
        token = first.hello().resume
        first.peer.lost()
        room.clock.advance(59)
        second, is_resumed = came_back(room, token)
        assert is_resumed
        room.clock.advance(1000)
        room.sessions.expire()
        second.open(0)
        second.speak(0, UTTERANCE)
        await settle()
        assert len(second.told(Segment)) == 1

    run(scenario)


def test_the_session_that_was_left_longest_ago_makes_room(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"max_detached_sessions": 2})
        tokens = []
        for _ in range(3):
            guest = room.guest()
            tokens.append(guest.hello().resume)
            guest.peer.lost()
            room.clock.advance(1)
        assert len(room.sessions) == 2
        assert [came_back(room, token)[1] for token in tokens] == [False, True, True]

    run(scenario)


def test_who_comes_back_before_the_break_was_noticed_takes_the_session_over(
    registry: Registry,
) -> None:
    """The old connection is closed and hears nothing more; what it says is not listened to."""

    async def scenario() -> None:
        room = Room(registry)
        first = room.guest()
        token = first.hello().resume
        first.open(0)
        first.speak(0, UTTERANCE)
        await settle()
        heard = len(first.messages)
        second, is_resumed = came_back(room, token)
        assert is_resumed
        assert first.channel.is_closed
        assert not second.channel.is_closed
        first.say(Audio(stream=0, data=quiet(1)))
        first.peer.lost()  # when its channel is gone at last
        second.speak(0, UTTERANCE)
        await settle()
        assert len(first.messages) == heard
        assert [segment.id for segment in second.told(Segment)] == [0, 1]
        assert second.told(Segment)[-1].start == pytest.approx(1.6, abs=0.05)
        assert not second.told(Error)

    run(scenario)


def test_an_unknown_token_begins_anew(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        for token in ("", "x", "0" * 32):
            guest, is_resumed = came_back(room, token)
            assert not is_resumed
            guest.open(0)
        assert len(room.sessions) == 3

    run(scenario)


@pytest.mark.parametrize("most", [0, 1])
def test_a_session_that_is_taken_over_drives_nobody_out(registry: Registry, most: int) -> None:
    """Its client is here all the while: nothing is left behind that would need room."""

    async def scenario() -> None:
        room = Room(registry, limits={"max_detached_sessions": most})
        left, first = room.guest(), room.guest()
        tokens = [guest.hello().resume for guest in (left, first)]
        first.open(1)
        left.peer.lost()
        second, is_resumed = came_back(room, tokens[1], have={})
        assert is_resumed
        first.peer.lost()  # it learns of it later
        second.speak(1, UTTERANCE)
        await settle()
        assert len(second.told(Segment)) == 1
        assert came_back(room, tokens[0])[1] is (most == 1)

    run(scenario)
