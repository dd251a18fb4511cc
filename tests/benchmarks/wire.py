"""What one frame costs the event loop: `python -m benchmarks.wire` in `tests/`.

Framing and decode of audio frames through `ServerConnection.receive`, and encode of a segment,
each beside bare msgpack on the same value in the same run. A figure is the median over the runs.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import msgpack

from asrd.wire.codec import decode_client, encode
from asrd.wire.connection import ServerConnection
from asrd.wire.messages import Audio, Hello, Segment

SEGMENT = Segment(
    stream=1,
    id=41,
    start=12.34,
    end=15.06,
    text="It was the best of times, it was the worst of times,",
    offset=240_960,
    provider="moonshine",
    model="tiny-en",
    latency_ms=87.5,
)

Case = tuple[str, Callable[[], object], Callable[[], object]]


def main() -> None:
    """Measure and print one line per kind of frame."""
    options = _options()
    print(f"{'':38} {'asrd µs':>9} {'msgpack µs':>11} {'ratio':>6}")
    for name, ours, bare in _cases():
        ours_us, bare_us = _medians(ours, bare, options.frames, options.runs)
        print(f"{name:38} {ours_us:9.2f} {bare_us:11.2f} {ours_us / bare_us:6.1f}")


def _cases() -> Iterator[Case]:
    for milliseconds in (20, 100):
        audio = Audio(stream=1, offset=320, data=bytes(32 * milliseconds))
        frame = memoryview(encode(audio))
        payload = frame[4:]
        halves = (frame[: len(frame) // 2], frame[len(frame) // 2 :])
        bare = _call(msgpack.unpackb, payload)
        yield f"audio of {milliseconds} ms: decode alone", _call(decode_client, payload), bare
        yield f"audio of {milliseconds} ms: framing and decode", _receiving(frame), bare
        yield f"audio of {milliseconds} ms: the same in two reads", _receiving(*halves), bare
    fields = msgpack.unpackb(encode(SEGMENT)[4:])
    packing = _call(msgpack.packb, fields)
    yield "segment: encode, header included", _call(encode, SEGMENT), packing


def _call(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _receiving(*reads: memoryview) -> Callable[[], None]:
    connection = ServerConnection()
    for _ in connection.receive(memoryview(encode(Hello()))):
        pass

    def receive() -> None:
        for data in reads:
            for _ in connection.receive(data):
                pass

    return receive


def _medians(
    ours: Callable[[], object], bare: Callable[[], object], frames: int, runs: int
) -> tuple[float, float]:
    """Microseconds per call of each, measured in turns so that a busy machine burdens both."""
    times = [(_seconds(ours, frames), _seconds(bare, frames)) for _ in range(runs)]
    ours_s, bare_s = (statistics.median(column) for column in zip(*times, strict=True))
    return ours_s / frames * 1e6, bare_s / frames * 1e6


def _seconds(call: Callable[[], object], times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - begin


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=5000, help="calls in one run")
    parser.add_argument("--runs", type=int, default=21, help="runs of which the median is taken")
    return parser.parse_args()


if __name__ == "__main__":
    main()
