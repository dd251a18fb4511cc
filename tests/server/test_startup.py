"""What is settled before the daemon serves, and what it does with its first models."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asrd.choices import Loading, WarmUp
from asrd.config import Config, ProviderConfig
from asrd.errors import ProviderError, StartupError
from asrd.machine import Machine
from asrd.providers import inspection, recommendation
from asrd.providers.recommendation import Recommendation
from asrd.providers.registry import Registry
from asrd.server.startup import settled
from asrd.wire.messages import GetHealth, Health, Open, Opened
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.daemon import Daemon, command, environment, install_plugins, running_daemon
from support.service_manager import HearingManager, hearing_manager
from support.waiting import wait_until

MACHINE = Machine(cores=3, memory_bytes=8_000_000_000, available_bytes=4_000_000_000)
SPEECH = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav") + silent_pcm(0.6)


# ── auto ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Recommendation:
    """What suits this machine."""
    choice = Recommendation(
        provider="whisper_cpp",
        model="small",
        settings={"threads": 3, "beam_size": 2},
        memory_bytes=1,
        models_that_fit=1,
        reason="It fits.",
    )

    def recommend(machine: Machine, registry: Registry) -> Recommendation:
        assert machine is MACHINE
        return choice

    monkeypatch.setattr(inspection, "inspect_machine", lambda: MACHINE)
    monkeypatch.setattr(recommendation, "recommend", recommend)
    return choice


def test_auto_is_what_suits_the_machine_and_says_why(
    registry: Registry, chosen: Recommendation
) -> None:
    with capture_logs() as lines:
        config = settled(Config(provider="auto"), registry)
    own = ProviderConfig(settings=chosen.settings)
    assert config == Config(provider="whisper_cpp", model="small", providers={"whisper_cpp": own})
    line = lines[0]
    assert (line["event"], line["reason"]) == ("provider_chosen", "It fits.")


@pytest.mark.usefixtures("chosen")
def test_what_was_said_of_auto_is_said_of_the_chosen_provider(registry: Registry) -> None:
    """And wins over what was said of that by its name, which wins over what was chosen."""
    config = Config(
        provider="auto",
        model="tiny",
        providers={
            "auto": ProviderConfig(
                loading=Loading.BACKGROUND, required=True, settings={"threads": 1}
            ),
            "whisper_cpp": ProviderConfig(
                warm_up=WarmUp.FULL,
                loading=Loading.LAZY,
                settings={"threads": 2, "flash_attention": True},
            ),
            "echo": ProviderConfig(loading=Loading.EAGER),
        },
    )
    found = settled(config, registry)
    assert (found.provider, found.model) == ("whisper_cpp", "tiny")
    assert found.providers == {
        "whisper_cpp": ProviderConfig(
            loading=Loading.BACKGROUND,
            warm_up=WarmUp.FULL,
            required=True,
            settings={"threads": 1, "beam_size": 2, "flash_attention": True},
        ),
        "echo": ProviderConfig(loading=Loading.EAGER),
    }


@pytest.mark.usefixtures("chosen")
def test_a_slip_of_the_pen_is_told_of_auto_too(registry: Registry) -> None:
    slip = {"auto": ProviderConfig(settings={"treads": 1})}
    with pytest.raises(StartupError, match="did you mean 'threads'") as caught:
        settled(Config(provider="auto", providers=slip), registry)
    assert caught.value.exit_code == 78


def test_where_nothing_suits_the_machine_the_daemon_does_not_start(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recommend(machine: Machine, registry: Registry) -> Recommendation:
        raise ProviderError("get it by `this`")

    monkeypatch.setattr(recommendation, "recommend", recommend)
    with pytest.raises(StartupError, match="get it by `this`") as caught:
        settled(Config(provider="auto"), registry)
    assert caught.value.exit_code == 69


# ── what makes no sense ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (Config(provider="ecko"), "no provider 'ecko'; did you mean 'echo'"),
        (Config(provider="echo", fallback=("moonshin",)), "did you mean 'moonshine'"),
        (Config(provider="echo", fallback=("wisper_cpp/base",)), "did you mean 'whisper_cpp'"),
        (Config(provider="echo", providers={"moonshne": ProviderConfig()}), "mean 'moonshine'"),
        (
            Config(provider="echo", providers={"moonshine": ProviderConfig(fallback=("eco",))}),
            "did you mean 'echo'",
        ),
        (
            Config(provider="echo", providers={"echo": ProviderConfig(settings={"latency": 1})}),
            "echo has no setting 'latency'; did you mean 'latency_ms'",
        ),
        (
            Config(
                provider="echo",
                providers={"whisper_cpp": ProviderConfig(settings={"threads": "many"})},
            ),
            "threads",
        ),
    ],
)
def test_what_does_not_exist_keeps_the_daemon_from_starting(
    registry: Registry, config: Config, problem: str
) -> None:
    with pytest.raises(StartupError, match=problem) as caught:
        settled(config, registry)
    assert caught.value.exit_code == 78


def test_a_broken_plugin_does_not(registry: Registry) -> None:
    """The other providers serve, and health says what is wrong."""
    broken = Registry(registered=registry.registered, broken={"bad": "ImportError: no"})
    for config in (
        Config(provider="bad"),
        Config(provider="echo", fallback=("bad",)),
        Config(provider="echo", providers={"bad": ProviderConfig(settings={"any": 1})}),
    ):
        assert settled(config, broken) is config


# ── the first models, in real daemons ─────────────────────────────────────────────────────────


@pytest.fixture
def unruly(tmp_path: Path) -> Path:
    return install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})


def ended(folder: Path, plugins: Path, **config: Any) -> tuple[int, str]:
    """Exit code and last line of a daemon that does not come up."""
    done = subprocess.run(
        command(folder / "s", **config),
        env=environment(plugins),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
    )
    text = done.stderr.decode()
    assert "Traceback" not in text
    return done.returncode, text.splitlines()[-1]


@pytest.mark.parametrize("model", ["bad_at_load", "bad_at_warm_up"])
def test_what_is_eager_and_required_and_fails_ends_the_daemon(
    tmp_path: Path, unruly: Path, model: str
) -> None:
    code, line = ended(
        tmp_path,
        unruly,
        provider="unruly",
        model=model,
        settings={"deed": "raise"},
        use={"required": True},
    )
    assert code == 69
    assert line.startswith(f"unruly/{model} does not load: ")
    assert "RuntimeError: unruly by design" in line
    assert not (tmp_path / "s").exists()


def test_so_does_one_whose_worker_dies_each_time(tmp_path: Path, unruly: Path) -> None:
    code, line = ended(
        tmp_path,
        unruly,
        provider="unruly",
        model="bad_at_load",
        settings={"deed": "segv"},
        use={"required": True},
        supervision={"first_pause_s": 0.01, "load_attempts": 2},
    )
    assert code == 69
    assert line.startswith("unruly/bad_at_load does not load: the worker ")
    assert " died" in line


def test_a_model_that_there_is_not_is_a_mistake_of_whoever_starts_it(
    tmp_path: Path, unruly: Path
) -> None:
    code, line = ended(tmp_path, unruly, model="other", use={"required": True})
    assert code == 69
    assert "echo has one model, 'echo'" in line


def test_another_provider_that_is_required_counts_like_the_default(
    tmp_path: Path, unruly: Path
) -> None:
    bad = {"loading": "eager", "required": True, "models": ["fine", "bad_at_load"]}
    code, line = ended(
        tmp_path, unruly, providers={"unruly": {**bad, "settings": {"deed": "raise"}}}
    )
    assert code == 69
    assert line.startswith("unruly/bad_at_load does not load: ")


def test_on_stdio_the_daemon_ends_as_well_while_its_client_stays(
    tmp_path: Path, unruly: Path
) -> None:
    arguments = command(
        None,
        provider="unruly",
        model="bad_at_load",
        settings={"deed": "raise"},
        use={"required": True},
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        arguments, env=environment(unruly), stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        assert process.stderr is not None
        text = process.stderr.read()
        assert process.wait(20) == 69
        assert b"unruly by design" in text


def test_what_is_not_required_may_fail(tmp_path: Path, unruly: Path) -> None:
    """The daemon serves with what it has, the failed model is told, and its log says so once."""
    bad = {"loading": "eager", "models": ["bad_at_load"], "settings": {"deed": "raise"}}
    with (
        running_daemon(tmp_path / "d", [unruly], providers={"unruly": bad}) as daemon,
        daemon.greet() as client,
    ):
        assert len(client.transcribe(1, SPEECH, partials=False)) == 1
        wait_until(lambda: daemon.logged("started"), "a start that is complete")
        found = client.health()
        assert found.ready
        assert found.providers["unruly"].state == "unavailable"
        assert "unruly by design" in found.providers["unruly"].problem
        (line,) = daemon.logged("first_load_failed")
        assert line["model"] == "unruly/bad_at_load"
        assert not daemon.strays


def test_a_provider_that_cannot_be_imported_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "asrd_test_bad.py").write_text("import asrd_test_no_such_engine\n")
    install_plugins(folder, {"bad": "asrd_test_bad"})
    with (
        running_daemon(
            tmp_path / "d",
            [folder],
            providers={"bad": {"loading": "eager", "settings": {"any": 1}}},
            fallback=["bad"],
        ) as daemon,
        daemon.greet() as client,
    ):
        assert len(client.transcribe(1, SPEECH, partials=False)) == 1
        assert [line["plugin"] for line in daemon.logged("plugin_broken")] == ["bad"]
        assert not daemon.strays


# ── what the service manager hears, and when ──────────────────────────────────────────────────


@contextmanager
def managed(
    folder: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch, use: Mapping[str, Any]
) -> Iterator[tuple[Daemon, HearingManager, Path]]:
    """A daemon whose model loads until the file is there, and what its manager hears."""
    flag = folder / "flag"
    with hearing_manager(folder) as manager:
        manager.listen()
        monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
        daemon = Daemon(
            folder,
            [plugins],
            provider="unruly",
            model="slow",
            settings={"flag": os.fspath(flag)},
            use=use,
        )
        try:
            yield daemon, manager, flag
        finally:
            daemon.kill()


def test_the_service_is_ready_when_its_socket_answers_and_tells_what_still_loads(
    tmp_path: Path, unruly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to wait for a large model; its streams do, and `health` says so."""
    use = {"loading": "eager"}
    with managed(tmp_path, unruly, monkeypatch, use) as (daemon, manager, flag):
        assert manager.receive() == "READY=1"
        with daemon.greet() as client:
            wait_until(lambda: len(daemon.worker_pids) == 2, "workers")
            found = client.health()
            assert (found.ready, found.providers["unruly"].state) == (False, "starting")
            told = manager.until(lambda message: "unruly/slow" in message)
            assert told.startswith("STATUS=unruly/slow starting")
            flag.touch()
            manager.until(lambda message: message.startswith("STATUS=unruly/slow ready; 0 streams"))
            assert client.health().ready


