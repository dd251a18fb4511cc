"""SIGHUP: a running daemon goes by another configuration, and no stream is disturbed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asrd.wire.messages import Close, Closed, Error, GetStats, Load, Open, Opened, Segment, Stats
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.daemon import Daemon, environment, install_plugins
from support.service_manager import hearing_manager
from support.waiting import wait_until
from support.wire_client import WireClient, texts

PHRASE = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav") + silent_pcm(0.6)


class FileDaemon(Daemon):
    """`asrd serve` with a configuration file that a test may change."""

    def __init__(self, folder: Path, text: str, *flags: str, plugins: Path | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "d" / "s"
        self.stderr_path = folder / "stderr"
        self.config_path = folder / "asrd.toml"
        self.config_path.write_text(text)
        words = ["-P", "-m", "asrd", "serve", "--socket", str(self.path)]
        with self.stderr_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *words, "--config", str(self.config_path), *flags],
                env=environment(*([plugins] if plugins else [])),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def hang_up(self, text: str | None = None) -> None:
        """SIGHUP, after the file was replaced by one of another text."""
        if text is not None:
            fresh = self.config_path.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(self.config_path)
        self.process.send_signal(signal.SIGHUP)

    def reload(self, text: str | None = None, event: str = "reloaded") -> dict[str, object]:
        """The same, and what the log says of it."""
        known = len(self.logged(event))
        self.hang_up(text)
        return wait_until(lambda: self.logged(event)[known:], event)[0]


@contextmanager
def serving(
    folder: Path, text: str, *flags: str, plugins: Path | None = None
) -> Iterator[FileDaemon]:
    daemon = FileDaemon(folder, text, *flags, plugins=plugins)
    try:
        daemon.wait_until_ready()
        yield daemon
    finally:
        daemon.kill()


ECHO = 'provider = "echo"\n'


def max_streams(client: WireClient) -> int:
    """How many streams the daemon lets a client open."""
    for number in range(1, 20):
        client.send(Open(stream=number))
        if isinstance(answer := client.receive(), Error):
            assert answer.code == "too_many_streams"
            return number - 1
        assert isinstance(answer, Opened)
    raise AssertionError("there is no limit")


def test_a_new_limit_counts_for_who_comes_and_not_for_who_is_there(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO + "[limits]\nmax_streams = 2") as daemon:
        with daemon.greet() as early:
            told = daemon.reload(ECHO + "[limits]\nmax_streams = 5")
            assert told["changed"] == ["limits.max_streams"]
            with daemon.greet() as late:
                assert max_streams(late) == 5
            assert max_streams(early) == 2
        assert not daemon.strays
        assert daemon.terminate() == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("limits = ", "is not TOML"),
        (ECHO + "[limits]\nmax_streams = 0", "limits.max_streams: "),
        (ECHO + "[limits]\nmax_stream = 1", "there is no limits.max_stream; did you mean"),
        ('provider = "ecko"', "did you mean 'echo'"),
        (ECHO + "[providers.echo.settings]\nlatenzy_ms = 1", "latency_ms"),
        (ECHO + '[access]\nuids = ["nobody of that name"]', "access.uids"),
    ],
)
def test_what_makes_no_sense_changes_nothing_and_is_told(
    tmp_path: Path, text: str, reason: str
) -> None:
    with serving(tmp_path, ECHO + "[limits]\nmax_streams = 2") as daemon:
        problem = str(daemon.reload(text, "reload_refused")["problem"])
        assert reason in problem
        with daemon.greet() as client:
            assert max_streams(client) == 2
        assert daemon.reload(ECHO + "[limits]\nmax_streams = 3")
        with daemon.greet() as client:
            assert max_streams(client) == 3


def test_a_file_that_has_gone_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO) as daemon:
        daemon.config_path.unlink()
        problem = daemon.reload(event="reload_refused")["problem"]
        assert problem == f"cannot read {daemon.config_path}: No such file or directory"


def test_options_still_win(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO, "--slots", "3", "--log-level", "info") as daemon:
        told = daemon.reload(
            'provider = "echo"\nlog_level = "error"\n[scheduling]\nslots = 2\npreemption = false'
        )
        assert told["changed"] == ["scheduling.preemption"]


def test_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO) as daemon:
        daemon.hang_up(
            ECHO + "[scheduling]\nbackground_share = 0.2\nslots = 2\n"
            "[providers.echo]\ndevice_group = 'other'\n"
        )
        told = wait_until(lambda: daemon.logged("reload_needs_restart"), "a warning")[0]
        assert told["keys"] == ["providers.echo.device_group", "scheduling.background_share"]
        assert daemon.logged("reloaded")[0]["changed"] == ["scheduling.slots"]
        with daemon.greet() as client:
            client.send(GetStats())
            assert client.expect(Stats).counters["decode_slots"] == 2


def test_the_log_level_is_changed_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO) as daemon:
        daemon.reload(ECHO + "log_level = 'error'")
        with daemon.greet() as client:
            client.transcribe(1, PHRASE)
        daemon.reload(ECHO + "log_level = 'error'\nfallback = ['nobody']", "reload_refused")
        daemon.hang_up(ECHO)
        with daemon.greet() as client:
            wait_until(
                lambda: client.transcribe(1, PHRASE) and daemon.logged("stream_ended"), "a line"
            )
        assert len(daemon.logged("client_connected")) <= 2  # the one before, perhaps the one after


def test_streams_that_are_open_are_not_disturbed(tmp_path: Path) -> None:
    """Settings, the default provider, slots and paces change under them, again and again."""
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    texts_of = (
        ECHO + "[scheduling]\nslots = 2\n[scheduling.pace]\nidle_s = 1",
        'provider = "unruly"\n[providers.echo.settings]\nreal_time_factor = 0.01',
        ECHO + "[scheduling]\nslots = 'auto'\n[scheduling.ladder]\nenabled = false",
        ECHO + "[residency]\nmax_models = 3\n[scheduling.max_waiting]\nmic = 1",
    )
    with serving(tmp_path, ECHO, plugins=plugins) as daemon:
        with daemon.greet() as client:
            quiet = texts(client.transcribe(9, PHRASE * 4))
            client.open(1)
            for text in texts_of:
                for begin in range(0, len(PHRASE), 32_000):
                    client.speak(1, PHRASE[begin : begin + 32_000])
                    daemon.hang_up(text)
                daemon.reload()
            client.finish(1)
            assert texts(client.logged(Segment, 1)) == quiet
        assert not daemon.logged("reload_refused")
        assert not daemon.logged("reload_failed")
        assert not daemon.strays


def test_another_setting_is_a_models_own_from_the_next_stream_on(tmp_path: Path) -> None:
    """The model is loaded beside the old one, which goes with its last stream."""
    residency = "[residency]\ncheck_interval_s = 0.1\n"
    with serving(tmp_path, ECHO + residency) as daemon, daemon.greet() as client:
        old = daemon.worker("echo/echo")
        client.open(1, partials=False)
        daemon.reload(ECHO + residency + "[providers.echo.settings]\nlatency_ms = 5")
        new = wait_until(
            lambda: pid if (pid := daemon.worker("echo/echo")) != old else None, "another worker"
        )
        client.open(2, partials=False)
        client.speak(1, PHRASE)
        client.speak(2, PHRASE)
        first, second = client.expect(Segment), client.expect(Segment)
        assert first.text == second.text
        assert {old, new} <= set(daemon.worker_pids)
        client.finish(1)
        evicted = wait_until(lambda: daemon.logged("model_evicted"), "the old one to go")
        assert evicted[0]["reason"] == "its settings have changed"
        wait_until(lambda: old not in daemon.worker_pids, "its worker to be gone")
        client.speak(2, PHRASE)
        client.expect(Segment)
        assert daemon.worker("echo/echo") == new


def test_another_default_provider_is_loaded_and_serves_who_comes(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO) as daemon:
        daemon.reload('provider = "moonshine"\nmodel = "tiny-en"')
        assert daemon.worker("moonshine/tiny-en")
        with daemon.greet() as client:
            client.transcribe(1, PHRASE, partials=False)
            assert {segment.provider for segment in client.logged(Segment)} == {"moonshine"}


def test_many_in_a_row_end_in_the_last(tmp_path: Path) -> None:
    with serving(tmp_path, ECHO) as daemon:
        for streams in range(1, 8):
            daemon.hang_up(ECHO + f"[limits]\nmax_streams = {streams}")
        wait_until(lambda: daemon.logged("reloaded"), "a reload")

        def is_last() -> bool:
            with daemon.greet() as client:
                return max_streams(client) == 7

        wait_until(is_last, "the last of them")
        assert not daemon.strays


def test_while_it_loads_and_while_it_ends(tmp_path: Path) -> None:
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    flag = tmp_path / "flag"
    text = f"""
