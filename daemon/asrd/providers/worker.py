"""The child process in which one model lives: `python -m asrd.providers.worker FD`.

It reads calls from the socket FD and answers each before it reads the next, all in its main
thread, so that an engine sees one thread only. Where a model says that it decodes several at once,
each decode runs in one of as many threads instead, and the main thread reads on.

When the core ends, this process ends at once, whatever the engine is doing: an orphan holds no
memory. On Linux the kernel sees to that; elsewhere a second thread watches, which an engine that
never gives back the GIL can hold up.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NoReturn

import numpy as np

from asrd.audio import SAMPLE_RATE
from asrd.errors import DecodeCancelled, ProviderError
from asrd.providers import calls, gpu_memory, warm_up
from asrd.providers.channel import CallChannel
from asrd.providers.engine import Engine, blame
from asrd.providers.registry import Registry
from asrd.providers.spec import DecodeOptions
from asrd.providers.voice import WINDOW_SAMPLES, VoiceActivity

PR_SET_PDEATHSIG = 1

OOM_SCORE = "500"
"""When memory runs out, the kernel ends workers, which are replaced, before the core."""


class Worker:
    """Answers calls with the one thing that it has loaded."""

    def __init__(self, channel: CallChannel) -> None:
        self._channel = channel
        self._engine: Engine | None = None
        self._voice_activity: VoiceActivity | None = None
        self._waiting: SimpleQueue[calls.Decode | calls.Forget] = SimpleQueue()
        self._threads = 0

    def take(self, call: calls.AnyCall) -> None:
        """Carry out one call and send its answer; a decode beside others is only begun.

        Raises OSError when the core is gone.
        """
        at_once = 1 if self._engine is None else self._engine.abilities.decodes_at_once
        # What is to be forgotten waits behind the decodes that may be of it.
        if at_once == 1 or not isinstance(call, calls.Decode | calls.Forget):
            self._serve(call)
            return
        self._channel.is_always_read = True
        self._waiting.put(call)
        if self._threads < at_once:
            self._threads += 1
            threading.Thread(target=self._decode_for_ever, daemon=True).start()

    def _decode_for_ever(self) -> NoReturn:
        try:
            while True:
                self._serve(self._waiting.get())
        except OSError:
            os._exit(0)  # the core has gone
        except BaseException:  # noqa: BLE001 - as in the main thread: who cannot go on ends
            traceback.print_exc()
            os._exit(1)

    def _serve(self, call: calls.AnyCall) -> None:
        answer = self.answer(call)
        if answer is not None:
            self._channel.send(answer)

    def answer(self, call: calls.AnyCall) -> calls.AnyAnswer | None:
        """Carry out one call; the plugin's errors become a `Failed`, or a window's `NotRead`."""
        try:
            match call:
                case calls.LoadModel():
                    return self._load_model(call)
                case calls.LoadVoiceActivity():
                    return self._load_voice_activity(call)
                case calls.Decode():
                    return self._decode(call)
                case calls.Score():
                    return self._score(call)
                case calls.MeasureGpu():
                    return gpu_memory.measure(call.id)
                case calls.Forget():
                    if self._engine is not None:
                        self._engine.forget(call.utterance)
                    return None
                case calls.Abort():
                    return None  # the call that it was for has been answered already
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; the core logs it
            failure = blame(error)
            return calls.Failed(id=call.id, kind=failure.kind, message=failure.message)

    def _load_model(self, call: calls.LoadModel) -> calls.AnyAnswer:
        started = time.monotonic()
        registry = Registry()
        registry.add(call.plugin)
        provider = registry.get(call.provider).provider
        self._engine = engine = Engine(provider.load(call.model, call.settings))
        loaded = time.monotonic()
        self._channel.tell_loaded(call.id)
        options = DecodeOptions(keep_going=self._channel.begin(call.id).keep_going)
        done = warm_up.warm(engine.model, engine.abilities, call.warm_up, options)
        return calls.Loaded(
            id=call.id,
            load_s=loaded - started,
            warm_up_s=time.monotonic() - loaded,
            warm_up=done,
            gpu_bytes=gpu_memory.measure(call.id).gpu_bytes,
            abilities=engine.abilities,
        )

    def _load_voice_activity(self, call: calls.LoadVoiceActivity) -> calls.AnyAnswer:
        started = time.monotonic()
        self._voice_activity = VoiceActivity()
        loaded = time.monotonic()
        self._channel.tell_loaded(call.id)
        self._voice_activity.score(np.zeros((1, WINDOW_SAMPLES), np.float32), b"")
        warm_up_s = time.monotonic() - loaded
        done = calls.WarmUpDecode(audio_s=WINDOW_SAMPLES / SAMPLE_RATE, took_s=warm_up_s)
        return calls.Loaded(
            id=call.id, load_s=loaded - started, warm_up_s=warm_up_s, warm_up=[done]
        )

    def _decode(self, call: calls.Decode) -> calls.AnyAnswer:
        if self._engine is None:
            raise ProviderError("no model is loaded")
        ongoing = self._channel.begin(call.id)
        if not ongoing.is_wanted:
            raise DecodeCancelled("nobody wanted it any more when its turn came")
        started = time.monotonic()
        outcomes = self._engine.read(call.items, ongoing.keep_going)
        return calls.Decoded(id=call.id, outcomes=outcomes, decode_s=time.monotonic() - started)

    def _score(self, call: calls.Score) -> calls.AnyAnswer:
        if self._voice_activity is None:
            raise ProviderError("the voice-activity model is not loaded")
        scored = self._voice_activity.score_all(
            [
                (np.frombuffer(item.windows, np.float32).reshape(-1, WINDOW_SAMPLES), item.state)
                for item in call.streams
            ]
        )
        streams = [
            calls.Probabilities(probabilities=probabilities.tobytes(), state=state)
            for probabilities, state in scored
        ]
        return calls.Scored(id=call.id, streams=streams)


def _tell_kernel() -> None:
    """Have the kernel end this process with the core, even while an engine holds the GIL, and
    before the core when memory runs out."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):  # a container may forbid it
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")


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
    # So may SIGTERM, amid a drain, and SIGHUP. Not ignored but idle: what an engine starts is to
    # obey them.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    _tell_kernel()
    # A core that ended before that is seen by the thread, for its end of the socket is closed.
    sock = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with_core, args=(sock,), daemon=True).start()
    channel = CallChannel(sock)
    worker = Worker(channel)
    try:
        while True:
            worker.take(channel.next_call())
    except (EOFError, OSError):
        os._exit(0)  # the core has gone; an engine's own tear-down could hang


if __name__ == "__main__":
    main()
