"""Workers of these tests find the plugins of the tests."""

import pytest

from support.daemon import TESTS


@pytest.fixture(autouse=True)
def plugins_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
