"""Merged values checked, by pydantic, and every problem told with its key and its place."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from asrd.config import Config, contradictions
from asrd.configuring.layers import DEFAULT, Value, Values, nested
from asrd.configuring.schema import Leaf, Path, Takes, dotted, leaves
from asrd.configuring.words import complaint
from asrd.secrets import Secret


@cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def checked(values: Values) -> tuple[Config | None, tuple[str, ...]]:
    """The configuration that the values make, or a line for each problem, and no more of them.

    What stands at the keys was read by `layers.layer_of`, so that each is one.
    """
    kinds = {leaf.path: leaf.takes for leaf in leaves(nested(values)) if isinstance(leaf, Leaf)}
    fit = {
        path: replace(value, value=_plain(value.value))
        for path, value in values.items()
        if _is_json(value.value)
    }
    odd = dict.fromkeys(values.keys() - fit.keys(), ())
    config, wrong = _validated(fit)
    problems = [
        f"{values[path].origin}: {dotted(path)}{_place(index)}: "
        f"{_complaint(path, values[path].value, index, kinds[path])}"
        for path, index in sorted(
            {**odd, **wrong}.items(), key=lambda item: [*values].index(item[0])
        )
    ]
    if problems:  # what contradicts what is told of the others all the same
        sound = {path: value for path, value in fit.items() if path not in wrong}
        senseless, _ = _validated(sound)
        return None, (*problems, *(_senseless(senseless, sound) if senseless is not None else ()))
    return config, () if config is None else tuple(_senseless(config, values))


def _validated(values: Values) -> tuple[Config | None, dict[Path, tuple[Any, ...]]]:
    """The configuration, or for each value that is refused where in it the trouble is."""
    try:
        # Strict as JSON is: a text is no number and `true` none either, but lists may be tuples.
        return _adapter().validate_json(json.dumps(nested(values)), strict=True), {}
    except ValidationError as error:
        wrong: dict[Path, tuple[Any, ...]] = {}
        for each in error.errors(include_url=False, include_context=False, include_input=False):
            place = each["loc"]
            path = next(place[:end] for end in range(len(place), 0, -1) if place[:end] in values)
            wrong.setdefault(tuple(map(str, path)), place[len(path) :])
        return None, wrong


def _plain(value: Any) -> Any:
    return {"text": value.text} if isinstance(value, Secret) else value


def _is_json(value: Any) -> bool:
    """Whether a value can be asked about at all: TOML has dates, the environment broken bytes."""
    match value:
        case str():
            return not any("\ud800" <= each <= "\udfff" for each in value)
        case None | bool() | int() | float() | Secret():
            return True
        case list() | tuple():
            return all(not isinstance(item, list) and _is_json(item) for item in value)
        case _:
            return False


def _place(index: tuple[Any, ...]) -> str:
    return f"[{index[0]}]" if index and isinstance(index[0], int) else ""


def _complaint(path: Path, value: Any, index: tuple[Any, ...], takes: Takes) -> str:
    if index and isinstance(index[0], int) and takes.item is not None:
        return complaint(value[index[0]], takes.item, path)
    return complaint(value, takes, path)


def _senseless(config: Config, values: Mapping[Path, Value]) -> Iterator[str]:
    for found in contradictions(config):
        paths = (tuple(key.split(".")) for key in (found.key, found.other))
        origins = [values[path].origin for path in paths if path in values]
        # One of the two was set by somebody, or both would be the defaults.
        origin = next((origin for origin in origins if origin != DEFAULT), DEFAULT)
        yield f"{origin}: {found.key}: {found.sentence}"
