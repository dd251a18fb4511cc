"""What a hello leads to: a session of one's own, new or resumed, or a reason why not."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from asrd.errors import ErrorCode, ProtocolError
from asrd.providers.registry import Registry
from asrd.server.greeting import Greeting, greet
from asrd.wire.messages import Hello, Segment, Welcome
from support.room import UTTERANCE, Guest, Room, run, settle

OURS, THEIRS = 1000, 2000


def greeted(room: Room, uid: int = OURS, owner: Guest | None = None, **fields: Any) -> Greeting:
    peer = (owner or room.guest()).peer
    return greet(Hello(**fields), uid, peer, room.hub, room.sessions)


async def spoken(room: Room, utterances: int) -> Guest:
    """A client that was told so many segments of its stream 1."""
    guest = room.greeted()
    guest.open(1)
    for _ in range(utterances):
        guest.speak(1, UTTERANCE)
    await settle()
    assert len(guest.told(Segment)) == utterances
    return guest


def welcome_of(guest: Guest) -> Welcome:
    return guest.told(Welcome)[0]


def test_who_brings_no_token_has_a_session_of_his_own(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        first, second = greeted(room), greeted(room)
        assert first.session is not second.session
        assert first.welcome.resume == first.session.token != second.welcome.resume
        assert (first.welcome.session, first.welcome.resumed) == (first.session.session_id, False)
        assert first.welcome.streams == {}
        assert first.welcome.limits["max_streams"] == room.config.limits.max_streams
        assert first.welcome.providers == list(registry.registered)
        assert list(first.again) == []
        assert room.sessions.connected == 2

    run(scenario)


def test_who_comes_back_has_his_session_and_hears_what_he_lacks(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        before = await spoken(room, 3)
        session = welcome_of(before).session
        before.peer.lost()
        back = greeted(room, resume=welcome_of(before).resume, have={1: 0})
        assert back.welcome.resumed
        assert back.welcome.session == session
        assert back.welcome.streams == {1: before.told(Segment)[-1].offset}
        assert [each.id for each in back.again if isinstance(each, Segment)] == [1, 2]
        assert len(room.sessions) == 1

    run(scenario)


def test_who_comes_back_while_the_old_connection_stands_takes_the_session_over(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        old, new = await spoken(room, 1), room.guest()
        back = greeted(room, owner=new, resume=welcome_of(old).resume)
        assert back.welcome.resumed
        assert old.channel.is_closed
        assert not new.channel.is_closed
        assert room.sessions.connected == 1

    run(scenario)


@pytest.mark.parametrize("whose", ["somebody else's", "nobody's", "an incomplete one"])
def test_a_token_that_opens_nothing_leads_to_a_new_session(registry: Registry, whose: str) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"kept_segments": 1})
        owner = await spoken(room, 3)
        token = "0" * 32 if whose == "nobody's" else welcome_of(owner).resume
        uid = THEIRS if whose == "somebody else's" else OURS
        found = greeted(room, uid, resume=token, have={})
        assert not found.welcome.resumed
        assert found.welcome.resume != token
        assert found.welcome.streams == {}
        assert list(found.again) == []
        assert owner.channel.is_closed == (whose == "an incomplete one")

    run(scenario)


def test_a_daemon_that_ends_greets_nobody(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = await spoken(room, 1)
        room.hub.is_draining = True
        for token in (None, welcome_of(guest).resume):
            with pytest.raises(ProtocolError) as told:
                greeted(room, resume=token)
            assert (told.value.code, told.value.fatal) == (ErrorCode.DRAINING, True)
            assert told.value.retry_after_ms == 1000
        assert not guest.channel.is_closed
        assert len(room.sessions) == 1

    run(scenario)


def test_beyond_the_limit_only_who_resumes_is_let_in(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"max_sessions": 2})
        left, stays = greeted(room), greeted(room)
        room.sessions.leave(left.session)
        greeted(room)  # who has left takes nobody's place
        with pytest.raises(ProtocolError, match="2 sessions") as told:
            greeted(room)
        assert (told.value.code, told.value.fatal) == (ErrorCode.BUSY, True)
        assert told.value.retry_after_ms == 1000
        with pytest.raises(ProtocolError):
            greeted(room, resume="0" * 32)  # a token that opens nothing asks for a new one
        assert greeted(room, resume=left.welcome.resume).welcome.resumed
        assert room.sessions.connected == 3
        assert stays.session is not left.session

    run(scenario)


def test_the_log_says_who_came_and_no_token(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        first = greeted(room, client="demo")
        with capture_logs() as logs:
            back = greeted(room, client="demo", resume=first.welcome.resume)
        (line,) = (line for line in logs if line["event"] == "client_connected")
        assert line["client"] == "demo"
        assert (line["uid"], line["resumed"]) == (OURS, True)
        assert line["session"] == back.session.session_id
        assert first.welcome.resume not in str(logs)

    run(scenario)
