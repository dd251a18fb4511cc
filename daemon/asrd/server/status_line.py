"""How the daemon is, in one line: what `systemctl status` shows beside its name."""

from collections.abc import Callable, Mapping

from asrd.clock import Clock
from asrd.providers.lifecycle import ModelState
from asrd.server.hub import Hub

EVERY_S = 3.0
"""A load moves all the time; who reads this looks now and then."""

MAX_MODELS = 3
"""How many models are named."""


def status_line(
    models: Mapping[str, ModelState], streams: int, load: float, level: int, *, is_draining: bool
) -> str:
    """Models and load, as `moonshine/tiny-en ready; 3 streams, load 0.42, level 0`.

    Of models the first few are named. `load` is that of the busiest device group, `level` the
    highest rung of the ladder that anybody is on.
    """
    named = [f"{name} {state.replace('_', ' ')}" for name, state in models.items()]
    more = len(named) - MAX_MODELS
    told = ", ".join(named[:MAX_MODELS]) + (f" and {more} more" if more > 0 else "")
    counted = f"{streams} stream" + "s" * (streams != 1)
    line = f"{told or 'no model loaded'}; {counted}, load {load:.2f}, level {level}"
    return f"ending; {line}" if is_draining else line


def status_of(hub: Hub) -> str:
    """The line for a daemon as it is now.

    A model that nobody has asked for, or that was unloaded, is not named; voice activity only while
    it is not up.
    """
    models = {
        str(key): resident.state
        for key, resident in hub.pool.residents.items()
        if resident.state is not ModelState.UNAVAILABLE or resident.problem
    }
    voice = hub.voice.resident
    if not voice.state.is_up and (voice.state.is_coming_up or voice.problem):
        models["voice activity"] = voice.state
    overload = hub.overload
    load = max((group.load for group in overload.groups.values()), default=0.0)
    return status_line(
        models, len(hub.all_streams), load, overload.level, is_draining=hub.is_draining
    )


class StatusTeller:
    """Tells the line when it has changed, and not more often than every few seconds.

    `tell` returns whether it was taken; else it is told again.
    """

    def __init__(self, hub: Hub, clock: Clock, tell: Callable[[str], bool]) -> None:
        self._hub = hub
        self._clock = clock
        self._tell = tell
        self._told = ""
        self._told_s = clock.now_s() - EVERY_S

    def look(self) -> None:
        """To be called every half second or so."""
        now_s = self._clock.now_s()
        if now_s - self._told_s < EVERY_S:
            return
        line = status_of(self._hub)
        if line != self._told:
            self._told_s = now_s
            if self._tell(line):
                self._told = line
