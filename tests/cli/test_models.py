"""`asrd models`: list, pull, load, unload."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from asrd import Model, ModelStatus, Provider, ProviderError, ReportPull, Setting
from asrd.cli.tables import as_size
from asrd.providers.registry import Registered, Registry
from asrd.wire.messages import GetHealth, Health, Load, Unload
from asrd.wire.reports import ModelHealth, ProviderHealth
from cli.conftest import Outcome, Run, command
from conftest import TinyWhisper
from support.daemon import environment, install_plugins
from support.fake_daemon import FakeDaemon, refusal
from support.stand_in_hub import StandInHub, serve_folder, use_hub
from support.waiting import wait_until

MB = 10**6


class Shelf(Provider):
    """Models that come off the shelf when they are pulled. `turbo` is another name for `large`.

    A path is a model too, as it is for the real engines.
    """

    summary = "A shelf"
    default_model = "base"

    def __init__(self, name: str, present: Iterable[str] = (), absent: Iterable[str] = ()) -> None:
        self.name = name  # type: ignore[misc]
        self._known = [*present, *absent]
        self.present = set(present)
        self.fetch: Callable[[str], None] = lambda _model: None

    def status(self, model: str) -> ModelStatus:
        if model == "turbo" and "large" in self._known:
            model = "large"
        if model in self.present or model.startswith("/"):
            return ModelStatus(model=model, is_present=True, size_bytes=145 * MB)
        if model in self._known:
            return ModelStatus(model=model, is_present=False, problem="not here.", remedy="pull it")
        return ModelStatus(model=model, is_present=False, problem=f"{model} is unheard of.")

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        raise NotImplementedError

    def models(self) -> Iterable[ModelStatus]:
        return map(self.status, self._known)

    def pull(self, model: str, report: ReportPull) -> None:
        report(0, None)
        report(100, 145 * MB)
        self.fetch(model)
        self.present.add(model)


@pytest.fixture
def quick() -> Shelf:
    return Shelf("quick", present=["tiny", "base"], absent=["large"])


@pytest.fixture
def slow() -> Shelf:
    return Shelf("slow", absent=["base", "huge"])


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, quick: Shelf, slow: Shelf) -> Registry:
    """What is installed, for commands that run in this process."""
    shelves = {shelf.name: Registered(provider=shelf, plugin="p") for shelf in (quick, slow)}
    registry = Registry(registered=shelves)
    monkeypatch.setattr("asrd.providers.registry.discover", lambda: registry)
    return registry


def health(**loaded: list[ModelHealth]) -> Health:
    """The answer of a daemon that has these models of these providers; `quick` is its default."""
    providers = {
        name: ProviderHealth(
            state="ready", model="base", models=loaded.get(name, []), is_default=name == "quick"
        )
        for name in ("quick", "slow")
    }
    return Health(state="ready", live=True, ready=True, providers=providers, uptime_s=1.0)


READY = ModelHealth(model="tiny", state="ready", load_s=0.41, memory_bytes=180 * MB)


# ── list ──────────────────────────────────────────────────────────────────────────────────────────


def said(outcome: Outcome) -> tuple[int, str, str]:
    return outcome.code, outcome.out, outcome.err


def cells(outcome: Outcome) -> list[list[str]]:
    return [line.split() for line in outcome.out.splitlines()]


def test_every_model_of_every_provider(asrd: Run) -> None:
    outcome = asrd("models", "list")
    assert (outcome.code, outcome.err) == (0, "")
    assert cells(outcome) == [
        ["MODEL", "SIZE", "PRESENT", "IN", "THE", "DAEMON", "DEFAULT"],
        ["quick/tiny", "145", "MB", "yes"],
        ["quick/base", "145", "MB", "yes", "yes"],
        ["quick/large", "no"],
        ["slow/base", "no", "yes"],
        ["slow/huge", "no"],
    ]


def test_what_the_daemon_has_is_said_beside_it(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    """Under its one right name; what was given by path has a line of its own."""
    warming = ModelHealth(model="turbo", state="warming_up")
    given = ModelHealth(model="/m/own.bin", state="degraded")
    daemon.rules[GetHealth] = lambda _: [health(quick=[READY, warming], slow=[given])]
    lines = cells(asrd("models", "list", "--socket", socket))
    assert ["quick/tiny", "145", "MB", "yes", "ready,", "180", "MB"] in lines
    assert ["quick/large", "no", "warming", "up"] in lines
    assert lines[-1] == ["slow//m/own.bin", "145", "MB", "yes", "degraded"]


def test_the_list_as_json(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[GetHealth] = lambda _: [health(quick=[READY])]
    found = json.loads(asrd("models", "list", "--json", "--socket", socket).out)
    assert found[0] == {
        "provider": "quick",
        "model": "tiny",
        "is_present": True,
        "problem": "",
        "remedy": "",
        "size_bytes": 145 * MB,
        "is_default": False,
        "state": "ready",
    }
    assert {row["state"] for row in found[1:]} == {"not_loaded"}
    assert {row["state"] for row in json.loads(asrd("models", "list", "--json").out)} == {None}


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (-1, ""),
        (0, ""),
        (900, "1 kB"),
        (999_499, "999 kB"),
        (10**6, "1 MB"),
        (145_262_807, "145 MB"),
        (1_534_000_000, "1.5 GB"),
    ],
)
def test_sizes(size_bytes: int, shown: str) -> None:
    assert as_size(size_bytes) == shown


def test_the_list_of_one_provider(asrd: Run) -> None:
    assert {line[0] for line in cells(asrd("models", "list", "--provider", "slow"))[1:]} == {
        "slow/base",
        "slow/huge",
    }
    outcome = asrd("models", "list", "--provider", "qick")
    assert outcome.code == 64
    assert "did you mean 'quick'?" in outcome.error


def test_a_provider_that_raises_is_left_out_and_named(
    asrd: Run, monkeypatch: pytest.MonkeyPatch, slow: Shelf
) -> None:
    monkeypatch.setattr(slow, "models", lambda: 1 / 0)
    outcome = asrd("models", "list")
    assert outcome.code == 0
    assert outcome.error.startswith("slow is left out (ZeroDivisionError: division by zero): see")
    assert {line[0].partition("/")[0] for line in cells(outcome)[1:]} == {"quick"}


def test_without_a_command_the_help_goes_to_stderr(asrd: Run) -> None:
    outcome = asrd("models")
    assert (outcome.code, outcome.out) == (64, "")
    assert outcome.err.startswith("Usage: asrd models")


# ── pull ──────────────────────────────────────────────────────────────────────────────────────────


def test_pull(asrd: Run, slow: Shelf) -> None:
    outcome = asrd("models", "pull", "slow/base", "huge")
    assert said(outcome) == (0, "slow/base is here (145 MB)\nslow/huge is here (145 MB)\n", "")
    assert slow.present == {"base", "huge"}


@pytest.mark.parametrize(
    "arguments", [["large"], ["quick/large"], ["turbo"], ["--provider", "quick", "turbo"]]
)
def test_ways_to_name_a_model(asrd: Run, quick: Shelf, arguments: list[str]) -> None:
    assert asrd("models", "pull", *arguments).code == 0
    assert "large" in quick.present


def test_what_is_here_is_not_fetched_again(asrd: Run, quick: Shelf) -> None:
    quick.fetch = pytest.fail
    outcome = asrd("models", "pull", "quick/base", "tiny")
    assert outcome.code == 0
    assert outcome.out == (
        "quick/base is here already (145 MB)\nquick/tiny is here already (145 MB)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["base"], "several providers have a model 'base': quick/base or slow/base"),
        (["hug"], "there is no model 'hug': did you mean 'huge'?"),
        (["slow/hug"], "there is no model 'slow/hug': did you mean 'slow/huge'?"),
        (["slo/huge"], "there is no model 'slo/huge': did you mean 'slow/huge'?"),
        (["slow/"], "there is no model 'slow/'"),
        (["qqqqqq"], "there is no model 'qqqqqq': see `asrd models list`"),
        (["--provider", "slo", "huge"], "there is no provider 'slo'; did you mean 'slow'?"),
        (["--provider", "slow", "hug"], "there is no model 'slow/hug': did you mean 'slow/huge'?"),
    ],
)
def test_a_wrong_name_fetches_nothing(
    asrd: Run, slow: Shelf, arguments: list[str], line: str
) -> None:
    slow.fetch = pytest.fail
    outcome = asrd("models", "pull", *arguments, "slow/huge" if len(arguments) == 1 else "huge")
    assert (outcome.code, outcome.out) == (64, "")
    assert outcome.error.startswith(line)


def test_one_that_fails_does_not_keep_the_next(asrd: Run, slow: Shelf) -> None:
    def fetch(model: str) -> None:
        if model == "base":
            raise ProviderError("The disk is full.")

    slow.fetch = fetch
    outcome = asrd("models", "pull", "slow/base", "slow/huge")
    assert outcome.code == 69
    assert outcome.error == "slow/base was not fetched: The disk is full."
    assert outcome.out == "slow/huge is here (145 MB)\n"


def test_a_provider_that_raises_anything(asrd: Run, slow: Shelf) -> None:
    def fetch(_: str) -> None:
        raise ZeroDivisionError("inside")

    slow.fetch = fetch
    outcome = asrd("models", "pull", "slow/base")
    assert outcome.code == 69
    assert outcome.error == "slow/base was not fetched: ZeroDivisionError: inside"


def test_what_was_fetched_and_is_not_usable_is_told(
    asrd: Run, monkeypatch: pytest.MonkeyPatch, slow: Shelf
) -> None:
    monkeypatch.setattr(slow, "pull", lambda _model, _report: None)
    outcome = asrd("models", "pull", "slow/base")
    assert outcome.code == 69
    assert outcome.error == "slow/base was fetched and still is not usable (not here.): pull it"


# ── load and unload ───────────────────────────────────────────────────────────────────────────────


def test_load(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[Load] = lambda _: [health(quick=[READY])]
    outcome = asrd("models", "load", "tiny", "--socket", socket)
    line = "quick/tiny: ready, 180 MB, loaded in 0.4 s\n"
    assert said(outcome) == (0, line, "")
    assert daemon.heard[-1] == Load(provider="quick", model="tiny")


def test_unload(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[Unload] = lambda _: [health(quick=[READY])]
    outcome = asrd("models", "unload", "turbo", "--socket", socket)
    assert said(outcome) == (0, "quick/large: not loaded\n", "")
    assert daemon.heard[-1] == Unload(provider="quick", model="large")


def test_without_a_name_it_is_the_default(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    """The daemon's, or that of the provider that is named."""
    daemon.rules[Load] = lambda _: [health(quick=[ModelHealth(model="base", state="ready")])]
    assert asrd("models", "load", "--socket", socket).out == "quick/base: ready\n"
    assert daemon.heard[-1] == Load()
    outcome = asrd("models", "load", "--provider", "slow", "--socket", socket)
    assert outcome.out == "slow/base: not loaded\n"
    assert daemon.heard[-1] == Load(provider="slow")


