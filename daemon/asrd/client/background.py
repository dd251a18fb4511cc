"""A loop in a thread of its own, for callers that have none."""

import asyncio
import atexit
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

from asrd.client.errors import ConnectionLost

C = TypeVar("C")
T = TypeVar("T")


class Background(Generic[C]):
    """Holds an asynchronous context open in a thread. Coroutines may be run there from any other.

    The thread is a daemon, so that a program which ends without leaving its `with` block does end;
    the context is left then all the same, since `end` is called at the interpreter's exit.
    """

    def __init__(self, enter: Callable[[], AbstractAsyncContextManager[C]]) -> None:
        """Start the thread and enter the context. Raises what entering it raises."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_ending = False
        self._is_ended = False
        self._started: concurrent.futures.Future[C] = concurrent.futures.Future()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(enter,), name="asrd-client", daemon=True
        )
        self._thread.start()
        atexit.register(self.end)
        try:
            self.held = self._started.result()
        except BaseException:
            self.end()
            raise

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and wait for it. Who is interrupted takes it back.

        Raises:
            ConnectionLost: the context has been left.
            RuntimeError: it is the loop's own thread that asks, which would wait for itself.
        """
        future = self.begin(work)
        try:
            return self.outcome(future)
        except BaseException:
            future.cancel()  # Ctrl-C came here; where the work itself failed it means nothing
            raise

    def begin(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Have `work` run on the loop. Raises what `call` does."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a callback of the client may not wait for the client")
        with self._lock:  # what is handed over before `_is_ended` is set will be run or cancelled
            if self._is_ended or self._loop is None:
                work.close()
                raise ConnectionLost("the client was closed")
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def outcome(self, future: "concurrent.futures.Future[T]") -> T:
        """Wait for what `begin` began. Raises ConnectionLost, and what the work raised."""
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ConnectionLost("the client was closed") from None

    def call_soon(self, work: Callable[[], None]) -> None:
        """Have `work` done on the loop, without waiting. Nothing happens while there is none."""
        with self._lock:
            if self._loop is not None and not self._is_ended:
                self._loop.call_soon_threadsafe(work)

    def end(self) -> None:
        """Leave the context and end the thread. Raises what leaving it raises, once.

        Where the context is still being entered, that is broken off.
        """
        atexit.unregister(self.end)
        self._is_ending = True  # before the loop is looked for: which may be there any moment
        self.call_soon(self._leave)
        self._thread.join()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def _leave(self) -> None:
        self._left.set()
        if not self._started.done() and self._holder is not None:
            self._holder.cancel()

    def _run(self, enter: Callable[[], AbstractAsyncContextManager[C]]) -> None:
        try:
            asyncio.run(self._hold(enter))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            if self._started.done():
                self._problem = error
            else:
                self._started.set_exception(error)

    async def _hold(self, enter: Callable[[], AbstractAsyncContextManager[C]]) -> None:
        self._left = asyncio.Event()
        self._holder = asyncio.current_task()
        with self._lock:
            self._loop = asyncio.get_running_loop()
        if self._is_ending:
            self._leave()
        try:
            async with contextlib.AsyncExitStack() as stack:
                self._started.set_result(await stack.enter_async_context(enter()))
                await self._left.wait()
        finally:
            with self._lock:
                self._is_ended = True
            await asyncio.sleep(0)  # what was handed over begins, so that it can be cancelled
