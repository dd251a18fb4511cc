"""`asrd doctor`: what it looks at, and what it recommends."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from asrd import Gpu, Machine, Model, ModelStatus, Provider, Setting, Suggestion
from asrd.cli.checks import Check, Verdict, of_machine, of_services, of_socket
from asrd.config import Config
from asrd.providers.inspection import Container, Inspection, Nvidia
from asrd.providers.registry import Registered, Registry
from asrd.server.reload import ReadConfig
from asrd.wire.messages import GetHealth, Hello
from cli.conftest import Outcome, Run
from support.fake_daemon import FakeDaemon, health, refusal

GB = 10**9

PLAIN = Inspection(
    machine=Machine(cores=4, memory_bytes=8 * GB, available_bytes=5 * GB),
    container=Container(),
    nvidia=Nvidia(),
)


class Engine(Provider):
    """Suggests `small` everywhere and `big`, which is not here."""

    name = "engine"
    summary = "An engine"
    default_model = "small"

    def __init__(self, *present: str) -> None:
        self._present = present

    def status(self, model: str) -> ModelStatus:
        is_present = model in self._present
        return ModelStatus(model=model, is_present=is_present, size_bytes=60_000_000 * is_present)

    def models(self) -> Iterable[ModelStatus]:
        return map(self.status, ("small", "big"))

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        raise NotImplementedError

    def suggest(self, machine: Machine) -> Iterable[Suggestion]:
        for model, quality in (("small", 85), ("big", 95)):
            yield Suggestion(
                model=model,
                settings={"compute_type": "int8", "threads": 4, "words": "a b", "fast": True},
                memory_bytes=GB,
                quality=quality,
                reason="There are 4 cores.",
            )


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A machine with one engine that has a model, and a plugin that is broken."""
    engine = Registered(provider=Engine("small"), plugin="asrd_engine")
    registry = Registry(registered={"engine": engine}, broken={"stranger": "ImportError: no"})
    monkeypatch.setattr("asrd.providers.registry.discover", lambda: registry)
    monkeypatch.setattr("asrd.providers.inspection.inspect", lambda: PLAIN)
    return registry


def row(outcome: Outcome, check: str) -> str:
    return next(line for line in outcome.out.splitlines() if line.startswith(check))


