"""A loop in a thread: entered, used from any other thread, and left exactly once."""

import asyncio
import atexit
import concurrent.futures
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from asrd.client.background import Background
from asrd.client.errors import ConnectionLost

PATIENCE_S = 10.0


class Context:
    """An asynchronous context that notes what becomes of it."""

    def __init__(
        self, *, on_enter: Exception | None = None, on_exit: Exception | None = None
    ) -> None:
        self.noted: list[str] = []
        self.thread: threading.Thread | None = None
        self._on_enter = on_enter
        self._on_exit = on_exit

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[str]:
        self.thread = threading.current_thread()
        if self._on_enter is not None:
            raise self._on_enter
        self.noted.append("entered")
        yield "held"
        self.noted.append("left")
        if self._on_exit is not None:
            raise self._on_exit


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture
def background(context: Context) -> Iterator[Background[str]]:
    made = Background(context)
    yield made
    made.end()


def is_over(context: Context) -> bool:
    assert context.thread is not None
    context.thread.join(PATIENCE_S)
    return not context.thread.is_alive()


def test_work_is_done_in_the_thread_and_its_outcome_is_the_callers(
    background: Background[str], context: Context
) -> None:
    async def where() -> threading.Thread:
        return threading.current_thread()

    async def fail() -> None:
        raise LookupError("in the thread")

    assert background.held == "held"
    assert background.call(where()) is context.thread is not threading.current_thread()
    with pytest.raises(LookupError, match="in the thread"):
        background.call(fail())
    assert background.call(where()) is context.thread  # an error of the work ends nothing


def test_work_of_several_threads_goes_on_side_by_side(background: Background[str]) -> None:
    """Each needs the other one: one after the other would wait for ever."""
    arrived: list[int] = []
    both = asyncio.Event()

    async def meet(number: int) -> None:
        arrived.append(number)
        if len(arrived) == 2:
            both.set()
        async with asyncio.timeout(PATIENCE_S):
            await both.wait()

    other = threading.Thread(target=lambda: background.call(meet(1)))
    other.start()
    background.call(meet(2))
    other.join(PATIENCE_S)
    assert sorted(arrived) == [1, 2]


def test_a_callback_that_waits_for_its_own_loop_is_told(background: Background[str]) -> None:
    async def nothing() -> None:
        pytest.fail("it was run")

    async def from_inside() -> None:
        background.call(nothing())

    with pytest.raises(RuntimeError, match="may not wait for the client"):
        background.call(from_inside())


def test_who_does_not_wait_is_served_as_well(background: Background[str]) -> None:
    done = threading.Event()
    background.call_soon(done.set)
    assert done.wait(PATIENCE_S)


def test_an_error_of_entering_is_raised_and_leaves_no_thread() -> None:
    broken = Context(on_enter=LookupError("not there"))
    with pytest.raises(LookupError, match="not there"):
        Background(broken)
    assert is_over(broken)


def test_the_context_is_left_once_and_then_nothing_is_done(context: Context) -> None:
    background = Background(context)
    background.end()
    assert context.noted == ["entered", "left"]
    assert is_over(context)
    background.end()
    background.call_soon(lambda: pytest.fail("it was done"))

    async def late() -> None:
        pytest.fail("it was run")

    with pytest.raises(ConnectionLost, match="was closed"):
        background.call(late())
    assert context.noted == ["entered", "left"]


def test_an_error_of_leaving_is_raised_once() -> None:
    broken = Context(on_exit=LookupError("in the way"))
    background = Background(broken)
    with pytest.raises(LookupError, match="in the way"):
        background.end()
    background.end()
    assert is_over(broken)


@pytest.mark.parametrize("has_begun", [True, False])
def test_who_waits_when_it_ends_is_told(context: Context, has_begun: bool) -> None:
    """Also who handed his work over at the very last moment."""
    background = Background(context)
    begun = threading.Event()
    outcomes: list[BaseException] = []

    async def for_ever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            background.call(for_ever())
        except BaseException as error:  # noqa: BLE001 - it is what is looked at
            outcomes.append(error)

    waiter = threading.Thread(target=wait)
    if has_begun:
        waiter.start()
        assert begun.wait(PATIENCE_S)
        background.end()
    else:
        _hand_over_at_the_last_moment(background, waiter)
    waiter.join(PATIENCE_S)
    assert not waiter.is_alive()
    (outcome,) = outcomes
    assert isinstance(outcome, ConnectionLost)


def _hand_over_at_the_last_moment(background: Background[str], waiter: threading.Thread) -> None:
    """Have the work handed over while the loop leaves the context and can take none."""
    is_leaving, may_go_on = threading.Event(), threading.Event()
    leave = background._leave

    def leave_slowly() -> None:
        leave()
        is_leaving.set()
        assert may_go_on.wait(PATIENCE_S)

    background._leave = leave_slowly  # type: ignore[method-assign]
    ender = threading.Thread(target=background.end)
    ender.start()
    assert is_leaving.wait(PATIENCE_S)
    assert background._loop is not None
    calls = _count_calls(background._loop)
    waiter.start()
    while not calls:
        assert waiter.is_alive()
    may_go_on.set()
    ender.join(PATIENCE_S)


def _count_calls(loop: asyncio.AbstractEventLoop) -> list[str]:
    calls: list[str] = []
    hand_over = loop.call_soon_threadsafe

    def counted(callback: Callable[..., object], *arguments: object) -> asyncio.Handle:
        handle = hand_over(callback, *arguments)
        calls.append("handed over")
        return handle

    loop.call_soon_threadsafe = counted  # type: ignore[method-assign, assignment]
    return calls


def test_an_interrupted_caller_takes_his_work_back(
    background: Background[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def for_ever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    hand_over = asyncio.run_coroutine_threadsafe

    def interrupted(
        work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop
    ) -> concurrent.futures.Future[None]:
        future = hand_over(work, loop)

        def result() -> None:
            assert begun.wait(PATIENCE_S)
            raise KeyboardInterrupt

        monkeypatch.setattr(future, "result", result)
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        background.call(for_ever())
    assert cancelled.wait(PATIENCE_S)


FORGETFUL = """
import contextlib
from asrd.client.background import Background

@contextlib.asynccontextmanager
async def context():
    yield
    print("left", flush=True)

background = Background(context)
"""


def test_a_program_that_never_leaves_ends_and_the_context_is_left() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL], capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"left\n", b"")


def test_one_that_has_ended_is_not_remembered(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that makes many must not keep them all to its exit."""
    kept: list[object] = []
    monkeypatch.setattr(atexit, "register", kept.append)
    monkeypatch.setattr(atexit, "unregister", kept.remove)  # raises where it is not there
    background = Background(context)
    assert kept == [background.end]
    background.end()
    assert kept == []
    with pytest.raises(LookupError):
        Background(Context(on_enter=LookupError()))
    assert kept == []
