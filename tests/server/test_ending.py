"""The daemon's end: a bug in one stream, a reader that stalls, and what hangs."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asrd.providers.lifecycle import ModelState
from asrd.providers.registry import Registry
from asrd.server.app import GREETING_S
from asrd.server.ending import LAST_WORDS_S, STOP_S, cut_off_rest, drain
from asrd.server.recorder import STOP_TIMEOUT_S
from asrd.wire.messages import Closed, Error, Hello, Open
from support.room import UTTERANCE, Room, run, settle
from support.waiting import until
from support.wire_client import WireClient


def test_a_bug_in_one_stream_costs_that_one(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guests = [room.guest() for _ in range(3)]
        for guest in guests:
            guest.say(Hello(), Open(stream=1))
        await until(lambda: all(served.stream.is_ready for served in room.hub.all_streams))
        broken = room.hub.all_streams[1]

        def fail() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(broken.stream, "drain", fail)
        everybody_left = asyncio.Event()
        everybody_left.set()
        with capture_logs() as lines:
            await drain(room.hub, lambda: [guest.peer for guest in guests], everybody_left)
        assert [line["event"] for line in lines].count("stream_failed") == 1
        reasons = [guest.told(Closed)[-1].reason for guest in guests]
        assert reasons == ["shutdown", "error", "shutdown"]
        assert [error.code for error in guests[1].told(Error)] == ["internal"]
        assert not guests[0].told(Error)

    run(scenario)


def test_a_bug_that_cannot_even_be_told_costs_that_stream(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guests = [room.guest() for _ in range(3)]
        for guest in guests:
            guest.say(Hello(), Open(stream=1))
        await until(lambda: all(served.stream.is_ready for served in room.hub.all_streams))
        broken = room.hub.all_streams[0].session

        def fail(stream: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(broken, "collect", fail)
        everybody_left = asyncio.Event()
        everybody_left.set()
        with capture_logs() as lines:
            ending = asyncio.create_task(
                drain(room.hub, lambda: [guest.peer for guest in guests], everybody_left)
            )
            await settle()
            assert not ending.done()
            room.clock.advance(10.0)
            await ending
        assert "drain_step_failed" in [line["event"] for line in lines]
        assert [guest.told(Closed)[-1].reason for guest in guests[1:]] == ["shutdown"] * 2

    run(scenario)


def test_whoever_is_left_is_cut_off_with_a_line_whatever_it_waits_for(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        guest = room.greeted()
        guest.open(1)
        guest.speak(1, UTTERANCE)
        room.model.enter(ModelState.STARTING)
        guest.open(2)
        guest.open(3)
        guest.peer.lost()  # nobody has to be there
        with capture_logs() as lines:
            cut_off_rest(room.hub)
            cut_off_rest(room.hub)
        ended = [line for line in lines if line["event"] == "stream_ended"]
        assert [(line["stream"], line["reason"]) for line in ended] == [
            (number, "shutdown") for number in (1, 2, 3)
        ]
        assert not room.hub.all_streams

    run(scenario)


HANGING = """
import asyncio, sys, time
from pathlib import Path
from asrd.config import Config, Limits, ProviderConfig
from asrd.server import app, logs
from asrd.server.hub import Hub
from asrd.server.peer import Peer

drain_timeout_s = 0.5

def check(peer):
    logs.structlog.get_logger().info("hanging")
    time.sleep(60)

match sys.argv[2]:
    case "already":
        Peer.check = check
    case "already, for long":
        Peer.check = check
        drain_timeout_s = 30.0
    case "failed":
        async def load_first(hub):
            raise app.StartupError("it does not load", 69)
        app.load_first = load_first

async def stop(hub):
    match sys.argv[2].partition(",")[0]:
        case "loop" | "failed":
            time.sleep(60)
        case "thread":
            asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
        case _:
            await asyncio.Event().wait()

Hub.stop = stop
logs.configure("info")
echo = {"echo": ProviderConfig(loading="lazy")}
config = Config(provider="echo", providers=echo, limits=Limits(drain_timeout_s=drain_timeout_s))
sys.exit(app.serve(config, socket_path=Path(sys.argv[1])))
"""


@pytest.mark.parametrize("what", ["loop", "task", "thread"])
def test_what_hangs_is_ended_in_time_with_its_socket(tmp_path: Path, what: str) -> None:
    """The loop itself, a task that is waited for, and a thread that Python would wait for."""
    path = tmp_path / "s"
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, path, what], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert b"listening" in process.stderr.readline()
        started = time.monotonic()
        process.terminate()
        code = process.wait(60)
        took_s = time.monotonic() - started
        assert b"end_overdue" in process.stderr.read()
    assert code == 0
    assert took_s < 0.5 + 2.0 + 0.5  # and half a second for a machine that is busy
    assert not path.exists()


@pytest.mark.parametrize(("what", "signals"), [("already", 1), ("already, for long", 2)])
def test_a_loop_that_hangs_already_is_ended_in_time(
    tmp_path: Path, what: str, signals: int
) -> None:
    """The loop hears of no signal. A second one ends the process at once, whatever the drain."""
    path = tmp_path / "s"
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, path, what], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert b"listening" in process.stderr.readline()
        with WireClient(path):
            while b"hanging" not in process.stderr.readline():
                pass
            for _ in range(signals):
                process.terminate()
                time.sleep(0.1)
            started = time.monotonic()
            code = process.wait(60)
            took_s = time.monotonic() - started
            assert b"end_overdue" in process.stderr.read()
    assert code == 0
    assert took_s < 0.5 + 2.0 + 0.5
    assert not path.exists()


def test_an_end_that_is_overdue_has_the_exit_code_that_was_due(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING, tmp_path / "s", "failed"], capture_output=True, timeout=60
    )
    assert b"end_overdue" in done.stderr
    assert done.returncode == 69


GUARDED = """
import sys, time
from asrd.server import ending, logs
class Broken:
    def error(self, *_, **__):
        raise ZeroDivisionError
if sys.argv[1] == "broken":
    ending.log = Broken()
with ending.Guard() as guard:
    guard.code = 74
    for within_s in map(float, sys.argv[2:]):
        guard.begin(within_s)
        time.sleep(0.2)
    print("begun", flush=True)
    time.sleep(60 if sys.argv[1] != "in time" else 0)
print("ended as it should", flush=True)
"""


@pytest.mark.parametrize(
    ("how", "within_s", "code"),
    [
        ("late", ["0.5", "30"], 74),  # told again, the earlier moment counts
        ("late", ["30", "0.5"], 74),
        ("broken", ["0.5"], 74),  # even a log that fails does not keep it from ending
        ("in time", ["30"], 0),
    ],
)
def test_the_earliest_moment_counts(how: str, within_s: list[str], code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GUARDED, how, *within_s],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = time.monotonic()
        assert process.wait(60) == code
        assert time.monotonic() - started < 0.5 + 1.0
        assert (b"ended as it should" in process.stdout.read()) == (code == 0)


def test_what_is_promised_adds_up() -> None:
    """Streams have the drain timeout, the last words a second more, and all of it two."""
    assert LAST_WORDS_S + GREETING_S + STOP_TIMEOUT_S < STOP_S < 2.0
