"""Merged values checked: by their types, by their ranges, and against one another."""

from asrd.config import Config
from asrd.configuring.checking import checked
from asrd.configuring.layers import Value, Values
from asrd.secrets import Secret


def test_values_that_fit_become_a_configuration() -> None:
    config, problems = checked(
        {
            ("endpointing_ms",): Value(600, "a"),
            ("providers", "x", "settings", "k"): Value(Secret("s"), "a"),
            ("access", "uids"): Value([1, "ann"], "a"),
            ("limits", "live_rate"): Value(2, "a"),
        }
    )
    assert not problems
    assert config is not None
    assert config.endpointing_ms == 600
    assert config.of("x").settings == {"k": Secret("s")}
    assert config.access.uids == (1, "ann")
    assert (config.limits.live_rate, type(config.limits.live_rate)) == (2.0, float)
    assert checked({}) == (Config(), ())


def test_each_value_that_does_not_is_told_once_in_the_order_it_was_given() -> None:
    config, problems = checked(
        {
            ("providers", "x", "settings", "k"): Value([1], "d"),
            ("scheduling", "slots"): Value("all", "c"),
            ("access", "uids"): Value([True, 1.5], "b"),
            ("model",): Value(b"", "a"),
        }
    )
    assert config is None
    assert [problem.split(": ")[:2] for problem in problems] == [
        ["d", "providers.x.settings.k"],
        ["c", "scheduling.slots"],
        ["b", "access.uids[0]"],
        ["a", "model"],
    ]


def test_a_contradiction_has_the_origin_of_whichever_was_set() -> None:
    key, other = ("limits", "outbox_soft_bytes"), ("limits", "outbox_bytes")
    cases: tuple[Values, ...] = (
        {key: Value(2**20, "one")},
        {other: Value(2**16, "one"), key: Value(2**17, "one")},
    )
    for values in cases:
        config, (problem,) = checked(values)
        assert config is not None
        assert problem.startswith("one: limits.outbox_soft_bytes: expected no more than limits.ou")
    _, (problem,) = checked({("limits", "max_chunk_bytes"): Value(2**20, "there")})
    assert problem.startswith("there: limits.max_frame_bytes: a frame must hold")
