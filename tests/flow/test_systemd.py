"""The daemon as systemd starts it: by a connection, with somebody who listens how it is."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asrd.wire.messages import Closed, Segment
from flow.test_speech import Pcm
from support.audio import silent_pcm
from support.daemon import environment
from support.service_manager import HearingManager, hearing_manager
from support.waiting import wait_until
from support.wire_client import WireClient, texts

if TYPE_CHECKING:
    from conftest import Recording

WATCHDOG_S = 1.5
BEATS = 4

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="systemd is not installed"
)


class Activated:
    """`asrd serve` under systemd-socket-activate, which listens, and becomes the daemon when
    somebody connects."""

    def __init__(self, folder: Path, manager: HearingManager) -> None:
        self.path = folder / "activated"
        self.own_path = folder / "own"
        self.errors = folder / "errors.log"
        told = {
            "NOTIFY_SOCKET": str(manager.path),
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
        }
        # The tool passes on no variables but those it is told to.
        passed = {name: value for name, value in environment().items() if value}
        variables = [f"--setenv={name}={value}" for name, value in {**passed, **told}.items()]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    "systemd-socket-activate",
                    f"--listen={self.path}",
                    "--fdname=asrd.socket",
                    *variables,
                    *(sys.executable, "-P", "-m", "asrd", "serve", "--provider", "moonshine"),
                    *("--socket", str(self.own_path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def connect(self) -> WireClient:
        """The first client; waits until the tool listens."""

        def try_once() -> WireClient | None:
            try:
                return WireClient(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                return None

        return wait_until(try_once, "a listening socket")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[HearingManager]:
    with hearing_manager(tmp_path) as hearing:
        hearing.listen()
        yield hearing


@pytest.fixture
def activated(tmp_path: Path, manager: HearingManager) -> Iterator[Activated]:
    started = Activated(tmp_path, manager)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def test_a_connection_starts_it_and_it_tells_how_it_is_until_it_has_drained(
    activated: Activated, manager: HearingManager, two_cities: "Recording"
) -> None:
    whole = Pcm.of(two_cities.path)
    speech = whole.data[: 8 * whole.rate * whole.channels * 2]
    sent_as = {"source": "file", "sample_rate": whole.rate, "channels": whole.channels}
    with activated.connect() as client:
        client.hello()
        assert manager.receive() == "READY=1"
        read = " ".join(texts(client.transcribe(1, speech, **sent_as)))
        assert "best of times" in read.lower()
        manager.until(lambda message: message.startswith("STATUS=moonshine/tiny-en ready; "))
        while manager.heard.count("WATCHDOG=1") < BEATS:
            manager.receive()
        # A stream that is open when the end is asked for is read to its end.
        client.open(2, **sent_as)
        client.speak(2, speech + silent_pcm(0.1))
        activated.process.send_signal(signal.SIGTERM)
        end = client.expect(Closed)
        assert (end.stream, end.reason) == (2, "shutdown")
        drained = [segment for segment in client.logged(Segment) if segment.stream == 2]
        assert " ".join(texts(drained)).lower().startswith(read.lower()[:40])
        assert manager.state() == "STOPPING=1"
        assert activated.process.wait(20) == 0, activated.errors.read_text()
    heard = manager.drain()
    assert heard.count("READY=1") == heard.count("STOPPING=1") == 1
    assert activated.path.exists()  # it is the service manager's
    assert not activated.own_path.exists()
