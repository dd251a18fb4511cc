"""A deep look at a real worker that hangs: it is told, and not forgotten when the look is over."""

import pytest
from structlog.testing import capture_logs

from asrd.providers.lifecycle import ModelState
from asrd.providers.patience import UNKNOWN_S
from asrd.providers.registry import Registry
from asrd.providers.resident import Resident
from asrd.server import checkup
from asrd.server.checkup import Checkup
from support.room import ECHO, Room, run
from support.waiting import until
from support.workers import QUICK, load_unruly, unwarmed

TICKS_S = range(1000, 1000 + round(UNKNOWN_S) + 3)
"""More than a worker is allowed of whose speed nothing is known."""


def test_a_worker_that_hangs_at_a_deep_look_is_told_of_and_ended(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads silence, which it hangs at, for the first time: it was not warmed up."""
    monkeypatch.setattr(checkup, "DEEP_TIMEOUT_S", 2.0)

    async def scenario() -> None:
        room = Room(registry)
        hanging = Resident(
            str(ECHO),
            unwarmed(load_unruly("bad_at_warm_up", deed="sleep")),
            lambda: room.hub._model_changed(ECHO),
            rule=QUICK,
        )
        room.hub.pool._residents[ECHO] = hanging
        try:
            await hanging.ensure()
            found = await Checkup(room.hub).health(deep=True)
            echo = found.providers["echo"]
            assert (found.ready, found.state, echo.state) == (False, "degraded", "degraded")
            assert "no answer within" in echo.problem
            assert hanging.worked_at_s is None
            assert hanging.is_busy  # the call is the worker's still

            with capture_logs() as logged:
                for now_s in TICKS_S:
                    hanging.check(now_s)
            assert "worker_hung" in [line["event"] for line in logged]
            await until(lambda: hanging.state is ModelState.STARTING)
            await hanging.ensure()
            assert hanging.restarts == 1
        finally:
            await hanging.stop()

    run(scenario)
