"""What the daemon adds to a final: `python -m benchmarks.latency` in `tests/`.

An utterance of real speech is sent but for its last piece. Then the clock starts with that piece,
which either completes the trailing silence (`endpoint`: one trip to the voice-activity worker and
one to the model's) or is a `flush` after all audio was scored (`flush`: one to the model's), and
stops when the segment has been read. The bare call is the same model in this process on the same
window, called in turn with the daemon so that noise hits both.

The null engine is `echo`, which answers at once; beside it stands a ping-pong of two threads over
`queue.Queue` in the same run.
"""

import argparse
import queue
import threading
import time
from pathlib import Path

import numpy as np

from asrd import DecodeOptions, Model
from asrd.providers.registry import discover
from asrd.session.endpoint import WINDOW_SAMPLES
from asrd.wire import messages as wire
from benchmarks.common import (
    Samples,
    WireClient,
    daemon,
    median,
    pcm,
    percentile,
    speech,
    utterances,
)

SILENCE_S = 0.5
SETTLE_S = 0.05


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()

    print(f"{options.rounds} rounds; medians [p95] in ms")
    for provider, seconds in (("echo", 0.5), ("moonshine", 3.0)):
        audio = _spoken(seconds)
        entry = discover().providers[provider]
        model = entry.load(entry.default_model, {})
        with daemon("--provider", provider) as path:
            for mode in ("flush", "endpoint"):
                pairs = _measure(path, mode, audio, model, options.rounds)
                _report(f"{provider}, {seconds:g} s", mode, pairs)
    print("null engine over the socket, back to back, against two threads and two queues:")
    ratios = []
    for _ in range(5):
        null_us, ping_pong_us = _null_us(), _ping_pong_us()
        ratios.append(null_us / ping_pong_us)
        times = f"{ratios[-1]:5.1f} times"
        print(f"  round trip {null_us:4.0f} µs   ping-pong {ping_pong_us:4.0f} µs   {times}")
    print(f"  median {median(ratios):.1f} times")


def _spoken(seconds: float) -> Samples:
    """Speech from its first sound on, in whole windows of the detector."""
    utterance, window = utterances(speech(12.0))[0]
    begin = utterance.speech_start - utterance.start
    count = round(seconds * 16000) // WINDOW_SAMPLES * WINDOW_SAMPLES
    return window[begin : begin + count]


def _report(name: str, mode: str, pairs: list[tuple[float, float]]) -> None:
    bare = [pair[0] * 1000 for pair in pairs]
    ours = [pair[1] * 1000 for pair in pairs]
    added = [pair[1] * 1000 - pair[0] * 1000 for pair in pairs]
    print(
        f"{name:16} {mode:9} bare {median(bare):8.3f} [{percentile(bare, 0.95):8.3f}]"
        f"  daemon {median(ours):8.3f} [{percentile(ours, 0.95):8.3f}]"
        f"  added {median(added):7.3f} [{percentile(added, 0.95):7.3f}]"
    )


def _measure(
    path: Path, mode: str, audio: Samples, model: Model, rounds: int
) -> list[tuple[float, float]]:
    """(bare, daemon) seconds of each round."""
    client = WireClient(path)
    silence = np.zeros(round(SILENCE_S * 16000) // WINDOW_SAMPLES * WINDOW_SAMPLES, np.float32)
    last: wire.ClientMessage
    if mode == "flush":
        first, whole = audio, audio
    else:
        first, ending = _pieces_to_endpoint(audio, silence)
        whole = np.concatenate([first, ending])
    window = utterances(whole)[0][1]  # what the daemon's model reads
    pairs = []
    for number in range(rounds + 2):
        client.send(wire.Open(stream=number, source="mic", partials=False))
        client.wait_for(wire.Opened)
        for start in range(0, len(first), 1600):
            client.send(wire.Audio(stream=number, data=pcm(first[start : start + 1600])))
        last = wire.Flush(stream=number)
        if mode == "endpoint":
            last = wire.Audio(stream=number, data=pcm(ending))
        time.sleep(SETTLE_S)  # until all that was sent is scored
        started = time.perf_counter()
        client.send(last)
        client.wait_for(wire.Segment)
        took_s = time.perf_counter() - started
        client.send(wire.Cancel(stream=number))
        client.wait_for(wire.Closed)
        started = time.perf_counter()
        model.decode(window, DecodeOptions())
        pairs.append((time.perf_counter() - started, took_s))
    client.close()
    return pairs[2:]


def _null_us(rounds: int = 300) -> float:
    """From `flush` to the segment, for an engine that answers at once."""
    audio = pcm(_spoken(0.2))
    times = []
    with daemon("--provider", "echo") as path:
        client = WireClient(path)
        client.send(wire.Open(stream=1, source="mic", partials=False))
        client.wait_for(wire.Opened)
        for _ in range(rounds):
            client.send(wire.Audio(stream=1, data=audio))
            client.wait_for(wire.Event)  # it was scored: speech has begun
            started = time.perf_counter()
            client.send(wire.Flush(stream=1))
            client.wait_for(wire.Segment)
            times.append(time.perf_counter() - started)
            client.wait_for(wire.Flushed)
        client.close()
    return median(times) * 1e6


def _pieces_to_endpoint(whole: Samples, silence: Samples) -> tuple[Samples, Samples]:
    """The audio up to the window that ends the utterance, and that window."""
    padded = np.concatenate([whole, silence, silence])
    low, high = len(whole) // WINDOW_SAMPLES, len(padded) // WINDOW_SAMPLES
    while low < high:  # the first length at which the daemon would end the utterance
        middle = (low + high) // 2
        if _ends_within(padded[: middle * WINDOW_SAMPLES]):
            high = middle
        else:
            low = middle + 1
    cut = (low - 1) * WINDOW_SAMPLES
    return padded[:cut], padded[cut : cut + WINDOW_SAMPLES]


def _ends_within(samples: Samples) -> bool:
    first = utterances(samples)[0][0]
    return len(samples) - first.speech_end >= SILENCE_S * 16000


def _ping_pong_us(rounds: int = 3000) -> float:
    there: queue.Queue[int] = queue.Queue()
    back: queue.Queue[int] = queue.Queue()

    def answer() -> None:
        while (value := there.get()) >= 0:
            back.put(value)

    thread = threading.Thread(target=answer)
    thread.start()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        there.put(1)
        back.get()
        times.append(time.perf_counter() - started)
    there.put(-1)
    thread.join()
    return median(times) * 1e6


if __name__ == "__main__":
    main()
