"""Playing recordings: the same bytes, none of them before the recorded client could send it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asrd.client.errors import ConnectionLost, Unreachable
from asrd.client.player import Manner, play
from asrd.client.raw import framed
from asrd.client.recordings import by_session, survey
from asrd.wire.messages import (
    Audio,
    Close,
    Closed,
    Credit,
    Hello,
    Open,
    Opened,
    Ping,
    Pong,
    Segment,
    ServerMessage,
    Welcome,
)
from asrd.wire.recording import FORGOTTEN, packed
from support.fake_daemon import (
    HANG_UP,
    LIMITS,
    FakeDaemon,
    Rule,
    closed,
    listening,
    refusal,
    segment,
    welcome,
)

AT_ONCE = Manner(speed=None)
PCM = bytes(2000)

Fields = dict[str, Any]


def hello(session: str = "s1", at: float = 100.0, **fields: Any) -> Fields:
    return {"type": "hello", "session": session, **fields, "at": at}


def opening(stream: int = 1, at: float = 100.0, **fields: Any) -> Fields:
    return {"type": "open", "stream": stream, "source": "file", **fields, "at": at}


def audio(stream: int = 1, at: float = 100.0, offset: int = 0, data: bytes = PCM) -> Fields:
    return {"type": "audio", "stream": stream, "data": data, "offset": offset, "at": at}


def closing(stream: int = 1, at: float = 100.0) -> Fields:
    return {"type": "close", "stream": stream, "at": at}


STREAM = (opening(), audio(), closing())


class Scene:
    """A daemon of a few lines, recordings for it, and what came of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemon = FakeDaemon()
        self.told_of: list[tuple[int, int | None, ServerMessage]] = []
        self.ends: list[int] = []
        self.positions_s: list[float] = []
        self.files: list[Path] = []

    # ── who listens ───────────────────────────────────────────────────────────────────────────

    def told(self, session: int, stream: int | None, message: ServerMessage) -> None:
        self.told_of.append((session, stream, message))

    def ended(self, session: int) -> None:
        self.ends.append(session)

    def played(self, position_s: float) -> None:
        self.positions_s.append(position_s)

    # ── what is done ──────────────────────────────────────────────────────────────────────────

    def record(self, *messages: Fields | bytes) -> None:
        path = self.folder / f"{len(self.files)}.frames"
        payloads = [each if isinstance(each, bytes) else framed(packed(each)) for each in messages]
        path.write_bytes(b"".join(payloads))
        self.files.append(path)

    def rule(self, kind: type, rule: Rule) -> None:
        self.daemon.rules[kind] = rule

    def play(self, manner: Manner = AT_ONCE) -> None:
        sessions = by_session([survey(path) for path in self.files])

        async def whole() -> None:
            path = self.folder / "s"
            async with asyncio.timeout(20), listening(self.daemon, path):
                await play(sessions, path, manner, self)
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(whole())

    def heard(self, *kinds: type) -> list[Any]:
        return [each for each in self.daemon.heard if isinstance(each, kinds)]

    def told_kinds(self, stream: int | None) -> list[type]:
        return [type(message) for _, number, message in self.told_of if number == stream]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_what_was_recorded_is_said_and_all_that_comes_is_told(scene: Scene) -> None:
    scene.record(hello(client="demo"), *STREAM, {"type": "ping", "id": 7, "at": 100.0})
    scene.play()
    assert scene.daemon.heard == [
        Hello(client="demo"),
        Open(stream=1, source="file"),
        Audio(stream=1, data=PCM, offset=0),
        Close(stream=1),
        Ping(id=7),
    ]
    assert scene.told_kinds(None) == [Welcome, Pong]
    assert {Opened, Segment, Closed} <= set(scene.told_kinds(0))
    assert scene.ends == [0]


def test_streams_are_numbered_as_they_were_opened(scene: Scene) -> None:
    scene.record(hello(), opening(9), closing(9), opening(4), closing(4))
    scene.record(hello("s2", at=101.0), opening(9), closing(9))
    scene.play()
    ends = [
        (session, place, message.stream)
        for session, place, message in scene.told_of
        if isinstance(message, Closed)
    ]
    assert sorted(ends) == [(0, 0, 9), (0, 1, 4), (1, 0, 9)]
    assert sorted(scene.ends) == [0, 1]


# ── at their times ────────────────────────────────────────────────────────────────────────────


