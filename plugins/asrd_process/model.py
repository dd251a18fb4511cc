"""The model of `process`: an utterance is what one program is told until it is told to finish.

A reader takes its program with the first samples, so that one which is fed nothing costs none. Once
a call to it fails, its program is ended: half an utterance must not be in what the next one hears.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from asrd import (
    Abilities,
    DecodeOptions,
    Hypothesis,
    ProviderError,
    StreamingModel,
    UtteranceReader,
)
from asrd_process.output import OutputFormat, Reading
from asrd_process.program import LOOK_EVERY_S, Program
from asrd_process.programs import Programs
from asrd_process.vigil import Vigil

SAMPLE_RATE = 16_000
SAMPLE_BYTES = 2

COMPUTING_SHARE = 0.1
"""A program that uses more CPU time than this part of the time computes, and has more to say."""

LONGEST_LOOK_S = 0.2
"""Over so long its CPU time is measured; the system counts it in hundredths of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a program is fed, and how it is told that an utterance ends."""

    feed_s: float
    end: Literal["recycle", "pad"]
    padding_s: float
    quiet_s: float
    finish_timeout_s: float
    stall_s: float
    output: OutputFormat

    @property
    def padding(self) -> bytes:
        """The silence behind an utterance."""
        return bytes(SAMPLE_BYTES * round(self.padding_s * SAMPLE_RATE))


class ProcessModel(StreamingModel):
    """Programs that listen, each to one utterance at a time."""

    def __init__(self, programs: Programs, manner: Manner, *, at_once: int) -> None:
        self.abilities = Abilities(feed_s=manner.feed_s, decodes_at_once=at_once)
        self.most_readers = at_once
        self._programs = programs
        self._manner = manner

    def begin(self, options: DecodeOptions) -> UtteranceReader:
        """Begin an utterance. Language, task, prompt and words are the program's own affair."""
        return ProcessReader(self._programs, self._manner)

    def close(self) -> None:
        """End the programs."""
        self._programs.close()


class ProcessReader(UtteranceReader):
    """One utterance, and the program that hears it."""

    def __init__(self, programs: Programs, manner: Manner) -> None:
        self._programs = programs
        self._manner = manner
        self._program: Program | None = None
        self._has_failed = False

    def feed(self, audio: npt.NDArray[np.float32], keep_going: Callable[[], bool]) -> Hypothesis:
        """Write the audio, and say what was printed by now; the program may be behind."""
        if not audio.size and self._program is None:
            return Hypothesis(text="")
        program = self._begun(keep_going)
        try:
            look = Vigil(program, keep_going).look
            program.write(_pcm(audio), look, self._manner.stall_s)
            if program.has_ended:
                raise program.death()
        except BaseException:
            self._give_up()
            raise
        return _hypothesis(program.reading)

    def finish(self, keep_going: Callable[[], bool]) -> Hypothesis:
        """Have the program print what is left, as its manner is."""
        if self._has_failed:
            raise ProviderError("This utterance has failed before.")
        program = self._program
        if program is None:
            return Hypothesis(text="")
        try:
            reading = self._end(program, keep_going)
        except BaseException:
            self._give_up()
            raise
        self._program = None
        if self._manner.end == "recycle":
            self._programs.give_up(program, has_served=True)
        else:
            self._programs.put_back(program)
        return _hypothesis(reading)

    def close(self) -> None:
        """Have the program out of the utterance, if it is in the middle of it.

        Where programs are kept, loading another would take longer than to hear this one out.
        """
        if self._manner.end == "recycle" or self._program is None:
            self._give_up()
            return
        program, self._program = self._program, None
        self._has_failed = True
        self._programs.clear(program, lambda: self._end(program, lambda: True))

    def _begun(self, keep_going: Callable[[], bool]) -> Program:
        """The utterance's program, taken with its first samples."""
        if self._has_failed:
            raise ProviderError("This utterance has failed before.")
        if self._program is None:
            self._program = self._programs.take(keep_going)
            self._program.begin(self._manner.output.begin())
        return self._program

    def _end(self, program: Program, keep_going: Callable[[], bool]) -> Reading:
        """Have it print the rest of the utterance. Raises what `finish` raises."""
        vigil = Vigil(program, keep_going)
        stall_s = min(self._manner.stall_s, self._manner.finish_timeout_s)
        program.write(self._manner.padding, vigil.look, stall_s)
        if self._manner.end == "recycle":
            self._await_end(program, vigil)
        else:
            self._await_quiet(program, vigil)
        return program.end_output()

    def _await_end(self, program: Program, vigil: Vigil) -> None:
        """Close its stdin and wait until it has printed the rest and gone."""
        program.close_input()
        deadline_s = time.monotonic() + self._manner.finish_timeout_s
        while not program.has_ended:
            if time.monotonic() > deadline_s:
                raise self._late(program, "ended")
            program.wait()
            vigil.look()
        if program.exit_code != 0:
            raise ProviderError(f"{program.end_told}.")

    def _await_quiet(self, program: Program, vigil: Vigil) -> None:
        """Wait until it has taken everything, prints no more and computes no more."""
        quiet_s = self._manner.quiet_s
        look_s = quiet_s / math.ceil(quiet_s / LONGEST_LOOK_S)
        deadline_s = time.monotonic() + self._manner.finish_timeout_s
        state = (-1, -1)
        moved_s = looked_s = time.monotonic()
        cpu_s = program.cpu_s
        while True:
            if program.has_ended:
                raise program.death()
            now_s = time.monotonic()
            before, state = state, (program.unread_bytes(), program.printed_bytes)
            if has_moved := state != before:
                moved_s = now_s
            if has_moved or now_s - looked_s >= look_s:
                cpu_before_s, cpu_s = cpu_s, program.cpu_s
                if cpu_s - cpu_before_s > COMPUTING_SHARE * (now_s - looked_s):
                    moved_s = now_s
                looked_s = now_s
                if state[0] == 0 and now_s - moved_s >= quiet_s:
                    return
            if now_s > deadline_s:
                raise self._late(program, "become quiet")
            program.wait(min(look_s, LOOK_EVERY_S))
            vigil.look()

    def _late(self, program: Program, done: str) -> ProviderError:
        timeout_s = self._manner.finish_timeout_s
        return ProviderError(
            f"{program.name} has not {done} within {timeout_s:g} s of an utterance's end."
        )

    def _give_up(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            self._has_failed = True
            self._programs.give_up(program, has_served=False)


def _pcm(audio: npt.NDArray[np.float32]) -> bytes:
    """The samples as 16-bit integers, little-endian."""
    pcm: bytes = np.clip(np.rint(audio * 32768.0), -32768, 32767).astype("<i2").tobytes()
    return pcm


def _hypothesis(reading: Reading) -> Hypothesis:
    return Hypothesis(text=reading.text, stable=reading.stable)
