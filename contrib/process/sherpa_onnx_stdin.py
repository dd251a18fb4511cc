"""Streaming recognition with sherpa-onnx, for asrd's provider `process`.

Reads raw 16 kHz s16le mono on stdin and prints one JSON object per line, whenever the text has
changed:

    {"text": "what is heard so far", "final": false}

A line that is final has its text for good; the next begins anew. Needs the packages sherpa-onnx and
numpy, and a folder with a streaming transducer: tokens.txt, and encoder, decoder and joiner as
.onnx files (the .int8.onnx ones are taken with --int8).

    python sherpa_onnx_stdin.py MODEL_FOLDER [--threads N] [--int8]
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import sherpa_onnx

SAMPLE_RATE = 16_000
READ_BYTES = 2 * SAMPLE_RATE // 10
TAIL_S = 0.66
"""A streaming encoder looks ahead: its last words need so much silence behind them."""


def find(folder: Path, part: str, *, is_int8: bool) -> str:
    """The path of an .onnx file; ends the program where there is not exactly one."""
    files = [
        file
        for file in sorted(folder.glob(f"{part}*.onnx"))
        if file.name.endswith(".int8.onnx") == is_int8
    ]
    if len(files) != 1:
        sys.exit(f"{folder} has {len(files)} files for the {part}, and not one")
    return str(files[0])


def load(arguments: argparse.Namespace) -> sherpa_onnx.OnlineRecognizer:
    """The recognizer. Pauses are endpoints for it, and its line is final there."""
    folder = arguments.folder
    return sherpa_onnx.OnlineRecognizer.from_transducer(
        tokens=str(folder / "tokens.txt"),
        encoder=find(folder, "encoder", is_int8=arguments.int8),
        decoder=find(folder, "decoder", is_int8=False),
        joiner=find(folder, "joiner", is_int8=arguments.int8),
        num_threads=arguments.threads,
        sample_rate=SAMPLE_RATE,
        enable_endpoint_detection=True,
    )


class Line:
    """The text since the last endpoint, as it was printed last."""

    def __init__(self) -> None:
        self._text = ""

    def tell(self, text: str, *, is_final: bool) -> None:
        """Print what is new."""
        if text != self._text or (is_final and text):
            sys.stdout.write(json.dumps({"text": text, "final": is_final}) + "\n")
            sys.stdout.flush()
        self._text = "" if is_final else text


def main() -> None:
    """Listen until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--int8", action="store_true")
    recognizer = load(parser.parse_args())
    stream, line = recognizer.create_stream(), Line()
    sys.stderr.write("listening\n")
    sys.stderr.flush()
    while data := sys.stdin.buffer.read(READ_BYTES):
        whole = data[: len(data) // 2 * 2]
        samples = np.frombuffer(whole, "<i2").astype(np.float32) / np.float32(32768)
        stream.accept_waveform(SAMPLE_RATE, samples)
        while recognizer.is_ready(stream):
            recognizer.decode_stream(stream)
        is_endpoint = recognizer.is_endpoint(stream)
        line.tell(recognizer.get_result(stream).strip(), is_final=is_endpoint)
        if is_endpoint:
            recognizer.reset(stream)
    stream.accept_waveform(SAMPLE_RATE, np.zeros(round(TAIL_S * SAMPLE_RATE), np.float32))
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    line.tell(recognizer.get_result(stream).strip(), is_final=True)


if __name__ == "__main__":
    main()
