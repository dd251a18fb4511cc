"""Readers that read nothing, or too little: bounded, told, and nobody else's trouble."""

import time
from pathlib import Path

from asrd.wire.codec import encode
from asrd.wire.messages import Audio, Error, GetStats, Hello, Ping, Pong, Segment, Stats, Welcome
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.daemon import install_plugins, running_daemon
from support.stalling import stall
from support.waiting import wait_until
from support.wire_client import texts

READERS = 200
PRODUCED_BYTES = 60_000_000
MAX_GROWTH_BYTES = 52_000_000
MAX_LEFT_BYTES = 12_000_000
MAX_WAIT_MS = 50.0
PHRASE = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav") + silent_pcm(0.6)
SPOKEN = [
    Audio(stream=1, data=PHRASE[begin : begin + 32_000]) for begin in range(0, len(PHRASE), 32_000)
]


def test_two_hundred_stalled_readers_cost_a_bounded_amount_of_memory(tmp_path: Path) -> None:
    """The benchmark `stalled` does the same at full length."""
    with running_daemon(tmp_path, limits={"send_timeout_s": 1.0}) as daemon:
        outcome = stall(daemon, readers=READERS, produced_bytes=PRODUCED_BYTES, recovery_s=13.0)
        assert outcome.given_up == READERS * outcome.rounds, outcome  # each, each time
        assert outcome.peak_bytes < MAX_GROWTH_BYTES, outcome
        assert outcome.left_bytes < MAX_LEFT_BYTES, outcome
        assert max(outcome.during.p50_ms, outcome.after.p50_ms) < MAX_WAIT_MS, outcome
        assert not daemon.strays


def test_a_stalled_reader_is_told_and_gets_everything_when_it_comes_back(tmp_path: Path) -> None:
    """The transcript is that of somebody who read all the while."""
    with (
        running_daemon(tmp_path, limits={"send_timeout_s": 1.0}) as daemon,
        daemon.greet() as other,
    ):
        undisturbed = texts(other.transcribe(1, PHRASE * 4, partials=False))
        slow = daemon.connect()
        token = slow.hello().resume
        slow.open(1, source="file", partials=False)
        slow.socket.setblocking(True)
        said = [encode(chunk) for chunk in SPOKEN * 4] + [encode(GetStats())] * 2000
        slow.socket.sendall(b"".join(said))
        slow.socket.setblocking(False)
        wait_until(lambda: daemon.logged("slow_consumer"), "a slow consumer")
        slow.read_to_end()
        assert [error.code for error in slow.logged(Error)] == ["slow_consumer"]
        assert slow.log[-1] == slow.logged(Error)[-1]
        assert 0 < len(slow.logged(Stats)) < 2000
        had = slow.logged(Segment, 1)
        with daemon.connect() as again:
            have = {1: had[-1].id} if had else {}
            assert again.hello(resume=token, have=have).resumed
            again.finish(1)
            got = had + again.logged(Segment, 1)
        slow.socket.close()
        assert [segment.id for segment in got] == list(range(len(undisturbed)))
        assert texts(got) == undisturbed
        other.send(Ping(id=1))
        assert other.expect(Pong).id == 1


def test_who_asks_for_much_and_reads_is_answered_in_full(tmp_path: Path) -> None:
    """Late now and then is not slow: nobody is given up who takes what there is."""
    with running_daemon(tmp_path) as daemon, daemon.greet() as client:
        for _ in range(3):
            client.send(*[GetStats()] * 2000)
            time.sleep(0.05)  # scheduled late, by less than whoever reads nothing is given
            for _ in range(2000):
                client.expect(Stats)
        assert not daemon.logged("slow_consumer")


def test_many_long_segments_are_sent_again_to_who_reads(tmp_path: Path) -> None:
    """Several times what may wait for a reader: they are made as they are taken."""
    count = 100
    limits = {"kept_bytes": 2**26, "credit_window_s": 1000.0}
    plugins = install_plugins(tmp_path / "plugins", {"wordy": "support.wordy"})
    with running_daemon(tmp_path / "d", [plugins], provider="wordy", limits=limits) as daemon:
        first = daemon.connect()
        token = first.hello().resume
        first.open(1, source="file", partials=False)
        for _ in range(count):
            first.send(*SPOKEN)
        first.expect(Segment, lambda segment: segment.id >= count - 2, patience_s=30)
        first.socket.close()
        with daemon.connect() as again:
            again.send(Hello(resume=token), Ping(id="behind"))
            time.sleep(0.5)  # scheduled late
            assert again.expect(Welcome).resumed
            assert again.expect(Pong).id == "behind"
            ids = [segment.id for segment in again.logged(Segment)]
            assert len(ids) >= count - 1
            assert ids == list(range(len(ids)))
        assert not daemon.logged("slow_consumer")
