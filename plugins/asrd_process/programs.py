"""The running programs of one model: those that read an utterance, and warm ones for the next.

One thread keeps as many alive as are wanted, starts them one after another, because each load wants
the disk and the cores for itself, and waits longer after each that ended unused.
"""

import threading
import time
from collections.abc import Callable

from asrd import DecodeCancelled, ProviderError
from asrd_process.program import LOOK_EVERY_S, Launch, Program
from asrd_process.vigil import Vigil

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""Between starts in vain; doubling from the first to the longest."""

LONGEST_WAIT_S = 1.0
"""An utterance waits for a pause that is no longer; for a longer one it fails at once."""

END_S = 2.0
"""So long `close` waits for what it has ended."""


class Programs:
    """Starts programs and lends each to one utterance at a time. Its methods may be called from
    any thread."""

    def __init__(
        self, launch: Launch, *, at_once: int, spares: int, start_timeout_s: float
    ) -> None:
        self._launch = launch
        self._at_once = at_once
        self._wanted = at_once + spares
        self._start_timeout_s = start_timeout_s
        self._changed = threading.Condition()
        self._starting: Program | None = None
        self._idle: list[Program] = []
        self._lent: list[Program] = []
        self._clearing: list[Program] = []
        self._arrived: list[object] = []
        self._waiting: list[object] = []
        self._takers = 0
        self._failures = 0
        self._failed = 0
        self._problem = ""
        self._start_at_s = 0.0
        self._is_closed = False
        # Programs end with the thread that started them, so there is one for all, until the end.
        self._keeper = threading.Thread(target=self._keep, name="keep programs", daemon=True)
        self._keeper.start()

    # ── for readers ───────────────────────────────────────────────────────────────────────────

    def wait_until_ready(self) -> None:
        """Wait for the first program to listen.

        Raises:
            ProviderError: it cannot be started; the message says how it ended.
        """
        with self._changed:
            # The looks keep this process's CPU time moving, by which a worker that loads is judged:
            # the load is a program's, and bounded here.
            while not self._idle:
                if self._failed:
                    raise ProviderError(self._problem)
                self._see_keeper()
                self._changed.wait(LOOK_EVERY_S)

    def take(self, keep_going: Callable[[], bool]) -> Program:
        """A program that listens and has heard nothing that was not finished.

        Waits while one is being started, and tells `keep_going` as that gets further.

        Raises:
            DecodeCancelled: `keep_going()` returned False.
            ProviderError: none can be started, or all that may run are in use.
        """
        ticket = object()
        self._enter(ticket)
        try:
            return self._await(ticket, keep_going)
        except BaseException:
            with self._changed:
                self._takers -= 1
            raise
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()  # the next in the queue

    def put_back(self, program: Program) -> None:
        """The program has finished an utterance, and may have the next."""
        with self._changed:
            self._takers -= 1
            self._lent.remove(program)
            self._served()
            self._idle.append(program)
            self._changed.notify_all()

    def give_up(self, program: Program, *, has_served: bool) -> None:
        """The program is not used again. `has_served`: it has read its utterance to the end."""
        program.kill()
        program.close_input()
        with self._changed:
            self._takers -= 1
            self._lent.remove(program)
            if has_served:
                self._served()
            self._changed.notify_all()

    def clear(self, program: Program, finish: Callable[[], object]) -> None:
        """The program's utterance is given up in the middle; once `finish` has returned, it may
        have the next. That is called in a thread of its own; what it raises ends the program."""
        with self._changed:
            self._takers -= 1
            self._clearing.append(program)
            self._changed.notify_all()
        name = f"clear {program.name}"
        thread = threading.Thread(
            target=self._clear, args=(program, finish), name=name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # there are too many

            def fail() -> None:
                raise ProviderError("no thread could be started for it")

            self._clear(program, fail)

    def close(self) -> None:
        """End all programs."""
        with self._changed:
            self._is_closed = True
            starting = [] if self._starting is None else [self._starting]
            programs = [*starting, *self._idle, *self._lent]
            self._changed.notify_all()
        for program in programs:
            program.kill()
        deadline_s = time.monotonic() + END_S
        for program in programs:
            while not program.has_ended and time.monotonic() < deadline_s:
                program.wait()
        self._keeper.join(END_S)

    def _clear(self, program: Program, finish: Callable[[], object]) -> None:
        is_clear = False
        try:
            finish()
            is_clear = True
        except ProviderError as error:
            program.tell(f"it is ended, since it did not finish what was given up: {error}")
        finally:
            if not is_clear:
                program.kill()
            with self._changed:
                self._clearing.remove(program)
                self._lent.remove(program)
                if is_clear:
                    self._idle.append(program)
                self._changed.notify_all()

    def _enter(self, ticket: object) -> None:
        """Become one of the `at_once` takers, in the order of arrival."""
        with self._changed:
            self._arrived.append(ticket)
            try:
                # One that is being given up or put back in another thread is free in a moment.
                if not self._changed.wait_for(
                    lambda: self._takers < self._at_once and self._arrived[0] is ticket,
                    LONGEST_WAIT_S,
                ):
                    raise ProviderError(
                        f"All {self._at_once} programs are reading an utterance; "
                        "the setting 'programs' says how many there are."
                    )
                self._takers += 1
                self._waiting.append(ticket)
            finally:
                self._arrived.remove(ticket)
                self._changed.notify_all()

    def _await(self, ticket: object, keep_going: Callable[[], bool]) -> Program:
        """The next program for whoever has waited longest."""
        with self._changed:
            failed = self._failed
        # What fails from now on concerns this utterance; a spare that has died meanwhile does not.
        watched: Program | None = None
        vigil: Vigil | None = None
        while True:
            with self._changed:
                while self._idle and self._waiting[0] is ticket:
                    program = self._idle.pop(0)  # the one that has waited longest
                    if not program.has_ended:
                        self._lent.append(program)
                        return program
                    self._fail(f"{program.end_told}.")
                    failed = self._failed
                rest_s = self._start_at_s - time.monotonic()
                coming = [self._starting] if self._starting is not None else self._clearing
                is_resting = not coming and rest_s > LONGEST_WAIT_S
                if is_resting or self._failed > failed:
                    raise ProviderError(self._problem)
                if self._is_closed:
                    raise DecodeCancelled("The model was closed.")
                self._see_keeper()
                if not coming or coming[0] is not watched:
                    watched = coming[0] if coming else None
                    vigil = None if watched is None else Vigil(watched, keep_going)
                self._changed.wait(LOOK_EVERY_S)  # who waits wakes nobody: others do this, too
            if vigil is not None:
                vigil.look()
            elif not keep_going():
                raise DecodeCancelled("Nobody wanted this utterance any more.")

    def _see_keeper(self) -> None:
        """Raises ProviderError where no program would ever be started."""
        if not self._keeper.is_alive():
            raise ProviderError(f"{self._launch.name} is not started any more: its thread is gone.")

    # ── the keeper's thread ───────────────────────────────────────────────────────────────────

    def _keep(self) -> None:
        with self._changed:
            while not self._is_closed:
                try:
                    pause_s = self._tend()
                except Exception as error:  # noqa: BLE001 - told; all programs end with the thread
                    self._fail(f"{self._launch.name} cannot be started: {_told(error)}.")
                    pause_s = LOOK_EVERY_S
                self._changed.wait(pause_s)

    def _tend(self) -> float | None:
        """Do what is due; seconds until something may be due again, None for what is notified."""
        for program in [each for each in self._idle if each.has_ended]:
            self._idle.remove(program)
            self._fail(f"{program.end_told}.")
        if self._starting is not None:
            return self._tend_starting(self._starting)
        if len(self._idle) + len(self._lent) >= self._wanted:
            return None
        if (pause_s := self._start_at_s - time.monotonic()) > 0:
            return pause_s
        self._starting = Program(self._launch, self._look)
        return LOOK_EVERY_S

    def _tend_starting(self, program: Program) -> float | None:
        if program.has_ended:
            self._starting = None
            self._fail(f"{program.end_told}.")
        elif program.is_ready:
            self._starting = None
            self._idle.append(program)
            self._changed.notify_all()
        elif time.monotonic() - program.started_s > self._start_timeout_s:
            self._starting = None
            program.kill()
            self._fail(
                f"{program.name} has not said within {self._start_timeout_s:g} s that it listens."
            )
        return LOOK_EVERY_S

    def _fail(self, problem: str) -> None:
        """A program was started in vain."""
        self._problem = problem
        self._failed += 1
        pause_s = min(FIRST_PAUSE_S * 2**self._failures, LONGEST_PAUSE_S)
        self._failures += 1
        self._start_at_s = time.monotonic() + pause_s
        self._changed.notify_all()

    def _served(self) -> None:
        self._failures = 0
        self._start_at_s = 0.0

    def _look(self) -> None:
        """Something happened to a program."""
        with self._changed:
            self._changed.notify_all()


def _told(error: Exception) -> str:
    """What went wrong, without what it was done with."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"
