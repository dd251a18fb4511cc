"""`asrd serve`: what its options and its file make of the configuration, and how it refuses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from asrd.choices import Loading, LogLevel, WarmUp
from asrd.config import Config, LadderRule, ProviderConfig, Recording, Residency, Scheduling
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

    monkeypatch.setattr("asrd.server.logs.configure", noted.levels.append)
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
    assert config == Config(providers={"moonshine": ProviderConfig()})
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

    monkeypatch.setattr("asrd.server.logs.configure", lambda _: None)
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
        ("log_level = 'loud'", "log_level: invalid enum value 'loud'; there are debug, info"),
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
    assert f"did you mean '{near}'?" in outcome.error


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
