"""Where another daemon goes on at a commit, it hears the same utterances, to the sample.

The stream and Silero's model in this process, without a daemon between, so that every commit there
is can be tried.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from asrd.audio import PcmFormat
from asrd.providers.voice import VoiceActivity
from asrd.session.endpoint import EndpointRule, Utterance
from asrd.session.intake import MarkKind
from asrd.session.listener import Listener
from conftest import SHARED_AUDIO, TINY_WHISPER
from flow.test_speech import Pcm

RECORDINGS = [
    *(TINY_WHISPER / "samples" / f"pauses_{number}.wav" for number in (1, 2)),
    *(SHARED_AUDIO / name for name in ("jfk.wav", "austen-0880.wav")),
]

Sound = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def voice() -> VoiceActivity:
    return VoiceActivity()


def hear(
    voice: VoiceActivity, sound: Sound, begin: int, chunk: int, silence: int, rate: int = 16000
) -> tuple[list[Utterance], set[int]]:
    """The utterances from the position `begin` on, and everywhere that the commit has stood."""
    pcm_format = PcmFormat(sample_rate=rate)
    commits = {begin}
    begin = pcm_format.to_own(begin)
    ear = Listener(pcm_format, EndpointRule(silence=silence), begin)
    utterances: list[Utterance] = []
    state = b""
    for at in range(begin, len(sound), chunk):
        ear.intake.receive(sound[at : at + chunk].tobytes(), at)
        if at + chunk >= len(sound):
            ear.intake.mark(MarkKind.CLOSE)
        while ear.has_work:
            heard, unscored = ear.take_unscored()
            commits.add(ear.endpointer.origin)
            if unscored is not None:
                before = b"" if unscored.is_fresh else state
                probabilities, state = voice.score(unscored.windows, before)
                heard += ear.scored(probabilities)
                commits.add(ear.endpointer.origin)
            utterances += [event for event in heard if isinstance(event, Utterance)]
    return utterances, commits | {utterance.origin for utterance in utterances}


@pytest.mark.parametrize("silence", [1600, 8000])
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_commit_of_a_recording_is_a_place_to_go_on_from(
    voice: VoiceActivity, path: Path, silence: int
) -> None:
    if not path.exists():
        pytest.skip("shared/audio does not lie beside the repository")
    sound = np.frombuffer(Pcm.of(path).data, "<i2")
    whole, commits = hear(voice, sound, 0, chunk=1600, silence=silence)
    assert whole
    for commit in commits:
        wanted = [utterance for utterance in whole if utterance.origin >= commit]
        found, _ = hear(voice, sound, commit, chunk=3000, silence=silence)
        assert found == wanted, f"from {commit}"


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_a_resampler_that_begins_anew_changes_nothing(voice: VoiceActivity, rate: int) -> None:
    """That of the first daemon runs on over a commit, that of the second begins there."""
    recording = np.frombuffer(Pcm.of(RECORDINGS[0]).data, "<i2")
    sound = soxr.resample(recording.astype(np.float32), 16000, rate).astype("<i2")
    whole, commits = hear(voice, sound, 0, chunk=rate // 10, silence=8000, rate=rate)
    assert whole
    for commit in commits:
        wanted = [utterance for utterance in whole if utterance.origin >= commit]
        found, _ = hear(voice, sound, commit, chunk=rate // 5, silence=8000, rate=rate)
        assert found == wanted, f"from {commit}"
