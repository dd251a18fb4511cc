"""Daemons that all tests of this folder share, and what one of them hears in SPEECH."""

from collections.abc import Iterator

import pytest

from flow.daemons import SLOW, Daemon, running_daemon
from flow.independent_client import Client
from flow.protocol_rules import Message
from flow.speech import SPEECH


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests that do it no harm."""
    with running_daemon(tmp_path_factory.mktemp("asrd")) as running:
        yield running


@pytest.fixture(scope="session")
def slow_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One whose decodes take a second and a half."""
    with running_daemon(tmp_path_factory.mktemp("slow"), *SLOW) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client that has said hello."""
    with daemon.greet() as greeted:
        yield greeted


@pytest.fixture(scope="session")
def unbroken(daemon: Daemon) -> list[Message]:
    """The segments of SPEECH over one unbroken connection."""
    with daemon.greet() as client:
        client.open(1, source="file")
        client.speak(1, SPEECH)
        return client.finish(1)
