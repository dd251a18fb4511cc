"""What tests of the server share."""

import pytest

from asrd.providers.registry import Registry, discover
from support.daemon import TESTS


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The built-in plugins."""
    return discover()


@pytest.fixture(autouse=True)
def plugins_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
