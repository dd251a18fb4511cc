"""`asrd serve`: what its options and its file make of the configuration, and how it refuses."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from asrd.choices import Loading, LogLevel, WarmUp
from asrd.config import Config, LadderRule, ProviderConfig, Recording, Residency, Scheduling
from asrd.configuring.layers import SYSTEM_FILE
from asrd.errors import StartupError
from asrd.server.reload import ReadConfig
from cli.conftest import Run

NO_DAEMON = 7
"""The exit code of a daemon that only notes how it was started."""

FILE = """
log_level = "warning"
provider = "whisper_cpp"
model = "small"
fallback = ["moonshine"]

[providers.whisper_cpp]
loading = "background"
warm_up = "full"
required = true
keep_warm = true
settings = { threads = 4, beam_size = 2 }

[providers.echo]
loading = "lazy"
settings = { latency_ms = 5 }

[residency]
max_models = 3
idle_ttl_s = 600
memory_budget = "60%"
gpu_memory_budget = "2GB"

[scheduling]
slots = "auto"
queue_timeout_s = 20

[scheduling.ladder]
enabled = false
shed_load = 2
"""


@dataclass
class Started:
    """How daemons were started."""

    configs: list[Config] = field(default_factory=list)
    sockets: list[Path] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """No daemon is started; what it would have been told is kept."""
    noted = Started()

    def serve(config: Config, *, socket_path: Path, read: ReadConfig) -> int:
        assert read() == config
        noted.configs.append(config)
        noted.sockets.append(socket_path)
        return NO_DAEMON

    monkeypatch.setattr("asrd.server.logs.configure", lambda level, _: noted.levels.append(level))
    monkeypatch.setattr("asrd.server.app.serve", serve)
    return noted


@pytest.fixture
def config_of(asrd: Run, started: Started, tmp_path: Path) -> Callable[..., Config]:
    """The configuration that comes of a file's text and of options."""

    def read(text: str | None, *options: str) -> Config:
        arguments = list(options)
        if text is not None:
            (tmp_path / "asrd.toml").write_text(text)
            arguments += ["--config", str(tmp_path / "asrd.toml")]
        outcome = asrd("serve", "--socket", tmp_path / "s", *arguments)
        assert outcome.code == NO_DAEMON, outcome.err
        return started.configs[-1]

    return read


def test_monitoring_that_a_file_asks_for_can_be_taken_back(
    config_of: Callable[..., Config],
) -> None:
    text = '[monitoring]\nlisten = "127.0.0.1:1"\n'
    assert config_of(text).monitoring.listen == "127.0.0.1:1"
    assert config_of(text, "--monitor", "127.0.0.1:2").monitoring.listen == "127.0.0.1:2"
    assert config_of(text, "--monitor", "none").monitoring.listen is None


def test_spans_can_be_asked_for_and_taken_back(config_of: Callable[..., Config]) -> None:
    text = "[tracing]\nenabled = true\n"
    assert config_of(text).tracing.enabled
    assert not config_of(text, "--no-trace").tracing.enabled
    assert config_of("", "--trace").tracing.enabled
    assert not config_of("").tracing.enabled


