"""Real engines and real speech through the whole daemon: bytes in, words out.

Each engine is also called directly, on the whole file and with its own segmentation, in the same
test: the daemon's cutting and streaming may not cost a word.
"""

import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asrd.wire.messages import Audio, Open, Opened, Segment
from asrd_moonshine.files import locate
from support.audio import Samples, read_pcm
from support.daemon import Daemon, running_daemon
from support.errors import word_error_rate
from support.wire_client import WireClient, texts

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

WHISPERS = ("faster_whisper", "whisper_cpp")

TIMES_WITHIN_S = 0.3
"""How far a segment's times may be from those that the speech was made with. The furthest is
six_1.wav's end: Silero stays above the lower threshold for 0.28 s of the noise behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pcm:
    """A recording at its own rate, as it is sent."""

    data: bytes
    rate: int
    channels: int

    @classmethod
    def of(cls, path: Path) -> "Pcm":
        with wave.open(str(path)) as file:
            assert file.getsampwidth() == 2
            data = file.readframes(file.getnframes())
            return cls(data=data, rate=file.getframerate(), channels=file.getnchannels())

    @property
    def mono(self) -> Samples:
        samples = np.frombuffer(self.data, "<i2").astype(np.float32) / 32768
        mono: Samples = samples.reshape(-1, self.channels).mean(axis=1, dtype=np.float32)
        return mono


def transcribe(client: WireClient, stream: int, pcm: Pcm) -> str:
    segments = client.transcribe(
        stream, pcm.data, source="file", sample_rate=pcm.rate, channels=pcm.channels
    )
    return " ".join(texts(segments))


# ── Moonshine ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def moonshine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("moonshine"), provider="moonshine") as daemon:
        yield daemon


def moonshine_alone(recordings: Sequence[Pcm]) -> list[str]:
    """What the engine itself makes of each whole file, with its own voice activity detection.

    A transcriber of its own for each: its detector carries over from one file to the next.
    """
    from moonshine_voice import ModelArch, Transcriber

    files = locate("tiny-en")
    assert files is not None
    read: list[str] = []
    for pcm in recordings:
        transcriber = Transcriber(str(files.folder), ModelArch.TINY)
        found = transcriber.transcribe_without_streaming(pcm.mono.tolist(), pcm.rate)
        read.append(" ".join(line.text for line in found.lines))
        transcriber.close()
    return read


def hold_against_moonshine_alone(daemon: Daemon, recordings: "Sequence[Recording]") -> None:
    spoken = [Pcm.of(recording.path) for recording in recordings]
    with daemon.greet() as client:
        through_asrd = [transcribe(client, stream, pcm) for stream, pcm in enumerate(spoken)]
    alone = moonshine_alone(spoken)
    references = [recording.transcript for recording in recordings]
    rate = word_error_rate(zip(references, through_asrd, strict=True))
    assert rate <= word_error_rate(zip(references, alone, strict=True))
    assert rate < 0.06  # and both of them read


def test_moonshine_reads_a_novel_no_worse_than_alone(
    moonshine: Daemon, two_cities: "Recording", monkeypatch: pytest.MonkeyPatch
) -> None:
    """44 seconds of a person, at 48 kHz."""
    monkeypatch.setenv("MOONSHINE_ORT_SINGLE_THREAD", "1")
    hold_against_moonshine_alone(moonshine, [two_cities])


def test_moonshine_reads_short_recordings_no_worse_than_alone(
    moonshine: Daemon, shared_audio: "list[Recording]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOONSHINE_ORT_SINGLE_THREAD", "1")
    hold_against_moonshine_alone(moonshine, shared_audio)


# ── the two Whispers, with the twenty-word model ──────────────────────────────────────────────


@pytest.fixture(scope="module", params=WHISPERS)
def whisper(
    request: pytest.FixtureRequest,
    tiny_whisper: "TinyWhisper",
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Daemon]:
    with whisper_daemon(request.param, tiny_whisper, tmp_path_factory.mktemp("whisper")) as daemon:
        yield daemon


@contextmanager
def whisper_daemon(name: str, files: "TinyWhisper", folder: Path) -> Iterator[Daemon]:
    model = files.ctranslate2 if name == "faster_whisper" else files.ggml
    with running_daemon(folder, provider=name, model=str(model)) as daemon:
        daemon.provider = name  # type: ignore[attr-defined]
        yield daemon


def spans_of(samples: Path) -> dict[str, list[tuple[float, float]]]:
    """Where each recording is speech, in seconds."""
    rows = [line.split("\t") for line in (samples / "transcripts.tsv").read_text().splitlines()]
    spans: dict[str, list[tuple[float, float]]] = {}
    for name, _, text in rows[1:]:
        edges = [span.split("-") for span in text.split()]
        spans[name] = [(float(start), float(end)) for start, end in edges]
    return spans


def test_every_recording_is_read_exactly_and_at_its_time(
    whisper: Daemon, tiny_samples: "list[Recording]"
) -> None:
    """Silence and noise become no segment at all."""
    spans = spans_of(tiny_samples[0].path.parent)
    with whisper.greet() as client:
        for stream, recording in enumerate(tiny_samples):
            name = recording.path.name
            segments = client.transcribe(
                stream, read_pcm(recording.path), source="file", partials=False
            )
            assert " ".join(texts(segments)) == recording.transcript, name
            assert len(segments) == len(spans[name]), name
            for segment, (start, end) in zip(segments, spans[name], strict=True):
                assert segment.start == pytest.approx(start, abs=TIMES_WITHIN_S), name
                assert segment.end == pytest.approx(end, abs=TIMES_WITHIN_S), name


def test_many_streams_at_once_read_as_they_do_one_by_one(
    whisper: Daemon, tiny_samples: "list[Recording]"
) -> None:
    """All twelve recordings over one socket, in turn a tenth of a second of each."""
    spoken = {number: read_pcm(item.path) for number, item in enumerate(tiny_samples, 100)}
    with whisper.greet() as client:
        for stream in spoken:
            client.send(Open(stream=stream, source="file", partials=False))
        while len(client.logged(Opened)) < len(spoken):
            client.receive()
        for begin in range(0, max(map(len, spoken.values())), 3200):
            for stream, pcm in spoken.items():
                if begin < len(pcm):
                    client.send(Audio(stream=stream, data=pcm[begin : begin + 3200]))
        client.finish(*spoken)
        for stream, recording in zip(spoken, tiny_samples, strict=True):
            assert " ".join(texts(client.logged(Segment, stream))) == recording.transcript


def test_partials_change_no_final(whisper: Daemon, tiny_samples: "list[Recording]") -> None:
    with whisper.greet() as client:
        for stream, recording in enumerate(tiny_samples[-4:-2], 200):
            segments = client.transcribe(stream, read_pcm(recording.path), source="mic")
            assert " ".join(texts(segments)) == recording.transcript


def test_words_lie_where_they_were_spoken(whisper: Daemon, tiny_samples: "list[Recording]") -> None:
    """On the stream's clock, in order, and inside the segment but for the engine's own error.

    The words are not held against the transcript: the twenty-word model reads a little less well
    when it is asked for words.
    """
    phrase = next(item for item in tiny_samples if item.path.name == "pauses_1.wav")
    with whisper.greet() as client:
        segments = client.transcribe(
            300, read_pcm(phrase.path), source="file", words=True, partials=False
        )
        assert len(segments) == 4
        for segment in segments:
            assert segment.words
            times = [time for word in segment.words for time in (word.start, word.end)]
            assert times == sorted(times)
            assert segment.start - 1.0 < times[0]
            assert times[-1] < segment.end + 1.0
            assert all(word.probability is not None for word in segment.words)
            assert all(0.0 <= (word.probability or 0.0) <= 1.0 for word in segment.words)
            assert " ".join(word.word for word in segment.words) == segment.text


def faster_whisper_alone(files: "TinyWhisper", recordings: "list[Recording]") -> list[str]:
    from faster_whisper import WhisperModel

    engine = WhisperModel(str(files.ctranslate2), device="cpu", compute_type="int8", cpu_threads=1)
    read: list[str] = []
    for recording in recordings:
        segments, _ = engine.transcribe(Pcm.of(recording.path).mono)
        read.append("".join(segment.text for segment in segments).strip())
    return read


def whisper_cpp_alone(files: "TinyWhisper", recordings: "list[Recording]") -> list[str]:
    from pywhispercpp.model import Model

    # Its threads spin while they wait for each other, which on busy cores takes minutes.
    engine = Model(str(files.ggml), n_threads=1, print_progress=False, print_realtime=False)
    read: list[str] = []
    for recording in recordings:
        segments = engine.transcribe(Pcm.of(recording.path).mono)
        read.append(" ".join(segment.text.strip() for segment in segments))
    return read


def test_the_daemon_reads_no_worse_than_the_engine_alone(
    whisper: Daemon, tiny_whisper: "TinyWhisper", tiny_samples: "list[Recording]"
) -> None:
    """On the longest recordings, where each cuts in its own way."""
    spoken = sorted(tiny_samples, key=lambda item: item.path.stat().st_size)[-3:]
    references = [recording.transcript for recording in spoken]
    is_faster = getattr(whisper, "provider", "") == "faster_whisper"
    alone = (faster_whisper_alone if is_faster else whisper_cpp_alone)(tiny_whisper, spoken)
    with whisper.greet() as client:
        through_asrd = [
            transcribe(client, stream, Pcm.of(recording.path))
            for stream, recording in enumerate(spoken, 400)
        ]
    assert word_error_rate(zip(references, through_asrd, strict=True)) <= word_error_rate(
        zip(references, alone, strict=True)
    )
