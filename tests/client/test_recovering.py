"""A client whose connection breaks, against a daemon that does as it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asrd.client import (
    Client,
    ClientState,
    ConnectionLost,
    Recovery,
    StateChange,
    Stream,
    connect,
    spawn,
)
from asrd.client.client import END_TIMEOUT_S
from asrd.client.link import Link
from asrd.wire.messages import (
    Ack,
    Audio,
    Cancel,
    Close,
    Closed,
    Flush,
    GetHealth,
    Hello,
    Open,
    Ping,
    Segment,
)
from client.test_spawn import fake
from support.fake_daemon import (
    HANG_UP,
    FakeDaemon,
    Reply,
    closed,
    health,
    listening,
    refusal,
    segment,
    welcome,
)
from support.waiting import until

QUICK = Recovery(
    first_wait_s=0.01, longest_wait_s=0.02, max_attempts=50, breaker_failures=100, held_live_s=1.0
)
ONCE = Recovery(first_wait_s=0.01, max_attempts=1)
Scenario = Callable[[Client, FakeDaemon], Awaitable[None]]


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Whatever was begun inside has ended."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def run(path: Path, daemon: FakeDaemon, scenario: Scenario, recovery: Recovery = QUICK) -> None:
    async def whole() -> None:
        async with (
            asyncio.timeout(20),
            listening(daemon, path / "s"),
            nothing_left(),
            connect(path / "s", recovery=recovery) as client,
        ):
            await scenario(client, daemon)

    asyncio.run(whole())


def heard(daemon: FakeDaemon, kind: type[Any]) -> list[Any]:
    return [message for message in daemon.heard if isinstance(message, kind)]


def test_everything_goes_on_after_a_break(tmp_path: Path) -> None:
    """A stream, its flush and its close, and questions: whoever waits sees nothing of it."""

    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        changes: list[StateChange] = []
        client.on_state(changes.append)
        stream = await client.open_stream(delivery="lossless")
        await stream.send(b"\1\2" * 500)
        await until(lambda: stream.committed == 500)
        daemon.rules = {kind: lambda _: [] for kind in (Flush, GetHealth, Ping)}
        await_all = asyncio.gather(stream.flush(), client.health(), client.ping())
        await until(lambda: bool(heard(daemon, Ping)))
        daemon.rules = {}
        daemon.hang_up()
        flushed, answer, _ = await await_all
        assert (flushed.offset, answer.ready) == (500, True)
        await stream.send(b"\3\4" * 500)
        end = await stream.close()
        assert (end.offset, end.segments) == (1000, 1)
        assert [change.state for change in changes] == ["reconnecting", "connected"]
        assert (changes[0].attempt, changes[0].reason) == (1, "the connection to the daemon broke")
        assert client.state is ClientState.CONNECTED

    daemon = FakeDaemon()
    run(tmp_path, daemon, scenario)
    assert heard(daemon, Hello)[1].resume == "r"
    assert heard(daemon, Open)[1] == Open(stream=1, delivery="lossless", start_offset=500)
    assert daemon.audio[1] == b"\1\2" * 500 + b"\3\4" * 500


def test_what_the_client_has_is_told_and_what_it_has_is_not_told_to_it(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream()
        await stream.send(bytes(2000))
        daemon.say(segment(number=0, offset=100), segment(number=1, offset=200))
        await until(lambda: stream.committed >= 1000)
        daemon.rules[Hello] = lambda _: [
            welcome(resumed=True, streams={1: 300}),
            segment(number=1, offset=200),
            segment(number=2, offset=300),
        ]
        daemon.hang_up()
        daemon.rules[Close] = lambda _: [closed(offset=1000, segments=3)]
        await stream.close()
        events = [event async for event in stream]
        assert [event.id for event in events if isinstance(event, Segment)] == [0, 1, 2]

    daemon = FakeDaemon()
    run(tmp_path, daemon, scenario)
    assert heard(daemon, Hello)[1].have == {1: 1}
    assert len(heard(daemon, Open)) == 1


def test_a_stream_whose_opening_was_lost_is_opened_again(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(source="file")
        assert stream.opened.model == "none"

    daemon = FakeDaemon()
    opened = daemon._opened(Open(stream=1))
    daemon.rules[Open] = lambda _: daemon.once("breaks", [HANG_UP], [opened])
    run(tmp_path, daemon, scenario)
    assert heard(daemon, Open) == [Open(stream=1, source="file")] * 2


@pytest.mark.parametrize("code", ["slow_consumer", "draining", "busy", "internal"])
def test_fatal_errors_that_pass_are_a_break_like_any_other(tmp_path: Path, code: str) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        await client.ping()

    farewell: Reply = [refusal(code, "go", is_fatal=True), HANG_UP]
    daemon = FakeDaemon()
    pong = daemon.usual(Ping(id=1))
    daemon.rules[Ping] = lambda _: daemon.once("breaks", farewell, pong)
    run(tmp_path, daemon, scenario)


def test_a_mistake_of_ours_is_not_made_again(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        with pytest.raises(ConnectionLost, match="no frame") as caught:
            await client.ping()
        assert caught.value.code == "invalid_frame"
        assert client.state is ClientState.FAILED

    farewell: Reply = [refusal("invalid_frame", "no frame", is_fatal=True), HANG_UP]
    daemon = FakeDaemon(rules={Ping: lambda _: farewell})
    run(tmp_path, daemon, scenario)
    assert len(heard(daemon, Hello)) == 1


def test_a_drained_daemon_leaves_its_streams_to_the_next(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(delivery="lossless")
        await stream.send(bytes(2000))
        await until(lambda: stream.committed == 1000)
        daemon.say(segment(offset=1000), closed(offset=1000, reason="shutdown"))
        daemon.hang_up()
        await until(lambda: client.state is ClientState.RECONNECTING)
        await stream.send(bytes(200))
        daemon.rules[Close] = lambda _: [
            closed(offset=1100, segments=0, audio_seconds=0.0063, dropped_seconds=0.0)
        ]
        assert (await stream.close()).segments == 1
        events = [event async for event in stream]
        ends = [event for event in events if isinstance(event, Closed)]
        assert [end.reason for end in ends] == ["client"]
        assert ends[0].audio_seconds == pytest.approx(1100 / 16000, abs=1e-4)

    daemon = FakeDaemon()
    run(tmp_path, daemon, scenario)
    assert (heard(daemon, Open)[1].start_offset, heard(daemon, Open)[1].start_id) == (1000, 1)


def test_a_daemon_that_is_ending_is_asked_again_for_a_stream(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        await client.open_stream()

    daemon = FakeDaemon()
    opened = daemon._opened(Open(stream=1))
    ending = refusal("draining", "ending", stream=1, retry_after_ms=1)
    daemon.rules[Open] = lambda _: daemon.once("refuses", [ending], [opened])
    run(tmp_path, daemon, scenario)
    assert len(heard(daemon, Open)) == 2


def test_a_next_daemon_that_refuses_the_stream_ends_it_alone(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(delivery="lossless")
        daemon.rules[Open] = lambda _: [refusal("unknown_provider", "no such", stream=1)]
        daemon.hang_up()
        for attempt in (anext(stream), stream.send(bytes(2)), stream.close()):
            with pytest.raises(Exception, match="no such"):
                await attempt
        await client.ping()

    run(tmp_path, FakeDaemon(), scenario)


def test_live_audio_is_held_while_there_is_no_daemon_and_the_oldest_is_forgotten(
    tmp_path: Path,
) -> None:
    first, second = FakeDaemon(), FakeDaemon()
    offsets: list[int | None] = []
    second._take = lambda message: offsets.append(message.offset)  # type: ignore[method-assign]
    second.rules[Close] = lambda _: [closed(offset=48000)]
    path = tmp_path / "s"

    async def while_away(client: Client, stream: Stream) -> None:
        await until(lambda: client.state is ClientState.RECONNECTING)
        path.unlink(missing_ok=True)
        for _ in range(20):  # two seconds, of which one is held
            await asyncio.wait_for(stream.send(bytes(3200)), 1)
        assert stream.sent == 48000
        async with listening(second, path):
            await asyncio.wait_for(stream.close(), 10)
            await client.close()

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            async with listening(first, path):
                client = await stack.enter_async_context(connect(path, recovery=QUICK))
                stream = await client.open_stream(delivery="live")
                await stream.send(bytes(32000))
                await until(lambda: stream.committed == 16000)
            await while_away(client, stream)

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert heard(second, Open)[0].start_offset == 16000
    assert offsets[0] is not None
    assert 16000 < offsets[0] <= 32000


def test_a_client_that_has_failed_can_be_brought_back(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(delivery="lossless")
        await stream.send(b"\1\2" * 500)
        await until(lambda: stream.committed == 500)
        daemon.rules[Audio] = lambda _: []
        await stream.send(b"\3\4" * 500)
        daemon.rules[Hello] = lambda _: [HANG_UP]
        daemon.hang_up()
        closing = asyncio.create_task(stream.close())
        for attempt in (closing, client.health(), client.open_stream()):
            with pytest.raises(ConnectionLost, match="one attempt to connect again was in vain"):
                await attempt
        assert client.state is ClientState.FAILED
        assert isinstance(await anext(stream), Ack)
        with pytest.raises(ConnectionLost):
            await anext(stream)
        daemon.rules = {}
        daemon.audio[1] = bytearray(b"\1\2" * 500)
        client.retry()
        assert (await stream.close()).offset == 1000
        assert daemon.audio[1] == b"\1\2" * 500 + b"\3\4" * 500
        assert isinstance(await anext(stream), Segment | Ack)

    run(tmp_path, FakeDaemon(), scenario, ONCE)


def test_an_attempt_can_be_made_at_once(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        daemon.hang_up()
        await until(lambda: client.state is ClientState.RECONNECTING)
        client.retry()
        await client.ping()

    run(tmp_path, FakeDaemon(), scenario, Recovery(first_wait_s=3600, longest_wait_s=3600))


def test_a_client_that_is_closed_while_reconnecting_ends_at_once(tmp_path: Path) -> None:
    waiting: list[asyncio.Task[Any]] = []

    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(delivery="lossless")
        daemon.hang_up()
        await until(lambda: client.state is ClientState.RECONNECTING)
        for work in (client.open_stream(), client.ping(), stream.send(bytes(2)), stream.close()):
            waiting.append(asyncio.create_task(work))
        await asyncio.sleep(0)
        await asyncio.wait_for(client.close(), 0.5)
        for task in waiting:
            with pytest.raises(ConnectionLost, match="the client was closed"):
                await task
        with pytest.raises(ConnectionLost, match="the client was closed"):
            client.retry()

    run(tmp_path, FakeDaemon(), scenario, Recovery(first_wait_s=3600, longest_wait_s=3600))


def test_who_gives_up_opening_while_there_is_no_daemon_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        daemon.hang_up()
        await until(lambda: client.state is ClientState.RECONNECTING)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.open_stream(), 0.01)
        assert not client._courses
        client.retry()
        await client.ping()
        assert not heard(daemon, Open)

    run(tmp_path, FakeDaemon(), scenario, Recovery(first_wait_s=3600, longest_wait_s=3600))


def test_a_cancelled_send_is_sent_once_when_the_connection_is_back(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(delivery="lossless")
        await stream.send(b"\1\2" * 10)
        daemon.hang_up()
        await until(lambda: client.state is ClientState.RECONNECTING)
        sending = asyncio.create_task(stream.send(b"\3\4" * 10))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
        sent = stream.sent
        client.retry()
        await stream.send(b"\5\6" * 10)
        await stream.close()
        assert daemon.audio[1] == b"\1\2" * 10 + (b"\3\4" * 10)[: 2 * sent - 20] + b"\5\6" * 10

    run(tmp_path, FakeDaemon(), scenario, Recovery(first_wait_s=3600, longest_wait_s=3600))


def test_an_error_of_a_callback_disturbs_nobody(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: problems.append(told))
        client.on_state(lambda _: 1 / 0)  # type: ignore[arg-type]
        daemon.hang_up()
        await until(lambda: client.state is ClientState.RECONNECTING)
        await client.ping()
        assert isinstance(problems[0]["exception"], ZeroDivisionError)

    run(tmp_path, FakeDaemon(), scenario)


def test_a_question_that_nobody_waits_for_is_not_asked_again(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        daemon.rules[GetHealth] = lambda _: daemon.once("hangs", [], [health()])
        asking = asyncio.create_task(client.health())
        await until(lambda: bool(heard(daemon, GetHealth)))
        asking.cancel()
        await asyncio.wait([asking])
        daemon.hang_up()
        assert (await client.health()).ready
        assert len(heard(daemon, GetHealth)) == 2

    run(tmp_path, FakeDaemon(), scenario)


def test_a_daemon_of_ones_own_that_dies_is_started_again() -> None:
    async def scenario() -> None:
        async with nothing_left(), spawn(command=fake("dies at a flush"), recovery=QUICK) as client:
            changes: list[StateChange] = []
            client.on_state(changes.append)
            stream = await client.open_stream(delivery="lossless")
            await stream.send(bytes(2000))
            await until(lambda: stream.committed == 1000)
            flushing = asyncio.create_task(stream.flush())
            await until(lambda: len(changes) > 1)
            assert "exit code 3 (something broke inside)" in changes[0].reason
            flushing.cancel()
            await asyncio.wait([flushing])
            assert (await stream.cancel()).reason == "cancelled"

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_daemon_of_ones_own_that_is_configured_wrongly_is_not_started_again(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        command = [*fake("dies at audio, then refuses to start"), str(tmp_path / "died")]
        async with spawn(command=command, recovery=QUICK) as client:
            stream = await client.open_stream(delivery="lossless")
            await stream.send(bytes(2))
            with pytest.raises(ConnectionLost, match=r"the moon is full.*one attempt"):
                await stream.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_leaving_cancels_what_is_open_on_the_newest_connection(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        await client.open_stream(delivery="lossless")
        daemon.hang_up()
        await until(lambda: len(heard(daemon, Open)) == 2)

    daemon = FakeDaemon()
    run(tmp_path, daemon, scenario)
    assert daemon.heard[-1] == Cancel(stream=1)


def test_a_cancel_that_a_second_break_takes_is_said_on_the_third_connection(
    tmp_path: Path,
) -> None:
    """And a connection that breaks while it is said is a break like any other."""

    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        streams = [await client.open_stream(), await client.open_stream()]
        known = welcome(resumed=True, streams={1: 0, 2: 0})
        daemon.rules[Hello] = lambda _: [known]
        daemon.rules[Cancel] = lambda message: daemon.once(
            "breaks", [HANG_UP], daemon.usual(message)
        )
        daemon.hang_up()
        await until(lambda: client.state is ClientState.RECONNECTING)
        for stream in streams:
            assert (await stream.cancel()).reason == "cancelled"
        await until(lambda: len(heard(daemon, Hello)) == 3)
        await until(lambda: not client._courses)
        assert {message.stream for message in heard(daemon, Cancel)[-2:]} == {1, 2}

    run(tmp_path, FakeDaemon(), scenario)


def test_a_link_that_breaks_behind_its_welcome_kills_no_client(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        streams = [await client.open_stream(), await client.open_stream()]
        daemon.hang_up()
        await until(lambda: client.state is ClientState.RECONNECTING)
        for stream in streams:
            await stream.cancel()
        connected = client._connected

        def break_first(link: Link) -> None:
            if len(heard(daemon, Hello)) == 2:
                link.abort()
            connected(link)

        client._connected = break_first  # type: ignore[method-assign]
        daemon.rules[Hello] = lambda _: [welcome(resumed=True, streams={1: 0, 2: 0})]
        await until(lambda: len(heard(daemon, Hello)) == 3)
        await until(lambda: not client._courses)
        await client.ping()

    run(tmp_path, FakeDaemon(), scenario)


def test_a_client_that_has_failed_by_a_mistake_says_so_when_it_is_asked_again(
    tmp_path: Path,
) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        client._questions.answered = lambda _: 1 / 0  # type: ignore[method-assign, assignment]
        with pytest.raises(ConnectionLost, match="the client itself failed"):
            await client.ping()
        await asyncio.wait([client._life])
        assert isinstance(client._life.exception(), ZeroDivisionError)
        with pytest.raises(ConnectionLost, match="the client itself failed"):
            client.retry()

    run(tmp_path, FakeDaemon(), scenario)


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_daemon_that_reads_nothing_holds_up_neither_recovery_nor_the_end(
    tmp_path: Path, is_lost: bool
) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(source="mic")
        assert daemon.connection is not None
        first = daemon.connection.transport
        first.pause_reading()
        for _ in range(100):
            stream._course.outgoing.append(bytes(64000))
        stream._course.speaker.say_nowait()
        link = client._link
        assert link is not None
        assert link._writer.transport.get_write_buffer_size()
        if is_lost:
            daemon.rules[Audio] = lambda _: []
            first.write_eof()
            await until(lambda: len(heard(daemon, Hello)) == 2)
        else:
            await asyncio.wait_for(client.close(), END_TIMEOUT_S + 3)
        first.abort()
        await asyncio.sleep(0)

    run(tmp_path, FakeDaemon(), scenario)


def test_a_pump_that_waits_says_its_cancel_before_the_end(tmp_path: Path) -> None:
    """And nothing behind it, where the connection takes no more."""

    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: problems.append(told))
        stream = await client.open_stream(source="mic")
        daemon.rules[Audio] = lambda _: []
        assert daemon.connection is not None
        transport = daemon.connection.transport
        transport.pause_reading()
        for _ in range(15):
            stream._course.outgoing.append(bytes(64000))
        stream._course.speaker.say_soon()
        await asyncio.sleep(0.05)
        assert stream._course.speaker._pump is not None
        asyncio.get_running_loop().call_later(0.1, transport.resume_reading)
        await client.close()
        assert daemon.heard[-1] == Cancel(stream=1)
        assert problems == []

    run(tmp_path, FakeDaemon(), scenario)


def test_live_audio_that_never_waits_does_not_keep_the_client_from_connecting(
    tmp_path: Path,
) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(source="mic")
        daemon.rules[Audio] = lambda _: []
        daemon.hang_up()
        await until(lambda: client.state is ClientState.RECONNECTING)
        while client.state is ClientState.RECONNECTING and stream.sent < 10**7:
            await stream.send(bytes(200))
        assert client.state is ClientState.CONNECTED

    run(tmp_path, FakeDaemon(), scenario)
