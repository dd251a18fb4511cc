"""What people are told of a key and of a value."""

from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt

from asrd.choices import LogLevel
from asrd.configuring.schema import takes
from asrd.configuring.words import (
    complaint,
    expected,
    masked_value,
    range_of,
    shown_value,
    variable_of,
)
from asrd.ranges import Count, PathText, Size
from asrd.secrets import AnySetting, Secret

KEY = ("providers", "openai", "settings", "api_key")
OTHER = ("providers", "openai", "settings", "name")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (str, ""),
        (Count, "1 to 2^48"),
        (Annotated[int, Ge(66_560), Le(2**28)], "66560 to 268435456"),
        (Annotated[float, Gt(0), Le(604_800.0)], "above 0 to 604800"),
        (Annotated[float, Gt(0), Lt(1)], "above 0, below 1"),
        (Annotated[float, Ge(0), Le(0.5)], "0 to 0.5"),
    ],
)
def test_a_range_is_told_by_its_ends(kind: object, text: str) -> None:
    assert range_of(takes(kind)) == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (str, "text"),
        (bool, "true or false"),
        (Count | Literal["auto"], 'a whole number, 1 to 2^48, or "auto"'),
        (Size | None, 'an amount of memory such as 2GB, 512MiB or 60%, or "none"'),
        (PathText | None, 'a path, or "none"'),
        (LogLevel, '"debug", "info", "warning", "error"'),
        (tuple[str, ...], "a list of text"),
        (
            AnySetting,
            'a number, or true or false, or text, or { file = "/path" } or { credential = "name" }',
        ),
    ],
)
def test_what_a_key_takes_is_told_in_words(kind: object, text: str) -> None:
    assert expected(takes(kind)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"), (True, "true"), ("a\nb", r"'a\nb'"), ([1], "[1]"), ({"a": 1}, "a table"),
        ("x" * 100, f"'{'x' * 63}..."), (None, "None"),
    ],
)  # fmt: skip
def test_a_value_is_told_on_one_line_and_cut_short(value: Any, text: str) -> None:
    assert shown_value(value, ("model",)) == text


@pytest.mark.parametrize("path", [KEY, OTHER])
@pytest.mark.parametrize("value", [["hunter2"], {"text": "hunter2"}, Secret("hunter2")])
def test_what_may_be_secret_is_not_told(path: tuple[str, ...], value: Any) -> None:
    assert "hunter2" not in complaint(value, takes(AnySetting), path)


def test_what_looks_secret_is_not_told_and_masked() -> None:
    assert shown_value("hunter2", KEY) == "what stands there"
    assert shown_value("hunter2", OTHER) == "'hunter2'"
    masked = [masked_value(KEY, "a"), masked_value(OTHER, Secret("a")), masked_value(OTHER, "a")]
    assert masked == ["***", "***", "a"]
    assert masked_value(("model",), "a key") == "a key"


def test_a_key_has_one_variable() -> None:
    assert variable_of(("limits", "max_sessions")) == "ASRD_LIMITS__MAX_SESSIONS"
