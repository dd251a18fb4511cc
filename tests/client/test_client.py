"""The client on a Unix socket, against a daemon that does as it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asrd.client import Client, ConnectionLost, Recovery, Refused, Unreachable, connect
from asrd.errors import ErrorCode
from asrd.wire.messages import (
    Audio,
    Cancel,
    Close,
    GetHealth,
    GetStats,
    Hello,
    Load,
    Open,
    Opened,
    Ping,
    Segment,
    Unload,
)
from support.fake_daemon import (
    HANG_UP,
    FakeDaemon,
    Rule,
    closed,
    health,
    listening,
    refusal,
    segment,
    welcome,
)

Scenario = Callable[[Client, FakeDaemon], Awaitable[None]]


def run(tmp_path: Path, scenario: Scenario, **rules: Rule) -> FakeDaemon:
    """Run `scenario` with a client of a fake daemon; `rules` are by the name of the message."""
    kinds: dict[str, Any] = {
        kind.__name__.lower(): kind for kind in (Hello, Open, Close, Ping, GetHealth, Load)
    }
    daemon = FakeDaemon(rules={kinds[name]: rule for name, rule in rules.items()})

    async def whole() -> None:
        async with connected(daemon, tmp_path / "s", recovery=None) as client:
            await scenario(client, daemon)

    asyncio.run(whole())
    return daemon


@asynccontextmanager
async def connected(
    daemon: FakeDaemon, path: Path, recovery: Recovery | None
) -> AsyncIterator[Client]:
    async with listening(daemon, path), connect(path, name="test", recovery=recovery) as client:
        yield client


def test_a_stream_from_its_opening_to_its_end(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(source="file", delivery="lossless", words=True)
        assert stream.opened.model == "none"
        await stream.send(b"\x01\x02" * 1000)
        assert await stream.close() == closed(1, 1000, segments=1)
        events = [event async for event in stream]
        assert events[-2:] == [segment(offset=1000), closed(1, 1000, segments=1)]
        assert stream.committed == stream.sent == 1000

    daemon = run(tmp_path, scenario)
    assert daemon.heard[0] == Hello(client="test")
    assert daemon.heard[1] == Open(stream=1, source="file", delivery="lossless", words=True)
    assert daemon.audio[1] == b"\x01\x02" * 1000


def test_streams_have_numbers_of_their_own(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        first, second = await asyncio.gather(client.open_stream(), client.open_stream())
        await second.send(b"\2\2")
        await first.send(b"\1\1")
        await asyncio.gather(first.close(), second.close())

    daemon = run(tmp_path, scenario)
    assert daemon.audio == {1: b"\1\1", 2: b"\2\2"}


def test_a_refused_stream_says_why_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        with pytest.raises(Refused, match="full") as caught:
            await client.open_stream()
        assert (caught.value.code, caught.value.retry_after_ms) == (ErrorCode.BUSY, 250)
        await client.ping()

    run(
        tmp_path,
        scenario,
        open=lambda _: [refusal("busy", "full", stream=1, retry_after_ms=250)],
    )


def test_an_error_of_an_open_stream_is_one_of_its_events(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream()
        trouble = refusal("provider_failed", stream=1)
        daemon.say(trouble)
        assert await anext(stream) == trouble

    run(tmp_path, scenario)


def test_who_gives_up_opening_cancels_the_stream(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        opening = asyncio.create_task(client.open_stream())
        await client.ping()
        opening.cancel()
        await asyncio.wait([opening])
        await client.ping()
        assert Cancel(stream=1) in daemon.heard

    run(tmp_path, scenario, open=lambda _: [])


def test_questions_are_answered(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        assert (await client.health(deep=True)).ready
        assert (await client.stats()).counters == {"streams": 1}
        assert (await client.load("fake", "none")).ready
        assert (await client.unload("fake")).ready
        await asyncio.gather(client.ping(), client.ping())

    daemon = run(tmp_path, scenario)
    assert daemon.heard[1:5] == [
        GetHealth(deep=True),
        GetStats(),
        Load(provider="fake", model="none"),
        Unload(provider="fake"),
    ]


def test_the_late_answer_of_one_question_is_not_taken_for_the_next_ones(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        slow = asyncio.create_task(client.load())
        await client.ping()
        slow.cancel()
        asking = asyncio.create_task(client.health())
        await client.ping()
        assert GetHealth() not in daemon.heard
        daemon.say(health(is_ready=False))
        assert (await asking).ready

    run(tmp_path, scenario, load=lambda _: [])


def test_a_refused_question_says_why(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        with pytest.raises(Refused, match="no such"):
            await client.load("x")
        await client.ping()

    run(tmp_path, scenario, load=lambda _: [refusal("unknown_provider", "no such")])


def test_a_broken_connection_is_told_to_everyone(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream(delivery="lossless")
        daemon.say(segment())
        waiting = [
            asyncio.create_task(client.health()),
            asyncio.create_task(client.load()),
            asyncio.create_task(stream.close()),
        ]
        await client.ping()
        daemon.hang_up()
        for task in waiting:
            with pytest.raises(ConnectionLost, match="broke"):
                await task
        assert isinstance(await anext(stream), Segment)
        for attempt in (anext(stream), stream.send(b"\0\0"), client.ping(), client.open_stream()):
            with pytest.raises(ConnectionLost):
                await attempt

    run(tmp_path, scenario, close=lambda _: [], gethealth=lambda _: [], load=lambda _: [])


def test_the_daemons_own_words_go_with_a_connection_that_it_closed(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        with pytest.raises(ConnectionLost, match="too slow") as caught:
            await client.ping()
        assert caught.value.code == ErrorCode.SLOW_CONSUMER

    farewell = refusal("slow_consumer", "too slow", is_fatal=True)
    run(tmp_path, scenario, ping=lambda _: [farewell, HANG_UP])


def test_what_is_not_the_protocol_ends_the_connection(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        assert daemon.connection is not None
        daemon.connection.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(ConnectionLost, match="cannot be read"):
            await client.ping()

    run(tmp_path, scenario, ping=lambda _: [])


def test_leaving_cancels_what_is_open(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        await client.open_stream()

    assert run(tmp_path, scenario).heard[-1] == Cancel(stream=1)


def test_silence_is_broken_before_the_daemon_reaps_the_connection(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        await asyncio.wait_for(heard.wait(), 10)

    heard = asyncio.Event()
    run(
        tmp_path,
        scenario,
        hello=lambda _: [welcome(limits={"idle_timeout_s": 0.01})],
        ping=lambda _: [heard.set() or HANG_UP],  # type: ignore[func-returns-value]
    )


def test_chunks_are_as_large_as_the_daemon_allows(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        stream = await client.open_stream()
        await stream.send(bytes(250))
        await client.ping()
        sizes = [len(message.data) for message in daemon.heard if isinstance(message, Audio)]
        assert sizes == [100, 100, 50]

    run(tmp_path, scenario, hello=lambda _: [welcome(limits={"max_chunk_bytes": 101})])


async def attempt(path: Path, timeout_s: float = 10) -> None:
    async with connect(path, timeout_s=timeout_s):
        pytest.fail("connected")


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="No such file"):
        asyncio.run(attempt(tmp_path / "s"))


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="too long"):
        asyncio.run(attempt(tmp_path / ("s" * 200)))


@pytest.mark.parametrize("code", ["busy", "unauthorized"])
def test_a_daemon_that_will_not_have_us(tmp_path: Path, code: str) -> None:
    async def scenario() -> None:
        daemon = FakeDaemon(rules={Hello: lambda _: [refusal(code, is_fatal=True), HANG_UP]})
        async with listening(daemon, tmp_path / "s"):
            with pytest.raises(Refused) as caught:
                await attempt(tmp_path / "s")
            assert caught.value.code == code

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("reply", "words"),
    [([HANG_UP], "gave no answer"), ([closed()], "not speak"), ([], "in 0.05 s")],
)
def test_what_listens_there_is_no_daemon(tmp_path: Path, reply: list[Any], words: str) -> None:
    async def scenario() -> None:
        daemon = FakeDaemon(rules={Hello: lambda _: reply})
        async with listening(daemon, tmp_path / "s"):
            with pytest.raises(Unreachable, match=words):
                await attempt(tmp_path / "s", timeout_s=10 if reply else 0.05)

    asyncio.run(scenario())


def test_an_answer_that_comes_after_its_stream_disturbs_nobody(tmp_path: Path) -> None:
    async def scenario(client: Client, daemon: FakeDaemon) -> None:
        late = Opened(stream=9, provider="p", model="m", priority=1, delivery="live")
        daemon.say(segment(7), closed(7), refusal("unknown_stream", stream=7), late)
        await client.ping()

    run(tmp_path, scenario)
