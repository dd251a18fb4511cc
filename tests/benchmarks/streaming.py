"""Partials, words and finals of live streams: `python -m benchmarks.streaming` in `tests/`.

Recordings are played in real time, in pieces of 100 ms, into a daemon of their own, with partials
(the policy `partials`) and without (`finals`), on one stream and on several at once. Several begin
with different recordings and at different moments. Said of each engine:

- word errors of the recordings that were played whole; beside them those of the engine alone on
  each whole recording, and those of the daemon as `asrd transcribe` asks it;
- the finalisation delay: from when the piece went out that completed the trailing silence (in whole
  windows of the detector, 32 ms) until the segment came; and, for one stream, what of it is beyond
  one decode of the same window in this process, made when all is over;
- how long after the first sound of an utterance its first text came;
- the age of the newest stable word at each partial: how long ago its end was sent. Without
  `--words`, and where the engine has no times of words, that is estimated: by its place among the
  characters of the segment, from its start to its end;
- how many words that partials showed stand elsewhere, or not at all, in the segment, each counted
  once for each partial; and how many stable prefixes were not kept to the character;
- decode seconds per second of audio, of all streams, and how many times that of `finals` it is.

Moonshine reads people. The two Whispers have the tests' own model, which knows twenty words; their
offline reference is that of the same model. What is printed of 20 s of speech swings: a word or two
mean nothing, and a p95 is that of few utterances; `--seconds 80` plays all that people say. The
engines write their own lines to stderr.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asrd import DecodeOptions, Model
from asrd.audio import SAMPLE_RATE
from asrd.providers.registry import discover
from asrd.wire import messages as wire
from benchmarks.common import daemon, median
from benchmarks.streamed.engines import Engine, chosen
from benchmarks.streamed.material import Programme, Take, programme, read_by
from benchmarks.streamed.measures import Seen, utterances_told
from benchmarks.streamed.playing import ENDPOINT_S, Played, play, read_as_files
from benchmarks.streamed.report import Errors, Result, print_aims, print_table
from support.errors import count_word_errors

POLICIES = ("finals", "partials")
ALL_ENGINES = ("moonshine", "moonshine_streaming", "faster_whisper", "whisper_cpp")
CROWD_ENGINES = ("moonshine", "faster_whisper")
SLOW_FACTOR = 0.05

BARE_ROUNDS = 3
PRE_ROLL_S = POST_ROLL_S = 0.2
"""What the daemon gives a model before and behind the speech."""


def main() -> None:
    """Measure and print."""
    options = _read_options()
    names = options.engines or ([] if options.slow else list(ALL_ENGINES))
    names += ["slow"] if options.slow else []
    print(
        f"{options.seconds:g} s on one stream, {options.crowd_seconds:g} s on several; word errors "
        "are of recordings that were played whole"
    )
    measured: dict[str, list[Result]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for engine in chosen(names, Path(folder), options.slow):
            counts = options.streams
            if engine.name not in (*options.crowd_engines, "slow"):
                counts = [count for count in counts if count == 1]
            measured[engine.name] = _measure(engine, counts, options)
            print_table(engine.name, measured[engine.name])
    print()
    for name, results in measured.items():
        print_aims(name, results)


def _read_options() -> argparse.Namespace:
    def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
        def read(text: str) -> list[str]:
            names = text.split(",")
            if unknown := set(names) - set(known):
                named = ", ".join(sorted(unknown))
                raise argparse.ArgumentTypeError(f"{named}: none of {', '.join(known)}")
            return names

        return read

    def counts(text: str) -> list[int]:
        return sorted({int(number) for number in text.split(",")})

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    engines = some_of(ALL_ENGINES)
    add("--engines", type=engines, help=f"of {','.join(ALL_ENGINES)} (all)")
    add("--streams", type=counts, default=[1, 4, 16], help="how many at once, such as 1,4,16,32")
    add(
        "--crowd-engines",
        type=engines,
        default=list(CROWD_ENGINES),
        help="those that are measured with more than one stream too",
    )
    add("--policies", type=some_of(POLICIES), default=list(POLICIES))
    add("--seconds", type=float, default=24.5, help="played on one stream")
    add("--crowd-seconds", type=float, default=10.0, help="played on each of several streams")
    add("--words", action="store_true", help="ask for the times of words, which costs")
    add(
        "--slow",
        type=float,
        nargs="?",
        const=SLOW_FACTOR,
        default=0.0,
        metavar="FACTOR",
        help="an engine that only waits, so many seconds per second of audio; beside it only those "
        "that --engines names",
    )
    return parser.parse_args()


# ── one engine ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """How takes are read without streaming, by their names."""

    alone: dict[str, str]
    as_files: dict[str, str]


def _measure(engine: Engine, counts: Sequence[int], options: argparse.Namespace) -> list[Result]:
    """Each policy at each number of streams, then the references, when nothing else runs."""
    runs: list[tuple[str, Played]] = []
    with daemon(*engine.arguments) as path:
        for count in counts:
            seconds = options.seconds if count == 1 else options.crowd_seconds
            programmes = [programme(engine.takes, seconds, first) for first in range(count)]
            for policy in options.policies:
                playing = play(
                    path,
                    programmes,
                    are_partials_wanted=policy == "partials",
                    are_words_wanted=options.words,
                )
                runs.append((policy, asyncio.run(playing)))
        heard = _whole_takes([played for _, played in runs])
        as_files = asyncio.run(read_as_files(path, heard))
    reference = None
    if engine.read_alone is not None:
        names = [take.name for take in heard]
        reference = Reference(
            alone=dict(zip(names, engine.read_alone(heard), strict=True)),
            as_files=dict(zip(names, as_files, strict=True)),
        )
    entry = discover().providers[engine.provider]
    model = entry.load(engine.model or entry.default_model, engine.settings)
    results = [_result(policy, played, reference, model) for policy, played in runs]
    model.close()
    return results


def _whole_takes(runs: Sequence[Played]) -> list[Take]:
    named = {
        placed.take.name: placed.take
        for played in runs
        for each in played.programmes
        for placed in each.placed
    }
    return list(named.values())


def _result(policy: str, played: Played, reference: Reference | None, model: Model) -> Result:
    seen = Seen()
    is_alone = len(played.feeds) == 1
    for each, feed in zip(played.programmes, played.feeds, strict=True):
        for told in utterances_told(feed.of(wire.Partial), feed.of(wire.Segment)):
            decode_s = None
            if is_alone and told.segment is not None:
                decode_s = _bare_decode_s(model, each, told.segment[1])
            seen.add(told, feed.sent_at_s, ENDPOINT_S, decode_s)
    return Result(
        policy=policy,
        streams=len(played.feeds),
        seen=seen,
        errors=_errors(played, reference) if reference else None,
        decode_s=played.decode_s,
        audio_s=played.audio_s,
        finals_decoded=played.finals_decoded,
        dropped_s=played.dropped_s,
        lag_s=played.lag_s,
    )


def _bare_decode_s(model: Model, played: Programme, segment: wire.Segment) -> float:
    """How long the segment's window takes to decode in this process, which does nothing else."""
    begin = max(0, round((segment.start - PRE_ROLL_S) * SAMPLE_RATE))
    end = round((segment.end + POST_ROLL_S) * SAMPLE_RATE)
    times_s = []
    for _ in range(BARE_ROUNDS):
        began_s = time.perf_counter()
        model.decode(played.samples[begin:end], DecodeOptions())
        times_s.append(time.perf_counter() - began_s)
    return median(times_s)


def _errors(played: Played, reference: Reference) -> Errors:
    streamed, alone, as_files = [], [], []
    for each, feed in zip(played.programmes, played.feeds, strict=True):
        pieces = [(got.start, got.end, got.text) for _, got in feed.of(wire.Segment)]
        for placed, text in zip(each.placed, read_by(each.placed, pieces), strict=True):
            said, name = placed.take.transcript, placed.take.name
            streamed.append((said, text))
            alone.append((said, reference.alone[name]))
            as_files.append((said, reference.as_files[name]))
    errors, words = count_word_errors(streamed)
    return Errors(
        streamed=errors,
        alone=count_word_errors(alone)[0],
        as_files=count_word_errors(as_files)[0],
        words=words,
    )


if __name__ == "__main__":
    main()
