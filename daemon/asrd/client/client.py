"""A conversation with a daemon: streams, questions, and the end of both.

    async with connect(path) as client:
        stream = await client.open_stream(source="file")
        ...

A connection is a `Link`, and lasts as long as its bytes flow. Everything that outlives it is here:
the streams with the audio that they hold, and the questions not answered yet. One task reads the
link; when it ends, the same task gets the next one, and all goes on there.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Unpack

from asrd.client.connecting import Reconnector, Timing
from asrd.client.course import Course, StreamMessage
from asrd.client.dialler import Dialler
from asrd.client.errors import ClientError, ConnectionLost
from asrd.client.keeper import Keeper
from asrd.client.link import Link
from asrd.client.questions import Questions
from asrd.client.recovery import Recovery
from asrd.client.states import ClientInput, ClientState, StateChange, next_state
from asrd.client.stream import Stream, StreamOptions
from asrd.wire.messages import (
    Ack,
    ClientMessage,
    Error,
    Flushed,
    GetHealth,
    GetStats,
    Health,
    Hello,
    Load,
    Open,
    Pong,
    Segment,
    ServerMessage,
    Stats,
    Unload,
    Welcome,
)

END_TIMEOUT_S = 2.0
"""How long the daemon may take to finish its side after we ended ours."""

MAX_CHUNK_BYTES = 2**16
IDLE_TIMEOUT_S = 300.0

DEFAULT_TIMING = Timing()


class Client:
    """One session with a daemon. Made by `connect` and `spawn`; all methods are for one loop."""

    def __init__(
        self,
        dialler: Dialler,
        link: Link,
        welcome: Welcome,
        *,
        name: str,
        recovery: Recovery,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self.welcome = welcome
        self.state = ClientState.CONNECTED
        self._dialler = dialler
        self._name = name
        self._recovery = recovery
        self._chance = timing.chance
        self._reconnector = Reconnector(recovery, timing, self._waits)
        self._link: Link | None = link
        self._courses: dict[int, Course] = {}
        self._numbers = itertools.count(1)
        self._questions = Questions(self._say_sometime)
        self._callbacks: list[Callable[[StateChange], None]] = []
        self._failure: ConnectionLost | None = None
        self._retried = asyncio.Event()
        self._is_closed = False
        self._keeper = Keeper(timing)
        self._life = asyncio.create_task(self._live(link), name="asrd-client")

    # ── the connection ────────────────────────────────────────────────────────────────────────

    def on_state(self, callback: Callable[[StateChange], None]) -> None:
        """Have `callback` called, on the loop, for each change of `state` and before each attempt.

        Closing the client is no such change.
        """
        self._callbacks.append(callback)

    def retry(self) -> None:
        """Try to connect now: at once while reconnecting, and once more after a failure.

        The streams of a client that has failed go on where they were once there is a connection.

        Raises:
            ConnectionLost: the client was closed, or has failed by a mistake of its own.
        """
        if self._failure is not None and (self._is_closed or self._life.done()):
            raise self._failure
        if self.state is ClientState.RECONNECTING:
            self._reconnector.hurry()
        elif self.state is ClientState.FAILED:
            self._failure = None
            self._reconnector.start_anew()
            for course in self._courses.values():
                course.revive()
            self._enter(ClientInput.RETRIED, StateChange(state=ClientState.RECONNECTING, attempt=1))
            self._retried.set()

    # ── streams ───────────────────────────────────────────────────────────────────────────────

    async def open_stream(self, **options: Unpack[StreamOptions]) -> Stream:
        """Open a stream and wait until the daemon is ready for its audio.

        That takes as long as its model takes to load, and as long as there is no connection.

        Raises:
            Refused: the daemon will not have it, and says why.
            ConnectionLost: the connection is lost for good.
        """
        if self._failure is not None:
            raise self._failure
        request = Open(stream=next(self._numbers), **options)
        course = Course(request, self, self._recovery, self._chance)
        self._courses[request.stream] = course
        try:
            if self._link is not None:
                course.connected({}, self._max_chunk_bytes)
            await course.until_opened()
        except BaseException:
            course.give_up()
            course.abandon()
            if course.is_gone or not course.was_asked_for:
                self._courses.pop(request.stream, None)
            raise
        return Stream(course)

    # ── questions ─────────────────────────────────────────────────────────────────────────────

    async def ping(self) -> None:
        """Return when the daemon has answered. Raises ConnectionLost."""
        await self._questions.ping()

    async def health(self, *, deep: bool = False) -> Health:
        """How the daemon is; `deep` has it run a real inference. Raises Refused, ConnectionLost."""
        return await self._questions.ask(GetHealth(deep=deep), Health)

    async def stats(self, *, streams: bool = False) -> Stats:
        """What the daemon counts; with `streams`, each stream too that its user may know of.

        Raises Refused, ConnectionLost.
        """
        return await self._questions.ask(GetStats(streams=streams), Stats)

    async def load(self, provider: str | None = None, model: str | None = None) -> Health:
        """Have a model loaded and warmed; returns when it is. Raises Refused, ConnectionLost."""
        return await self._questions.ask(Load(provider=provider, model=model), Health)

    async def unload(self, provider: str | None = None, model: str | None = None) -> Health:
        """Have a model's worker ended; returns when it is. Raises Refused, ConnectionLost."""
        return await self._questions.ask(Unload(provider=provider, model=model), Health)

    # ── the link ──────────────────────────────────────────────────────────────────────────────

    def send_nowait(self, message: ClientMessage) -> None:
        """Send a message as it is. Raises ConnectionLost where there is no connection now."""
        if self._failure is not None:
            raise self._failure
        if self._link is None:
            raise ConnectionLost("there is no connection just now")
        self._link.send_nowait(message)

    async def drain(self) -> None:
        """Wait until the connection has room again. Raises ConnectionLost."""
        if self._link is not None:
            await self._link.drain()
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """End all: open streams are cancelled, and the daemon's side is waited for a while.

        Safe under cancellation, and when the connection is long broken.
        """
        self._is_closed = True
        try:
            for course in self._courses.values():
                course.abandon()
                course.give_up()
            if self._link is not None:
                self._link.end_input()
                await asyncio.wait([self._life], timeout=END_TIMEOUT_S)
        finally:
            self._life.cancel()
            self._fail(ConnectionLost("the client was closed"), ClientInput.CLOSED)
            await asyncio.wait([self._life])
            for course in self._courses.values():
                await course.stop()
            if self._link is not None:
                await self._link.close()

    def _say_sometime(self, message: ClientMessage) -> None:
        """Say it now if there is a connection; else it is said once there is."""
        try:
            self.send_nowait(message)
        except ConnectionLost:
            if self._failure is not None or not self._recovery.is_on:
                raise

    # ── its life ──────────────────────────────────────────────────────────────────────────────

    async def _live(self, link: Link) -> None:
        try:
            while True:
                lost = await self._read(link)
                lost = await self._dialler.explain(lost)
                await link.close()
                if self._is_closed:
                    return
                link = await self._next_link(lost)
        except Exception as error:
            self._fail(ConnectionLost(f"the client itself failed: {error!r}"))
            raise  # a mistake of ours: nobody may wait for ever on it, and it must be seen

    async def _read(self, link: Link) -> ConnectionLost:
        """Take what the daemon says to its end; returns why it ended."""
        idle_timeout_s = float(self.welcome.limits.get("idle_timeout_s", IDLE_TIMEOUT_S))
        keeping = asyncio.create_task(
            self._keeper.keep(link, idle_timeout_s), name="asrd-client-keeper"
        )
        try:
            async for message in link.messages():
                self._keeper.heard()
                await self._dispatch(message)
        except ConnectionLost as error:
            return error
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
        return link.lost()

    async def _next_link(self, lost: ClientError) -> Link:
        self._link = None
        for course in self._courses.values():
            course.disconnected()
        while True:
            try:
                link, self.welcome = await self._reconnector.reconnect(lost, self._dial)
            except ClientError as error:
                lost = self._given_up(error)
                self._fail(lost)
                self._retried.clear()
                await self._retried.wait()
            else:
                self._connected(link)
                return link

    async def _dial(self) -> tuple[Link, Welcome]:
        ids = {number: course.last_id for number, course in self._courses.items()}
        have = {number: last for number, last in ids.items() if last is not None}
        hello = Hello(client=self._name, resume=self.welcome.resume, have=have)
        return await self._dialler.dial(hello)

    def _connected(self, link: Link) -> None:
        self._link = link
        known = self.welcome.streams if self.welcome.resumed else {}
        self._enter(ClientInput.REACHED, StateChange(state=ClientState.CONNECTED))
        for course in list(self._courses.values()):
            course.connected(known, self._max_chunk_bytes)
            self._forget_if_ended(course)
        self._questions.ask_again()

    def _waits(self, error: ClientError, attempt: int, wait_s: float) -> None:
        is_first = self.state is ClientState.CONNECTED
        change = StateChange(
            state=ClientState.RECONNECTING, reason=str(error), attempt=attempt, wait_s=wait_s
        )
        self._enter(ClientInput.BROKE if is_first else ClientInput.MISSED, change)

    def _given_up(self, error: ClientError) -> ConnectionLost:
        attempts = self._reconnector.attempts
        code = getattr(error, "code", None)
        if not attempts:
            return ConnectionLost(str(error), code)
        tries = "one attempt" if attempts == 1 else f"{attempts} attempts"
        was = "was" if attempts == 1 else "were"
        return ConnectionLost(f"{error} ({tries} to connect again {was} in vain)", code)

    def _fail(self, error: ConnectionLost, how: ClientInput = ClientInput.GAVE_UP) -> None:
        if self._failure is not None:
            return
        self._failure = error
        attempts = self._reconnector.attempts
        change = StateChange(state=ClientState.FAILED, reason=str(error), attempt=attempts)
        self._enter(how, change)
        self._questions.fail(error)
        for course in self._courses.values():
            course.fail(error)

    def _enter(self, happened: ClientInput, change: StateChange) -> None:
        self.state = next_state(self.state, happened)
        if happened is ClientInput.CLOSED:
            return  # whoever closes it knows
        loop = asyncio.get_running_loop()
        for callback in self._callbacks:
            loop.call_soon(callback, change)  # an error of its own is no business of ours

    async def _dispatch(self, message: ServerMessage) -> None:
        match message:
            case Pong() | Health() | Stats():
                self._questions.answered(message)
            case Error(stream=int(number)):
                await self._deliver(number, message)
            case Error():
                if not message.fatal:  # else it is the reason why the link ends now
                    self._questions.refused(message)
            case Welcome():
                pass  # only the first one counts
            case _:
                await self._deliver(message.stream, message)

    async def _deliver(self, number: int, message: StreamMessage) -> None:
        if isinstance(message, Segment | Ack | Flushed):
            self._reconnector.worked()
        course = self._courses.get(number)
        if course is not None:
            await course.deliver(message)
            self._forget_if_ended(course)

    def _forget_if_ended(self, course: Course) -> None:
        if course.is_gone:
            self._courses.pop(course.request.stream, None)

    @property
    def _max_chunk_bytes(self) -> int:
        return int(self.welcome.limits.get("max_chunk_bytes", MAX_CHUNK_BYTES))
