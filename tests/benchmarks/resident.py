"""A resident daemon against one process per chunk: `python -m benchmarks.resident` in `tests/`.

Chunks of two seconds of speech. The rival starts a Python process for each, which imports the
engine, loads the model and reads the chunk. The daemon is sent the chunk and a flush. Moonshine has
its own weights; faster-whisper a model of the shape of Whisper tiny or base with made-up weights
that says 28 words, at full context, int8, the same settings on both sides.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asrd.wire import messages as wire
from benchmarks.common import (
    Samples,
    WireClient,
    daemon,
    median,
    pcm,
    run_python,
    speech,
    utterances,
)
from benchmarks.shapes import make_model

CHUNK_S = 2.0


BARE_PROCESS = {
    "moonshine": """
import sys
from pathlib import Path
import numpy as np
import moonshine_voice
from moonshine_voice import ModelArch, Transcriber
audio = np.load(sys.argv[2])
folder = Path(moonshine_voice.__file__).parent / "assets" / sys.argv[1]
engine = Transcriber(model_path=str(folder), model_arch=ModelArch.TINY)
print(engine.transcribe_without_streaming(audio.tolist()), file=sys.stderr)
""",
    "faster_whisper": """
import sys
import numpy as np
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", local_files_only=True)
list(model.transcribe(np.load(sys.argv[2]), condition_on_previous_text=False)[0])
""",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10)
    parser.add_argument("--size", default="tiny", choices=("tiny", "base"), help="of Whisper")
    options = parser.parse_args()
    chunks = _chunks(options.chunks)
    print(f"seconds per chunk of {CHUNK_S:g} s, medians of {len(chunks)}")
    with tempfile.TemporaryDirectory() as folder:
        whisper = make_model(options.size, Path(folder))
        for provider, model in (("moonshine", "tiny-en"), ("faster_whisper", str(whisper))):
            own_s = _one_process_each(provider, model, chunks, Path(folder))
            resident_s = _resident(provider, model, chunks)
            print(
                f"{provider:15} a process each {own_s:6.3f}   resident {resident_s:6.3f}"
                f"   {own_s / resident_s:5.1f} times faster"
            )


def _chunks(count: int) -> list[Samples]:
    """Pieces of speech of two seconds, each with something said in it."""
    windows = [window for _, window in utterances(speech())]
    size = round(CHUNK_S * 16000)
    pieces = [
        window[start : start + size]
        for window in windows
        for start in range(0, len(window) - size + 1, size)
    ]
    return pieces[:count]


def _one_process_each(provider: str, model: str, chunks: Sequence[Samples], folder: Path) -> float:

    path = folder / "chunk.npy"
    times = []
    for chunk in chunks:
        np.save(path, chunk)
        times.append(run_python(BARE_PROCESS[provider], model, str(path))[0])
    return median(times)


def _resident(provider: str, model: str, chunks: Sequence[Samples]) -> float:
    with daemon("--provider", provider, "--model", model) as path:
        client = WireClient(path)
        client.send(wire.Open(stream=1, source="mic", partials=False))
        client.wait_for(wire.Opened)
        times = []
        for chunk in chunks:
            started = time.perf_counter()
            client.send(
                wire.Audio(stream=1, data=pcm(chunk[: len(chunk) // 2])),
                wire.Audio(stream=1, data=pcm(chunk[len(chunk) // 2 :])),
                wire.Flush(stream=1),
            )
            client.wait_for(wire.Flushed)
            times.append(time.perf_counter() - started)
        client.close()
    return median(times)


if __name__ == "__main__":
    main()
