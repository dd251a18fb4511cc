"""What a setting may be: the range of each kind, and why it is that one.

Ranges are those of `annotated-types`, which whoever reads a configuration checks by. A `Reason`
stands beside the range and is told with it.
"""

import math
import re
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt, Predicate

MOST = 2**48
"""Of anything that is counted: far beyond what a machine has, and no number that overflows."""

LONGEST_S = 604_800.0
"""A week. What would take longer is no protection any more; infinity is none."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a key has its range; the last of several counts."""

    text: str


@dataclass(frozen=True, slots=True)
class IsPath:
    """The text is a path: a `~` at its beginning stands for the home of the daemon's user."""


_FINITE = Predicate(math.isfinite)
_SIZE = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})? *(%|([kMGT]i?)?B)")


def is_size(text: str) -> bool:
    """Whether it is an amount of memory as `Size` takes one."""
    return _SIZE.fullmatch(text) is not None


Count = Annotated[int, Ge(1), Le(MOST), Reason("none at all would stop the work")]
CountOrZero = Annotated[int, Ge(0), Le(MOST), Reason("there is no less than nothing")]
Seconds = Annotated[
    float,
    Gt(0),
    Le(LONGEST_S),
    _FINITE,
    Reason("no time at all stops the work, more than a week protects from nothing"),
]
Load = Annotated[
    float, Gt(0), Le(1000), _FINITE, Reason("0 is there always, more than 1000 never comes")
]
"""Decode time asked for per second, over the slots there are."""
Factor = Annotated[
    float, Ge(1), Le(1000), _FINITE, Reason("under 1 is less than needed, over 1000 is no bound")
]
Share = Annotated[float, Ge(0), Le(1), Reason("a share of a whole")]
Ratio = Annotated[float, Gt(0), Lt(1), Reason("a part of the whole, neither none nor all")]
Size = Annotated[str, Predicate(is_size)]
"""An amount of memory: `2GB`, `1500 MB`, `512MiB`, or a share of what the machine has: `60%`."""
PathText = Annotated[str, IsPath()]

_UNITS = {"": 1} | {
    f"{letter}{mark}": base**power
    for power, letter in enumerate("kMGT", start=1)
    for mark, base in (("", 1000), ("i", 1024))
}


def size_bytes(size: Size, whole_bytes: int) -> int:
    """The bytes that a size stands for; a share is one of `whole_bytes`."""
    unit = size.lstrip("0123456789. ")
    number = float(size.removesuffix(unit))
    return round(number * (whole_bytes / 100 if unit == "%" else _UNITS[unit.removesuffix("B")]))
