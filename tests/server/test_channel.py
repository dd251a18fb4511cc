"""The end of a connection: what is buffered goes out first, but nobody is waited for for ever."""

import asyncio

import pytest

from asrd.server.channel import (
    DISCARD_S,
    LINGER_S,
    MAX_DISCARDED_BYTES,
    MAX_LINGER_S,
    SocketChannel,
)
from support.clock import VirtualClock


class FakeTransport(asyncio.Transport):
    """Takes everything and sends nothing until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.buffered = bytearray()
        self.done: list[str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.buffered += data

    def send(self, count: int) -> None:
        """The reader takes so many bytes."""
        del self.buffered[:count]

    def get_write_buffer_size(self) -> int:
        return len(self.buffered)

    def write_eof(self) -> None:
        self.done.append("eof")

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        assert not self.is_closing()
        self.done.append("resume")

    def is_closing(self) -> bool:
        return "close" in self.done or "abort" in self.done

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")


class Scene:
    """A channel over such a transport; its owner looks after it whenever time has passed."""

    def __init__(self) -> None:
        self._clock = VirtualClock()
        self.transport = FakeTransport()
        self.channel = SocketChannel(self.transport, self._clock)

    @property
    def done(self) -> list[str]:
        return self.transport.done

    def pass_s(self, seconds: float) -> None:
        self._clock.advance(seconds)
        self.channel.check()


def test_what_is_written_and_not_sent_is_counted() -> None:
    scene = Scene()
    scene.channel.write(b"12345")
    assert scene.channel.buffered_bytes == 5
    scene.transport.send(2)
    assert scene.channel.buffered_bytes == 3


def test_a_sender_waits_and_goes_on() -> None:
    scene = Scene()
    scene.channel.pause_reading()
    scene.channel.resume_reading()
    assert scene.done == ["pause", "resume"]
    scene.channel.close()
    scene.channel.resume_reading()  # whoever waited learns late that it is over
    assert scene.done == ["pause", "resume", "close"]


# ── closing ───────────────────────────────────────────────────────────────────────────────────


def test_a_reader_has_as_long_as_he_takes_a_little() -> None:
    scene = Scene()
    scene.channel.write(b"12345")
    scene.channel.close()
    for _ in range(3):
        scene.transport.send(1)
        scene.pass_s(LINGER_S)
    assert scene.done == ["close"]
    scene.transport.send(2)
    scene.pass_s(MAX_LINGER_S)
    assert scene.done == ["close"]  # he has all of it


def test_a_reader_who_takes_nothing_is_given_up() -> None:
    scene = Scene()
    scene.channel.write(b"12345")
    scene.channel.close()
    scene.pass_s(LINGER_S - 0.1)
    assert scene.done == ["close"]
    scene.pass_s(0.2)
    assert scene.done == ["close", "abort"]


def test_a_reader_who_takes_next_to_nothing_is_given_up_later() -> None:
    scene = Scene()
    scene.channel.write(bytes(1000))
    scene.channel.close()
    passed_s = 0.0
    while "abort" not in scene.done:
        scene.transport.send(1)
        scene.pass_s(1.0)
        passed_s += 1.0
    assert MAX_LINGER_S <= passed_s <= MAX_LINGER_S + LINGER_S


def test_at_the_end_nothing_more_is_written_and_it_comes_once() -> None:
    scene = Scene()
    endings = [scene.channel.is_ending]
    scene.channel.close()
    assert [*endings, scene.channel.is_ending] == [False, True]
    scene.channel.write(b"late")
    scene.channel.close()
    scene.channel.refuse()
    assert scene.done == ["close"]
    assert not scene.transport.buffered


# ── refusing ──────────────────────────────────────────────────────────────────────────────────


def test_a_refusal_ends_our_side_reads_on_for_a_moment_and_then_closes() -> None:
    scene = Scene()
    scene.channel.pause_reading()
    scene.channel.write(b"why")
    scene.channel.refuse()
    assert scene.done == ["pause", "eof", "resume"]
    assert scene.channel.is_ending
    scene.channel.write(b"more")
    assert scene.transport.buffered == b"why"
    scene.pass_s(DISCARD_S - 0.1)
    assert "close" not in scene.done
    scene.pass_s(0.2)
    assert scene.done == ["pause", "eof", "resume", "close"]


def test_who_sends_on_and_on_behind_a_refusal_is_closed_at_once() -> None:
    scene = Scene()
    scene.channel.refuse()
    for _ in range(16):
        scene.channel.discard(MAX_DISCARDED_BYTES // 16)
    assert "close" not in scene.done
    scene.channel.discard(1)
    assert scene.done == ["eof", "resume", "close"]
    scene.pass_s(2 * DISCARD_S)
    assert scene.done.count("close") == 1


@pytest.mark.parametrize("end", ["close", "abort"])
def test_who_has_gone_is_not_refused(end: str) -> None:
    scene = Scene()
    getattr(scene.transport, end)()
    scene.channel.refuse()
    assert scene.done == [end]