class Sleeps:
    """Stands in for waiting: notes how long it would have been."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.noted_s: list[float] = []
        sleep = asyncio.sleep

        async def noted(delay_s: float, *_: object) -> None:
            if delay_s > 0:
                self.noted_s.append(delay_s)
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", noted)

    def longest_s(self) -> float:
        return max(self.noted_s, default=0.0)


@pytest.mark.parametrize(("speed", "due_s"), [(1.0, 600.0), (4.0, 150.0), (None, 0.0)])
def test_frames_go_at_their_times_or_faster(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, speed: float | None, due_s: float
) -> None:
    sleeps = Sleeps(monkeypatch)
    late, back = ({"type": "ping", "id": 1, "at": at} for at in (700.0, 650.0))
    scene.record(hello(), late, back)  # its clock was set back
    scene.play(Manner(speed=speed))
    assert sleeps.longest_s() == pytest.approx(due_s, abs=5.0)
    assert scene.positions_s == [0.0, 600.0, 600.0]


def test_sessions_begin_apart_as_they_did(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = Sleeps(monkeypatch)
    scene.record(hello("first"), *STREAM)
    scene.record(hello("second", at=400.0), opening(at=400.0), closing(at=400.0))
    scene.play(Manner(speed=1.0))
    assert sleeps.longest_s() == pytest.approx(300.0, abs=5.0)


# ── what the recorded client waited for ───────────────────────────────────────────────────────


def test_nothing_is_said_before_the_welcome(scene: Scene) -> None:
    at_hello: list[int] = []

    def greet(_: Hello) -> list[Any]:
        loop = asyncio.get_running_loop()
        connection = scene.daemon.connection
        assert connection is not None

        def late() -> None:
            at_hello.append(len(scene.daemon.heard))
            connection.send([welcome()])

        loop.call_later(0.05, late)
        return []

    scene.rule(Hello, greet)
    scene.record(hello(), *STREAM)
    scene.play()
    assert at_hello == [1]
    assert scene.heard(Close)


def test_audio_waits_for_its_credit(scene: Scene) -> None:
    held: list[int] = []

    def on_open(request: Open) -> list[Any]:
        connection = scene.daemon.connection
        assert connection is not None

        def grant() -> None:
            held.append(len(scene.heard(Audio)))
            connection.send([Credit(stream=1, offset=2000)])

        asyncio.get_running_loop().call_later(0.05, grant)
        return [scene.daemon._opened(request)]

    limits = {**LIMITS, "credit_window_s": 1000 / 16_000}
    scene.rule(Hello, lambda _: [welcome(limits=limits)])
    scene.daemon.credit_samples = 1000
    scene.rule(Open, on_open)
    scene.rule(Audio, lambda _: [])
    scene.record(hello(), opening(), audio(), audio(offset=1000), closing())
    scene.play()
    assert held == [1]
    assert len(scene.heard(Audio)) == 2


def test_a_number_is_used_again_when_its_stream_has_ended(scene: Scene) -> None:
    at_the_end: list[int] = []

    def on_close(_: Close) -> list[Any]:
        connection = scene.daemon.connection
        assert connection is not None

        def end() -> None:
            at_the_end.append(len(scene.heard(Open)))
            connection.send([closed()])

        asyncio.get_running_loop().call_later(0.05, end)
        return scene.daemon.once("an end that takes its time", [], [closed()])

    scene.rule(Close, on_close)
    scene.record(hello(), *STREAM, opening(at=101.0), closing(at=101.0))
    scene.play()
    assert at_the_end[0] == 1
    places = [place for _, place, message in scene.told_of if isinstance(message, Closed)]
    assert places == [0, 1]


# ── sessions over several connections ─────────────────────────────────────────────────────────


def test_a_session_is_resumed_with_the_token_of_the_replay(scene: Scene) -> None:
    """Never with what the recording names: it holds labels in place of tokens."""
    scene.rule(
        Hello,
        lambda message: [
            welcome(resume="fresh", resumed=message.resume == "fresh"),
            *([segment(number=0), segment(number=1)] if message.resume else []),
        ],
    )
    scene.rule(Audio, lambda _: [segment(number=0)])
    scene.record(hello(), opening(), audio())
    scene.record(hello(resume="s1", at=101.0), closing(at=101.0))
    scene.play()
    first, second = scene.heard(Hello)
    assert (first.resume, first.have) == (None, {})
    assert (second.resume, second.have) == ("fresh", {1: 0})
    ids = [message.id for _, _, message in scene.told_of if isinstance(message, Segment)]
    assert ids == [0, 1]  # what was told once more came once, and so does the last one's echo
    assert scene.ends == [0]


def test_a_token_that_was_forgotten_stays_so(scene: Scene) -> None:
    scene.record(hello(resume=FORGOTTEN), *STREAM)
    scene.play()
    assert [each.resume for each in scene.heard(Hello)] == [FORGOTTEN]


def test_what_a_refusal_cut_short_is_heard_on_another_connection(scene: Scene) -> None:
    """How much is told before a refusal is chance."""
    fatal = refusal("invalid_frame", is_fatal=True)
    scene.rule(Hello, lambda message: _resumed_with(message, closed()))
    scene.rule(Ping, lambda _: [fatal, HANG_UP])
    scene.record(hello(), opening(), audio(), {"type": "ping", "id": 1, "at": 100.0})
    scene.play()
    assert [each.resume for each in scene.heard(Hello)] == [None, "r"]
    assert Closed in scene.told_kinds(0)
    assert scene.ends == [0]


def _resumed_with(message: Hello, *more: ServerMessage) -> list[Any]:
    return [welcome(resumed=True), *more] if message.resume else [welcome()]


# ── otherwise than recorded ───────────────────────────────────────────────────────────────────


def test_what_streams_ask_for_is_replaced_and_nothing_else(scene: Scene) -> None:
    scene.record(hello(), opening(provider="moonshine", model="base", language="en"), closing())
    scene.play(Manner(speed=None, overrides={"provider": "echo"}))
    assert scene.heard(Open) == [
        Open(stream=1, source="file", provider="echo", model="base", language="en")
    ]


def test_the_pieces_of_a_frame_that_was_cut_go_last(scene: Scene) -> None:
    class Raw(asyncio.Protocol):
        def __init__(self) -> None:
            self.came = bytearray()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(
                framed(packed({"type": "error", "code": "x", "message": "", "fatal": False}))
            )

        def data_received(self, data: bytes) -> None:
            self.came += data

    whole, rest = framed(packed(hello())), b"\0\0\0\x09\x81\xa4"
    scene.record(whole, rest)
    raw = Raw()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        path = scene.folder / "s"
        async with asyncio.timeout(20), await loop.create_unix_server(lambda: raw, path):
            await play(by_session([survey(scene.files[0])]), path, AT_ONCE, scene)

    asyncio.run(scenario())
    assert raw.came == whole + rest


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────


def test_a_daemon_that_goes_before_all_was_played_is_an_error(scene: Scene) -> None:
    scene.rule(Audio, lambda _: [HANG_UP])
    scene.record(hello(), *STREAM)
    with pytest.raises(ConnectionLost, match="before all was played"):
        scene.play()
    assert scene.ends == []


def test_a_stream_that_the_daemon_refused_is_waited_for_by_nobody(scene: Scene) -> None:
    scene.rule(Open, lambda message: [refusal("unknown_provider", stream=message.stream)])
    scene.rule(Close, lambda _: [])
    scene.record(hello(), opening(), closing())
    scene.play()
    assert scene.ends == [0]


def test_where_nobody_listens_is_told(scene: Scene) -> None:
    scene.record(hello(), *STREAM)
    sessions = by_session([survey(path) for path in scene.files])

    async def scenario() -> None:
        await play(sessions, scene.folder / "nobody", AT_ONCE, scene)

    with pytest.raises(Unreachable, match="nobody"):
        asyncio.run(scenario())


def test_a_daemon_that_has_lost_the_session_ends_the_replay(scene: Scene) -> None:
    scene.record(hello(), opening())
    scene.record(hello(resume="s1", at=101.0), closing(at=101.0))
    with pytest.raises(ConnectionLost, match="no longer had the session"):
        scene.play()


def test_an_error_of_who_listens_ends_everything(scene: Scene) -> None:
    def broken(session: int, stream: int | None, message: ServerMessage) -> None:
        raise LookupError("of the listener")

    scene.told = broken  # type: ignore[method-assign]
    scene.record(hello(), *STREAM)
    scene.record(hello("s2"), *STREAM)
    with pytest.raises(LookupError, match="of the listener"):
        scene.play()