@pytest.mark.usefixtures("registry")
def test_what_is_found_and_what_to_start(asrd: Run) -> None:
    outcome = asrd("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    assert row(outcome, "cores").split()[1:3] == ["ok", "4"]
    assert row(outcome, "memory").split(maxsplit=2)[1:] == ["ok", "5.0 GB free of 8.0 GB"]
    assert row(outcome, "engine engine").endswith("plugin asrd_engine, 1 of 2 models")
    assert row(outcome, "plugin stranger").split()[2:] == ["problem", "ImportError:", "no"]
    assert row(outcome, "models present").endswith("engine/small (60 MB)")
    assert row(outcome, "daemon").endswith("none answers")
    assert "\nplugin stranger: mend or uninstall the plugin\n" in outcome.out
    recommended = outcome.out.partition("\nrecommended: ")[2].splitlines()
    assert [line.strip() for line in recommended] == [
        "engine, model small",
        "compute_type=int8, threads=4, words=a b, fast=true",
        "3 of them fit in memory, each 1.0 GB",
        "The most accurate model that is present and suits this machine: There are 4 cores.",
        "asrd serve --provider engine --model small --option compute_type=int8 --option threads=4"
        " --option 'words=a b' --option fast=true",
        "",
        "engine/big would read better here and is not present:",
        "asrd models pull engine/big",
    ]


def test_the_command_is_one_that_serve_understands(
    asrd: Run, registry: Registry, monkeypatch: pytest.MonkeyPatch, socket: Path
) -> None:
    command = json.loads(asrd("doctor", "--json", "--socket", socket).out)["recommendation"][
        "command"
    ]
    words = shlex.split(command)
    assert words[:4] == ["asrd", "serve", "--socket", str(socket)]
    served: list[Config] = []

    def serve(config: Config, *, socket_path: Path, read: ReadConfig) -> int:
        assert socket_path == socket
        assert read() == config
        served.append(config)
        return 0

    monkeypatch.setattr("asrd.server.logs.configure", lambda *_: None)
    monkeypatch.setattr("asrd.server.app.serve", serve)
    assert asrd(*words[1:]).code == 0
    assert (served[0].provider, served[0].model) == ("engine", "small")


@pytest.mark.usefixtures("registry")
def test_json_has_the_same_facts(asrd: Run) -> None:
    found = json.loads(asrd("doctor", "--json").out)
    assert found["machine"]["cores"] == 4
    assert found["recommendation"]["models_that_fit"] == 3
    assert found["recommendation"]["settings"]["threads"] == 4
    assert found["recommendation"]["better"]["remedy"] == "asrd models pull engine/big"
    assert found["problem"] == ""
    checks = {check["check"]: check for check in found["checks"]}
    assert checks["plugin stranger"]["verdict"] == "problem"


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_where_nothing_can_run(asrd: Run, registry: Registry, arguments: list[str]) -> None:
    registry.registered["engine"] = Registered(provider=Engine(), plugin="asrd_engine")
    outcome = asrd("doctor", *arguments)
    assert outcome.code == 69
    assert outcome.error.endswith("get engine/big by `asrd models pull engine/big`")
    assert "recommended:" not in outcome.out
    if arguments:
        found = json.loads(outcome.out)
        assert found["recommendation"] is None
        assert found["problem"] in outcome.err
    else:
        assert row(outcome, "models present").split()[2:] == ["problem", "none"]


# ── the daemon and its socket ─────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("registry")
def test_a_daemon_that_answers(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    line = row(asrd("doctor", "--socket", socket), "daemon")
    assert line.split(maxsplit=1)[1] == "ok       answers, ready"
    daemon.rules[GetHealth] = lambda _: [health(is_ready=False)]
    line = row(asrd("doctor", "--socket", socket), "daemon")
    assert line.split(maxsplit=1)[1] == "warn     answers, unavailable"


@pytest.mark.usefixtures("registry")
def test_a_daemon_that_is_not_ours(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[Hello] = lambda _: [refusal("unauthorized", "not you", is_fatal=True)]
    outcome = asrd("doctor", "--socket", socket)
    assert outcome.code == 0
    assert row(outcome, "daemon").endswith("not you")


@pytest.mark.parametrize(
    ("mode", "verdict", "words"),
    [
        (0o700, Verdict.OK, "yours alone"),
        (0o755, Verdict.OK, "others may look in"),
        (0o770, Verdict.PROBLEM, "others may write there"),
        (0o1777, Verdict.WARN, "shared"),
    ],
)
def test_the_mode_of_the_directory(tmp_path: Path, mode: int, verdict: Verdict, words: str) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    directory.chmod(mode)
    check = of_socket(directory / "s")
    assert check.verdict is verdict
    assert check.finding == f"{directory}, mode {mode:04o}, {words}"
    assert bool(check.remedy) == (verdict is not Verdict.OK)


def test_the_directory_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    stranger = replace_owner(tmp_path.stat(), 12345)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: stranger)
    check = of_socket(tmp_path / "s")
    assert check.verdict is Verdict.PROBLEM
    assert check.finding.endswith("belongs to user 12345")


def replace_owner(info: os.stat_result, uid: int) -> os.stat_result:
    fields = list(info)
    fields[4] = uid
    return os.stat_result(fields)


def test_a_directory_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "b" / "s"
    assert of_socket(path).verdict is Verdict.OK
    assert of_socket(path).finding == f"{path.parent}, made by `asrd serve`"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert of_socket(path).verdict is Verdict.PROBLEM
    assert of_socket(path).finding.endswith(f"you may not write in {tmp_path}")


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert of_socket(tmp_path / "file" / "d" / "s").verdict is Verdict.PROBLEM
    assert of_socket(tmp_path / "file" / "s").verdict is Verdict.PROBLEM


# ── the machine ───────────────────────────────────────────────────────────────────────────────────


def look(inspection: Inspection) -> dict[str, Check]:
    return {check.check: check for check in of_machine(inspection)}


def test_a_container() -> None:
    machine = Machine(cores=1.5, memory_bytes=512 * 10**6, available_bytes=0)
    container = Container(cores=1.5, memory_bytes=512 * 10**6, free_bytes=0)
    found = look(replace(PLAIN, machine=machine, container=container))
    assert found["container limits"].finding == "1.5 cores, 512 MB of memory"
    assert found["memory"].finding == "none free of 512 MB"
    assert found["memory"].verdict is Verdict.WARN
    assert found["memory"].remedy
    assert look(PLAIN)["container limits"].finding == "none"


def test_gpus() -> None:
    gpu = Gpu(
        index=0,
        name="H200",
        memory_bytes=141 * GB,
        free_bytes=139 * GB,
        compute_capability=(9, 0),
    )
    nvidia = Nvidia(gpus=(gpu,), driver="550.54", cuda="12.4")
    check = look(replace(PLAIN, nvidia=nvidia))["CUDA"]
    assert check.finding == "H200, 139.0 GB free of 141.0 GB; driver 550.54, CUDA 12.4"
    assert check.verdict is Verdict.OK
    sick = look(replace(PLAIN, nvidia=Nvidia(problem="It did not answer.")))["CUDA"]
    assert (sick.verdict, sick.finding) == (Verdict.WARN, "It did not answer.")
    assert look(PLAIN)["CUDA"].finding == "no NVIDIA GPU"


def test_apple_silicon() -> None:
    machine = replace(PLAIN.machine, is_apple_silicon=True)
    assert look(replace(PLAIN, machine=machine))["Apple Silicon"].finding == "yes, with Metal"
    assert look(PLAIN)["Apple Silicon"].finding == "no"


@pytest.mark.parametrize(
    ("system", "folders", "finding"),
    [
        ("darwin", [], "launchd"),
        ("linux", ["run/systemd/system"], "systemd"),
        (
            "linux",
            ["run/systemd/system", "run/user/7/systemd"],
            "systemd, systemd of the user",
        ),
        ("linux", [], "none: whoever starts `asrd serve` has to keep it running"),
    ],
)
def test_service_managers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    folders: list[str],
    finding: str,
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert of_services(tmp_path, system).finding == finding


# ── with the real engines ─────────────────────────────────────────────────────────────────────────


def test_this_installation(asrd_process: Run) -> None:
    outcome = asrd_process("doctor")
    assert outcome.code in (0, 69)
    for name, package in (
        ("moonshine", "moonshine-voice 0.1.0"),
        ("faster_whisper", "faster-whisper 1."),
        ("whisper_cpp", "pywhispercpp 1."),
    ):
        assert package in row(outcome, f"engine {name}")
    assert "moonshine/tiny-en" in outcome.out
    assert ("recommended: " in outcome.out) == (outcome.code == 0)


def test_it_imports_no_engine() -> None:
    script = (
        "import sys; from asrd.cli.app import main; main(['doctor', '--json']);"
        "heavy = {'numpy', 'onnxruntime', 'ctranslate2', 'faster_whisper', 'moonshine_voice',"
        " 'pywhispercpp', '_pywhispercpp', 'pynvml', 'huggingface_hub', 'av'};"
        "sys.exit(repr(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
