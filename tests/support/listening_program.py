"""A program that reads raw 16 kHz s16le mono on stdin and prints the words as it becomes sure.

It hears with Moonshine and behaves as programs of this kind do: the first read wants 4,096 bytes,
each further one 256 ms; it marks neither utterances nor times; what it has printed stays, so it
prints only what two readings in a row agree on; the last words come only with more input, at a
pause or at the end; a newline comes only then. Marks on stderr tell of its state. It can be told to
misbehave, too.

    python listening_program.py [--json-lines] [--die-after BYTES] ...
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import takewhile

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
FIRST_READ_BYTES = 4096
READ_BYTES = 2 * SAMPLE_RATE * 256 // 1000
READ_EVERY_SAMPLES = SAMPLE_RATE
PAUSE_SAMPLES = SAMPLE_RATE
QUIET = 0.003
LONGEST_SAMPLES = 28 * SAMPLE_RATE

Samples = npt.NDArray[np.float32]


def options() -> argparse.Namespace:
    """What it is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json-lines", action="store_true")
    parser.add_argument("--slow-start", type=float, default=0.0, metavar="S")
    parser.add_argument("--no-start", action="store_true", help="end before listening")
    parser.add_argument("--deaf", action="store_true", help="load no model and say nothing")
    parser.add_argument("--die-after", type=int, default=0, metavar="BYTES")
    parser.add_argument("--stall", type=int, default=0, metavar="BYTES", help="then read no more")
    parser.add_argument("--flood", type=int, default=0, metavar="BYTES", help="then print for ever")
    parser.add_argument("--linger", action="store_true", help="do not end when stdin does")
    parser.add_argument("--end-with", type=int, default=0, metavar="CODE")
    return parser.parse_args()


def pieces() -> Iterator[bytes]:
    """What arrives on stdin, in the portions that it is read in."""
    wanted = FIRST_READ_BYTES
    while data := sys.stdin.buffer.read(wanted):
        yield data
        wanted = READ_BYTES


class Hearing:
    """The audio since the last pause, and the words of it that were printed."""

    def __init__(self, *, is_json: bool) -> None:
        from asrd_moonshine import MoonshineProvider

        self._model = MoonshineProvider().load("tiny-en", {})
        self._is_json = is_json
        self._forget()

    def _forget(self) -> None:
        self._audio = np.zeros(0, np.float32)
        self._unread_samples = 0
        self._before: list[str] = []
        self._printed: list[str] = []

    def hear(self, audio: Samples) -> None:
        """Take more in, and print what is sure by now."""
        self._audio = np.concatenate([self._audio, audio])
        self._unread_samples += audio.size
        tail = self._audio[-PAUSE_SAMPLES:]
        is_pause = tail.size == PAUSE_SAMPLES and float(np.abs(tail).max()) < QUIET
        if is_pause or self._audio.size > LONGEST_SAMPLES:
            self.finish()
        elif self._unread_samples >= READ_EVERY_SAMPLES:
            self._unread_samples = 0
            words = self._words()
            pairs = zip(words, self._before, strict=False)
            sure = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            self._before = words
            self._print(words[:sure], is_final=False, open_words=words[sure:])

    def finish(self) -> None:
        """Print the rest of what was heard."""
        if np.abs(self._audio).max(initial=0.0) >= QUIET:
            self._print(self._words(), is_final=True)
        self._forget()

    def _words(self) -> list[str]:
        from asrd import DecodeOptions

        return self._model.decode(self._audio, DecodeOptions()).text.split()

    def _print(
        self, words: list[str], *, is_final: bool, open_words: list[str] | None = None
    ) -> None:
        new = words[len(self._printed) :]
        if self._is_json:
            text = " ".join([*self._printed, *new, *(open_words or [])])
            say(json.dumps({"text": text, "final": is_final}) + "\n")
        elif new:
            say("".join(f" {word}" for word in new))
        self._printed += new


def say(text: str) -> None:
    """Print in two pieces, so that characters and words are cut."""
    data = text.encode()
    for part in (data[: len(data) // 2], data[len(data) // 2 :]):
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


def mark(text: str) -> None:
    """Say something beside the text."""
    sys.stderr.write(f"[{text}]\n")
    sys.stderr.flush()


def main() -> int:
    """Listen until stdin ends."""
    told = options()
    mark("loading")
    time.sleep(told.slow_start)
    if told.no_start:
        mark("no such model")
        return 3
    hearing = None if told.deaf else Hearing(is_json=told.json_lines)
    mark("listening")
    heard_bytes = 0
    for data in pieces():
        heard_bytes += len(data)
        if told.die_after and heard_bytes >= told.die_after:
            mark("out of cheese")
            sys.stderr.flush()
            os._exit(4)
        while told.stall and heard_bytes >= told.stall:
            time.sleep(3600)
        while told.flood and heard_bytes >= told.flood:
            say(" more and more" * 100)
        if hearing is not None:
            hearing.hear(np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768))
    if hearing is not None:
        hearing.finish()
    if not told.json_lines:
        say("\n")
    while told.linger:
        time.sleep(3600)
    mark("end")
    return int(told.end_with)


if __name__ == "__main__":
    sys.exit(main())
