"""The configuration file: TOML whose tables and keys are the fields of `Config`.

provider = "faster_whisper"
fallback = ["moonshine"]

[providers.faster_whisper]
loading = "eager"
required = true
settings = { compute_type = "int8" }

[residency]
max_models = 2
"""

import dataclasses
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from asrd.choices import Loading, LogFormat, LogLevel, Setting, WarmUp
from asrd.config import Config, ProviderConfig, contradictions
from asrd.errors import StartupError

EX_NOINPUT = 66
EX_CONFIG = 78

ENUMS: dict[str, type[Enum]] = {
    "loading": Loading,
    "warm_up": WarmUp,
    "log_level": LogLevel,
    "log_format": LogFormat,
}
"""The keys whose value is one of a few words."""


def read_config(path: Path) -> Config:
    """The configuration in a file.

    Raises:
        StartupError: it cannot be read, or something in it makes no sense; names file and key.
    """
    try:
        with path.open("rb") as file:
            given = tomllib.load(file)
    except OSError as error:
        raise StartupError(f"cannot read {path}: {error.strerror}", EX_NOINPUT) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartupError(f"{path} is not TOML: {error}", EX_CONFIG) from None
    problems = list(_unknown_keys(given, Config, "")) or _wrong_value(given)
    if problems:
        raise StartupError(f"{path}: {'; '.join(problems)}", EX_CONFIG)
    config = msgspec.convert(given, Config)
    if problems := list(contradictions(config)):
        raise StartupError(f"{path}: {'; '.join(problems)}", EX_CONFIG)
    return config


def _wrong_value(given: Mapping[str, Any]) -> list[str]:
    """A sentence for the first value that is not what its key takes; none where all are."""
    for key, value, kind in (*_named_parts(given), ("", given, Config)):
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            return [_in_plain_words(str(error), key)]
    return []


def _named_parts(given: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What stands under a name of the user's, which msgspec would leave out: key, value, type."""
    for name, table in _entries(given.get("providers")):
        for key, value in _entries(table.get("settings") if isinstance(table, dict) else None):
            yield f"providers.{name}.settings.{key}", value, Setting
        yield f"providers.{name}", table, ProviderConfig


def _entries(table: Any) -> Iterable[tuple[str, Any]]:
    return table.items() if isinstance(table, dict) else ()


def _unknown_keys(given: Mapping[str, Any], kind: type, path: str) -> Iterator[str]:
    """A sentence for each key that is no field, with the nearest that is."""
    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key, value in given.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            yield f"there is no {path}{key}; {hint}"
        elif isinstance(value, dict):
            inner = hints[key]
            if dataclasses.is_dataclass(inner) and isinstance(inner, type):
                yield from _unknown_keys(value, inner, f"{path}{key}.")
            elif get_args(inner) and dataclasses.is_dataclass(get_args(inner)[-1]):
                for name, table in value.items():
                    if isinstance(table, dict):
                        yield from _unknown_keys(table, get_args(inner)[-1], f"{path}{key}.{name}.")


def _in_plain_words(problem: str, part: str) -> str:
    """msgspec's `... - at `$.loading`` with the key first, below `part`."""
    what, _, where = problem.partition(" - at `")
    key = f"{part}{where.rstrip('`').removeprefix('$')}".removeprefix(".")
    if "matching regex" in what:
        what = "expected an amount of memory, such as '2GB', '512MiB' or '60%'"
    elif what.startswith("Invalid enum value"):
        choices = [each.value for each in ENUMS[key.rpartition(".")[2]]]
        what += f"; there are {', '.join(choices)}"
    return f"{key}: {what[:1].lower()}{what[1:]}" if key else what
