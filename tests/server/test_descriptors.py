"""Room for connections, below what the system gives us in descriptors."""

import resource
from dataclasses import replace

import pytest

from asrd.config import Config, Limits, Recording
from asrd.server.descriptors import RESERVED, room_for, room_for_connections

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "room", "soft_then"),
    [
        (1024, 4096, 2048, 2048, 2048 + RESERVED),  # raised as far as is needed
        (1024, INFINITE, 2048, 2048, 2048 + RESERVED),
        (1024, 1500, 2048, 1500 - RESERVED, 1500),  # and as is allowed
        (1024, 1024, 100, 100, 1024),  # never lowered
        (INFINITE, INFINITE, 2048, 2048, INFINITE),
        (64, 64, 2048, 1, 64),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_is_needed_and_allowed(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, wanted: int, room: int, soft_then: int
) -> None:
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    assert room_for_connections(wanted) == room
    assert limits == [soft_then, hard]


def test_a_system_that_refuses_leaves_us_what_we_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, INFINITE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert room_for_connections(2048) == 256 - RESERVED


@pytest.mark.parametrize(
    ("hard", "room", "soft_then"), [(4096, 1000, 2000 + RESERVED), (1128, 500, 1128)]
)
def test_a_connection_that_is_recorded_takes_two(
    monkeypatch: pytest.MonkeyPatch, hard: int, room: int, soft_then: int
) -> None:
    limits = [1024, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    recorded = Config(
        limits=Limits(max_connections=1000), recording=Recording(directory="somewhere")
    )
    assert room_for(recorded) == room
    assert limits[0] == soft_then
    limits[:] = [1024, hard]
    assert room_for(replace(recorded, recording=Recording())) == 1000
