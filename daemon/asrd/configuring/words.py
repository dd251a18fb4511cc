"""Values in words: read from the environment, written as TOML, and told to people."""

import json
import math
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum
from typing import Any

from annotated_types import Ge, Le

from asrd.configuring.schema import Path, Takes, is_setting
from asrd.ranges import MOST
from asrd.secrets import MASK, Secret, is_secret_name

NONE = "none"
"""How `no limit`, or whatever else no value means, is written: TOML has no null."""

MAX_SHOWN = 64
"""Characters of a wrong value that are told."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


# ── taken in ──────────────────────────────────────────────────────────────────────────────────────


def from_text(text: str, takes: Takes) -> Any:
    """What a variable of the environment stands for, by what its key takes.

    What it cannot be read as stays a text, which the check then tells.
    """
    kinds = takes.types
    if text in takes.words:
        return text
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if int in kinds and _WHOLE.fullmatch(text):
        return int(text)
    if float in kinds and _NUMBER.fullmatch(text):
        return float(text)
    if takes.item is not None and text.startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def settled_value(value: Any, takes: Takes) -> Any:
    """A value as the check takes it: `none` is no value, and `~` the home of whoever runs us."""
    if takes.is_optional and value == NONE:
        return None
    if takes.is_path and isinstance(value, str):
        return os.path.expanduser(value)  # noqa: PTH111 - leaves a home that there is not as it is
    return value


# ── written ───────────────────────────────────────────────────────────────────────────────────────


def toml(value: Any) -> str:
    """A value as TOML has it; no value is `none`."""
    match value:
        case None:
            return f'"{NONE}"'
        case Secret():
            return f'"{MASK}"'
        case Enum():
            return toml(value.value)
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case float():
            return repr(value) if math.isfinite(value) else str(value)
        case int():
            return str(value)
        case Mapping():
            pairs = (f"{toml_key(str(key))} = {toml(inner)}" for key, inner in value.items())
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case _:
            return f"[{', '.join(toml(item) for item in value)}]"


def toml_key(name: str) -> str:
    """One part of a key, in quotes where it needs them."""
    return name if _BARE_KEY.fullmatch(name) else toml(name)


# ── told ──────────────────────────────────────────────────────────────────────────────────────────


def range_of(takes: Takes) -> str:
    """`100 to 5000`; "" where there is none."""
    low, high = takes.low, takes.high
    if low is None or high is None:
        return ""
    least = _number(low.ge) if isinstance(low, Ge) else f"above {_number(low.gt)}"
    most = _number(high.le) if isinstance(high, Le) else f"below {_number(high.lt)}"
    return f"{least} to {most}" if isinstance(high, Le) else f"{least}, {most}"


def _number(bound: Any) -> str:
    return "2^48" if bound == MOST else f"{bound:.15g}"


def expected(takes: Takes) -> str:
    """What a key takes, in words."""
    kinds = []
    within = range_of(takes)
    within = f", {within}" if within else ""
    if takes.item is not None:
        kinds.append(f"a list of {expected(takes.item)}")
    if int in takes.types and float not in takes.types:
        kinds.append(f"a whole number{within}")
    if float in takes.types:
        kinds.append(f"a number{within}")
    if bool in takes.types:
        kinds.append("true or false")
    if takes.is_size:
        kinds.append("an amount of memory such as 2GB, 512MiB or 60%")
    elif str in takes.types:
        kinds.append("a path" if takes.is_path else "text")
    if takes.words:
        kinds.append(", ".join(f'"{word}"' for word in takes.words))
    if takes.is_setting:
        kinds.append('{ file = "/path" } or { credential = "name" }')
    if takes.is_optional:
        kinds.append(f'"{NONE}"')
    return ", or ".join(kinds)


def complaint(value: Any, takes: Takes, path: Path) -> str:
    """Why a value is refused: its range and the reason for that, or what is expected instead."""
    shown = shown_value(value, path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (float in takes.types or (int in takes.types and isinstance(value, int))):
        others = "".join(f', or "{word}"' for word in takes.words)
        return f"{shown} is out of range, {range_of(takes)}{others}: {takes.reason}"
    if isinstance(value, str) and takes.words and not takes.types:
        near = get_close_matches(value, takes.words, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{shown} is none of {', '.join(takes.words)}{hint}"
    return f"expected {expected(takes)}, not {shown}"


def shown_value(value: Any, path: Path) -> str:
    """A value as an error tells it, cut short; never a secret one."""
    if is_setting(path) and (is_secret_name(path[-1]) or not isinstance(value, str | int | float)):
        return "what stands there"
    if isinstance(value, dict):
        return "a table"
    if not isinstance(value, str | int | float | list | None):
        return f"a {type(value).__name__}"
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def variable_of(path: Path) -> str:
    """The variable of the environment that sets a key."""
    return f"ASRD_{'__'.join(path)}".upper()


def masked_value(path: Path, value: Any) -> Any:
    """A value as a log shows it."""
    if isinstance(value, Secret) or (is_setting(path) and is_secret_name(path[-1])):
        return MASK
    return value
