"""What keys there are, read off the code."""

from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt

from asrd.choices import LogLevel
from asrd.config import Config, Limits, ProviderConfig
from asrd.configuring.schema import (
    Leaf,
    Mistake,
    Path,
    Takes,
    fields_of,
    flat,
    is_map,
    is_setting,
    is_table,
    leaves,
    table_of,
    tables,
    takes,
)
from asrd.ranges import PathText, Reason, Share, Size
from asrd.secrets import AnySetting, Secret


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (int, Takes(types=frozenset({int}))),
        (bool | None, Takes(types=frozenset({bool}), is_optional=True)),
        (
            Annotated[int, Ge(1), Le(2), Reason("a"), Reason("b")],
            Takes(types=frozenset({int}), low=Ge(1), high=Le(2), reason="b"),
        ),
        (
            Annotated[float, Gt(0), Lt(1)] | Literal["auto"] | None,
            Takes(
                types=frozenset({float}), low=Gt(0), high=Lt(1), words=("auto",), is_optional=True
            ),
        ),
        (LogLevel, Takes(words=("debug", "info", "warning", "error"))),
        (Size, Takes(types=frozenset({str}), is_size=True)),
        (PathText, Takes(types=frozenset({str}), is_path=True)),
        (tuple[str, ...], Takes(item=Takes(types=frozenset({str})))),
        (
            tuple[str, ...] | None,
            Takes(item=Takes(types=frozenset({str})), is_optional=True),
        ),
        (AnySetting, Takes(types=frozenset({str, int, float, bool}), is_setting=True)),
    ],
)
def test_an_annotation_says_what_a_key_takes(kind: object, expected: Takes) -> None:
    assert takes(kind) == expected


def test_the_reason_of_a_range_is_that_of_its_kind_unless_it_has_its_own() -> None:
    assert takes(Share).reason == "a share of a whole"
    assert takes(Annotated[Share, Reason("its own")]).reason == "its own"


def test_tables_have_keys_of_their_own_and_maps_names_of_the_users() -> None:
    hints = fields_of(Config)
    assert is_table(hints["limits"])
    assert not is_map(hints["limits"])
    assert is_map(hints["providers"])
    assert is_map(Mapping[str, int])
    assert not is_table(hints["fallback"])
    assert not is_map(hints["fallback"])
    assert fields_of(Limits).keys() >= {"max_streams"}


def test_the_leaves_of_a_tree_are_its_keys_and_what_is_none_is_told() -> None:
    tree = {
        "provider": "a",
        "limits": {"max_stream": 1, "max_sessions": 2},
        "providers": {"a b": {"settings": {"x.y": {"file": "/f"}}, "models": 3}, "c": 4},
        "scheduling": {"max_waiting": {"mic": 5}},
    }
    found = [*leaves(tree)]
    assert [(leaf.path, leaf.value) for leaf in found if isinstance(leaf, Leaf)] == [
        (("provider",), "a"),
        (("limits", "max_sessions"), 2),
        (("providers", "a b", "settings", "x.y"), {"file": "/f"}),
        (("providers", "a b", "models"), 3),
        (("scheduling", "max_waiting", "mic"), 5),
    ]
    assert [wrong.path for wrong in found if isinstance(wrong, Mistake)] == [
        ("limits", "max_stream"),
        ("providers", "c"),
    ]


def test_a_configuration_lies_flat_with_its_secrets_whole() -> None:
    config = Config(providers={"a": ProviderConfig(settings={"k": Secret("s"), "n": 1})})
    found = dict(flat(config))
    assert found["providers", "a", "settings", "k"] == Secret("s")
    assert found["providers", "a", "settings", "n"] == 1
    assert found["limits", "max_streams"] == 64
    assert found["fallback",] == ()


@pytest.mark.parametrize(
    ("path", "table"),
    [
        (("provider",), ()),
        (("limits", "max_streams"), ("limits",)),
        (("scheduling", "pace", "idle_s"), ("scheduling", "pace")),
        (("scheduling", "max_waiting", "mic"), ("scheduling",)),
        (("providers", "a", "loading"), ("providers", "a")),
        (("providers", "a", "settings", "x"), ("providers", "a")),
    ],
)
def test_a_key_stands_in_a_table(path: Path, table: Path) -> None:
    assert table_of(path) == table
    assert is_setting(path) == (path[-1] == "x")


def test_every_key_is_in_one_table() -> None:
    found = [(*table.path, key.name) for table in tables() for key in table.keys]
    assert len(found) == len(set(found))
    assert {table_of(path) for path, _ in flat(Config())} <= {table.path for table in tables()}
