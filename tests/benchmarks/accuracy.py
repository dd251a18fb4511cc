"""What the daemon's cutting costs or gains in words: `python -m benchmarks.accuracy` in `tests/`.

Moonshine through the daemon, live endpointing, against Moonshine called on each whole file with its
own segmentation. The recordings are that of moonshine-voice and, where the folder lies beside the
repository, those of `shared/audio`. Whole texts swing by some errors with a few milliseconds of
shift, so differences of one or two words mean nothing.
"""

import tempfile
from pathlib import Path

from asrd.providers.registry import discover
from conftest import SHARED_AUDIO, TWO_CITIES_TEXT, Recording, read_transcripts
from flow.test_speech import Pcm, moonshine_alone, transcribe
from support.daemon import running_daemon
from support.errors import word_error_rate


def main() -> None:
    """Measure and print."""
    sample = discover().providers["moonshine"].sample()
    if sample is None:
        raise RuntimeError("moonshine-voice has no recording in this installation")
    recordings = [Recording(path=sample, transcript=TWO_CITIES_TEXT)]
    if SHARED_AUDIO.is_dir():
        recordings += read_transcripts(SHARED_AUDIO)
    spoken = [Pcm.of(recording.path) for recording in recordings]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_daemon(Path(folder), provider="moonshine") as daemon,
        daemon.greet() as client,
    ):
        ours = [transcribe(client, stream, pcm) for stream, pcm in enumerate(spoken)]
    alone = moonshine_alone(spoken)
    references = [recording.transcript for recording in recordings]
    for recording, reference, mine, bare in zip(recordings, references, ours, alone, strict=True):
        _report(recording.path.name, [(reference, mine)], [(reference, bare)])
    _report(
        "all", list(zip(references, ours, strict=True)), list(zip(references, alone, strict=True))
    )


def _report(name: str, ours: list[tuple[str, str]], alone: list[tuple[str, str]]) -> None:
    mine, bare = word_error_rate(ours), word_error_rate(alone)
    print(f"{name:20} through asrd {mine:6.1%}   the engine alone {bare:6.1%}")


if __name__ == "__main__":
    main()
