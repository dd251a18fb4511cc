"""`asrd config`: what is in force, what is wrong, and a file to begin with."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from asrd.configuring.writing import annotated
from cli.conftest import Run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the user's own configuration is looked for."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    structlog.reset_defaults()  # a check says what the start of a daemon would log


@pytest.fixture
def own(home: Path) -> Path:
    """The user's own file."""
    path = home / "asrd" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_it_says_what_it_can_do(asrd: Run) -> None:
    outcome = asrd("config")
    assert outcome.code == 64
    assert all(word in outcome.err for word in ("show", "check", "init"))


# ── show ──────────────────────────────────────────────────────────────────────────────────────


def test_what_is_in_force_is_shown_with_where_it_comes_from(
    asrd: Run, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "system.toml").write_text('provider = "echo"\nmodel = "system"')
    own.write_text('model = "own"\n[providers.echo.settings]\napi_key = "hunter2"')
    given = tmp_path / "given.toml"
    given.write_text("[limits]\nmax_streams = 3")
    monkeypatch.setenv("ASRD_ENDPOINTING_MS", "800")
    outcome = asrd("config", "show", "--origin", "--config", given)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert f'provider = "echo"  # {tmp_path / "system.toml"}' in lines
    assert f'model = "own"  # {own}' in lines
    assert f"max_streams = 3  # {given}" in lines
    assert "endpointing_ms = 800  # ASRD_ENDPOINTING_MS" in lines
    assert f'settings.api_key = "***"  # {own}' in lines
    assert "max_sessions = 2048  # default" in lines
    assert "hunter2" not in outcome.out
    plain = asrd("config", "show", "--config", given)
    assert tomllib.loads(plain.out) == tomllib.loads(outcome.out)
    assert "max_streams = 3\n" in plain.out


def test_it_is_shown_as_json_too(asrd: Run, own: Path) -> None:
    own.write_text("endpointing_ms = 900")
    tree = json.loads(asrd("config", "show", "--json").out)
    assert tree["endpointing_ms"] == 900
    found = json.loads(asrd("config", "show", "--json", "--origin").out)
    assert found["endpointing_ms"] == {"value": 900, "origin": str(own)}


def test_who_shows_needs_no_secret_and_is_told_of_strays(
    asrd: Run, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.write_text('[providers.x.settings]\nkey = { credential = "it" }')
    monkeypatch.setenv("ASRD_PORT", "1")
    outcome = asrd("config", "show")
    assert outcome.code == 0
    assert outcome.error == "ASRD_PORT names no key of asrd"
    assert 'settings.key = { credential = "it" }' in outcome.out.splitlines()


# ── check ─────────────────────────────────────────────────────────────────────────────────────


def test_what_makes_sense_is_ok_and_what_was_read_is_told(
    asrd: Run, own: Path, tmp_path: Path
) -> None:
    outcome = asrd("config", "check")
    system = tmp_path / "system.toml"
    assert outcome.out == f"ok: defaults alone; there is no {system} and no {own}\n"
    own.write_text('provider = "echo"')
    given = tmp_path / "given.toml"
    given.write_text("[providers.echo.settings]\nlatency_ms = 3")
    outcome = asrd("config", "check", given)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"ok: {own}, {given}\n"


def test_every_problem_is_told_on_a_line_of_its_own(asrd: Run, own: Path, tmp_path: Path) -> None:
    own.write_text("endpointing_ms = 50\nprovidr = 'x'")
    given = tmp_path / "given.toml"
    given.write_text("[limits]\nmax_streams = 0")
    outcome = asrd("config", "check", given)
    assert (outcome.code, outcome.out) == (78, "")
    lines = outcome.err.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["asrd:", f"{own}:"],
        ["asrd:", f"{own}:"],
        ["asrd:", f"{given}:"],
    ]
    assert "under 100 ms speech is cut into fragments" in lines[1]


def test_providers_look_at_their_settings(asrd: Run, own: Path) -> None:
    own.write_text(
        '[providers.echo.settings]\nlatenzy_ms = 1\n[providers.whisper_cpp.settings]\nthreds = "a"'
    )
    outcome = asrd("config", "check")
    assert outcome.code == 78
    first, second = outcome.err.splitlines()
    assert "echo has no setting 'latenzy_ms'; did you mean 'latency_ms'?" in first
    assert "whisper_cpp has no setting 'threds'; did you mean 'threads'?" in second


def test_a_file_that_is_named_must_be_there(asrd: Run, tmp_path: Path) -> None:
    outcome = asrd("config", "check", tmp_path / "absent.toml")
    assert outcome.code == 66
    assert outcome.error == f"cannot read {tmp_path / 'absent.toml'}: No such file or directory"


def test_secrets_are_read_and_not_told(asrd: Run, own: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("hunter2")
    key.chmod(0o644)
    own.write_text(f'[providers.echo.settings]\nlatency_ms = {{ file = "{key}" }}')
    outcome = asrd("config", "check")
    assert outcome.code == 78
    warning, problem = outcome.err.splitlines()
    assert "others can read" in warning
    assert "The echo setting 'latency_ms' must be" in problem
    assert "***" in problem
    assert "hunter2" not in outcome.err


# ── init ──────────────────────────────────────────────────────────────────────────────────────


def test_a_file_to_begin_with_is_written_where_it_is_looked_for(asrd: Run, home: Path) -> None:
    path = home / "asrd" / "config.toml"
    outcome = asrd("config", "init")
    assert (outcome.code, outcome.out) == (0, f"wrote {path}\n")
    assert path.read_text(encoding="utf-8") == annotated()
    assert asrd("config", "check").out == f"ok: {path}\n"
    path.write_text("mine")
    outcome = asrd("config", "init")
    assert outcome.code == 74
    assert outcome.error == f"{path} is there already: use --force to overwrite it"
    assert path.read_text() == "mine"
    assert asrd("config", "init", "--force").code == 0
    assert path.read_text(encoding="utf-8") == annotated()


def test_or_anywhere_else(asrd: Run, tmp_path: Path) -> None:
    assert asrd("config", "init", tmp_path / "a" / "b.toml").code == 0
    assert asrd("config", "init", "--system").out == f"wrote {tmp_path / 'system.toml'}\n"
    texts = [path.read_text() for path in (tmp_path / "a" / "b.toml", tmp_path / "system.toml")]
    assert texts == [annotated()] * 2
    assert asrd("config", "init", "-").out == annotated()
    assert asrd("config", "init", "--system", "x").code == 64


def test_what_cannot_be_written_is_told(asrd: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = asrd("config", "init", tmp_path / "file" / "c.toml")
    assert outcome.code == 74
    assert outcome.error.startswith(f"cannot write {tmp_path / 'file' / 'c.toml'}: ")