def test_what_is_required_and_does_not_come_up_ends_a_service_that_is_ready(
    tmp_path: Path, unruly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hearing_manager(tmp_path) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
        daemon = Daemon(
            tmp_path,
            [unruly],
            provider="unruly",
            model="bad_at_load",
            settings={"deed": "refuse"},
            use={"required": True},
            supervision={"load_attempts": 1},
        )
        try:
            assert daemon.process.wait(20) == 69
            assert (manager.state(), manager.state()) == ("READY=1", "STOPPING=1")
        finally:
            daemon.kill()


def test_what_loads_in_the_background_keeps_nobody_waiting_but_its_streams(
    tmp_path: Path, unruly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams that need it share the one load."""
    use = {"loading": "background"}
    with managed(tmp_path, unruly, monkeypatch, use) as (daemon, manager, flag):
        assert manager.receive() == "READY=1"
        with daemon.greet() as client, daemon.greet() as other:
            for one in (client, other):
                one.send(Open(stream=1))
                one.send(GetHealth())
                found = one.expect(Health)  # and no `opened` before it
                assert (found.ready, found.providers["unruly"].state) == (False, "starting")
                assert not one.logged(Opened)
            assert len(client.transcribe(2, SPEECH, provider="echo", partials=False)) == 1
            flag.touch()
            for one in (client, other):
                assert one.expect(Opened).provider == "unruly"
            assert client.health().ready
        loaded = [line for line in daemon.logged("model_ready") if line["worker"] == "unruly/slow"]
        assert len(loaded) == 1
