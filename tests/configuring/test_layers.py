"""Layers laid over one another, against a plain merge of trees."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.config import Config
from asrd.configuring.layers import Places, Value, layer_of, merged, nested, user_file, usual_places
from asrd.configuring.reading import read
from asrd.configuring.schema import Path as KeyPath
from asrd.configuring.schema import flat
from asrd.configuring.words import toml, toml_key
from asrd.errors import StartupError
from support.profiles import examples

NUMBERS = {
    ("endpointing_ms",): st.integers(100, 5000),
    ("limits", "max_sessions"): st.integers(1, 2**40),
    ("limits", "max_utterance_s"): st.floats(1, 30),
    ("scheduling", "slots"): st.integers(1, 99) | st.just("auto"),
    ("scheduling", "preemption"): st.booleans(),
    ("scheduling", "ladder", "shed_load"): st.floats(0.001, 1000),
    ("scheduling", "max_waiting", "mic"): st.integers(1, 99),
    ("scheduling", "max_waiting", "disc"): st.integers(1, 99),
    ("residency", "max_models"): st.integers(1, 99) | st.none(),
    ("residency", "min_available"): st.sampled_from(["1%", "2GB"]),
    ("access", "uids"): st.lists(st.integers(0, 9) | st.sampled_from(["ann", "bob"]), max_size=3),
    ("providers", "echo", "required"): st.booleans(),
    ("providers", "echo", "settings", "a b"): st.integers() | st.text() | st.booleans(),
    ("providers", "other", "settings", "x"): st.text(max_size=5),
}
TREES = st.fixed_dictionaries({}, optional=NUMBERS)


def written(values: Mapping[KeyPath, Any]) -> str:
    return "\n".join(
        f"{'.'.join(map(toml_key, path))} = {toml(value)}" for path, value in values.items()
    )


@examples(60)
@given(st.lists(TREES, min_size=3, max_size=3))
def test_layers_of_files_are_merged_as_plain_trees_are(layers: list[dict[KeyPath, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("system", "user", "given")]
        for file, values in zip(files, layers, strict=True):
            file.write_text(written(values), encoding="utf-8")
        found = read(Places(system=files[0], user=files[1], given=files[2]))
    expected: dict[KeyPath, Any] = {}
    origins: dict[KeyPath, str] = {}
    for file, values in zip(files, layers, strict=True):
        expected |= values
        origins |= dict.fromkeys(values, str(file))
    in_force = dict(flat(found.config))
    for path, value in expected.items():
        plain = tuple(value) if isinstance(value, list) else value
        assert in_force[path] == plain, path
        assert isinstance(in_force[path], type(plain)) or isinstance(plain, int), path
    assert {path: value.origin for path, value in found.values.items()} == origins
    for path, default in flat(Config()):
        assert path in expected or in_force[path] == default


def test_a_tree_and_its_leaves_are_the_same() -> None:
    tree = {"provider": "a", "limits": {"max_streams": 1}, "providers": {"a": {"models": ["x"]}}}
    layer = layer_of("it", tree, lambda path: ".".join(path))
    assert nested(layer.values) == tree
    assert layer.values["limits", "max_streams"] == Value(1, "limits.max_streams")
    assert not layer.problems


def test_nothing_over_nothing_is_nothing() -> None:
    assert not merged([])
    assert not merged([{}, {}])
    assert not nested({})


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/asrd/config.toml"),
        ({"XDG_CONFIG_HOME": "", "HOME": "/h"}, "/h/.config/asrd/config.toml"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}, "/h/.config/asrd/config.toml"),
        ({"HOME": "/h"}, "/h/.config/asrd/config.toml"),
    ],
)
def test_the_users_file_is_where_such_files_are(variables: dict[str, str], path: str) -> None:
    with mock.patch.dict(os.environ, variables, clear=True):
        assert str(user_file()) == path
        assert usual_places(Path("/g")) == Places(
            system=Path("/etc/asrd/config.toml"), user=Path(path), given=Path("/g")
        )


def test_whether_there_is_anything_is_seen_without_reading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(system=tmp_path / "a", user=tmp_path / "b")
    named = Places(system=places.system, user=places.user, given=places.user)
    monkeypatch.setenv("ASRD_DEBUG", "1")
    found = [places.is_anything_there, named.is_anything_there]
    with monkeypatch.context() as patched:
        patched.setenv("asrd_model", "x")
        found.append(places.is_anything_there)
    for file in (places.system, places.user):
        file.symlink_to(tmp_path / "nowhere")  # that is a mistake somebody wants to hear of
        found.append(places.is_anything_there)
        with pytest.raises(StartupError, match=r"cannot read .*: No such file"):
            read(places)
        file.unlink()
    assert found == [False, True, True, True, True]
