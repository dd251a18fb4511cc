"""The child process in which one model lives: `python -m asrd.providers.worker FD`.

It reads calls from the socket FD and answers each before it reads the next, all in its main
thread, so that an engine sees one thread only. A second thread watches for the core's end and
ends the process at once, whatever the engine is doing: an orphan holds no memory.
"""

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
        return calls.Decoded(id=call.id, hypothesis=hypothesis, decode_s=time.monotonic() - started)

    def _score(self, call: calls.Score) -> calls.AnyAnswer:
        if self._voice_activity is None:
            raise ProviderError("the voice-activity model is not loaded")
        for stream in call.ended:
            self._voice_activity.forget(stream)
        probabilities = [
            self._voice_activity.score(
                item.stream,
                np.frombuffer(item.windows, np.float32).reshape(-1, WINDOW_SAMPLES),
                is_fresh=item.is_fresh,
            ).tobytes()
            for item in call.streams
        ]
        return calls.Scored(id=call.id, probabilities=probabilities)


def _receive(channel: socket.socket, size: int) -> bytearray:
    """Exactly `size` bytes. Raises EOFError when the core has closed."""
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        count = channel.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return buffer


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
    channel = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with_core, args=(channel,), daemon=True).start()
    worker = Worker()
    try:
        while True:
            (size,) = HEADER.unpack(_receive(channel, HEADER.size))
            call = calls.read_call(_receive(channel, size))
            channel.sendall(calls.frame(worker.answer(call)))
    except (EOFError, OSError):
        os._exit(0)  # the core has gone; an engine's own tear-down could hang


if __name__ == "__main__":
    main()
