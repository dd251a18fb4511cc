"""A client that comes back and lacks very much is told all of it, at the pace at which it reads."""

from pathlib import Path

from asrd.wire.messages import Audio, Error, Flush, Hello, Segment, Welcome
from conftest import TINY_WHISPER
from support.audio import read_pcm
from support.daemon import running_daemon

KEPT = {1: 1000, 2: 500}
"""Segments of each stream: as many as are kept at the most, and others beside them."""

WORD = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav")[16_000:30_400]
"""Less than half a second of speech: a flush behind it makes a segment."""


def words(count: int, stream: int) -> list[Audio | Flush]:
    """So many utterances; each ends with a sample of its own, so that no two read alike."""
    return [
        message
        for number in range(count)
        for message in (
            Audio(stream=stream, data=WORD + number.to_bytes(2, "little")),
            Flush(stream=stream),
        )
    ]


def test_a_thousand_segments_are_told_again_once_and_in_order(tmp_path: Path) -> None:
    limits = {"credit_window_s": 1000.0}
    with running_daemon(tmp_path, limits=limits) as daemon:
        first = daemon.connect()
        token = first.hello().resume
        for stream in KEPT:
            first.open(stream, source="file", partials=False, words=True)
        for stream, count in KEPT.items():
            first.send(*words(count, stream))
        for _ in range(sum(KEPT.values())):
            first.expect(Segment)
        told = {stream: first.logged(Segment, stream) for stream in KEPT}
        assert {stream: len(segments) for stream, segments in told.items()} == KEPT
        assert len({each.text for each in told[1]}) == KEPT[1]
        first.socket.close()
        with daemon.connect() as again, daemon.greet() as other:
            again.send(Hello(resume=token, have={}))
            other.transcribe(1, WORD)  # so it is scheduled a moment late, as any reader may be
            welcome = again.expect(Welcome)
            assert welcome.resumed
            assert welcome.streams == {stream: told[stream][-1].offset for stream in KEPT}
            for stream in KEPT:
                again.send(*words(1, stream))
            ends = again.finish(*KEPT)
            for stream, count in KEPT.items():
                *repeated, fresh = again.logged(Segment, stream)
                assert repeated == told[stream]
                assert fresh.id == count
            assert {end.stream: end.segments for end in ends} == {1: 1001, 2: 501}
            assert again.logged(Error) == []
        assert not daemon.logged("slow_consumer")
        assert not daemon.strays
