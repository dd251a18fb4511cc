"""Settings of providers on the command line."""

import math

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from asrd.cli.options import read_settings, write_settings

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20).filter(lambda text: not _is_special(text)),
)


def _is_special(text: str) -> bool:
    """Whether it reads as something else than text."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false")
    return True


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, min_size=1), max_size=3))
def test_what_is_written_is_read_back(settings: dict[str, dict[str, str | int | float]]) -> None:
    pairs = [text.removeprefix("--option=") for text in write_settings(settings)]
    assert read_settings(pairs, "unused") == settings


def test_a_key_alone_belongs_to_the_provider_in_use() -> None:
    settings = read_settings(["threads=2", "whisper_cpp.beam=5", "path=/a.b/c=d"], "moonshine")
    assert settings == {
        "moonshine": {"threads": 2, "path": "/a.b/c=d"},
        "whisper_cpp": {"beam": 5},
    }


@pytest.mark.parametrize("name", ["api_key", "openai.token", "x.client_secret"])
def test_what_looks_secret_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(typer.BadParameter, match="looks like a secret") as told:
        read_settings([f"{name}=hunter2"], "moonshine")
    assert "hunter2" not in str(told.value)


def test_numbers_and_truth_are_told_from_text() -> None:
    values = read_settings(["a=1", "b=1.5", "c=True", "d=no", "e="], "x")["x"]
    assert values == {"a": 1, "b": 1.5, "c": True, "d": "no", "e": ""}
    assert math.isclose(float(values["b"]), 1.5)


@pytest.mark.parametrize("pair", ["", "threads", "=2", "moonshine.=2"])
def test_what_is_no_setting_is_refused(pair: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"PROVIDER\.KEY=VALUE"):
        read_settings([pair], "moonshine")
