"""What a shell may complete, and which provider is meant where none is named."""

import json
from pathlib import Path

import pytest
import typer

from asrd.cli import suggestions
from asrd.cli.transcribe import transcribe
from cli.conftest import Run


@pytest.fixture
def context() -> typer.Context:
    return typer.Context(typer.main.get_command(typer.Typer(callback=transcribe)))


def test_names_that_begin_so(context: typer.Context) -> None:
    assert suggestions.providers("ec") == ["echo"]
    assert "echo/echo" in suggestions.models(context, "echo/")
    context.params["provider"] = "echo"
    assert suggestions.models(context, "e") == suggestions.models_of_provider(context, "e")


@pytest.mark.parametrize("is_in_a_file", [True, False])
def test_the_configured_provider_is_the_default_one(
    context: typer.Context,
    asrd: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    is_in_a_file: bool,
) -> None:
    """In what is completed, in what is listed, and for the recording that it ships."""
    if is_in_a_file:
        (tmp_path / "system.toml").write_text('provider = "echo"\n', encoding="utf-8")
    else:
        monkeypatch.setenv("ASRD_PROVIDER", "echo")
    assert suggestions.models_of_provider(context, "") == ["echo"]
    listed = json.loads(asrd("providers", "--json").out)
    assert [row["provider"] for row in listed if row["is_default"]] == ["echo"]
    assert asrd("transcribe", "--sample").error.startswith("echo ships no recording")
