"""Sounds in which nobody speaks give no text, through the whole daemon and with every engine.

Most of them voice activity keeps out; what it lets through, the engines have to see through.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from asrd.wire.messages import Audio, Partial, Segment
from support.audio import SAMPLE_RATE, Samples, read_wav, silent_pcm
from support.daemon import Daemon, running_daemon
from support.errors import count_word_errors
from support.sounds import every_sound, to_pcm, with_noise
from support.wire_client import WireClient, texts

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

SOUND_S = 20.0
TALKED_INTO_S = 0.1
"""The chunks of what is sent slowly enough for partials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A daemon, and recordings that its engine can read."""

    daemon: Daemon
    is_moonshine: bool
    recordings: "Sequence[Recording]"


@pytest.fixture(scope="module", params=["moonshine", "faster_whisper", "whisper_cpp"])
def scene(
    request: pytest.FixtureRequest,
    tiny_whisper: "TinyWhisper",
    tiny_samples: "list[Recording]",
    two_cities: "Recording",
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    files = {
        "faster_whisper": str(tiny_whisper.ctranslate2),
        "whisper_cpp": str(tiny_whisper.ggml),
    }
    with running_daemon(
        tmp_path_factory.mktemp("noise"), provider=request.param, model=files.get(request.param)
    ) as daemon:
        phrases = [item for item in tiny_samples if item.path.stem.startswith(("phrase", "six"))]
        is_moonshine = request.param == "moonshine"
        yield Scene(
            daemon=daemon,
            is_moonshine=is_moonshine,
            recordings=[two_cities] if is_moonshine else phrases,
        )


@pytest.fixture(scope="module")
def sounds() -> dict[str, bytes]:
    return {name: to_pcm(sound) for name, sound in every_sound(SOUND_S).items()}


def written(client: WireClient, stream: int) -> list[str]:
    """All text that came for a stream, in partials and in segments."""
    partials, segments = client.logged(Partial, stream), client.logged(Segment, stream)
    said = [partial.text for partial in partials] + texts(segments)
    return [text for text in said if text]


def talk(client: WireClient, stream: int, pcm: bytes, speed: float) -> None:
    """Send and finish what is said so many times as fast as it is spoken."""
    client.open(stream, source="mic", delivery="lossless")
    chunk = round(TALKED_INTO_S * SAMPLE_RATE) * 2
    for begin in range(0, len(pcm), chunk):
        client.send(Audio(stream=stream, data=pcm[begin : begin + chunk]))
        time.sleep(TALKED_INTO_S / speed)
    client.finish(stream)


def spoken(recording: "Recording") -> Samples:
    return read_wav(recording.path)


def test_where_nobody_speaks_there_is_no_text(scene: Scene, sounds: dict[str, bytes]) -> None:
    with scene.daemon.greet() as client:
        for stream, pcm in enumerate(sounds.values()):
            client.transcribe(stream, pcm, source="file", delivery="lossless", partials=True)
        found = {name: written(client, stream) for stream, name in enumerate(sounds)}
    assert {name: text for name, text in found.items() if text} == {}


def test_nor_is_there_while_tones_go_on_that_sound_like_a_voice(
    scene: Scene, sounds: dict[str, bytes]
) -> None:
    """Slowly enough for partials, which the speech behind them shows to come."""
    speech = to_pcm(spoken(scene.recordings[0])[: 6 * SAMPLE_RATE])
    with scene.daemon.greet() as client:
        talk(client, 1, sounds["low arpeggio at -12 dB"] + silent_pcm(1), speed=10)
        talk(client, 2, sounds["low vibrato at -20 dB"] + silent_pcm(1), speed=10)
        assert written(client, 1) + written(client, 2) == []
        talk(client, 3, speech + silent_pcm(1), speed=4)
        assert any(partial.text for partial in client.logged(Partial, 3))
        assert any(texts(client.logged(Segment, 3)))


@pytest.fixture
def people(scene: Scene, request: pytest.FixtureRequest) -> "Sequence[Recording]":
    """Recordings of which a few milliseconds more or less change no word. What Moonshine reads of
    the novel swings by seven words of 119 as it is shifted, without any noise."""
    if scene.is_moonshine:
        recordings: Sequence[Recording] = request.getfixturevalue("shared_audio")
        return recordings
    return scene.recordings


def test_speech_in_noise_is_read_nearly_as_without(
    scene: Scene, people: "Sequence[Recording]"
) -> None:
    """White noise 20 dB below it."""
    errors: dict[bool, int] = {}
    with scene.daemon.greet() as client:
        for is_noisy in (False, True):
            pairs = []
            for place, recording in enumerate(people):
                audio = spoken(recording)
                sent = to_pcm(with_noise(audio, 20, seed=place) if is_noisy else audio)
                segments = client.transcribe(2 * place + is_noisy, sent, source="file")
                pairs.append((recording.transcript, " ".join(texts(segments))))
            errors[is_noisy], words = count_word_errors(pairs)
    assert errors[False] < 0.06 * words  # else no more of them would prove nothing
    assert errors[True] <= errors[False] + 1


def test_what_was_said_before_a_long_silence_has_no_say_in_what_follows(scene: Scene) -> None:
    first, last = scene.recordings[0], scene.recordings[-1]
    before = to_pcm(spoken(first)[: 6 * SAMPLE_RATE])
    after = silent_pcm(SOUND_S) + to_pcm(spoken(last)[: 6 * SAMPLE_RATE])
    with scene.daemon.greet() as client:
        alone = client.transcribe(1, after, source="file")
        heard = client.transcribe(2, before + after, source="file")
    silence_begins_s = len(before) / 2 / SAMPLE_RATE
    assert any(texts(alone))
    assert any(segment.text for segment in heard if segment.start < silence_begins_s)
    behind = [segment for segment in heard if segment.start > silence_begins_s + SOUND_S / 2]
    assert texts(behind) == texts(alone)
