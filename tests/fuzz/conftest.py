"""What the fuzz tests are told: `pytest tests/fuzz --fuzz-times 10 --fuzz-seed 7`."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Who is told to do more may take as many times longer."""
    times: int = config.getoption("--fuzz-times")
    for item in items:
        mark = item.get_closest_marker("timeout")
        if mark is not None and "times" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(times * mark.args[0]), append=False)


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