provider = "unruly"
model = "slow"
[providers.unruly]
settings = {{ flag = "{flag}" }}
"""
    daemon = FileDaemon(tmp_path, text, plugins=plugins)
    try:
        with daemon.greet() as client:
            daemon.reload(text + "[limits]\nmax_streams = 3")
            assert not client.health().ready
            flag.touch()
            daemon.wait_until_ready()
            client.open(1, partials=False)
            os.kill(daemon.worker("unruly/slow"), signal.SIGSTOP)
            client.speak(1, PHRASE)
            daemon.process.send_signal(signal.SIGTERM)
            wait_until(lambda: daemon.logged("draining"), "the drain")
            daemon.reload(text, "reload_refused")
            os.kill(daemon.worker("unruly/slow"), signal.SIGCONT)
            assert client.expect(Closed).reason == "shutdown"
            assert len(client.logged(Segment)) == 1
        assert daemon.process.wait(20) == 0
        assert not daemon.strays
    finally:
        daemon.kill()


def test_the_service_manager_hears_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hearing_manager(tmp_path) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
        daemon = FileDaemon(tmp_path, ECHO)
        try:
            assert manager.state() == "READY=1"
            for text in (ECHO + "[limits]\nmax_streams = 3", "nonsense"):
                before_us = time.monotonic_ns() // 1000
                daemon.hang_up(text)
                first, second = manager.state().splitlines()
                assert first == "RELOADING=1"
                moment_us = int(second.removeprefix("MONOTONIC_USEC="))
                assert before_us <= moment_us <= time.monotonic_ns() // 1000
                assert manager.state() == "READY=1"
            assert daemon.terminate() == 0
            assert manager.state() == "STOPPING=1"
        finally:
            daemon.kill()


def test_workers_that_hear_the_signal_too_go_on(tmp_path: Path) -> None:
    """As when it is sent to a whole process group."""
    with serving(tmp_path, ECHO) as daemon:
        workers = daemon.worker_pids
        for pid in workers:
            os.kill(pid, signal.SIGHUP)
        daemon.reload()
        with daemon.greet() as client:
            assert len(client.transcribe(1, PHRASE, partials=False)) == 1
        assert daemon.worker_pids == workers


def test_a_daemon_without_a_file_goes_on(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    try:
        daemon.wait_until_ready()
        daemon.process.send_signal(signal.SIGHUP)
        told = wait_until(lambda: daemon.logged("reloaded"), "a reload")
        assert told[0]["changed"] == []
        with daemon.greet() as client:
            client.send(Load(), Open(stream=1), Close(stream=1))
            assert client.expect(Closed).reason == "client"
    finally:
        daemon.kill()