def test_a_daemon_of_ones_own_keeps_off_the_configured_address(asrd_process: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = asrd_process(
            "transcribe",
            "--sample",
            environment={"ASRD_MONITORING__LISTEN": f"127.0.0.1:{taken.getsockname()[1]}"},
        )
    assert outcome.code == 0, outcome.err


def test_options_reach_the_daemon(asrd: Run, started: Started, socket: Path) -> None:
    arguments = [
        "--provider=whisper_cpp",
        "--model=m",
        "-o",
        "threads=2",
        "-o",
        "echo.latency_ms=1",
    ]
    arguments += ["--loading", "lazy", "--warm-up", "none", "--required", "--log-level", "debug"]
    arguments += ["--fallback", "echo", "--fallback", "moonshine/tiny-en", "--max-models", "2"]
    arguments += ["--idle-ttl-s", "30", "--memory-budget", "1.5 GB"]
    arguments += ["--slots", "4", "--no-ladder"]
    assert asrd("serve", "--socket", socket, *arguments).code == NO_DAEMON
    own = ProviderConfig(
        loading=Loading.LAZY, warm_up=WarmUp.NONE, required=True, settings={"threads": 2}
    )
    assert started.configs == [
        Config(
            provider="whisper_cpp",
            model="m",
            fallback=("echo", "moonshine/tiny-en"),
            providers={
                "whisper_cpp": own,
                "echo": ProviderConfig(settings={"latency_ms": 1}),
            },
            residency=Residency(max_models=2, idle_ttl_s=30.0, memory_budget="1.5 GB"),
            scheduling=Scheduling(slots=4, ladder=LadderRule(enabled=False)),
            log_level=LogLevel.DEBUG,
        )
    ]
    assert started.sockets == [socket]
    assert started.levels == ["debug"]


def test_without_options_everything_is_as_usual(config_of: Callable[..., Config]) -> None:
    config = config_of(None)
    assert config == Config()
    assert config.loading_of("moonshine") is Loading.EAGER


def test_recordings_go_where_the_option_says_else_where_the_file_does(
    config_of: Callable[..., Config],
) -> None:
    file = '[recording]\ndirectory = "/a"\nmax_file_bytes = 5\n'
    assert config_of(None).recording == Recording()
    assert config_of(file).recording == Recording(directory="/a", max_file_bytes=5)
    own = config_of(file, "--record", "/b").recording
    assert own == Recording(directory="/b", max_file_bytes=5)


def test_a_file_is_taken_as_it_is(config_of: Callable[..., Config]) -> None:
    whisper = ProviderConfig(
        loading=Loading.BACKGROUND,
        warm_up=WarmUp.FULL,
        required=True,
        keep_warm=True,
        settings={"threads": 4, "beam_size": 2},
    )
    assert config_of(FILE) == Config(
        log_level=LogLevel.WARNING,
        provider="whisper_cpp",
        model="small",
        fallback=("moonshine",),
        providers={
            "whisper_cpp": whisper,
            "echo": ProviderConfig(loading=Loading.LAZY, settings={"latency_ms": 5}),
        },
        residency=Residency(
            max_models=3, idle_ttl_s=600.0, memory_budget="60%", gpu_memory_budget="2GB"
        ),
        scheduling=Scheduling(
            slots="auto", queue_timeout_s=20.0, ladder=LadderRule(enabled=False, shed_load=2.0)
        ),
    )


def test_options_win_over_the_file(config_of: Callable[..., Config]) -> None:
    """What they do not speak of stays."""
    config = config_of(
        FILE,
        *("--model=base", "--loading=lazy", "--warm-up=minimal", "--fallback=echo"),
        *("--option=threads=1", "--max-models=1", "--idle-ttl-s=5", "--memory-budget=1GB"),
        *("--slots=2", "--ladder", "--log-level=error"),
    )
    assert config.log_level is LogLevel.ERROR
    assert (config.provider, config.model, config.fallback) == ("whisper_cpp", "base", ("echo",))
    own = config.of("whisper_cpp")
    assert (own.loading, own.warm_up) == (Loading.LAZY, WarmUp.MINIMAL)
    assert (own.required, own.keep_warm) == (True, True)
    assert own.settings == {"threads": 1, "beam_size": 2}
    assert config.of("echo").settings == {"latency_ms": 5}
    assert config.residency == Residency(
        max_models=1, idle_ttl_s=5.0, memory_budget="1GB", gpu_memory_budget="2GB"
    )
    assert config.scheduling == Scheduling(
        slots=2, queue_timeout_s=20.0, ladder=LadderRule(enabled=True, shed_load=2.0)
    )


@pytest.mark.parametrize(("text", "slots"), [("auto", "auto"), ("1", 1), ("16", 16)])
def test_slots_are_a_number_or_auto(
    config_of: Callable[..., Config], text: str, slots: int | str
) -> None:
    assert config_of(None, "--slots", text).scheduling.slots == slots


def test_another_provider_has_its_own_part_of_the_file(config_of: Callable[..., Config]) -> None:
    """And not the model of the one that it replaces."""
    config = config_of(FILE, "--provider=echo", "--option=load_ms=3", "--required")
    assert (config.provider, config.model) == ("echo", None)
    assert config.of("echo") == ProviderConfig(
        loading=Loading.LAZY, required=True, settings={"latency_ms": 5, "load_ms": 3}
    )
    assert config.of("whisper_cpp").settings == {"threads": 4, "beam_size": 2}


def test_the_settings_of_another_provider_are_that_providers(
    config_of: Callable[..., Config],
) -> None:
    config = config_of(FILE, "--option=echo.load_ms=3", "--option=moonshine.single_thread=no")
    assert config.provider == "whisper_cpp"
    assert config.of("echo").settings == {"latency_ms": 5, "load_ms": 3}
    assert config.of("echo").loading is Loading.LAZY
    assert config.of("moonshine").settings == {"single_thread": "no"}
    assert config.of("whisper_cpp").settings == {"threads": 4, "beam_size": 2}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--memory-budget", "much"], "--memory-budget"),
        (["--memory-budget", "4 potatoes"], "--memory-budget"),
        (["--max-models", "0"], "--max-models"),
        (["--slots", "0"], "--slots"),
        (["--slots", "-1"], "--slots"),
        (["--slots", "all"], "--slots"),
        (["--idle-ttl-s", "0"], "--idle-ttl-s"),
        (["--idle-ttl-s", "inf"], "--idle-ttl-s"),
        (["--idle-ttl-s", "nan"], "--idle-ttl-s"),
        (["--max-models", str(2**60)], "--max-models"),
        (["--slots", "9" * 20], "--slots"),
        (["--loading", "sometimes"], "--loading"),
        (["--warm-up", "hot"], "--warm-up"),
        (["--option", "threads"], "--option"),
        (["--stdio", "--socket", "s"], "--socket"),
    ],
)
def test_an_option_that_makes_no_sense_is_a_mistake_of_usage(
    asrd: Run, started: Started, arguments: list[str], name: str
) -> None:
    outcome = asrd("serve", *arguments)
    assert outcome.code == 64
    assert name in outcome.error
    assert not started.configs


