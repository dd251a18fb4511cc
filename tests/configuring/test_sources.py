"""The environment as a layer: what variables set, and which are none of ours."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.config import Config, ProviderConfig
from asrd.configuring.checking import checked
from asrd.configuring.layers import Layer, Places
from asrd.configuring.reading import read
from asrd.configuring.schema import A_PROVIDER, Leaf, Takes, flat, leaves
from asrd.configuring.schema import Path as KeyPath
from asrd.configuring.sources import environment_layer
from asrd.configuring.words import NONE, variable_of
from support.profiles import examples

NOWHERE = Places(system=Path("/nonexistent/a"), user=Path("/nonexistent/b"))


def layer(**variables: str) -> Layer:
    """What those variables say, and no others."""
    with mock.patch.dict(os.environ, variables, clear=True):
        found = environment_layer()
    assert found is not None
    return found


def values(**variables: str) -> dict[str, Any]:
    found = layer(**variables)
    assert not found.problems
    return {".".join(path): value.value for path, value in found.values.items()}


# ── each key ──────────────────────────────────────────────────────────────────────────────────


def keys() -> Iterator[tuple[KeyPath, Any, Takes]]:
    """Every key that holds a value, with its default and what it takes."""
    whole = Config(providers={A_PROVIDER: ProviderConfig()})
    for path, value in flat(whole):
        tree: Any = value
        for name in reversed(path):
            tree = {name: tree}
        (leaf,) = leaves(tree)
        assert isinstance(leaf, Leaf)
        yield path, value, leaf.takes


KEYS = [*keys()]


def samples(takes: Takes) -> st.SearchStrategy[Any]:
    """Values that a key of the configuration may have."""
    kinds: list[st.SearchStrategy[Any]] = []
    if takes.words:
        kinds.append(st.sampled_from(takes.words))
    if takes.is_optional:
        kinds.append(st.none())
    if takes.low is not None and takes.high is not None:
        low, high = getattr(takes.low, "ge", None), getattr(takes.high, "le", None)
        low = getattr(takes.low, "gt", low)
        high = getattr(takes.high, "lt", high)
        assert low is not None
        assert high is not None
        whole = st.integers(int(low), int(high))
        numbers = st.floats(
            float(low),
            float(high),
            exclude_min=hasattr(takes.low, "gt"),
            exclude_max=hasattr(takes.high, "lt"),
        )
        kinds.append(whole if int in takes.types else numbers)
    elif bool in takes.types:
        kinds.append(st.booleans())
    elif takes.is_size:
        kinds.append(st.sampled_from(["2GB", "1.5 MiB", "60%"]))
    elif str in takes.types:
        kinds.append(st.text(st.characters(codec="utf-8", exclude_characters="\0~"), min_size=1))
    if takes.item is not None:
        text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
        number = int in takes.item.types
        kinds.append(st.lists(st.integers(0, 2**48) | text if number else text))
    return st.one_of(kinds)


def as_variable(value: Any) -> str:
    match value:
        case None:
            return NONE
        case bool():
            return str(value).lower()
        case list():
            return json.dumps(value)
        case _:
            return str(value)


@pytest.mark.parametrize(("path", "default", "takes"), KEYS, ids=lambda each: str(each)[:60])
def test_every_key_can_be_set(path: KeyPath, default: Any, takes: Takes) -> None:
    """Its default is written and read; nothing is refused."""
    text = as_variable(list(default) if isinstance(default, tuple) else default)
    variable = f"ASRD_{'__'.join(path)}".upper()
    assert variable_of(path) == variable
    with mock.patch.dict(os.environ, {variable: text}, clear=True):
        found = read(NOWHERE)
    assert dict(flat(found.config))[path] == default
    assert found.values[path].origin == variable


@examples(300)
@given(st.data())
def test_every_value_of_every_key_comes_back(data: st.DataObject) -> None:
    path, _, takes = data.draw(st.sampled_from(KEYS))
    value = data.draw(samples(takes))
    text = as_variable(value)
    if value == NONE and takes.is_optional:
        value = None
    with mock.patch.dict(os.environ, {variable_of(path): text}, clear=True):
        layer = environment_layer()
    assert layer is not None
    config, _ = checked(layer.values)  # which may contradict the defaults of other keys
    assert config is not None
    found = dict(flat(config))[path]
    assert found == (tuple(value) if isinstance(value, list) else value)
    assert isinstance(found, bool) == isinstance(value, bool)


# ── what texts stand for ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-5", -5), ("0.5", 0.5), ("1e3", 1000.0), ("true", True), ("FALSE", False),
        ("int8", "int8"), ("nan", "nan"), ("1.2.3", "1.2.3"), ("[1]", "[1]"), ("none", "none"),
        ("9" * 50, "9" * 50),
    ],
)  # fmt: skip
def test_a_setting_is_what_it_looks_like(text: str, value: object) -> None:
    found = values(ASRD_PROVIDERS__ECHO__SETTINGS__A=text)["providers.echo.settings.a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["5", "true", "1e3"])
def test_a_text_is_one_whatever_it_looks_like(text: str) -> None:
    assert values(ASRD_MODEL=text) == {"model": text}


def test_what_cannot_be_read_stays_and_is_told() -> None:
    assert values(ASRD_FALLBACK="[1", ASRD_ENDPOINTING_MS="5e2", ASRD_LOG_LEVEL="loud") == {
        "fallback": "[1",
        "endpointing_ms": "5e2",
        "log_level": "loud",
    }


def test_a_secret_is_named_by_a_variable_of_its_own() -> None:
    found = layer(ASRD_PROVIDERS__X__SETTINGS__API_KEY__FILE="/run/key")
    (value,) = found.values.values()
    assert value.value == {"file": "/run/key"}
    assert value.origin == "ASRD_PROVIDERS__X__SETTINGS__API_KEY__FILE"


# ── what is none of ours, or nothing ──────────────────────────────────────────────────────────


def test_without_variables_of_ours_there_is_no_layer() -> None:
    others = {"PATH": "/bin", "ASRD_DEBUG": "1", "ASRD_MODEL": "", "XASRD_MODEL": "x"}
    with mock.patch.dict(os.environ, others, clear=True):
        assert environment_layer() is None


def test_what_others_set_at_the_top_is_a_warning() -> None:
    found = layer(ASRD_PORT="tcp://1", ASRD_SERVICE__HOST="x", ASRD_MODEL="m", ASRD_="x")
    assert found.warnings == (
        "ASRD_ names no key of asrd",
        "ASRD_PORT names no key of asrd",
        "ASRD_SERVICE__HOST names no key of asrd",
    )
    assert not found.problems
    assert [value.value for value in found.values.values()] == ["m"]


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            {"ASRD_LIMITS__MAX_SESION": "1"},
            "ASRD_LIMITS__MAX_SESION: there is no limits.max_sesion; did you mean 'max_sessions'?",
        ),
        ({"ASRD_LIMITS": "{}"}, "ASRD_LIMITS: limits: expected a table of keys"),
        ({"ASRD_PROVIDERS__ECHO": "{}"}, "ASRD_PROVIDERS__ECHO: providers.echo: expected a table"),
        (
            {"ASRD_LIMITS": "3", "ASRD_LIMITS__MAX_STREAMS": "3"},
            "ASRD_LIMITS__MAX_STREAMS: another variable gives the same key a value",
        ),
    ],
)
def test_what_is_wrong_within_a_table_is_an_error(variables: dict[str, str], problem: str) -> None:
    found = layer(**variables)
    assert any(line.startswith(problem) for line in found.problems), found.problems
    assert not found.values


def test_of_two_variables_for_one_setting_the_lost_one_is_told() -> None:
    name = "ASRD_PROVIDERS__X__SETTINGS__API_KEY"
    for pair in ([name, f"{name}__FILE"], [f"{name}__FILE", name]):
        found = layer(**dict.fromkeys(pair, "/hunter2"))
        (problem,) = found.problems
        assert problem.endswith(": another variable gives the same key a value")
        assert "hunter2" not in problem


def test_names_count_whatever_their_case() -> None:
    found = layer(asrd_limits__Max_Streams="7")
    assert [(v.value, v.origin) for v in found.values.values()] == [(7, "asrd_limits__Max_Streams")]


def test_bytes_that_are_no_text_are_told() -> None:
    with (
        mock.patch.dict(os.environ, {"ASRD_MODEL": "\udcff"}, clear=True),
        pytest.raises(Exception, match='ASRD_MODEL: model: expected text, or "none", not'),
    ):
        read(NOWHERE)
