"""The daemon as a whole, in a child process: started, signalled, and brought to its end."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from msgspec import UNSET

from asrd.config import Config
from asrd.errors import StartupError
from asrd.server import app
from asrd.wire.messages import (
    Cancel,
    Close,
    Closed,
    Error,
    Event,
    GetStats,
    Health,
    Open,
    Opened,
    Segment,
    Stats,
    Unload,
    Welcome,
)
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.daemon import (
    Daemon,
    command,
    environment,
    install_plugins,
    is_alive,
    running_daemon,
)
from support.service_manager import hearing_manager
from support.unruly import marked
from support.waiting import wait_until
from support.wire_client import WireClient, texts

END_WITHIN_S = 1.0
SPEECH = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav") + silent_pcm(0.6)
ENGINES = ("ctranslate2", "faster_whisper", "moonshine", "pywhispercpp", "onnxruntime", "torch")


def ended_in(daemon: Daemon, number: int = signal.SIGTERM) -> tuple[int, float]:
    """Signal it; returns its exit code and how long it took."""
    started = time.monotonic()
    daemon.process.send_signal(number)
    return daemon.process.wait(20), time.monotonic() - started


@pytest.mark.parametrize(
    ("number", "is_connected"), [(signal.SIGTERM, True), (signal.SIGINT, False)]
)
def test_an_idle_daemon_ends_at_once_and_leaves_nothing(
    tmp_path: Path, number: int, is_connected: bool
) -> None:
    with running_daemon(tmp_path) as daemon:
        workers = daemon.worker_pids
        assert len(workers) == 2
        client = daemon.greet() if is_connected else None
        code, took_s = ended_in(daemon, number)
        assert code == 0
        assert took_s < END_WITHIN_S
        assert not daemon.path.exists()
        assert not any(psutil.pid_exists(pid) for pid in workers)
        assert not daemon.strays
        if client is not None:
            client.read_to_end()
            client.socket.close()


def test_a_daemon_that_is_told_to_end_while_it_loads_ends_at_once(tmp_path: Path) -> None:
    """A load cannot be cancelled; its process can be ended."""
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    settings = {"flag": str(tmp_path / "never")}
    daemon = Daemon(tmp_path, [plugins], provider="unruly", model="slow", settings=settings)
    try:
        workers = wait_until(
            lambda: pids if len(pids := daemon.worker_pids) == 2 else None, "two workers"
        )
        code, took_s = ended_in(daemon)
        assert (code, took_s < END_WITHIN_S) == (0, True)
        assert not any(psutil.pid_exists(pid) for pid in workers)
        assert not daemon.strays
    finally:
        daemon.kill()


def test_a_second_signal_ends_what_cannot_be_finished(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon, daemon.greet() as client:
        client.open(1, partials=False)
        os.kill(daemon.worker("echo/echo"), signal.SIGSTOP)
        client.speak(1, SPEECH)
        wait_until(lambda: _decoding(client) == 1, "a decode that does not end")
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.logged("draining"), "the first signal to be heard")
        client.send(Open(stream=2))
        assert client.expect(Error).code == "draining"
        workers = daemon.worker_pids
        code, took_s = ended_in(daemon)
        assert (code, took_s < END_WITHIN_S) == (0, True)
        assert not any(is_alive(pid) for pid in workers)


def test_open_streams_are_finished_before_the_end(tmp_path: Path) -> None:
    with running_daemon(tmp_path, settings={"real_time_factor": 0.1}) as daemon:
        with daemon.greet() as client:
            client.open(1, partials=False)
            client.speak(1, SPEECH + SPEECH[: len(SPEECH) // 2])
            wait_until(lambda: _decoding(client) == 1, "a decode")
            daemon.process.send_signal(signal.SIGTERM)
            closed = client.expect(Closed)
            assert (closed.reason, closed.segments) == ("shutdown", 2)
            client.read_to_end()
            assert len(client.logged(Segment)) == 2
        assert daemon.process.wait(20) == 0
        assert not daemon.strays


def test_what_cannot_be_finished_in_time_is_cut_off(tmp_path: Path) -> None:
    with (
        running_daemon(
            tmp_path, settings={"latency_ms": 0}, limits={"drain_timeout_s": 0.3}
        ) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        os.kill(daemon.worker("echo/echo"), signal.SIGSTOP)
        client.speak(1, SPEECH)
        wait_until(lambda: _decoding(client) == 1, "a decode that does not end")
        code, took_s = ended_in(daemon)
        assert (code, took_s < 0.3 + END_WITHIN_S) == (0, True)
        client.read_to_end()
        assert client.logged(Closed)[-1].reason == "shutdown"


def test_a_decode_that_nobody_wants_any_more_frees_the_lock(tmp_path: Path) -> None:
    """Long before it would have ended: the engine is told to stop."""
    with (
        running_daemon(
            tmp_path, settings={"real_time_factor": 60}, use={"warm_up": "none"}
        ) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.speak(1, SPEECH)
        wait_until(lambda: _decoding(client) == 1, "a decode that takes a minute")
        worker = daemon.worker("echo/echo")
        client.send(Cancel(stream=1))
        assert client.expect(Closed).reason == "cancelled"
        wait_until(lambda: _decoding(client) == 0, "the lock to be free", patience_s=5)
        client.send(GetStats())
        counters = client.expect(Stats).counters
        assert (counters["decodes_failed"], counters["finals"]) == (0, 0)
        assert is_alive(worker)
        assert client.health().providers["echo"].consecutive_errors == 0


def test_a_second_daemon_on_the_path_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        done = subprocess.run(
            command(daemon.path), env=environment(), capture_output=True, check=False, timeout=30
        )
        assert done.returncode == 75
        assert b"already running" in done.stderr
        assert b"Traceback" not in done.stderr
        with daemon.greet() as client:
            assert len(client.transcribe(1, SPEECH, partials=False)) == 1


def test_a_killed_daemons_path_is_taken_over(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        daemon.kill()
        assert stat.S_ISSOCK(daemon.path.stat().st_mode)
        with running_daemon(tmp_path) as successor, successor.greet() as client:
            assert len(client.transcribe(1, SPEECH, partials=False)) == 1


def test_the_core_imports_no_engine_and_stays_small(tmp_path: Path) -> None:
    """Even after it has transcribed: engines are in the workers."""
    with running_daemon(tmp_path, provider="moonshine") as daemon:
        with daemon.greet() as client:
            assert client.transcribe(1, SPEECH, partials=False)
        core = psutil.Process(daemon.pid)
        maps = {Path(entry.path).name for entry in core.memory_maps() if entry.path}
        assert not [name for name in maps for engine in ENGINES if engine in name]
        # What is shared with other processes, such as Python itself, is no cost of the daemon.
        assert core.memory_full_info().uss < 80_000_000


def test_health_is_answered_within_half_a_second_of_the_start(tmp_path: Path) -> None:
    """Whatever is still loading. The time counts from where Python has started."""
    bare = [sys.executable, "-P", "-c", "import asyncio, numpy, structlog, msgspec, msgpack, soxr"]
    started = time.monotonic()
    subprocess.run(bare, check=True, env=environment())
    python_s = time.monotonic() - started
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    started = time.monotonic()
    daemon = Daemon(
        tmp_path, [plugins], provider="unruly", model="slow", settings={"flag": "/nonexistent"}
    )
    try:
        with daemon.greet() as client:
            health = client.health()
        took_s = time.monotonic() - started
        assert (health.live, health.ready, health.state) == (True, False, "starting")
        assert took_s < 2 * python_s + 0.5
    finally:
        daemon.kill()


def test_not_ready_is_told_within_a_second_of_the_workers_death(tmp_path: Path) -> None:
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    flag = tmp_path / "flag"
    flag.touch()
    with running_daemon(
        tmp_path, [plugins], provider="unruly", model="slow", settings={"flag": str(flag)}
    ) as daemon:
        flag.unlink()  # the next load waits for it
        with daemon.greet() as client:
            killed = time.monotonic()
            os.kill(daemon.worker("unruly/slow"), signal.SIGKILL)
            wait_until(lambda: not client.health().ready, "a daemon that is not ready")
            assert time.monotonic() - killed < 0.1
            flag.touch()
            health = wait_until(lambda: _ready(client), "a daemon that is ready again")
            assert health.providers["unruly"].restarts == 1


def test_streams_go_elsewhere_while_a_provider_fails_and_come_back(tmp_path: Path) -> None:
    """With real workers: two refusals open the breaker, a probe on silence closes it again."""
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    with (
        running_daemon(
            tmp_path / "d",
            [plugins],
            provider="unruly",
            settings={"deed": "refuse"},
            fallback=["echo"],
            supervision={"breaker_failures": 2, "breaker_open_s": 3.0},
        ) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        for _ in range(2):
            client.speak(1, marked(SPEECH, 1.2))
            assert client.expect(Error).code == "provider_failed"
        away = _move(client, 1)
        assert (away.event, away.level, away.action) == ("degraded", 4, "read by echo/echo")
        client.speak(1, SPEECH)
        assert client.expect(Segment).provider == "echo"
        back = _move(client, 2)
        assert (back.event, back.level, back.action) == ("restored", 0, "read by unruly/fine")
        client.speak(1, SPEECH)
        assert client.expect(Segment).provider == "unruly"
        client.finish(1)
        assert [segment.id for segment in client.logged(Segment)] == [0, 1]
        assert client.health().providers["unruly"].breaker == "closed"


def test_a_broken_plugin_is_a_line_and_the_daemon_serves(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "asrd_test_bad.py").write_text("import sys; sys.exit('no')")
    (folder / "asrd_test_worse.py").write_text(
        "from asrd import hookimpl\n@hookimpl\ndef asrd_register_providers(register): 1 / 0\n"
    )
    install_plugins(folder, {"bad": "asrd_test_bad", "worse": "asrd_test_worse"})
    with running_daemon(tmp_path, [folder]) as daemon, daemon.greet() as client:
        assert len(client.transcribe(1, SPEECH, partials=False)) == 1
        broken = {line["plugin"]: line["problem"] for line in daemon.logged("plugin_broken")}
        assert broken == {"bad": "SystemExit: no", "worse": "ZeroDivisionError: division by zero"}
        assert not daemon.strays


@pytest.mark.parametrize("model", ["bad_at_load", "bad_at_warm_up"])
def test_a_plugin_that_raises_when_it_is_loaded_disturbs_no_other(
    tmp_path: Path, model: str
) -> None:
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    with (
        running_daemon(
            tmp_path / "b",
            [plugins],
            provider="unruly",
            model=model,
            settings={"deed": "raise"},
            eager=False,
        ) as daemon,
        daemon.greet() as client,
    ):
        client.send(Open(stream=1))
        error = client.expect(Error)
        assert (error.code, error.stream) == ("provider_unavailable", 1)
        assert "RuntimeError: unruly by design" in error.message
        assert len(client.transcribe(2, SPEECH, provider="echo", partials=False)) == 1
        assert client.health().providers["unruly"].state == "unavailable"
        assert not daemon.strays


def test_unloading_gives_the_memory_back(tmp_path: Path) -> None:
    with running_daemon(tmp_path, provider="moonshine") as daemon, daemon.greet() as client:
        worker = psutil.Process(daemon.worker("moonshine/tiny-en"))
        assert worker.memory_info().rss > 50_000_000
        client.send(Unload())
        client.expect(Health)
        assert not worker.is_running()
        assert len(daemon.worker_pids) == 1
        with daemon.greet() as other:  # who needs it loads it again
            assert texts(other.transcribe(1, SPEECH, partials=False))


def test_one_load_serves_all_who_ask_for_it(tmp_path: Path) -> None:
    with running_daemon(tmp_path, settings={"load_ms": 200}, eager=False) as daemon:
        clients = [daemon.greet() for _ in range(4)]
        for client in clients:
            client.send(Open(stream=1))
        for client in clients:
            client.expect(Opened)
            client.socket.close()
        assert len([line for line in daemon.logged("model_ready") if "echo" in line["worker"]]) == 1


# ── a service manager ─────────────────────────────────────────────────────────────────────────


def test_the_service_manager_hears_when_it_is_ready_and_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready when the socket answers: a client that connects then is served."""
    with hearing_manager(tmp_path) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
        daemon = Daemon(tmp_path, eager=False)
        try:
            assert manager.receive() == "READY=1"
            with WireClient(daemon.path) as client:
                client.hello()
            assert daemon.terminate() == 0
            assert manager.state() == "STOPPING=1"
        finally:
            daemon.kill()