def test_a_daemon_that_cannot_start_says_so(asrd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: Config, *, read: ReadConfig) -> int:
        raise StartupError("the address is in use: stop the other one", 75)

    monkeypatch.setattr("asrd.server.logs.configure", lambda *_: None)
    monkeypatch.setattr("asrd.server.app.serve_stdio", fail)
    outcome = asrd("serve", "--stdio")
    assert outcome.code == 75
    assert outcome.error == "the address is in use: stop the other one"


# ── real processes ────────────────────────────────────────────────────────────────────────────


def test_a_file_that_is_not_there(asrd_process: Run, tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    outcome = asrd_process("serve", "--stdio", "--config", path)
    assert (outcome.code, outcome.out) == (66, "")
    assert outcome.error == f"cannot read {path}: No such file or directory"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("provider = ", "is not TOML"),
        ("[providers.echo]\nloadin = 'lazy'", "no providers.echo.loadin; did you mean 'loading'"),
        ("[residency]\nmax_models = 0", "residency.max_models"),
        ("log_level = 'loud'", "log_level: 'loud' is none of debug, info"),
        ("[residency]\nmemory_budget = 'much'", "residency.memory_budget"),
    ],
)
def test_a_file_that_makes_no_sense_is_told_with_its_key(
    asrd_process: Run, tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "asrd.toml"
    path.write_text(text)
    outcome = asrd_process("serve", "--stdio", "--config", path)
    assert (outcome.code, outcome.out) == (78, "")
    assert outcome.error.startswith(str(path))
    assert problem in outcome.error


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("provider = 'ecko'", "echo"),
        ("fallback = ['moonshin']", "moonshine"),
        ("[providers.echo.settings]\nlatenzy_ms = 5", "latency_ms"),
    ],
)
def test_a_file_that_names_what_does_not_exist_is_told_what_does(
    asrd_process: Run, tmp_path: Path, text: str, near: str
) -> None:
    path = tmp_path / "asrd.toml"
    path.write_text(text)
    outcome = asrd_process("serve", "--stdio", "--config", path)
    assert (outcome.code, outcome.out) == (78, "")
    log, error = outcome.err.splitlines()
    assert json.loads(log)["event"] == "configuration"
    assert f"did you mean '{near}'?" in error


def test_the_configuration_is_logged_once_and_masked(asrd_process: Run, tmp_path: Path) -> None:
    """A file of the user's, a variable and flags; the daemon ends with its stdin."""
    own = tmp_path / "asrd" / "config.toml"
    own.parent.mkdir()
    key = tmp_path / "key"
    key.write_text("hunter2")
    key.chmod(0o604)
    own.write_text(
        'provider = "echo"\nlog_format = "json"\nfallback = ["moonshine"]\n'
        f'[providers.process.settings]\ncommand = {{ file = "{key}" }}\ntext_key = "t"\n'
    )
    outcome = asrd_process(
        *("serve", "--stdio", "--max-models", "3"),
        environment={
            "XDG_CONFIG_HOME": str(tmp_path),
            "ASRD_LIMITS__MAX_SESSIONS": "500",
            "ASRD_PORT": "1",
            "ASRD_MONITORING__EXPOSE": "true",
        },
    )
    lines = [json.loads(line) for line in outcome.err.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["event"] == "configuration"]
    assert line["layers"] == [str(own), "the environment", "flags"]
    values = line["values"]
    assert (values["limits.max_sessions"], values["residency.max_models"]) == (500, 3)
    assert values["provider"] == "echo"
    assert values["providers.process.settings.command"] == "***"
    assert values["providers.process.settings.text_key"] == "t"
    assert values["limits.max_streams"] == 64
    doubts = [line["problem"] for line in lines if line["event"] == "configuration_doubtful"]
    assert doubts[0] == "ASRD_PORT names no key of asrd"
    assert "others can read" in doubts[1]
    assert len(doubts) == 2
    assert "hunter2" not in outcome.err


