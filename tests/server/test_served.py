"""A stream as it is opened: what was asked for, over what the configuration says."""

import pytest

from asrd.config import Config
from asrd.server.served import rule_of
from asrd.wire.messages import Open


@pytest.mark.parametrize(
    ("asked", "configured", "silence_ms"),
    [(None, 500, 500), (None, 800, 800), (100, 800, 100), (5000, 500, 5000)],
)
def test_an_utterance_ends_after_the_silence_that_was_asked_for_or_configured(
    asked: int | None, configured: int, silence_ms: int
) -> None:
    rule = rule_of(Open(stream=1, endpointing_ms=asked), Config(endpointing_ms=configured))
    assert rule.endpoint_rule.silence == silence_ms * 16


def test_unless_anybody_says_otherwise_that_is_half_a_second() -> None:
    """As the contract of the wire has it."""
    assert rule_of(Open(stream=1), Config()).endpoint_rule.silence == 8000
