"""Another configuration for a daemon that runs: read again at SIGHUP, compared, and gone by.

A configuration is one frozen value. Whoever goes by a part of it is given the new part in `go_by`,
and nowhere else; what a stream, a session or a connection was promised at its beginning stays.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import structlog

from asrd.config import Config, ProviderConfig
from asrd.errors import AsrdError
from asrd.providers.registry import Registry
from asrd.secrets import Secret
from asrd.server import logs
from asrd.server.admission import Admission, admission_of
from asrd.server.connections import Door
from asrd.server.descriptors import room_for
from asrd.server.hub import Hub
from asrd.server.notify import ServiceManager
from asrd.server.sessions import SessionStore
from asrd.server.startup import settled

log = structlog.get_logger()

ReadConfig = Callable[[], Config]
"""Reads what the daemon was started with once more. Raises AsrdError."""


class Reloader:
    """Reads the configuration again when it is asked to, and has the daemon go by it.

    What cannot be read or makes no sense changes nothing and is told in the log.
    """

    def __init__(
        self,
        read: ReadConfig,
        registry: Registry,
        hub: Hub,
        sessions: SessionStore,
        door: Door,
        manager: ServiceManager,
    ) -> None:
        self._read = read
        self._registry = registry
        self._hub = hub
        self._sessions = sessions
        self._door = door
        self._manager = manager
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Read it again. Asked once more before that has begun, it is read once."""
        self._asked.set()

    async def run(self) -> None:
        """Do what is asked for, one after the other, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._manager.reloading()
            try:
                await self._reload()
            except Exception:  # a bug, whichever: the daemon goes on, and may be asked again
                log.exception("reload_failed")
            if not self._hub.is_draining:
                self._manager.reloaded()

    async def _reload(self) -> None:
        try:
            # In a thread: a file may be far away, and `auto` looks at the whole machine.
            new, admission = await asyncio.to_thread(self._read_all)
        except (AsrdError, OSError) as error:
            log.error("reload_refused", problem=str(error))
            return
        if self._hub.is_draining:
            log.warning("reload_refused", problem="the daemon is ending")
            return
        old, before = self._hub.config, self._door.admission
        wanted = with_what_stays(old, new)
        changed, stays = [*changed_keys(old, wanted)], [*changed_keys(wanted, new)]
        if admission.serves_others and admission != before:
            stays.append("access")  # who is served has changed; who can reach the socket has not
        room = room_for(wanted)
        # What may raise is behind us: from here on, things are only assigned.
        self._sessions.apply(wanted.limits)
        self._door.apply(room, admission)
        go_by(wanted, self._hub)
        log.info("reloaded", changed=changed)
        if stays:
            log.warning("reload_needs_restart", keys=stays)
        if old.log_level != wanted.log_level:
            logs.set_level(wanted.log_level)
        _load_what_is_wanted(self._hub)

    def _read_all(self) -> tuple[Config, Admission]:
        config = settled(self._read(), self._registry)
        return config, admission_of(config.access)


def go_by(config: Config, hub: Hub) -> None:
    """Hand every part of a configuration to who in the hub goes by it."""
    hub.config = config
    hub.pool.apply(config)
    hub.scheduler.rule = config.scheduling
    hub.scheduler.places.rule = config.scheduling
    hub.scheduler.preemption.is_on = config.scheduling.preemption
    hub.scheduler.slots.apply(config.scheduling)
    hub.scheduler.accounts.reserve(config.scheduling.max_waiting)
    hub.overload.apply(config.scheduling)
    hub.resources.apply(config.scheduling)


def with_what_stays(old: Config, new: Config) -> Config:
    """The new configuration, but for what a running daemon cannot change: that is as it was."""
    providers = {
        name: replace(new.of(name), device_group=old.of(name).device_group)
        for name in {**new.providers, **old.providers}
    }
    return replace(
        new,
        providers={
            name: own
            for name, own in providers.items()
            if name in new.providers or own != ProviderConfig()
        },
        limits=replace(new.limits, outboxes_bytes=old.limits.outboxes_bytes),
        scheduling=replace(new.scheduling, background_share=old.scheduling.background_share),
        supervision=replace(
            new.supervision,
            breaker_failures=old.supervision.breaker_failures,
            breaker_open_s=old.supervision.breaker_open_s,
            watchdog_s=old.supervision.watchdog_s,
        ),
        recording=old.recording,
        monitoring=old.monitoring,
        tracing=old.tracing,
        log_format=old.log_format,
    )


def changed_keys(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """The keys under which two configurations differ, as `limits.max_streams`. No values: some
    are secret."""
    if is_dataclass(old) and type(old) is type(new) and not isinstance(old, Secret):
        for each in fields(old):
            key = f"{path}.{each.name}" if path else each.name
            yield from changed_keys(getattr(old, each.name), getattr(new, each.name), key)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            unsaid = ProviderConfig() if path == "providers" else None
            yield from changed_keys(old.get(name, unsaid), new.get(name, unsaid), f"{path}.{name}")
    elif old != new:
        yield path


def _load_what_is_wanted(hub: Hub) -> None:
    """Begin to load what would be loaded at a start, where it is not there yet."""
    try:
        for key in hub.pool.catalogue.first_to_load():
            hub.begin_loading(key)
    except AsrdError as error:  # of a required provider: health tells it too
        log.error("first_load_failed", problem=str(error))
