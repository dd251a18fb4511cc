"""Sources and clients, as both screens tell of them."""

from asrd.cli.screens.queues import clients_of, sources_of


def test_sources_that_need_a_look_come_first_and_providers_are_none() -> None:
    queues: dict[str, dict[str, float]] = {
        "provider:echo": {"depth": 9},
        "source:b": {},
        "source:a": {"depth": 0, "dropped_s": 0.0},
        "source:system": {},
        "source:mic": {},
        "source:dropped": {"dropped_s": 0.5},
        "source:waits": {"depth": 1},
    }
    names = [name for name, _ in sources_of(queues)]
    assert names == ["waits", "dropped", "mic", "system", "a", "b"]


def test_clients_that_have_gone_are_told_apart() -> None:
    """Where there are any; a daemon of another version tells them together."""
    counters: dict[str, int | float] = {"sessions": 9, "sessions_connected": 1}
    assert clients_of(counters, is_brief=False) == ["1 client", "8 gone, may resume"]
    assert clients_of(counters, is_brief=True) == ["1 client", "8 gone"]
    assert clients_of(counters | {"sessions_connected": 9}, is_brief=True) == ["9 clients"]
    assert clients_of({"sessions": 9}, is_brief=True) == ["9 sessions"]
