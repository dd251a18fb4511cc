"""What holds for all commands: each is explained, and each that prints a table prints JSON too."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import asrd.cli
from asrd.cli.app import app

FOLDER = Path(asrd.cli.__file__).parent
TABLES = {
    ("asrd.cli.tables", "render"),
    ("asrd.cli.tables", "entry"),
    ("asrd.cli.devices", "listing"),
}
"""What prints a table, or a list of facts."""


def commands(group: Any, path: str = "asrd") -> Iterator[tuple[str, Any]]:
    yield path, group
    for name, child in getattr(group, "commands", {}).items():
        yield from commands(child, f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(app)))
LEAVES = {path: each for path, each in COMMANDS.items() if not getattr(each, "commands", None)}


@pytest.mark.parametrize("path", COMMANDS)
def test_each_command_and_option_is_explained(path: str) -> None:
    command = COMMANDS[path]
    assert (command.help or "").strip().endswith((".", ")", "-")), path
    unexplained = [each.name for each in command.params if not (each.help or "").strip()]
    assert unexplained == []


@pytest.mark.parametrize("path", LEAVES)
def test_what_prints_a_table_prints_json_too(path: str) -> None:
    command = LEAVES[path]
    options = {option for each in command.params for option in each.opts}
    function = command.callback
    if prints_a_table(function.__module__, function.__name__):
        assert "--json" in options


def test_tables_are_found_however_far_from_the_command() -> None:
    """So that the test above cannot pass for having looked nowhere."""
    found = {
        path
        for path, command in LEAVES.items()
        if prints_a_table(command.callback.__module__, command.callback.__name__)
    }
    known = {"providers", "models list", "doctor", "health", "stats", "listen", "service status"}
    assert {f"asrd {name}" for name in known} <= found
    assert not {"asrd transcribe", "asrd version", "asrd man", "asrd models pull"} & found


def prints_a_table(module: str, function: str) -> bool:
    """Whether a function reaches one that makes a table, through any that it names."""
    seen: set[tuple[str, str]] = set()
    waiting = [(module, function)]
    while waiting:
        node = waiting.pop()
        if node in TABLES:
            return True
        if node not in seen:
            seen.add(node)
            waiting += named_in(*node)
    return False


@cache
def named_in(module: str, name: str) -> tuple[tuple[str, str], ...]:
    """The functions and classes of asrd.cli that one names, each with its module."""
    tree, imported = read(module)
    found = []
    for body in tree.get(name, []):
        for node in ast.walk(body):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found.append(imported.get(node.id, (module, node.id)))
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner, inner = imported.get(node.value.id, ("", ""))
                found.append((f"{owner}.{inner}", node.attr))
    return tuple(found)


@cache
def read(module: str) -> tuple[dict[str, list[ast.AST]], dict[str, tuple[str, str]]]:
    """What a module defines at its outermost level, and what it imports by which name."""
    path = FOLDER.joinpath(*module.split(".")[2:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not module.startswith("asrd.cli.") or not path.is_file():
        return {}, {}
    tree = ast.parse(path.read_text())
    defined: dict[str, list[ast.AST]] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.setdefault(node.name, []).append(node)
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    return defined, imported
