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
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from asrd.config import Config
from asrd.errors import StartupError

EX_NOINPUT = 66
EX_CONFIG = 78


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
    unknown = list(_unknown_keys(given, Config, ""))
    if unknown:
        raise StartupError(f"{path}: {'; '.join(unknown)}", EX_CONFIG)
    try:
        return msgspec.convert(given, Config)
    except msgspec.ValidationError as error:
        raise StartupError(f"{path}: {_in_terms_of_keys(str(error))}", EX_CONFIG) from None


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


def _in_terms_of_keys(problem: str) -> str:
    """msgspec's `... - at `$.providers[...].loading`` with the key first."""
    what, _, where = problem.partition(" - at `")
    key = where.rstrip("`").removeprefix("$.").removeprefix("$")
    return f"{key}: {what[:1].lower()}{what[1:]}" if key else what
