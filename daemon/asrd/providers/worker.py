"""The child process in which one model lives: `python -m asrd.providers.worker FD`.

It reads calls from the socket FD and answers each before it reads the next, all in its main
thread, so that an engine sees one thread only. When the core ends, this process ends at once,
whatever the engine is doing: an orphan holds no memory. On Linux the kernel sees to that;
elsewhere a second thread watches, which an engine that never gives back the GIL can hold up.
"""

import io
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import NoReturn

import numpy as np

from asrd.errors import ModelUnavailable, ProviderError
from asrd.framing import HEADER
from asrd.providers import calls
from asrd.providers.registry import Registry
from asrd.providers.spec import DecodeOptions, Model
from asrd.providers.voice import WINDOW_SAMPLES, VoiceActivity

READ_BYTES = 2**16

PR_SET_PDEATHSIG = 1

WARM_UP_SAMPLES = 8000
"""Half a second of silence: enough that the engine allocates and compiles what it needs."""


class Worker:
    """Answers calls with the one thing that it has loaded."""

    def __init__(self) -> None:
        self._model: Model | None = None
        self._voice_activity: VoiceActivity | None = None

    def answer(self, call: calls.AnyCall) -> calls.AnyAnswer:
        """Carry out one call; every error of the plugin becomes a `Failed`."""
        try:
            match call:
                case calls.LoadModel():
                    return self._load_model(call)
                case calls.LoadVoiceActivity():
                    started = time.monotonic()
                    self._voice_activity = VoiceActivity()
                    load_s = time.monotonic() - started
                    return calls.Loaded(id=call.id, load_s=load_s, warm_up_s=0.0)
                case calls.Decode():
                    return self._decode(call)
                case calls.Score():
                    return self._score(call)
        except ModelUnavailable as error:
            return calls.Failed(id=call.id, kind="unavailable", message=str(error))
        except ProviderError as error:
            return calls.Failed(id=call.id, kind="provider", message=str(error))
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; the core logs it
            text = f"{type(error).__name__}: {error}"
            return calls.Failed(id=call.id, kind="internal", message=text)

    def _load_model(self, call: calls.LoadModel) -> calls.AnyAnswer:
        started = time.monotonic()
        registry = Registry()
        registry.add(call.plugin)
        self._model = registry.get(call.provider).provider.load(call.model, call.settings)
        loaded = time.monotonic()
        self._model.decode(np.zeros(WARM_UP_SAMPLES, np.float32), DecodeOptions())
        return calls.Loaded(
            id=call.id, load_s=loaded - started, warm_up_s=time.monotonic() - loaded
        )

    def _decode(self, call: calls.Decode) -> calls.AnyAnswer:
        if self._model is None:
            raise ProviderError("no model is loaded")
        options = DecodeOptions(
            language=call.language,
            task=call.task,
            words=call.words,
            prompt=call.prompt,
            is_partial=call.is_partial,
        )
        started = time.monotonic()
        hypothesis = self._model.decode(np.frombuffer(call.audio, np.float32), options)
        decode_s = time.monotonic() - started
        answer = calls.Decoded(id=call.id, hypothesis=hypothesis, decode_s=decode_s)
        calls.check(answer)  # a plugin's mistake costs its decode, not this process
        return answer

    def _score(self, call: calls.Score) -> calls.AnyAnswer:
        if self._voice_activity is None:
            raise ProviderError("the voice-activity model is not loaded")
        streams: list[calls.Probabilities] = []
        for item in call.streams:
            windows = np.frombuffer(item.windows, np.float32).reshape(-1, WINDOW_SAMPLES)
            probabilities, state = self._voice_activity.score(windows, item.state)
            streams.append(calls.Probabilities(probabilities=probabilities.tobytes(), state=state))
        return calls.Scored(id=call.id, streams=streams)


def _receive(channel: io.BufferedIOBase, size: int) -> bytes:
    """Exactly `size` bytes. Raises EOFError when the core has closed."""
    data = channel.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _ask_to_end_with_parent() -> None:
    """Have the kernel kill this process when the core ends, even while an engine holds the GIL."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_core(channel: socket.socket) -> None:
    """End this process when the other end of the socket is gone, even amid a decode."""
    poller = select.poll()
    poller.register(channel, select.POLLHUP)
    poller.poll()
    os._exit(0)


def main() -> NoReturn:
    """Serve calls on the socket whose descriptor is the first argument."""
    # Ctrl-C in a terminal reaches the whole process group; only the core decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _ask_to_end_with_parent()
    # A core that ended before that is seen by the thread, for its end of the socket is closed.
    channel = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with_core, args=(channel,), daemon=True).start()
    worker = Worker()
    # A small call is one system call.
    incoming = io.BufferedReader(socket.SocketIO(channel, "r"), READ_BYTES)
    try:
        while True:
            (size,) = HEADER.unpack(_receive(incoming, HEADER.size))
            call = calls.read_call(_receive(incoming, size))
            channel.sendall(calls.frame(worker.answer(call)))
    except (EOFError, OSError):
        os._exit(0)  # the core has gone; an engine's own tear-down could hang


if __name__ == "__main__":
    main()
