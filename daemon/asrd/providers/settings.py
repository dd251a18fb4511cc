"""Settings of a provider: a mapping from the user's configuration becomes a typed dataclass."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from asrd.choices import Setting
from asrd.errors import ProviderError
from asrd.secrets import MASK, is_secret_name

Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], given: Mapping[str, Setting], *, provider: str) -> Settings:
    """Check `given` against the fields of the dataclass `kind` and build it.

    A field is typed `str`, `int`, `float`, `bool`, or a `Literal` of strings, and has a default.
    `Annotated[int, (low, high)]` (or `float`) bounds a number, both ends included. A whole number
    is taken where a `float` is wanted; a `bool` is never taken for a number.

    Raises:
        ProviderError: an unknown key (the nearest known one is named), a wrong type, or a value
            outside its bounds; the sentence names `provider` and the key, and no value of a key
            that looks secret.
    """
    hints = get_type_hints(kind, include_extras=True)
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values: dict[str, Setting] = {}
    for key, value in given.items():
        if key not in known:
            raise ProviderError(f"{provider} has no setting '{key}'; {_nearest(key, known)}")
        problem, values[key] = _check(hints[key], value)
        if problem:
            shown = MASK if is_secret_name(key) else repr(value)
            raise ProviderError(f"The {provider} setting '{key}' must be {problem}, not {shown}.")
    return kind(**values)


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key.lower(), known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"it knows {', '.join(known)}." if known else "it has none."


def _check(hint: Any, value: Setting) -> tuple[str, Setting]:
    """Return what the value must be (empty when it is that), and the value in the field's type."""
    if get_origin(hint) is Literal:
        options = get_args(hint)
        near = difflib.get_close_matches(str(value), options, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return ("" if value in options else f"one of {', '.join(options)}{hint}"), value
    bounds: tuple[float, float] | None = None
    if get_origin(hint) is Annotated:
        hint, bounds = get_args(hint)
    wanted = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[hint]
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        return wanted, value
    if bounds is not None and not bounds[0] <= float(value) <= bounds[1]:
        return f"{wanted} from {bounds[0]:g} to {bounds[1]:g}", value
    return "", value
