"""What the fuzz tests are told: `pytest tests/fuzz --fuzz-times 10 --fuzz-seed 7`."""

import pytest


@pytest.fixture
def times(pytestconfig: pytest.Config) -> int:
    """How many times CI's frames."""
    chosen: int = pytestconfig.getoption("--fuzz-times")
    return chosen


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What frames are drawn from; shown where a test fails."""
    chosen: int = pytestconfig.getoption("--fuzz-seed")
    print(f"--fuzz-seed {chosen}")  # noqa: T201 - see above
    return chosen
