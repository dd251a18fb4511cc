"""All streams of the daemon, moved on one step at a time.

`advance` is the heart: after anything happened to a stream it tells what there is to tell, has
its audio scored, and lets it stand in the queue. Every other part calls it and returns.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from functools import partial

from asrd.clock import Clock
from asrd.config import Config
from asrd.errors import ErrorCode, ProtocolError
from asrd.providers.catalogue import Catalogue, ModelKey
from asrd.providers.pool import ModelPool
from asrd.providers.registry import Registry
from asrd.scheduler.scheduler import Scheduler
from asrd.scheduler.slots import Placement
from asrd.server.containing import Contained
from asrd.server.counts import Counts
from asrd.server.decodes import Observer
from asrd.server.decoding import Decoding
from asrd.server.easing import Easing
from asrd.server.failover import Failover, place_in
from asrd.server.listening import VoiceService
from asrd.server.loading import all_loaded
from asrd.server.log_records import log_ended, log_refused, logging_refusal
from asrd.server.overload import Overload
from asrd.server.resources import Resources
from asrd.server.served import Owner, ServedStream, rule_of, serve
from asrd.server.tasks import TaskKeeper
from asrd.server.translate import error_message, message_of, refusing
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.session.session import Session
from asrd.session.states import StreamState
from asrd.wire.messages import Open, ServerMessage


class Hub:
    """Joins sessions, voice activity, the scheduler and the pool."""

    def __init__(self, config: Config, registry: Registry, clock: Clock) -> None:
        self.config = config
        self.registry = registry
        self.clock = clock
        self.tasks = TaskKeeper()
        self.containing = partial(Contained, cut_off=self.cut_off)
        self.errors: Counter[str] = Counter()
        """What clients were refused, or told went wrong, by code."""
        self.pool = ModelPool(
            Catalogue(registry, config),
            config,
            clock,
            on_change=self._model_changed,
            start=self.tasks.start,
        )
        self.scheduler = Scheduler(clock, config.scheduling, self._placement)
        self.counts = Counts(self.scheduler.accounts)
        self.failover = Failover(self.pool, clock, config.supervision.breaker_open_s, self._moved)
        self.decoding = Decoding(
            self.scheduler,
            self.pool,
            clock,
            advance=self.advance,
            containing=self.containing,
            move_on=self.failover.move_on,
            may_drop=lambda: not self.is_draining,
        )
        self.voice = VoiceService(
            clock,
            config.supervision,
            self.advance,
            self.containing,
            self.cut_off,
            self.decoding.together,
        )
        easing = Easing(
            config.scheduling,
            self.pool,
            replace=self.failover.place,
            send=self._send,
            advance=self.advance,
        )
        self.overload = Overload(
            config.scheduling, self.scheduler, clock, easing, lambda: self._open.values()
        )
        self.resources = Resources(config.scheduling, self.scheduler, self.pool, clock)
        self.observer: Observer | None = None
        self.is_draining = False
        self.no_streams = asyncio.Event()
        self.no_streams.set()
        # By session and number, ended ones too for as long as the session knows them.
        self._served: dict[Session, dict[int, ServedStream]] = {}
        self._open: dict[int, ServedStream] = {}  # those that have not ended, by served_id
        self._owners: dict[Session, Owner] = {}

    def watched_by(self, observer: Observer) -> None:
        """Have somebody watch what streams tell and how their decodes end."""
        self.observer = self.decoding.observer = observer

    # ── sessions ──────────────────────────────────────────────────────────────────────────────

    def attach(self, session: Session, owner: Owner) -> None:
        """What the session's streams tell goes to `owner` from now on."""
        self._owners[session] = owner
        self._served.setdefault(session, {})
        for served in self.streams_of(session):
            served.summary.resumes += 1
            self.overload.listens_again(served)

    def detach(self, session: Session) -> None:
        """Nobody listens to the session; its streams go on."""
        self._owners.pop(session, None)

    def end_session(self, session: Session) -> None:
        """Nobody will come back for it: what its streams have not finished is dropped."""
        self.detach(session)
        for served in self.streams_of(session):
            served.stream.cancel("idle")
            self.advance(served)
        self._served.pop(session, None)

    def streams_of(self, session: Session) -> list[ServedStream]:
        """The streams of a session that have not ended."""
        known = self._served.get(session, {}).values()
        return [served for served in known if served.stream.state is not StreamState.CLOSED]

    @property
    def sessions(self) -> tuple[int, int]:
        """How many there are, and how many of them have a client."""
        return len(self._served), len(self._owners)

    @property
    def all_streams(self) -> list[ServedStream]:
        """Every stream that has not ended."""
        return list(self._open.values())

    # ── streams ───────────────────────────────────────────────────────────────────────────────

    def open(self, session: Session, asked: Open) -> ServedStream:
        """Begin a stream; its `opened` follows when its model is ready.

        Raises:
            ProtocolError: it cannot be had, and why.
        """
        with logging_refusal(session, asked):
            return self._open_now(session, asked)

    def _open_now(self, session: Session, asked: Open) -> ServedStream:
        if self.is_draining:
            raise ProtocolError(
                ErrorCode.DRAINING,
                "the daemon is ending and takes no new streams",
                stream=asked.stream,
                retry_after_ms=1000,
            )
        chain = self._chain(asked)
        first = next(level for level, key in enumerate(chain) if key is not None)
        level = place_in(self.pool, chain, first)
        stream = session.open(asked.stream, rule_of(asked, self.config))
        name, now_s = self.counts.take_name(asked.source), self.clock.now_s()
        served = serve(stream, session, asked, chain, level, self.config, now_s, counted_as=name)
        known = self._served[session]
        for number in known.keys() - session.commits.keys():
            del known[number]  # as the session has
        known[asked.stream] = served
        self._open[served.served_id] = served
        self.no_streams.clear()
        self.pool.tenancy.acquire(served.key)
        if self._is_ready(served.key):
            self._opened(served)
        else:
            self.tasks.start(self._open_later(served))
        return served

    def get(self, session: Session, number: int) -> ServedStream:
        """The session's open stream of that number. Raises ProtocolError when there is none."""
        session.get(number)
        return self._served[session][number]

    def advance(self, served: ServedStream) -> None:
        """Move a stream on after anything happened to it."""
        self._advance(served, served.session.collect(served.stream))

    def heard(self, served: ServedStream) -> None:
        """Audio came: that changes what is wanted only where it tells something (a drop, say)."""
        if told := served.session.collect(served.stream):
            self._advance(served, told)
        elif served.stream.has_unscored:
            self.voice.wake(served)

    def _advance(self, served: ServedStream, told: list[Effect]) -> None:
        stream = served.stream
        if told:
            served.summary.told(told)
            if self.observer is not None:
                self.observer.told(served, told)
        if stream.state is StreamState.CLOSED:
            if told and isinstance(told[-1], effects.StreamClosed):
                self._ended(served, told[-1])
        else:  # the workers are given their work first: telling costs them time
            if stream.has_unscored:
                self.voice.wake(served)
            self.decoding.update(served)
        if told:
            self._tell(served, told)

    def cut_off(self, served: ServedStream, code: ErrorCode, problem: str) -> None:
        """End a stream that cannot be served, and say why."""
        if served.stream.state is not StreamState.CLOSED:
            served.stream.cancel("error")
        error = ProtocolError(code, problem, stream=served.asked.stream)
        served.summary.errors[code] += 1
        self._send(served, error_message(error))
        self.advance(served)

    def note_error(self, session: Session | None, error: ProtocolError) -> None:
        """A client is told of an error, which may be one of a stream of its session."""
        known = self._served.get(session, {}) if session is not None else {}
        if error.stream in known and not error.is_refusal:
            known[error.stream].summary.errors[error.code] += 1

    def resolve(self, provider: str | None, model: str | None) -> ModelKey:
        """The model that was asked for. Raises ProtocolError when it cannot be had."""
        with refusing():
            return self.pool.catalogue.key(provider, model)

    def _chain(self, asked: Open) -> tuple[ModelKey | None, ...]:
        with refusing(asked.stream):
            return self.pool.catalogue.chain(asked.provider, asked.model)

    async def ensure(self, key: ModelKey, stream: int | None = None) -> None:
        """Load a model and what every stream needs beside it.

        Raises:
            ProtocolError: it does not load, and why.
        """
        wanted = {str(key): self.pool.resident(key), "voice activity": self.voice.resident}
        await all_loaded(wanted, stream)

    def begin_loading(self, key: ModelKey) -> None:
        """Load a model and voice activity side by side, without waiting for them."""
        for resident in (self.pool.resident(key), self.voice.resident):
            resident.begin()

    def again(
        self, session: Session, told: Iterable[Effect]
    ) -> Iterable[tuple[ServedStream, Effect]]:
        """Effects that are told once more, with the streams they belong to."""
        known = self._served[session]
        return [(known[effect.stream], effect) for effect in told]

    def check(self) -> None:
        """Look after what only time tells. To be called every half second or so."""
        self.pool.check()
        self.voice.resident.check(self.clock.now_s())
        self.failover.check(self.all_streams)
        self.resources.check()
        self.overload.check()
        self.decoding.check()

    async def stop(self) -> None:
        """End every worker and every task."""
        await self.tasks.stop()
        await self.pool.stop()
        await self.voice.stop()

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _placement(self, provider: str) -> Placement:
        own = self.config.of(provider)
        is_remote = self.registry.get(provider).provider.is_remote
        return Placement(group=None if is_remote else own.device_group, max_decodes=own.max_decodes)

    def _is_ready(self, key: ModelKey) -> bool:
        return self.pool.resident(key).state.is_up and self.voice.resident.state.is_up

    def _opened(self, served: ServedStream) -> None:
        served.stream.open()
        self.advance(served)
        served.told_key = served.own_chain[0]
        self.overload.settle(served)

    async def _open_later(self, served: ServedStream) -> None:
        key, error = served.key, None
        try:
            await self.ensure(key, served.asked.stream)
        except ProtocolError as failure:
            error = failure
        if served.stream.state is StreamState.CLOSED:
            return  # cancelled meanwhile; its number may be another stream's by now
        self.failover.place(served)  # its model may have failed, or an earlier one come up
        if served.key != key:
            await self._open_later(served)
        elif error is None:
            self._opened(served)
        else:
            self._refuse(served, error)

    def _refuse(self, served: ServedStream, error: ProtocolError) -> None:
        served.session.forget(served.asked.stream)
        self._served[served.session].pop(served.asked.stream, None)
        self._let_go(served)
        self.counts.refused(served)
        log_refused(served.session, served.asked, error)
        self._send(served, error_message(error))

    def _moved(self, served: ServedStream) -> None:
        if served.stream.is_ready:
            self.overload.settle(served)
            self.decoding.update(served)

    def _tell(self, served: ServedStream, told: Iterable[Effect]) -> None:
        owner = self._owners.get(served.session)
        for effect in told:
            self.counts.told(served, effect)
            if owner is not None:
                owner.send(message_of(served, effect))
        if owner is not None:
            owner.moved_on()

    def _send(self, served: ServedStream, message: ServerMessage) -> bool:
        """Tell a stream's client; returns whether it is there."""
        owner = self._owners.get(served.session)
        if owner is not None:
            owner.send(message)
            owner.moved_on()
        return owner is not None

    def _model_changed(self, key: ModelKey) -> None:
        for served in self.all_streams:
            if served.stream.is_ready and key in served.chain:
                self.failover.place(served)
        self.decoding.model_changed(key)

    def _ended(self, served: ServedStream, end: effects.StreamClosed) -> None:
        self._let_go(served)
        log_ended(served, end, self.clock.now_s())

    def _let_go(self, served: ServedStream) -> None:
        self.voice.forget(served)
        self.decoding.give_up(served)
        self.pool.tenancy.release(served.key)
        self._open.pop(served.served_id, None)
        self.overload.left(served)
        if not self._open:
            self.no_streams.set()
