"""One child process and the calls made to it.

The process is started by exec, with a socketpair and nothing else of the core's. Its death, for
whatever reason, is the end of that socket: seen within milliseconds, and every call under way
fails with `WorkerDied`.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import cast

import msgspec
import structlog

from asrd.errors import DecodeCancelled, ModelUnavailable, ProviderError, RequestUnsupported
from asrd.framing import FrameError, FrameSplitter
from asrd.providers import calls

log = structlog.get_logger()

READ_BYTES = 2**16

_ERRORS: dict[calls.FailureKind, type[ProviderError]] = {
    "unavailable": ModelUnavailable,
    "request": RequestUnsupported,
    "cancelled": DecodeCancelled,
    "provider": ProviderError,
    "internal": ProviderError,
}


class WorkerDied(ProviderError):
    """The process ended while a call was under way, or before it was made."""


class WorkerStopped(WorkerDied):
    """The process was ended on purpose while a call was under way: the call is not to blame."""


def as_error(failure: calls.Failed | calls.NotRead) -> ProviderError:
    """What a plugin said of a failure, as the error that fits."""
    return _ERRORS[failure.kind](failure.message)


class WorkerProcess(asyncio.BufferedProtocol):
    """A running worker. Make one with `start`."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self._process = process
        self._splitter = FrameSplitter(calls.MAX_CALL_BYTES)
        self._buffer = bytearray(READ_BYTES)
        self._pending: dict[int, asyncio.Future[calls.AnyAnswer]] = {}
        self._last_id = 0
        self._transport: asyncio.Transport | None = None
        self._is_stopping = False
        self.on_death: Callable[[], None] = lambda: None
        self.on_progress: Callable[[calls.Progress], None] = lambda progress: None
        self.ended = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, name: str) -> "WorkerProcess":
        """Start a child process that waits for its first call."""
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            # In the loop's own thread: the pause is that of one vfork.
            process = subprocess.Popen(  # noqa: ASYNC220
                # -P: a file in the working directory must not stand in for a module.
                [sys.executable, "-P", "-m", "asrd.providers.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                # A numpy of its own threads would take the cores from the engine beside it.
                env={"OPENBLAS_NUM_THREADS": "1", **os.environ},
                stdin=subprocess.DEVNULL,
                stdout=2,  # a printf in an engine must not reach the protocol on stdout
            )
        loop = asyncio.get_running_loop()
        _, worker = await loop.create_connection(lambda: cls(name, process), sock=ours)
        return worker

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def last_id(self) -> int:
        """The id of the call that was made last."""
        return self._last_id

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone, or about to be: no call is answered any more."""
        return self._transport is None

    def call(self, make: Callable[[int], calls.AnyCall]) -> "asyncio.Future[calls.AnyAnswer]":
        """Send the call that `make` builds for an id.

        The future gives the answer; it raises ProviderError, or the kind of it that fits, for what
        the plugin said of the whole call, and WorkerDied when the process ended.
        """
        future: asyncio.Future[calls.AnyAnswer] = asyncio.get_running_loop().create_future()
        if self._transport is None:
            future.set_exception(WorkerDied(f"worker {self.name} has ended"))
            return future
        self._last_id += 1
        frame = calls.frame(make(self._last_id))  # raises for what cannot be sent
        self._pending[self._last_id] = future
        self._transport.write(frame)
        return future

    def abort(self, call: "asyncio.Future[calls.AnyAnswer]") -> None:
        """Tell the worker that nobody wants a call any more; its answer still comes, and sooner."""
        for number, future in self._pending.items():
            if future is call and self._transport is not None:
                self._transport.write(calls.frame(calls.Abort(id=number)))

    def forget(self, utterance: int) -> None:
        """Have the worker let go of an utterance that it was fed."""
        if self._transport is not None:
            self._last_id += 1
            forget = calls.Forget(id=self._last_id, utterance=utterance)
            self._transport.write(calls.frame(forget))

    def kill(self) -> None:
        """End the process; its owner hears of it as of any death."""
        self._process.kill()

    async def stop(self) -> None:
        """End the process and wait until it is gone."""
        self._is_stopping = True
        if self._transport is not None:
            self._transport.abort()
        self._process.kill()  # it holds nothing that must be saved
        await asyncio.shield(self.ended)

    # ── asyncio's side ────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The channel is up."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=calls.MAX_CALL_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what arrives."""
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        try:
            self._take(memoryview(self._buffer)[:nbytes])
        except (FrameError, msgspec.MsgspecError) as error:
            log.error("worker_unintelligible", worker=self.name, pid=self.pid, problem=str(error))
            if self._transport is not None:
                self._transport.abort()

    def _take(self, data: memoryview) -> None:
        for payload in self._splitter.feed(data):
            answer = calls.read_answer(payload)
            if isinstance(answer, calls.Progress):
                self.on_progress(answer)
                continue
            future = self._pending.pop(answer.id, None)
            if future is None or future.done():
                continue
            if isinstance(answer, calls.Failed):
                future.set_exception(as_error(answer))
            else:
                future.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The process is gone, or was told to go."""
        self._transport = None
        code = self._process.poll()
        self._process.kill()  # it may live on without its socket
        died = WorkerDied(f"the worker of {self.name} (pid {self.pid}) died{_cause(code)}")
        if self._is_stopping:
            died = WorkerStopped(f"{self.name} was unloaded")
        for future in self._pending.values():
            if not future.done():
                future.set_exception(died)
        self._pending.clear()
        asyncio.get_running_loop().run_in_executor(None, self._process.wait).add_done_callback(
            self._reaped
        )
        if not self._is_stopping:
            self.on_death()

    def _reaped(self, waited: "asyncio.Future[int]") -> None:
        code = waited.result()
        if not self._is_stopping:
            log.error("worker_died", worker=self.name, pid=self.pid, exit_code=code)
        with contextlib.suppress(asyncio.InvalidStateError):
            self.ended.set_result(code)


def _cause(code: int | None) -> str:
    """How a process ended, as far as that is known, for people."""
    if code is None or code == 0:
        return ""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f" of {signal.Signals(-code).name}"
        return f" of signal {-code}"
    return f" with exit code {code}"
