"""Layers: partial trees with the origin of each value, and how one is laid over another."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from asrd.config import Config
from asrd.configuring.schema import Mistake, Path, Takes, flat, leaves
from asrd.configuring.words import settled_value

SYSTEM_FILE = FilePath("/etc/asrd/config.toml")
PREFIX = "ASRD_"
OTHER_VARIABLES = frozenset({"ASRD_DEBUG"})
"""Variables of ours that are no keys."""

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Value:
    """What a layer says of a key, and where: a file, a variable or a flag."""

    value: Any
    origin: str


Values = Mapping[Path, Value]
Flags = Callable[[str], Values]
"""What flags say, once it is known which provider the layers below them name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one place says. `problems` are told with their place, one line each."""

    name: str
    values: Values = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Which files are looked for, and which has to be there."""

    system: FilePath = SYSTEM_FILE
    user: FilePath
    given: FilePath | None = None

    @property
    def is_anything_there(self) -> bool:
        """Whether there is anything to read, in files or in the environment."""
        names = (name for name in os.environ if name.upper().startswith(PREFIX))
        return (
            self.given is not None
            or any(name not in OTHER_VARIABLES for name in names)
            or os.path.lexists(self.system)
            or os.path.lexists(self.user)
        )


def user_file() -> FilePath:
    """`$XDG_CONFIG_HOME/asrd/config.toml`, by default below `~/.config`."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    folder = FilePath(home) if home.startswith("/") else FilePath("~/.config").expanduser()
    return folder / "asrd" / "config.toml"


def usual_places(given: FilePath | None = None) -> Places:
    """Where files are looked for, beside the one that was named."""
    return Places(system=SYSTEM_FILE, user=user_file(), given=given)


def layer_of(
    name: str,
    tree: Any,
    origin: Callable[[Path], str],
    *,
    read: Callable[[Any, Takes], Any] = settled_value,
    problems: Iterable[str] = (),
    warnings: Iterable[str] = (),
) -> Layer:
    """A tree as a layer. `origin` names the place of a key, `read` reads a value by its key."""
    values, mistakes = {}, []
    for found in leaves(tree):
        where = origin(found.path)
        if isinstance(found, Mistake):
            mistakes.append(f"{where}: {found.sentence}")
        else:
            values[found.path] = Value(read(found.value, found.takes), where)
    return Layer(
        name=name, values=values, problems=(*mistakes, *problems), warnings=tuple(warnings)
    )


def merged(layers: Iterable[Values]) -> dict[Path, Value]:
    """All layers, each laid over those before it, key by key.

    A model is one of its provider: a layer that names another provider and no model has the model
    of those below it forgotten.
    """
    values: dict[Path, Value] = {}
    for layer in layers:
        named = layer.get(("provider",))
        if named is not None and named.value != configured_provider(values):
            values.pop(("model",), None)
        values |= layer
    return values


def configured_provider(values: Values) -> Any:
    """Which provider serves streams that name none, as far as these values say."""
    found = values.get(("provider",))
    return Config().provider if found is None else found.value


def with_defaults(values: Values) -> dict[Path, Value]:
    """The values over the defaults, which are the lowest layer."""
    defaults = {path: Value(value, DEFAULT) for path, value in flat(Config())}
    return {**values, **{path: value for path, value in defaults.items() if path not in values}}


def nested(values: Values) -> dict[str, Any]:
    """Keys and values as the tree that they are the leaves of."""
    tree: dict[str, Any] = {}
    for (*tables, name), value in values.items():
        table = tree
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = value.value
    return tree