def test_a_model_by_its_path(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    for arguments in (["--provider", "slow", "/m/own.bin"], ["slow//m/own.bin"]):
        assert asrd("models", "load", *arguments, "--socket", socket).code == 0
        assert daemon.heard[-1] == Load(provider="slow", model="/m/own.bin")


@pytest.mark.parametrize("what", ["load", "unload"])
def test_without_a_daemon(asrd: Run, socket: Path, what: str) -> None:
    outcome = asrd("models", what, "tiny", "--socket", socket)
    assert outcome.code == 69
    assert outcome.error.endswith(f": start one with `asrd serve --socket {socket}`")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["quick/tini"], "there is no model 'quick/tini': did you mean 'quick/tiny'?"),
        (["--provider", "qick"], "there is no provider 'qick'; did you mean 'quick'?"),
    ],
)
def test_a_wrong_name_reaches_no_daemon(asrd: Run, arguments: list[str], line: str) -> None:
    outcome = asrd("models", "load", *arguments)
    assert outcome.code == 64
    assert outcome.error.startswith(line)


def test_a_load_that_fails(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[Load] = lambda _: [refusal("provider_unavailable", "The model is damaged.")]
    outcome = asrd("models", "load", "tiny", "--socket", socket)
    assert (outcome.code, outcome.error) == (69, "The model is damaged.")


# ── on a terminal, and interrupted ────────────────────────────────────────────────────────────────

STUBBORN = """
import pathlib, threading, time
from concurrent.futures import ThreadPoolExecutor
from asrd import ModelStatus, Provider, hookimpl

class Stubborn(Provider):
    name, summary, default_model = "stubborn", "-", "m"
    def status(self, model):
        return ModelStatus(model=model, is_present=False, remedy="pull")
    def load(self, model, settings):
        raise NotImplementedError
    def pull(self, model, report):
        def work():
            report(7_000_000, 70_000_000)
            while not pathlib.Path(model).exists():
                time.sleep(0.01)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(work).result()

@hookimpl
def asrd_register_providers(register):
    register(Stubborn())
"""
"""Its download runs in a thread that Python would wait for, and hears of no interrupt."""


def test_ctrl_c_ends_a_download_that_cannot_be_stopped(tmp_path: Path) -> None:
    folder = install_plugins(tmp_path / "plugins", {"stubborn": "asrd_test_stubborn"})
    (folder / "asrd_test_stubborn.py").write_text(STUBBORN)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(
        command("models", "pull", f"stubborn/{tmp_path / 'let go'}"),
        env={**environment(folder), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    try:
        shown = b""
        while b"7.0/70.0 MB" not in shown:
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        os.set_blocking(ours, False)
        while not shown.endswith(b"\x1b[2K"):  # the bar is gone
            shown += os.read(ours, 4096)
        assert b"\x1b[?25h" in shown  # and the cursor is back
        assert b"Traceback" not in shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


# ── with the real engines ─────────────────────────────────────────────────────────────────────────


def test_the_models_of_this_installation(asrd_process: Run) -> None:
    outcome = asrd_process("models", "list", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found = {(row["provider"], row["model"]): row for row in json.loads(outcome.out)}
    assert found["moonshine", "tiny-en"]["is_present"]
    assert found["moonshine", "tiny-en"]["is_default"]
    assert ("faster_whisper", "base") in found
    assert ("whisper_cpp", "base") in found


def test_listing_imports_no_engine() -> None:
    script = (
        "import sys; from asrd.cli.app import main; main(['models', 'list']);"
        "heavy = {'numpy', 'onnxruntime', 'ctranslate2', 'faster_whisper', 'moonshine_voice',"
        " 'pywhispercpp', '_pywhispercpp', 'huggingface_hub', 'av'};"
        "print(*sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"\n")


def test_a_model_from_the_hub(
    asrd_process: Run,
    tiny_whisper: TinyWhisper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted in the middle, then fetched, then present."""
    name, repository = "faster_whisper/tiny", "Systran/faster-whisper-tiny"
    with StandInHub({repository: serve_folder(tiny_whisper.ctranslate2)}) as hub:
        use_hub(monkeypatch, hub.url, tmp_path / "hub")
        hub.faults.piece_delay_s = 0.2
        process = subprocess.Popen(command("models", "pull", name), stdout=subprocess.PIPE)
        wait_until(
            lambda: any(asked.path.endswith("model.bin") for asked in hub.asked), "a download"
        )
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0] == b""
        assert not list(tmp_path.rglob("*.incomplete"))
        assert process.returncode == 130
        listed = json.loads(asrd_process("models", "list", "--json").out)
        assert not present(listed, name)

        hub.faults.piece_delay_s = 0
        outcome = asrd_process("models", "pull", name)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith(f"{name} is here (")
        listed = json.loads(asrd_process("models", "list", "--json").out)
        assert present(listed, name)
        assert asrd_process("models", "pull", name).out.startswith(f"{name} is here already (")


def present(listed: Iterable[Mapping[str, object]], name: str) -> bool:
    found = {f"{row['provider']}/{row['model']}": row["is_present"] for row in listed}
    return bool(found[name])