# ── small things ──────────────────────────────────────────────────────────────────────────────


def test_a_default_that_does_not_exist_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="did you mean 'echo'") as caught:
        app.serve(Config(provider="ecko"), socket_path=tmp_path / "s")
    assert caught.value.exit_code == 78
    assert not (tmp_path / "s").exists()


def test_a_log_that_nobody_reads_ends_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        command(tmp_path / "s", eager=False), env=environment(), stderr=writer
    )
    os.close(writer)
    os.close(reader)
    try:
        wait_until((tmp_path / "s").exists, "a socket")
        for _ in range(3):
            with wait_until(lambda: _connected(tmp_path / "s"), "a daemon") as client:
                assert isinstance(client.hello(), Welcome)
                client.open(1)
                client.send(Close(stream=1))
                client.expect(Closed)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def _connected(path: Path) -> WireClient | None:
    try:
        return WireClient(path)
    except ConnectionRefusedError:
        return None


def _decoding(client: WireClient) -> int:
    client.send(GetStats())
    return int(client.expect(Stats).counters["decodes_running"])


def _move(client: WireClient, count: int) -> Event:
    """The move of that count from one model to another; it may have been told already."""
    while (
        len(told := [event for event in client.logged(Event) if event.level is not UNSET]) < count
    ):
        client.receive()
    return told[count - 1]


def _ready(client: WireClient) -> Health | None:
    health = client.health()
    return health if health.ready else None


def test_after_the_end_nobody_is_let_in(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        with daemon.greet() as client:
            assert daemon.terminate() == 0
            client.read_to_end()
        with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
            WireClient(daemon.path)