def test_a_start_without_a_configuration_imports_nothing_that_reads_one(tmp_path: Path) -> None:
    """It would cost a tenth of a second; flags are checked by who takes them."""
    program = (
        "import sys\n"
        "from asrd.cli.app import main\n"
        "from asrd.server import app\n"
        "app.serve = lambda *_, **__: 7\n"
        "code = main(['serve', '--provider=echo', '--slots=2', '--memory-budget=1GB'])\n"
        "assert code == 7, code\n"
        "print('pydantic_settings' in sys.modules, 'asrd.configuring.checking' in sys.modules)\n"
    )

    def found(**variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            env={**os.environ, **variables},
        )
        return done.stdout.decode().strip()

    if not SYSTEM_FILE.exists():
        assert found() == "False False"
    assert found(ASRD_MODEL="echo") == "True True"


def test_a_setting_that_looks_secret_is_refused_on_the_command_line(
    asrd: Run, started: Started
) -> None:
    outcome = asrd("serve", "--option", "openai.api_key=hunter2")
    assert outcome.code == 64
    assert "'openai.api_key' looks like a secret" in outcome.error
    assert "{ file = ... } or { credential = ... }" in outcome.error
    assert "hunter2" not in outcome.err
    assert not started.configs


def test_the_layers_below_the_options_count(
    config_of: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment too, and whose settings an option sets."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "asrd").mkdir()
    (tmp_path / "asrd" / "config.toml").write_text('provider = "whisper_cpp"\nmodel = "small"')
    monkeypatch.setenv("ASRD_MODEL", "base")
    monkeypatch.setenv("ASRD_RESIDENCY__MAX_MODELS", "4")
    config = config_of(None, "--option=threads=2", "--required", "--max-models=2")
    assert (config.provider, config.model) == ("whisper_cpp", "base")
    assert config.of("whisper_cpp") == ProviderConfig(required=True, settings={"threads": 2})
    assert config.residency.max_models == 2
    assert config_of(None, "--provider=echo").model is None


def test_all_layers_are_read_again_when_they_are_asked_for(
    asrd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at SIGHUP: a file that was not there at the start counts, and flags go on to win."""
    found: list[Config] = []

    def serve(config: Config, *, socket_path: Path, read: ReadConfig) -> int:
        (tmp_path / "system.toml").write_text("endpointing_ms = 700\n[residency]\nmax_models = 9")
        found.extend([config, read()])
        (tmp_path / "system.toml").write_text("endpointing_ms = 7")
        with pytest.raises(StartupError, match="endpointing_ms: 7 is out of range"):
            read()
        return NO_DAEMON

    monkeypatch.setattr("asrd.server.logs.configure", lambda *_: None)
    monkeypatch.setattr("asrd.server.app.serve", serve)
    assert asrd("serve", "--socket", tmp_path / "s", "--max-models=2").code == NO_DAEMON
    assert [config.endpointing_ms for config in found] == [500, 700]
    assert [config.residency.max_models for config in found] == [2, 2]


def test_a_size_that_is_none(asrd_process: Run) -> None:
    outcome = asrd_process("serve", "--stdio", "--memory-budget", "much")
    assert outcome.code == 64
    assert outcome.error.startswith("Invalid value for --memory-budget: 'much' is no size")


def test_a_required_model_that_is_not_here(asrd_process: Run, tmp_path: Path) -> None:
    outcome = asrd_process(
        *("serve", "--socket", tmp_path / "s", "--log-level=error"),
        *("--provider=echo", "--model=other", "--required"),
    )
    assert outcome.code == 69
    assert "asrd: echo has one model, 'echo', and no 'other'." in outcome.err
