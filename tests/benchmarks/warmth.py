"""What a resident model saves, takes, and costs to replace.

`python -m benchmarks.warmth` in `tests/`.

For each engine, on an utterance of three seconds that is sent at once and flushed:

- `cold`: to the first segment of a daemon that loads lazily, from the stream's opening on;
- `warm`: the same once the model is loaded, and as a ratio to the bare call of the same model on
  the same window in this process, called in turn so that noise hits both;
- `killed`: from `kill -9` of the worker amid a decode to that utterance's segment;
- memory of the daemon and all its children: before the load, loaded (after a decode), unloaded.

Moonshine has its own weights; Whisper is a model of the shape of tiny with made-up weights that
says 28 words.
"""

import argparse
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from asrd import DecodeOptions, Model
from asrd.providers.registry import discover
from asrd.wire import messages as wire
from benchmarks.common import Samples, WireClient, daemon, median, pcm, speech, utterances
from benchmarks.shapes import make_ggml, make_model

SECONDS = 3.0
INTO_THE_DECODE_S = 0.02
ENGINES = ("moonshine", "faster_whisper", "whisper_cpp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An engine with a model, and the options that run it."""

    provider: str
    model: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """For `asrd serve`."""
        return "--provider", self.provider, "--model", self.model

    def load(self) -> Model:
        """The same model in this process."""
        return discover().providers[self.provider].load(self.model, {})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("engine", nargs="*", choices=(*ENGINES, []), default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{options.rounds} rounds; medians; memory of the daemon with all its children")
        for engine in options.engine or ENGINES:
            subject = Subject(provider=engine, model=_model(engine, Path(folder)))
            _report(subject, options.rounds)


def _model(engine: str, folder: Path) -> str:
    match engine:
        case "faster_whisper":
            return str(make_model("tiny", folder))
        case "whisper_cpp":
            return str(make_ggml("tiny", folder))
        case _:
            return "tiny-en"


def _report(subject: Subject, rounds: int) -> None:
    audio = utterances(speech(12.0))[0][1][: round(SECONDS * 16_000)]
    colds_s = [_cold_s(subject, audio) for _ in range(max(3, rounds // 3))]
    bare = subject.load()
    with daemon(*subject.arguments) as path:
        client = WireClient(path)
        pairs = [_warm_pair(client, number, audio, bare) for number in range(rounds + 2)][2:]
        killed_s = [_killed_s(client, 1000 + number, audio, subject) for number in range(rounds)]
        client.close()
    bare_s, warm_s = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
    before, loaded, after = _memory_mb(subject, audio)
    print(
        f"{subject.provider:15} bare {bare_s * 1000:5.0f} ms"
        f"   warm {warm_s * 1000:5.0f} ms = {warm_s / bare_s:4.2f} x"
        f"   cold {median(colds_s) * 1000:5.0f} ms = {median(colds_s) / bare_s:5.2f} x"
        f"   killed {median(killed_s) * 1000:5.0f} ms"
        f"   memory {before:4.0f} / {loaded:4.0f} / {after:4.0f} MB"
    )


def _say(client: WireClient, number: int, audio: Samples) -> float:
    """Have it read on a stream of its own; seconds from the opening to the segment."""
    began_s = time.perf_counter()
    _begin(client, number, audio)
    client.wait_for(wire.Segment)
    took_s = time.perf_counter() - began_s
    _end(client, number)
    return took_s


def _begin(client: WireClient, number: int, audio: Samples) -> None:
    client.send(wire.Open(stream=number, source="mic", partials=False))
    client.wait_for(wire.Opened)
    client.send(wire.Audio(stream=number, data=pcm(audio[: len(audio) // 2])))
    client.send(wire.Audio(stream=number, data=pcm(audio[len(audio) // 2 :])))
    client.send(wire.Flush(stream=number))


def _end(client: WireClient, number: int) -> None:
    client.send(wire.Cancel(stream=number))
    client.wait_for(wire.Closed)


def _cold_s(subject: Subject, audio: Samples) -> float:
    with daemon(*subject.arguments, "--loading", "lazy", is_loaded=False) as path:
        client = WireClient(path)
        took_s = _say(client, 1, audio)
        client.close()
    return took_s


def _warm_pair(client: WireClient, number: int, audio: Samples, bare: Model) -> tuple[float, float]:
    took_s = _say(client, number, audio)
    began_s = time.perf_counter()
    bare.decode(audio, DecodeOptions())
    return time.perf_counter() - began_s, took_s


def _killed_s(client: WireClient, number: int, audio: Samples, subject: Subject) -> float:
    client.send(wire.GetHealth())
    pid = client.wait_for(wire.Health).providers[subject.provider].models[0].pid
    if pid is None:
        raise RuntimeError("the model has no worker")
    _begin(client, number, audio)
    client.wait_for(wire.Event)  # speech has begun: the decode is next
    time.sleep(INTO_THE_DECODE_S)
    killed_s = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    client.wait_for(wire.Segment)
    took_s = time.perf_counter() - killed_s
    _end(client, number)
    _say(client, number + 500, audio)  # what was done shortens the next pause to the first again
    return took_s


def _memory_mb(subject: Subject, audio: Samples) -> tuple[float, float, float]:
    with daemon(*subject.arguments, "--loading", "lazy", is_loaded=False) as path:
        client = WireClient(path)
        client.send(wire.Load())  # voice activity stays, so it is no part of the difference
        client.wait_for(wire.Health)
        client.send(wire.Unload())
        client.wait_for(wire.Health)
        before = _tree_mb()
        _say(client, 1, audio)
        loaded = _tree_mb()
        client.send(wire.Unload())
        client.wait_for(wire.Health)
        after = _tree_mb()
        client.close()
    return before, loaded, after


def _tree_mb() -> float:
    """Resident memory of all our children, in MB: there is one daemon at a time."""
    children = psutil.Process().children(recursive=True)
    return float(sum(child.memory_info().rss for child in children)) / 1e6


if __name__ == "__main__":
    main()
