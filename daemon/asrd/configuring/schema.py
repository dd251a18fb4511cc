"""What keys there are and what each takes, read off the dataclasses of `asrd.config`."""

import ast
import dataclasses
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from asrd.config import Config
from asrd.ranges import IsPath, Reason, is_size
from asrd.secrets import Secret

Path = tuple[str, ...]
"""Of a key in the tree: `("limits", "max_sessions")`."""


@dataclass(frozen=True, slots=True)
class Takes:
    """What values a key takes: which types, which words, within which range."""

    types: frozenset[type] = frozenset()
    words: tuple[str, ...] = ()
    low: Ge | Gt | None = None
    high: Le | Lt | None = None
    reason: str = ""
    is_optional: bool = False
    is_path: bool = False
    is_size: bool = False
    is_setting: bool = False
    item: "Takes | None" = None
    """What the items of a list are; None: it is no list."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key that holds a value, and what was given for it."""

    path: Path
    takes: Takes
    value: Any


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is no key, or no table, in a sentence."""

    path: Path
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key as it is documented."""

    name: str
    takes: Takes
    default: Any
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Keys that stand together."""

    path: Path
    meaning: str
    keys: tuple[Key, ...]


A_PROVIDER = "moonshine"
"""Under whose name the keys of a provider are shown."""


@cache
def fields_of(kind: type) -> Mapping[str, Any]:
    """The keys of a table and their annotations."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def is_map(kind: Any) -> bool:
    """Whether names of the user's own stand in a table of that kind."""
    return get_origin(kind) is Mapping


def is_table(kind: Any) -> bool:
    """Whether it has keys of its own, each with its type."""
    return dataclasses.is_dataclass(kind)


@cache
def takes(kind: Any) -> Takes:
    """What an annotation lets a key be."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *extras = get_args(kind)
        return _with_extras(takes(inner), extras)
    if origin in (Union, types.UnionType):
        return _either([takes(part) for part in get_args(kind)])
    if origin is Literal:
        return Takes(words=get_args(kind))
    if origin is tuple:
        return Takes(item=takes(get_args(kind)[0]))
    if kind is type(None):
        return Takes(is_optional=True)
    if kind is Secret:
        return Takes(is_setting=True)
    if issubclass(kind, Enum):
        return Takes(words=tuple(each.value for each in kind))
    return Takes(types=frozenset({kind}))


def _with_extras(plain: Takes, extras: list[Any]) -> Takes:
    for extra in extras:
        match extra:
            case Ge() | Gt():
                plain = dataclasses.replace(plain, low=extra)
            case Le() | Lt():
                plain = dataclasses.replace(plain, high=extra)
            case Reason(text):
                plain = dataclasses.replace(plain, reason=text)
            case IsPath():
                plain = dataclasses.replace(plain, is_path=True)
            case _ if getattr(extra, "func", None) is is_size:
                plain = dataclasses.replace(plain, is_size=True)
    return plain


def _either(parts: list[Takes]) -> Takes:
    def first(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return next((value for value in values if value), values[0])

    return Takes(
        types=frozenset().union(*(part.types for part in parts)),
        words=tuple(word for part in parts for word in part.words),
        **{each: first(each) for each in ("low", "high", "reason", "item")},
        is_optional=any(part.is_optional for part in parts),
        is_path=any(part.is_path for part in parts),
        is_size=any(part.is_size for part in parts),
        is_setting=any(part.is_setting for part in parts),
    )


def leaves(tree: Any, kind: Any = Config, path: Path = ()) -> Iterator[Leaf | Mistake]:
    """Every value of a partial tree with its key, and what is no key or no table."""
    if not is_table(kind) and not is_map(kind):
        yield Leaf(path, takes(kind), tree)
    elif not isinstance(tree, dict):
        yield Mistake(path, f"{dotted(path)}: expected a table of keys")
    elif is_map(kind):
        for name, value in tree.items():
            yield from leaves(value, get_args(kind)[1], (*path, name))
    else:
        known = fields_of(kind)
        for name, value in tree.items():
            if name in known:
                yield from leaves(value, known[name], (*path, name))
            else:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                yield Mistake((*path, name), f"there is no {dotted((*path, name))}; {hint}")


def flat(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value of a whole configuration with its key."""
    if is_table(value) and not isinstance(value, Secret):
        for field in dataclasses.fields(value):
            yield from flat(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat(inner, (*path, name))
    else:
        yield path, value


def table_of(path: Path) -> Path:
    """The table that a key stands in. What is in a map of values stands where the map does."""
    kind: Any = Config
    for place, name in enumerate(path):
        if not is_map(kind):
            kind = fields_of(kind)[name]
        elif is_table(get_args(kind)[1]):
            kind = get_args(kind)[1]
        else:
            return path[: place - 1]
    return path[:-1]


def is_setting(path: Path) -> bool:
    """Whether the key is a provider's own setting."""
    return len(path) == 4 and path[0] == "providers" and path[2] == "settings"


def dotted(path: Path) -> str:
    """A key as people write it: `limits.max_sessions`."""
    return ".".join(path)


# ── the keys as they are documented ───────────────────────────────────────────────────────────


def tables(kind: type = Config, path: Path = ()) -> Iterator[Table]:
    """Every table with its keys, as they stand in the code; `providers` with one as an example."""
    meanings, keys = meanings_of(kind), []
    inner: list[tuple[type, Path]] = []
    for field in dataclasses.fields(kind):
        hint = fields_of(kind)[field.name]
        if is_table(hint):
            inner.append((hint, (*path, field.name)))
        elif is_map(hint) and is_table(get_args(hint)[1]):
            inner.append((get_args(hint)[1], (*path, field.name, A_PROVIDER)))
        else:
            default = field.default
            if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            keys.append(
                Key(
                    name=field.name,
                    takes=takes(get_args(hint)[1] if is_map(hint) else hint),
                    default=default,
                    meaning=meanings.get(field.name, ""),
                )
            )
    meaning = inspect.getdoc(kind) or ""
    if path[-1:] == (A_PROVIDER,):
        meaning += f" `{A_PROVIDER}` stands here for the name of any provider."
    yield Table(path=path, meaning=meaning, keys=tuple(keys))
    for hint, name in inner:
        yield from tables(hint, name)


def meanings_of(kind: type) -> dict[str, str]:
    """What stands below each key of a table in the code, on one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    if not isinstance(definition, ast.ClassDef):
        raise AssertionError(f"{kind} is no class")
    found = {}
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        match before, after:
            case (
                ast.AnnAssign(target=ast.Name(name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
            case _:
                pass  # a method, or the docstring of the class
    return found
