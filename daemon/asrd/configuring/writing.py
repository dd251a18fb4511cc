"""The configuration written: as it is in force, as the annotated file, and as a document.

What is said of a key stands beside it in the code. The file and the document are made from there,
and tests hold those that are kept in files to it.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from asrd.config import Config
from asrd.configuring.document import INTRODUCTION
from asrd.configuring.layers import DEFAULT
from asrd.configuring.reading import Reading
from asrd.configuring.schema import Key, Path, Table, dotted, flat, table_of, tables
from asrd.configuring.secret_files import is_reference
from asrd.configuring.words import expected, masked_value, toml, toml_key, variable_of
from asrd.secrets import Secret

COLUMNS = 96

HEAD = """\
# The configuration of asrd.
#
# Every key is here with its default, behind a `#`: take that away from a line to set its key. What
# is set in the environment (ASRD_LIMITS__MAX_SESSIONS=500) or by a flag of `asrd serve` wins over
# this file. `asrd config check` looks it over, `asrd config show --origin` tells what is in force,
# and `kill -HUP` has a running daemon read it again. "none" is no value, such as no limit.
"""


# ── in force ──────────────────────────────────────────────────────────────────────────────────────


def log_fields(reading: Reading, *, is_whole: bool) -> dict[str, Any]:
    """What the log tells of a configuration: where it is from, and its values by their keys.

    Secrets are masked. Unless `is_whole`, values that are the default are left out.
    """
    usual = dict(flat(Config()))
    values = {
        dotted(path): masked_value(path, value)
        for path, value in flat(reading.config)
        if is_whole or value != usual.get(path, _NEVER)
    }
    return {"layers": list(reading.layers), "values": values}


_NEVER = object()


def shown(reading: Reading, *, with_origin: bool) -> str:
    """The values in force as TOML, secrets masked, each with its origin behind it if wanted."""
    lines = [f"# {', '.join(('defaults', *reading.layers))}"]
    head: Path = ()
    for path, value in _in_tables(reading):
        table, key = _split(path)
        if table != head:
            head = table
            lines += ["", f"[{'.'.join(map(toml_key, table))}]"]
        line = f"{'.'.join(map(toml_key, key))} = {toml(value)}"
        lines.append(f"{line}  # {origin_of(reading, path)}" if with_origin else line)
    return "\n".join(lines)


def shown_as_json(reading: Reading, *, with_origin: bool) -> str:
    """The same as JSON: a tree of values, or by each dotted key its value and its origin."""
    values = dict(_in_tables(reading))
    if with_origin:
        told: Any = {
            dotted(path): {"value": value, "origin": origin_of(reading, path)}
            for path, value in values.items()
        }
    else:
        told = {}
        for (*parts, name), value in values.items():
            table = told
            for part in parts:
                table = table.setdefault(part, {})
            table[name] = value
    return json.dumps(told, indent=2, ensure_ascii=False, default=_as_json)


def _as_json(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else str(value)


def origin_of(reading: Reading, path: Path) -> str:
    """Which file, variable or flag a value is from, or `default`."""
    found = reading.values.get(path)
    return DEFAULT if found is None else found.origin


def _in_tables(reading: Reading) -> list[tuple[Path, Any]]:
    """Every value with its key, those of one table together."""
    values = [(path, _safe(reading, path, value)) for path, value in flat(reading.config)]
    heads = list(dict.fromkeys(_split(path)[0] for path, _ in values))
    return sorted(
        values, key=lambda item: (_split(item[0])[0] != (), heads.index(_split(item[0])[0]))
    )


def _safe(reading: Reading, path: Path, value: Any) -> Any:
    """What may be shown of a value: of a secret where it is read from."""
    given = reading.values.get(path)
    if isinstance(value, Secret) and given is not None and is_reference(path, given.value):
        return given.value
    return masked_value(path, value)


def _split(path: Path) -> tuple[Path, Path]:
    """A key's table, and what it is called there."""
    table = table_of(path)
    return table, path[len(table) :]


# ── the annotated file ────────────────────────────────────────────────────────────────────────────


def annotated() -> str:
    """The file of `asrd config init`: every key with its default and its meaning."""
    return HEAD + "".join("\n".join(_table_lines(table)) + "\n" for table in tables())


def _table_lines(table: Table) -> Iterator[str]:
    if table.path:
        yield ""
        yield from _comment(table.meaning)
        yield f"[{'.'.join(table.path)}]"
    for key in table.keys:
        yield ""
        yield from _comment(key.meaning)
        if taken(key) not in _PLAIN:
            yield from _comment(f"Takes {taken(key)}.")
        if isinstance(key.default, Mapping) and key.default:
            for name, value in key.default.items():
                yield f"#{key.name}.{toml_key(name)} = {toml(value)}"
        else:
            yield f"#{key.name} = {toml(key.default)}"


_PLAIN = ("text", "true or false")
"""What a default tells by itself."""


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield from textwrap.wrap(
            " ".join(paragraph.split()),
            COLUMNS,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def taken(key: Key) -> str:
    """What a key takes, its range with the reason for it."""
    text = expected(key.takes)
    text = f"names, each with {text}" if isinstance(key.default, Mapping) else text
    return f"{text}: {key.takes.reason}" if key.takes.reason else text


# ── the document ──────────────────────────────────────────────────────────────────────────────────


def document() -> str:
    """`CONFIGURATION.md`: the layers, the environment, secrets, and every key."""
    return INTRODUCTION + "".join("\n".join(_chapter(table)) + "\n" for table in tables())


def _chapter(table: Table) -> Iterator[str]:
    name = ".".join(table.path)
    yield ""
    yield f"### `[{name}]`" if name else "### At the top of the file"
    yield ""
    if name:
        yield from textwrap.wrap(" ".join(table.meaning.split()), COLUMNS)
        yield ""
    yield "| key | default | takes | meaning |"
    yield "| --- | --- | --- | --- |"
    for key in table.keys:
        cells = (f"`{key.name}`", f"`{toml(key.default)}`", taken(key), key.meaning)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    if table.keys:
        yield ""
        yield f"In the environment: `{variable_of((*table.path, table.keys[0].name))}` and so on."
