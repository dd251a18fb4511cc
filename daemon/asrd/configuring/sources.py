"""Files and the environment read, by pydantic-settings: trees of what they say, unchecked."""

import io
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path as FilePath
from typing import Any, cast, get_type_hints

from pydantic import create_model
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from asrd.config import Config
from asrd.configuring.layers import OTHER_VARIABLES, PREFIX, Layer, layer_of
from asrd.configuring.schema import Path, Takes, is_map, is_table
from asrd.configuring.words import from_text, settled_value, variable_of
from asrd.errors import StartupError
from asrd.exit_codes import Exit

MAX_FILE_BYTES = 2**20
"""Of a configuration file. What is larger is none."""


@cache
def _shape() -> type[BaseSettings]:
    """The top level of `Config` for pydantic-settings: which names are tables, and nothing more."""

    class Shape(BaseSettings):
        model_config = SettingsConfigDict(case_sensitive=True, extra="allow")

    hints = get_type_hints(Config)
    names: dict[str, Any] = {
        field.name: (
            dict[str, str] if is_table(hints[field.name]) or is_map(hints[field.name]) else str,
            "",
        )
        for field in fields(Config)
    }
    return create_model("Shape", __base__=Shape, **names)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


class _Bounded:
    """A file of which no more is read than a configuration may have; it need not be regular."""

    def __init__(self, path: FilePath) -> None:
        self._path = path

    def is_file(self) -> bool:
        return True

    def open(self, mode: str = "rb") -> io.BytesIO:
        with self._path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise StartupError(f"{self._path} is larger than {MAX_FILE_BYTES} bytes", Exit.NO_INPUT)
        return io.BytesIO(data)


def file_layer(path: FilePath, *, must_exist: bool) -> Layer | None:
    """What a file says; None where there is none and need not be.

    Raises:
        StartupError: there is none and must be, or it cannot be read, as a link to nowhere.
    """
    name = str(path)
    if not must_exist and not os.path.lexists(path):
        return None
    try:
        tree = TomlConfigSettingsSource(_shape(), cast(FilePath, _Bounded(path)))()
    except OSError as error:
        raise StartupError(f"cannot read {name}: {error.strerror}", Exit.NO_INPUT) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        return Layer(name=name, problems=(f"{name} is not TOML: {error}",))
    return layer_of(name, tree, lambda _: name)


# ── the environment ───────────────────────────────────────────────────────────────────────────────


class _Texts(EnvSettingsSource):
    """Variables as texts: what each stands for is decided by its key, and not by its look."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Leave it as it is."""
        return value


def environment_layer() -> Layer | None:
    """What variables such as ASRD_LIMITS__MAX_SESSIONS say; None where there are none.

    Names count whatever their case. An empty variable says nothing.
    """
    ours = {
        name.lower(): name
        for name, text in os.environ.items()
        if name.upper().startswith(PREFIX) and name not in OTHER_VARIABLES and text
    }
    if not ours:
        return None
    known = {field.name for field in fields(Config)}
    strays = {low for low in ours if low.removeprefix("asrd_").split("__")[0] not in known}
    texts = _Texts(
        _shape(),
        case_sensitive=False,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )()
    # Of two such as A__B and A__B__C, one has found no place in the tree.
    told = {variable_of(path).lower() for path in _ends(texts)}
    return layer_of(
        "the environment",
        texts,
        lambda path: _named(path, ours),
        read=_typed,
        problems=[
            f"{ours[low]}: another variable gives the same key a value"
            for low in sorted(ours.keys() - strays - told)
        ],
        warnings=[f"{ours[low]} names no key of asrd" for low in sorted(strays)],
    )


def _typed(value: Any, takes: Takes) -> Any:
    return settled_value(from_text(value, takes) if isinstance(value, str) else value, takes)


def _named(path: Path, ours: Mapping[str, str]) -> str:
    """The variable that says something of a key, or of what is inside it."""
    name = variable_of(path).lower()
    inner = (other for other in ours if other.startswith(f"{name}__"))
    return ours.get(name) or ours.get(next(inner, ""), variable_of(path))


def _ends(tree: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield from _ends(inner, (*path, name))
    else:
        yield path
