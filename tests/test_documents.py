"""What users are promised to find in the documents is there.

Beside these, each with its module: messages, limits and error codes
(`wire/test_protocol_document.py`), keys of the configuration, metrics and events of the log, and
commands with their options (the man page).
"""

import inspect
import re
from pathlib import Path

import pytest

import asrd
from asrd.cli.exits import Exit
from asrd.providers.spec import Hooks, Model, Provider, StreamingModel, UtteranceReader

ROOT = Path(__file__).parent.parent
PLUGINS = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def members(kind: type) -> list[str]:
    """What a plugin may call or override."""
    return [name for name, _ in inspect.getmembers(kind) if not name.startswith("_")]


@pytest.mark.parametrize("hook", members(Hooks))
def test_a_hook_is_documented(hook: str) -> None:
    assert f"`{hook}" in PLUGINS


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            name
            for kind in (Provider, Model, StreamingModel, UtteranceReader)
            for name in members(kind)
        }
    ),
)
def test_what_a_plugin_overrides_is_documented(name: str) -> None:
    assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", PLUGINS)


@pytest.mark.parametrize("name", asrd.__all__)
def test_a_name_of_the_plugin_api_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", PLUGINS)


def test_the_exit_codes_are_those_of_the_code() -> None:
    """The table has two codes in a row, each with what it means."""
    pairs = re.findall(r"^\| (\d+) \| [^|]+ \| (\d+) \| [^|]+ \|$", README, re.MULTILINE)
    assert sorted(int(code) for pair in pairs for code in pair) == sorted(Exit)


def test_links_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("daemon/*.md"), *ROOT.glob("plugins/*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
